//! Owns the way of one operation from its row to its end: its work is told when
//! to stop, how far it is is noted now and then, and its end is written once.

use std::borrow::Cow;
use std::convert::Infallible;
use std::ops::ControlFlow;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::SqliteConnection;
use futures_util::FutureExt as _;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio_util::sync::CancellationToken;

use super::{
    OPERATIONS_KEPT, Operation, OperationProgress, OperationResult, OperationState, Operations,
    Running, store,
};
use crate::clock::Clock;
use crate::database::DatabaseError;
use crate::migrate::Stop;
use crate::shutdown::Shutdown;
use crate::status::{Failure, error_chain};

/// Between two notes in the row of how far an operation is.
pub const PROGRESS_NOTED_EVERY: Duration = Duration::from_secs(1);
/// Between two tries to write an end, until it is written or the service stops.
const END_RETRY: Duration = Duration::from_secs(1);

/// Why the work of an operation ended before it was done.
#[derive(Debug, Clone)]
pub enum Unfinished {
    /// It was told to stop at a step, and nothing is left of what it had not
    /// finished.
    Stopped,
    /// It could not be done.
    Failed(Failure),
}

impl From<Failure> for Unfinished {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// What the work of an operation tells of its steps, and is told. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Steps {
    now: Arc<watch::Sender<Operation>>,
    cancel: CancellationToken,
    shutdown: Shutdown,
    clock: Clock,
}

impl Steps {
    /// Says how far the work is; it breaks when the work is to stop here.
    pub fn reach(&self, done: u64, total: u64, unit: &'static str) -> ControlFlow<()> {
        let progress = OperationProgress {
            done,
            total,
            unit: Cow::Borrowed(unit),
        };
        let at = self.clock.now();
        self.now.send_if_modified(|operation| {
            let moved = operation.progress.as_ref() != Some(&progress);
            if moved {
                operation.progress = Some(progress);
                operation.updated_at = operation.updated_at.max(at);
            }
            moved
        });
        self.pass()
    }

    /// When the operation was asked for, however often its work was begun since.
    pub fn asked_at(&self) -> DateTime<Utc> {
        self.now.borrow().created_at
    }

    /// The id of the operation.
    pub fn operation_id(&self) -> String {
        self.now.borrow().id.clone()
    }

    /// Whether somebody wants it cancelled; not so when only the service stops, after
    /// which the work goes on with the next start.
    pub fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// Between two steps of work that cannot say how far it is; as
    /// [`Steps::reach`].
    pub fn pass(&self) -> ControlFlow<()> {
        if self.cancel.is_cancelled() || self.shutdown.is_requested() {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    /// Waits until the work is to stop, to be selected on beside what it waits
    /// for. Without that it never returns.
    pub async fn cancelled(&self) {
        tokio::select! {
            () = self.cancel.cancelled() => {}
            () = self.shutdown.requested() => {}
        }
    }

    /// The same question for work that is not told of its steps.
    pub fn stop(&self) -> Stop {
        let steps = self.clone();
        Arc::new(move || steps.pass().is_break())
    }

    /// [`Steps::pass`] for `?`.
    ///
    /// # Errors
    /// [`Unfinished::Stopped`] when the work is to stop here.
    pub fn go_on(&self) -> Result<(), Unfinished> {
        match self.pass() {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Unfinished::Stopped),
        }
    }
}

impl Operations {
    /// Does the work of an operation whose row says that it has begun.
    pub(super) async fn run<W, F>(&self, running: Running, slot: OwnedSemaphorePermit, work: W)
    where
        W: FnOnce(Steps) -> F + Send + 'static,
        F: Future<Output = Result<OperationResult, Unfinished>> + Send + 'static,
    {
        let id = running.now.borrow().id.clone();
        let steps = Steps {
            now: Arc::clone(&running.now),
            cancel: running.cancel.clone(),
            shutdown: self.0.shutdown.clone(),
            clock: self.0.clock.clone(),
        };
        // The work is made inside, so that a panic in that is caught as well.
        let work = AssertUnwindSafe(async move {
            steps.go_on()?;
            work(steps).await
        });
        let work = work.catch_unwind();
        let done = tokio::select! {
            biased;
            done = work => done,
            never = self.keep_noting_progress(&running) => match never {},
        };
        let done = done.unwrap_or_else(|_| {
            tracing::error!(operation.id = id, "an operation panicked");
            Err(Failure::internal().into())
        });
        self.finish(&running, done).await;
        drop(slot);
    }

