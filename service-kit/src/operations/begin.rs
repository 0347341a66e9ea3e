//! Owns how an operation begins: its row is written before its work begins, and
//! a call that is repeated finds the row of the first. It does not do the work.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use diesel::SqliteConnection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::{
    Follow, LIBRARY_OPERATIONS_RUNNING_MAX, NewOperation, OPERATIONS_RUNNING_MAX, Operation,
    OperationError, OperationKind, OperationResult, Operations, Running, Steps, Unfinished,
    operation, store,
};
use crate::migrate;
use crate::status::Failure;

/// An operation that was asked for.
#[derive(Debug)]
pub struct Begun {
    /// To be followed.
    pub follow: Follow,
    /// Whether an earlier call of the same caller with the same id has begun it.
    pub repeated: bool,
}

/// What the first of several calls with one id finds, and the others.
enum Entered<P> {
    New {
        running: Running,
        slot: OwnedSemaphorePermit,
        admitted: P,
    },
    Repeated(Follow),
}

/// What was admitted while the row was written. A command may run twice, and is
/// admitted once.
type Admitted<P> = Mutex<Option<(OwnedSemaphorePermit, P)>>;

impl Operations {
    /// Begins an operation: its row is on disk when this returns, and its work
    /// goes on whether or not anybody follows it. Dropping the future does not
    /// take it back. With a `request_id` that the caller has used for this kind
    /// before, it begins nothing and answers what that one has begun.
    ///
    /// # Errors
    /// [`OperationError::TooMany`], [`OperationError::RequestIdReused`],
    /// [`OperationError::Stopping`] or the database's.
    pub async fn begin<W, F>(&self, new: NewOperation, work: W) -> Result<Begun, OperationError>
    where
        W: FnOnce(Steps) -> F + Send + 'static,
        F: Future<Output = Result<OperationResult, Unfinished>> + Send + 'static,
    {
        self.begin_if(new, || Ok(()), |(), steps| work(steps)).await
    }

    /// The same for work that may have to be refused: `admit` is asked once it is
    /// clear that the call is not a repeated one, and what it answers goes to the
    /// work. It runs where the row is written, so it must not wait.
    ///
    /// # Errors
    /// As [`Operations::begin`], and [`OperationError::Refused`] with what
    /// `admit` says; nothing is begun then.
    pub async fn begin_if<P, A, W, F>(
        &self,
        new: NewOperation,
        admit: A,
        work: W,
    ) -> Result<Begun, OperationError>
    where
        P: Send + 'static,
        A: Fn() -> Result<P, Failure> + Send + 'static,
        W: FnOnce(P, Steps) -> F + Send + 'static,
        F: Future<Output = Result<OperationResult, Unfinished>> + Send + 'static,
    {
        if self.0.shutdown.is_requested() {
            return Err(OperationError::Stopping);
        }
        let (answer, answered) = oneshot::channel();
        let operations = self.clone();
        self.0.shutdown.spawn("operation", async move {
            let entered = operations.enter_new(new, admit).await;
            // Whoever asked may have left; what is begun goes on all the same.
            match entered {
                Err(error) => drop(answer.send(Err(error))),
                Ok(Entered::Repeated(follow)) => {
                    let repeated = true;
                    drop(answer.send(Ok(Begun { follow, repeated })));
                }
                Ok(Entered::New {
                    running,
                    slot,
                    admitted,
                }) => {
                    let (follow, repeated) = (operations.follow_running(&running), false);
                    drop(answer.send(Ok(Begun { follow, repeated })));
                    let work = move |steps| work(admitted, steps);
                    operations.run(running, slot, work).await;
                }
            }
        });
        answered.await.unwrap_or(Err(OperationError::Stopping))
    }

    /// Shows the operation before its row is there: so whoever finds the row
    /// finds the operation here until its end is in the row.
    async fn enter_new<P, A>(
        &self,
        new: NewOperation,
        admit: A,
    ) -> Result<Entered<P>, OperationError>
    where
        P: Send + 'static,
        A: Fn() -> Result<P, Failure> + Send + 'static,
    {
        let operation = Operation::beginning(&new, self.0.clock.now());
        let id = operation.id.clone();
        let running = self.enter(operation.clone());
        let place = Arc::new(Admitted::default());
        let begin = self.row_command(operation, new, admit, Arc::clone(&place));
        let begun = self.0.database.write("begin_operation", begin).await;
        let admitted = lock(&place).take();
        match (begun, admitted) {
            (Ok(None), Some((slot, admitted))) => Ok(Entered::New {
                running,
                slot,
                admitted,
            }),
            (begun, _) => {
                self.lock().remove(&id);
                let first = begun?.ok_or(OperationError::Stopping)?;
                Ok(Entered::Repeated(self.follow(&first).await?))
            }
        }
    }

    /// Writes the row; answers the id of the first operation where the call is
    /// a repeated one.
    fn row_command<P, A>(
        &self,
        operation: Operation,
        new: NewOperation,
        admit: A,
        place: Arc<Admitted<P>>,
    ) -> impl FnMut(&mut SqliteConnection) -> Result<Option<String>, OperationError> + use<P, A>
    where
        A: Fn() -> Result<P, Failure>,
    {
        let operations = self.clone();
        move |connection| {
            if let Some(first) = first_of(connection, &new)? {
                return Ok(Some(first));
            }
            let mut admitted = lock(&place);
            if admitted.is_none() {
                let slot = operations.slot(new.kind)?;
                *admitted = Some((slot, admit().map_err(OperationError::Refused)?));
            }
            let epoch = migrate::epoch(connection)?;
            store::insert(connection, &operation, &new, &epoch)?;
            Ok(None)
        }
    }

    /// One of the places of those that run at once.
    fn slot(&self, kind: OperationKind) -> Result<OwnedSemaphorePermit, OperationError> {
        let slot = Arc::clone(self.slots(kind)).try_acquire_owned();
        slot.map_err(|_| {
            OperationError::TooMany(match kind.is_of_library() {
                true => LIBRARY_OPERATIONS_RUNNING_MAX,
                false => OPERATIONS_RUNNING_MAX,
            })
        })
    }

    /// The places of those that run at once; nobody closes them.
    pub(super) fn slots(&self, kind: OperationKind) -> &Arc<Semaphore> {
        match kind.is_of_library() {
            true => &self.0.library_slots,
            false => &self.0.slots,
        }
    }
}

/// The id of the operation that this caller has begun with this id of its own.
fn first_of(
    connection: &mut SqliteConnection,
    new: &NewOperation,
) -> Result<Option<String>, OperationError> {
    let Some(request_id) = &new.request_id else {
        return Ok(None);
    };
    let key_id = new.caller.key_id.as_deref();
    let first = store::find_repeated(connection, key_id, new.kind, request_id)?;
    match first {
        Some((_, content)) if !operation::same_content(&content, &new.request_json) => {
            Err(OperationError::RequestIdReused)
        }
        first => Ok(first.map(|(id, _)| id)),
    }
}

fn lock<T>(place: &Mutex<T>) -> MutexGuard<'_, T> {
    place.lock().unwrap_or_else(PoisonError::into_inner)
}
