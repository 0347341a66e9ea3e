//! API keys: what an administrator can ask about them, and who a call's
//! credentials belong to.
//!
//! All keys are also held in memory, so that telling callers apart costs no
//! SQL. What is held is replaced after each change that is on disk, never
//! before, and changes run one after another in tasks of their own: a caller
//! that goes away between the commit and the replacement interrupts neither.

use std::sync::{
    Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
    atomic::{AtomicBool, Ordering},
};
use std::time::Duration;

use chrono::{DateTime, Utc};
use service_kit::{
    auth::{ApiKey, Credentials, Token, Verdict},
    clock::Clock,
    database::Database,
    shutdown::Shutdown,
};
use tokio::sync::{Mutex, oneshot};

use crate::{
    api_key::{ApiKeyRecord, KeyLimits},
    error::Error,
    store::api_keys::{self, StoredKey},
};

mod admin;
mod bootstrap;
mod ring;
mod uses;

pub use bootstrap::{BootstrapKey, Installed};
use ring::Ring;
pub use uses::note_uses;

/// How many keys there may be: all are held in memory.
pub const API_KEYS_MAX: usize = 10_000;
/// Between two tries to read all keys again.
const READ_AGAIN: Duration = Duration::from_secs(1);

/// The use cases of keys, and who is who.
pub struct Keys {
    database: Database,
    clock: Clock,
    shutdown: Shutdown,
    ring: RwLock<Ring>,
    /// Whether calls need a key. Never turned off again.
    required: AtomicBool,
    /// One change at a time, so that what is held is what was written last.
    changing: Mutex<()>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Keys")
            .field("required", &self.is_required())
            .field("keys", &self.ring().len())
            .finish_non_exhaustive()
    }
}

impl Keys {
    /// The keys of a database.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn load(
        database: Database,
        clock: Clock,
        shutdown: Shutdown,
    ) -> Result<Arc<Self>, Error> {
        let keys = Self {
            database,
            clock,
            shutdown,
            ring: RwLock::default(),
            required: AtomicBool::new(false),
            changing: Mutex::new(()),
        };
        keys.reload().await?;
        Ok(Arc::new(keys))
    }

    /// Whether calls need a key, which they do for good once there was one.
    #[must_use]
    pub fn is_required(&self) -> bool {
        self.required.load(Ordering::Acquire)
    }

    /// Whether any key would be accepted at this moment.
    #[must_use]
    pub fn has_good_one(&self) -> bool {
        let now = self.clock.now();
        self.ring().records().any(|key| key.is_good(now))
    }

    /// What the key with this id may have at once; no limits of its own when
    /// there is no such key any more. Costs no SQL.
    #[must_use]
    pub fn limits_of(&self, key_id: &str) -> KeyLimits {
        let ring = self.ring();
        ring.record(key_id)
            .map_or_else(KeyLimits::default, |key| key.limits)
    }

    /// Who presents these credentials; `None` when none were presented. Costs
    /// no SQL.
    #[must_use]
    pub fn verdict(&self, credentials: Option<&Credentials>) -> Verdict {
        if !self.is_required() {
            return Verdict::Off;
        }
        let caller = credentials.and_then(|given| self.ring().prove(given, self.clock.now()));
        caller.map_or(Verdict::Unknown, Verdict::Known)
    }

    /// What time it is for keys.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// Takes what is held from the database.
    async fn reload(&self) -> Result<(), Error> {
        let (all, required) = self
            .database
            .read("load_api_keys", |conn| {
                Ok::<_, Error>((api_keys::all(conn)?, api_keys::is_required(conn)?))
            })
            .await?;
        self.ring_mut().replace(all);
        if required {
            self.now_required();
        }
        Ok(())
    }

    /// Runs a change to its end whatever becomes of the caller, then lets `take`
    /// bring what is held up to date. Where it is not known whether the change
    /// is on disk, everything is read again.
    async fn change<T, W>(
        self: &Arc<Self>,
        name: &'static str,
        write: W,
        take: impl FnOnce(&mut Ring, &T) + Send + 'static,
    ) -> Result<T, Error>
    where
        T: Send + 'static,
        W: FnMut(&mut crate::store::Connection) -> Result<T, Error> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let keys = Arc::clone(self);
        self.shutdown.spawn(name, async move {
            let _one_at_a_time = keys.changing.lock().await;
            let written = keys.database.write(name, write).await;
            let unsure = matches!(written, Err(Error::Database(_)));
            if let Ok(done) = &written {
                take(&mut keys.ring_mut(), done);
            }
            // Who asked may have gone; the change is made all the same.
            let _ = answer.send(written);
            if unsure {
                keys.read_again().await;
            }
        });
        answered.await.map_err(|_| Error::Stopping)?
    }

    /// After a write of which nobody knows whether it is on disk.
    async fn read_again(&self) {
        while let Err(error) = self.reload().await {
            tracing::warn!(%error, "keys cannot be read again; that is repeated");
            tokio::select! {
                () = self.clock.sleep(READ_AGAIN) => {}
                () = self.shutdown.requested() => return,
            }
        }
    }

    /// Notes that there is a key.
    fn now_required(&self) {
        self.required.store(true, Ordering::Release);
    }

    fn ring(&self) -> RwLockReadGuard<'_, Ring> {
        self.ring.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring_mut(&self) -> RwLockWriteGuard<'_, Ring> {
        self.ring.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A key as it is now, with the proof that is shown once.
#[derive(Debug)]
pub struct Shown {
    /// The key.
    pub record: ApiKeyRecord,
    /// What proves it; `None` for a repeated creation.
    pub proof: Option<Proof>,
}

/// What proves a key, in clear. `Debug` does not show it.
#[derive(Debug)]
pub enum Proof {
    /// Of a new key.
    Whole(ApiKey),
    /// A new secret for a key of which only the digest is known.
    Secret(Token),
}

/// Puts a stored key into what is held.
fn hold(ring: &mut Ring, stored: &StoredKey) {
    ring.put(stored.clone());
}

#[cfg(test)]
mod tests;
