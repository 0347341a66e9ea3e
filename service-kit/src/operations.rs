//! Owns operations: long work that is not a job. It does not know what the work
//! is; whoever begins one brings it along.
//!
//! An operation is a row, written before its work begins, so that it goes on
//! when its caller leaves and is taken up by the next start after a stop or a
//! kill. How far it is lives in memory, for those who watch, and is noted in the
//! row now and then. Its end is one write.
//!
//! A service gets further kinds by a variant of [`OperationKind`] and by taking
//! up its own ([`Operations::take_up`]) beside those of [`crate::admin`].

mod api;
mod begin;
pub(crate) mod convert;
mod error;
mod follow;
mod library;
mod newest;
mod operation;
mod record;
mod request;
mod run;
mod store;
mod take_up;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use diesel::SqliteConnection;
use stablequeue_proto::admin::v1::operation_service_server::{
    OperationServiceServer, SERVICE_NAME,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::database::Database;
use crate::migrate::Stop;
use crate::shutdown::Shutdown;

pub use begin::Begun;
pub use convert::wire_operation;
pub use error::OperationError;
pub use follow::{Follow, WATCH_EVERY};
pub use library::{
    LIBRARY_PROBLEM_TEXT_BYTES_MAX, LIBRARY_PROBLEMS_MAX, LibraryProblem, LibraryReport,
};
pub use operation::{
    NewOperation, OPERATION_CANCELLED, Operation, OperationCaller, OperationKind,
    OperationProgress, OperationResult, OperationState, OptimizedDatabase,
};
pub use run::{PROGRESS_NOTED_EVERY, Steps, Unfinished};
use store::{Cursor, OperationFilter};
pub use take_up::{OPERATION_KEEPS_ENDING, OPERATION_RESTORED, OPERATION_STARTS_MAX, TakenUp};

/// The full name of the service, for health, reflection and access tables.
pub const OPERATION_SERVICE: &str = SERVICE_NAME;
/// Operations that run at once, without those of a library; one more is refused.
pub const OPERATIONS_RUNNING_MAX: usize = 16;
/// Operations [of a library](OperationKind::is_of_library) that run at once; one
/// more is refused.
pub const LIBRARY_OPERATIONS_RUNNING_MAX: usize = 8;
/// Ended operations that are kept, the newest.
pub const OPERATIONS_KEPT: usize = 1_000;
/// Calls that watch operations or wait for their ends; one more is refused.
pub const OPERATION_WATCHES_MAX: usize = 64;

/// The operations of one service. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Operations(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    database: Database,
    clock: Clock,
    shutdown: Shutdown,
    /// One permit for each that runs and is not of a library.
    slots: Arc<Semaphore>,
    /// One permit for each of a library that runs.
    library_slots: Arc<Semaphore>,
    /// One permit for each call that watches or waits.
    watches: Arc<Semaphore>,
    running: Mutex<HashMap<String, Running>>,
}

/// An operation whose work is under way in this process.
#[derive(Debug, Clone)]
struct Running {
    now: Arc<watch::Sender<Operation>>,
    cancel: CancellationToken,
}

impl Operations {
    /// The operations in the table `operations` of a migrated database, which
    /// must be open for as long as `shutdown` waits for tasks.
    pub fn new(database: Database, clock: Clock, shutdown: Shutdown) -> Self {
        Self(Arc::new(Inner {
            database,
            clock,
            shutdown,
            slots: Arc::new(Semaphore::new(OPERATIONS_RUNNING_MAX)),
            library_slots: Arc::new(Semaphore::new(LIBRARY_OPERATIONS_RUNNING_MAX)),
            watches: Arc::new(Semaphore::new(OPERATION_WATCHES_MAX)),
            running: Mutex::default(),
        }))
    }

    /// The gRPC service, to be added to the routes.
    pub fn server(&self) -> OperationServiceServer<Self> {
        OperationServiceServer::new(self.clone())
    }

    /// One operation as it is now.
    ///
    /// # Errors
    /// [`OperationError::NotFound`] or the database's.
    pub async fn get(&self, id: &str) -> Result<Operation, OperationError> {
        Ok(self.follow(id).await?.now())
    }

