//! What arrived, in the order in which it did. It does not judge.

use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::body::Bytes;
use http::{HeaderMap, Method};
use tokio::sync::watch;

/// Requests that are kept, the first ones.
pub const REQUESTS_KEPT: usize = 10_000;

/// A request that arrived.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// `GET` or `POST`.
    pub method: Method,
    /// Its path, percent-encoded as it came.
    pub path: String,
    /// Its query, without the question mark; empty when there is none.
    pub query: String,
    /// All headers, `Authorization` included.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Recorded {
    /// A header as text; empty when there is none.
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }
}

/// The requests, and who waits for them.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    kept: Mutex<Vec<Recorded>>,
    count: watch::Sender<usize>,
}

impl Requests {
    pub(crate) fn push(&self, request: Recorded) {
        let mut kept = self.lock();
        if kept.len() < REQUESTS_KEPT {
            kept.push(request);
        }
        drop(kept);
        self.count.send_modify(|count| *count += 1);
    }

    pub(crate) fn all(&self) -> Vec<Recorded> {
        self.lock().clone()
    }

    pub(crate) fn count(&self) -> usize {
        *self.count.borrow()
    }

    pub(crate) fn counts(&self) -> watch::Receiver<usize> {
        self.count.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Recorded>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
