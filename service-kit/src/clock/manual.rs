//! Owns the clock of tests: time that moves only by hand.
//! It does not know what anybody waits for.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::{oneshot, watch};

/// The hand that moves a manual clock. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<State>);

impl ManualClock {
    pub(super) fn new(state: Arc<State>) -> Self {
        Self(state)
    }

    /// Moves time forward and wakes every sleep that is due, earliest first.
    pub fn advance(&self, by: Duration) {
        let mut inner = self.0.lock();
        inner.elapsed = inner.elapsed.saturating_add(by);
        let now = inner.elapsed;
        while let Some(first) = inner.sleepers.first_entry() {
            if first.key().0 > now {
                break;
            }
            // A receiver that is gone has given up its wait.
            let _ = first.remove().send(());
        }
        self.0.publish(&inner);
    }

    /// How many sleeps are pending at this moment.
    pub fn waiters(&self) -> usize {
        self.0.lock().sleepers.len()
    }

    /// Waits until at least `count` sleeps are pending. Has no limit of its own.
    pub async fn wait_for_waiters(&self, count: usize) {
        let mut waiters = self.0.waiters.subscribe();
        // The sender lives in `self`, so the channel cannot be closed here.
        let _ = waiters.wait_for(|pending| *pending >= count).await;
    }
}

/// What a manual clock and its hand share.
#[derive(Debug)]
pub(super) struct State {
    start: DateTime<Utc>,
    inner: Mutex<Inner>,
    waiters: watch::Sender<usize>,
}

#[derive(Debug)]
struct Inner {
    elapsed: Duration,
    next_id: u64,
    sleepers: BTreeMap<(Duration, u64), oneshot::Sender<()>>,
}

impl State {
    pub(super) fn new(start: DateTime<Utc>) -> Self {
        Self {
            start,
            inner: Mutex::new(Inner {
                elapsed: Duration::ZERO,
                next_id: 0,
                sleepers: BTreeMap::new(),
            }),
            waiters: watch::Sender::new(0),
        }
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.lock().elapsed
    }

    pub(super) fn now(&self) -> DateTime<Utc> {
        TimeDelta::from_std(self.elapsed())
            .ok()
            .and_then(|elapsed| self.start.checked_add_signed(elapsed))
            .unwrap_or(DateTime::<Utc>::MAX_UTC)
    }

    pub(super) fn wait_until(state: &Arc<Self>, instant: Duration) -> Wait {
        let mut inner = state.lock();
        if inner.elapsed >= instant {
            return Wait(None);
        }
        let (wake, woken) = oneshot::channel();
        let key = (instant, inner.next_id);
        inner.next_id += 1;
        inner.sleepers.insert(key, wake);
        state.publish(&inner);
        Wait(Some(Pending {
            state: Arc::clone(state),
            key,
            woken,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, inner: &Inner) {
        self.waiters.send_replace(inner.sleepers.len());
    }
}

/// One sleep on a manual clock; `None` when it was due from the start.
#[derive(Debug)]
pub(super) struct Wait(Option<Pending>);

#[derive(Debug)]
struct Pending {
    state: Arc<State>,
    key: (Duration, u64),
    woken: oneshot::Receiver<()>,
}

impl Future for Wait {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.0 {
            None => Poll::Ready(()),
            Some(pending) => Pin::new(&mut pending.woken).poll(context).map(|_| ()),
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let mut inner = self.state.lock();
        inner.sleepers.remove(&self.key);
        self.state.publish(&inner);
    }
}
