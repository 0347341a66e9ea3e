//! Owns the one door to the database: every change takes the time, notes its
//! events in the same transaction, and wakes the watchers once it is on disk.
//! It does not know what changes mean.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chrono::{DateTime, Utc};
use service_kit::clock::Clock;
use service_kit::database::{Database, DatabaseError};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::error::ModelError;
use crate::events::NewEvent;
use crate::store::{self, Connection};

/// The database with its clock and its watchers. Clones share it.
#[derive(Debug, Clone)]
pub struct Ledger {
    database: Database,
    clock: Clock,
    /// A hint that events may have been added; the table is the truth.
    changed: watch::Sender<()>,
    events_kept: u32,
    epoch: String,
    /// Changes run to their end here, even when nobody waits for them any more,
    /// so that a change on disk always wakes the watchers.
    running: TaskTracker,
    stand: Arc<Stand>,
}

/// How many changes there were, for who remembers what was read.
#[derive(Debug, Default)]
struct Stand {
    under_way: AtomicU64,
    ended: AtomicU64,
}

/// A change that may be on disk before its end is counted.
struct UnderWay(Arc<Stand>);

impl UnderWay {
    fn begin(stand: &Arc<Stand>) -> Self {
        stand.under_way.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(stand))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        // In this order: whoever sees that none is under way sees its end too.
        self.0.ended.fetch_add(1, Ordering::SeqCst);
        self.0.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What a change answers, and what watchers are to be told of it.
pub(crate) struct Changed<T> {
    pub(crate) answer: T,
    pub(crate) events: Vec<NewEvent>,
}

impl<T> Changed<T> {
    /// A change that nobody watches.
    pub(crate) fn silent(answer: T) -> Self {
        Self {
            answer,
            events: Vec::new(),
        }
    }

    /// A change with one event.
    pub(crate) fn with(answer: T, event: NewEvent) -> Self {
        Self {
            answer,
            events: vec![event],
        }
    }
}

impl Ledger {
    /// A ledger that keeps the last `events_kept` events. `epoch` names this
    /// life of the database.
    pub fn new(database: Database, clock: Clock, events_kept: u32, epoch: String) -> Self {
        Self {
            database,
            clock,
            changed: watch::Sender::new(()),
            events_kept,
            epoch,
            running: TaskTracker::new(),
            stand: Arc::default(),
        }
    }

    /// The clock of everything that is written.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The name of this life of the database.
    pub fn epoch(&self) -> &str {
        &self.epoch
    }

    /// Hears of changes from now on.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Names the state of what references are answered from, of this process
    /// only; absent while a change is under way. What was read after this was asked, and before a
    /// change began, is what a read finds for as long as the answer is the same:
    /// a change that was answered, or that watchers were told of, makes it
    /// another one.
    pub(crate) fn stand(&self) -> Option<u64> {
        let ended = self.stand.ended.load(Ordering::SeqCst);
        (self.stand.under_way.load(Ordering::SeqCst) == 0).then_some(ended)
    }

    /// Runs a change; its events are on disk with it, or neither is.
    pub(crate) async fn change<T, F>(&self, name: &'static str, f: F) -> Result<T, ModelError>
    where
        T: Send + 'static,
        F: FnMut(&mut Connection, DateTime<Utc>) -> Result<Changed<T>, ModelError> + Send + 'static,
    {
        let stand = Arc::clone(&self.stand);
        self.run(name, move || Some(UnderWay::begin(&stand)), f)
            .await
    }

    /// Runs a change of nothing that a reference is answered from: no hash, no
    /// name, no file, nothing of what is where. Nobody is told, and what is
    /// remembered holds.
    pub(crate) async fn note<T, F>(&self, name: &'static str, mut f: F) -> Result<T, ModelError>
    where
        T: Send + 'static,
        F: FnMut(&mut Connection, DateTime<Utc>) -> Result<T, ModelError> + Send + 'static,
    {
        let silent =
            move |connection: &mut Connection, now| Ok(Changed::silent(f(connection, now)?));
        self.run(name, || None, silent).await
    }

    async fn run<T, F>(
        &self,
        name: &'static str,
        begin: impl FnOnce() -> Option<UnderWay> + Send + 'static,
        mut f: F,
    ) -> Result<T, ModelError>
    where
        T: Send + 'static,
        F: FnMut(&mut Connection, DateTime<Utc>) -> Result<Changed<T>, ModelError> + Send + 'static,
    {
        let Self {
            database,
            clock,
            changed,
            events_kept,
            ..
        } = self.clone();
        let change = async move {
            let under_way = begin();
            let (answer, told) = database
                .write(name, move |connection| {
                    let now = clock.now();
                    let Changed { answer, events } = f(connection, now)?;
                    store::events::append(connection, &events, events_kept, now)?;
                    Ok::<_, ModelError>((answer, !events.is_empty()))
                })
                .await?;
            drop(under_way);
            if told {
                changed.send_replace(());
            }
            Ok(answer)
        };
        let done = self.running.spawn(change.in_current_span()).await;
        done.unwrap_or(Err(ModelError::Database(DatabaseError::Panicked)))
    }

    /// Waits for changes under way and closes the database.
    ///
    /// # Errors
    /// When the database cannot be closed in order.
    pub async fn close(self) -> Result<(), DatabaseError> {
        self.running.close();
        self.running.wait().await;
        self.database.close().await
    }

    /// Reads in one state of the database.
    pub(crate) async fn read<T, F>(&self, name: &'static str, f: F) -> Result<T, ModelError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> Result<T, ModelError> + Send + 'static,
    {
        self.database.read(name, f).await
    }
}

#[cfg(test)]
mod tests;