    /// One operation, to be followed.
    ///
    /// # Errors
    /// As [`Operations::get`].
    pub async fn follow(&self, id: &str) -> Result<Follow, OperationError> {
        if let Some(running) = self.running(id) {
            return Ok(self.follow_running(&running));
        }
        // Its row was not there before it was shown, and says its end now; or its work is not
        // under way here at all.
        let wanted = id.to_owned();
        let find = move |connection: &mut SqliteConnection| {
            found(store::find(connection, &wanted)?, &wanted)
        };
        let operation = self.0.database.read("get_operation", find).await?;
        let shutdown = self.0.shutdown.clone();
        Ok(Follow::new(watch::channel(operation).1, shutdown))
    }

    fn follow_running(&self, running: &Running) -> Follow {
        Follow::new(running.now.subscribe(), self.0.shutdown.clone())
    }

    /// Asks an operation to end at its next step, and answers it as it is then.
    /// One that has ended stays as it is; one that nobody works on, because this
    /// program does not know how, ends at once.
    ///
    /// # Errors
    /// As [`Operations::get`]. Where it is only the writing that fails, the work
    /// is told all the same.
    pub async fn cancel(&self, id: &str) -> Result<Operation, OperationError> {
        let (wanted, now) = (id.to_owned(), self.0.clock.now());
        let running = self.running(id);
        let is_here = running.is_some();
        let request = move |connection: &mut SqliteConnection| {
            store::request_cancel(connection, &wanted, now)?;
            let asked = found(store::find(connection, &wanted)?, &wanted)?;
            if is_here || asked.state.is_terminal() {
                return Ok(asked);
            }
            let mut ended = asked;
            ended.state = OperationState::Cancelled;
            ended.ended_at = Some(now);
            store::end(connection, &ended, OPERATIONS_KEPT)?;
            found(store::find(connection, &wanted)?, &wanted)
        };
        let asked = self.0.database.write("cancel_operation", request).await;
        let Some(running) = running else {
            return asked;
        };
        running.now.send_modify(|operation| {
            if !operation.state.is_terminal() {
                let asked = asked.as_ref().ok();
                let first = asked.and_then(|asked| asked.cancel_requested_at);
                let first = first.or(operation.cancel_requested_at).unwrap_or(now);
                operation.cancel_requested_at = Some(first);
                operation.updated_at = operation.updated_at.max(first);
            }
        });
        running.cancel.cancel();
        asked?;
        let now = running.now.borrow().clone();
        Ok(now)
    }

    /// A page of operations, newest first.
    async fn page(
        &self,
        filter: OperationFilter,
        behind: Option<Cursor>,
        limit: usize,
    ) -> Result<Vec<Operation>, OperationError> {
        let read = move |connection: &mut SqliteConnection| {
            store::page(connection, &filter, behind.as_ref(), limit)
        };
        let read = self.0.database.read("list_operations", read).await;
        let mut page: Vec<Operation> = read?;
        for operation in &mut page {
            let running = self.running(&operation.id);
            // One that has just ended stays as the filter found it.
            if let Some(running) = running
                && !running.now.borrow().state.is_terminal()
            {
                *operation = running.now.borrow().clone();
            }
        }
        Ok(page)
    }

    /// Whether the service stops, for what is no operation and takes long.
    pub(crate) fn stop(&self) -> Stop {
        let shutdown = self.0.shutdown.clone();
        Arc::new(move || shutdown.is_requested())
    }

    /// The place of a call that watches or waits, given back when dropped.
    pub(crate) fn watch_place(&self) -> Result<OwnedSemaphorePermit, OperationError> {
        let place = Arc::clone(&self.0.watches).try_acquire_owned();
        place.map_err(|_| OperationError::TooManyWatches(OPERATION_WATCHES_MAX))
    }

    /// Shows an operation whose work begins.
    fn enter(&self, operation: Operation) -> Running {
        let id = operation.id.clone();
        let running = Running {
            now: Arc::new(watch::channel(operation).0),
            cancel: CancellationToken::new(),
        };
        self.lock().insert(id, running.clone());
        running
    }

    fn running(&self, id: &str) -> Option<Running> {
        self.lock().get(id).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Running>> {
        self.0
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn found(operation: Option<Operation>, id: &str) -> Result<Operation, OperationError> {
    operation.ok_or_else(|| OperationError::NotFound(id.to_owned()))
}