    /// Writes how the work of an operation ended, or that it is to go on with
    /// the next start.
    pub(super) async fn finish(
        &self,
        running: &Running,
        done: Result<OperationResult, Unfinished>,
    ) {
        let id = running.now.borrow().id.clone();
        match self.ended(running, done) {
            None => {
                tracing::info!(operation.id = id, "an operation is left to the next start");
                self.give_start_back(id.clone()).await;
            }
            Some(ended) => self.write_end(running, ended).await,
        }
        self.lock().remove(&id);
    }

    /// A start that a stop in order has ended says nothing against the operation.
    async fn give_start_back(&self, id: String) {
        let give = move |connection: &mut SqliteConnection| store::give_start_back(connection, &id);
        if let Err(error) = self.0.database.write("give_start_back", give).await {
            // Some starts too many end it only when there are many of them.
            let error = error_chain(&error);
            tracing::warn!(
                error,
                "a start of an operation that does not count was counted"
            );
        }
    }

    /// Notes how far the work is every while, one note at a time, beside the work.
    async fn keep_noting_progress(&self, running: &Running) -> Infallible {
        let mut noted: Option<OperationProgress> = None;
        loop {
            self.0.clock.sleep(PROGRESS_NOTED_EVERY).await;
            let now = running.now.borrow().clone();
            if let Some(progress) = now.progress
                && noted.as_ref() != Some(&progress)
            {
                noted = Some(progress.clone());
                let note = move |connection: &mut SqliteConnection| {
                    store::note_progress(connection, &now.id, &progress, now.updated_at)
                };
                let written = self.0.database.write("note_operation", note).await;
                if let Err(error) = written {
                    // The next note says more than this one.
                    tracing::warn!(%error, "how far an operation is was not noted");
                }
            }
        }
    }

    /// The operation with its end; `None` when it is to go on with the next start.
    fn ended(
        &self,
        running: &Running,
        done: Result<OperationResult, Unfinished>,
    ) -> Option<Operation> {
        let mut operation = running.now.borrow().clone();
        match done {
            Ok(result) => {
                operation.state = OperationState::Succeeded;
                operation.result = Some(result);
            }
            Err(Unfinished::Failed(failure)) => {
                operation.state = OperationState::Failed;
                operation.error = Some(failure);
            }
            Err(Unfinished::Stopped) if running.cancel.is_cancelled() => {
                operation.state = OperationState::Cancelled;
            }
            Err(Unfinished::Stopped) if self.0.shutdown.is_requested() => return None,
            Err(Unfinished::Stopped) => {
                tracing::error!("an operation stopped though nobody had asked for it");
                operation.state = OperationState::Failed;
                operation.error = Some(Failure::internal());
            }
        }
        let now = self.0.clock.now();
        operation.updated_at = now;
        operation.ended_at = Some(now);
        Some(operation)
    }

    /// Returns once the end is on disk and told, or the service stops: then the
    /// next start takes the operation up.
    async fn write_end(&self, running: &Running, ended: Operation) {
        loop {
            let row = ended.clone();
            let end = move |connection: &mut SqliteConnection| {
                store::end(connection, &row, OPERATIONS_KEPT)
            };
            match self.0.database.write("end_operation", end).await {
                Ok(()) => break,
                Err(DatabaseError::Closed) => return,
                Err(error) => {
                    let error = error_chain(&error);
                    tracing::error!(error, "the end of an operation could not be written");
                }
            }
            tokio::select! {
                biased;
                () = self.0.shutdown.requested() => return,
                () = self.0.clock.sleep(END_RETRY) => {}
            }
        }
        running.now.send_modify(|operation| {
            // A wish to cancel may have come while the end was written.
            let cancel_requested_at = operation.cancel_requested_at;
            *operation = ended;
            operation.cancel_requested_at = cancel_requested_at;
        });
    }
}
