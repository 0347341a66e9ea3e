//! One queued command: what to run, and where its answer goes.
//!
//! Does not know transactions or batches.

use std::panic::{AssertUnwindSafe, catch_unwind};

use diesel::SqliteConnection;
use tokio::sync::oneshot;

use super::DatabaseError;

/// Whether what a command did is to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Keep,
    Undo,
}

/// A command in the queue; running it and answering it are apart, since the commit is in between.
pub(super) trait Command: Send {
    /// The name in logs.
    fn name(&self) -> &'static str;
    /// Runs the command and holds its result back. May be called again: the last result counts.
    fn run(&mut self, connection: &mut SqliteConnection) -> Outcome;
    /// Sends the held result to whoever waits for it.
    fn answer(self: Box<Self>);
    /// Sends an error in place of the held result.
    fn fail(self: Box<Self>, error: DatabaseError);
}

/// A [`Command`] made of a closure.
pub(super) struct Call<F, T, E> {
    name: &'static str,
    f: F,
    result: Option<Result<T, E>>,
    answer: oneshot::Sender<Result<T, E>>,
}

impl<F, T, E> Call<F, T, E> {
    pub(super) fn new(name: &'static str, f: F, answer: oneshot::Sender<Result<T, E>>) -> Self {
        Self {
            name,
            f,
            result: None,
            answer,
        }
    }
}

impl<F, T, E> Command for Call<F, T, E>
where
    F: FnMut(&mut SqliteConnection) -> Result<T, E> + Send,
    T: Send,
    E: From<DatabaseError> + Send,
{
    fn name(&self) -> &'static str {
        self.name
    }

    fn run(&mut self, connection: &mut SqliteConnection) -> Outcome {
        let result = catch_unwind(AssertUnwindSafe(|| (self.f)(connection)));
        let result = result.unwrap_or_else(|_| {
            tracing::error!(command = self.name, "a database command panicked");
            Err(DatabaseError::Panicked.into())
        });
        let outcome = if result.is_ok() {
            Outcome::Keep
        } else {
            Outcome::Undo
        };
        self.result = Some(result);
        outcome
    }

    fn answer(self: Box<Self>) {
        let result = self
            .result
            .unwrap_or_else(|| Err(DatabaseError::Closed.into()));
        // The caller may have gone away; the command is done all the same.
        let _ = self.answer.send(result);
    }

    fn fail(self: Box<Self>, error: DatabaseError) {
        // As above.
        let _ = self.answer.send(Err(error.into()));
    }
}
