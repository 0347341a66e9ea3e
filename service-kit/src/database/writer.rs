//! The thread that writes: takes what is queued, commits it together, then answers.
//!
//! Does not know who asked. The invariant here is that nobody is answered before the commit that
//! holds the command is on disk.

use std::sync::Arc;
use std::time::{Duration, Instant};

use diesel::SqliteConnection;
use diesel::connection::SimpleConnection;
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::Integer;
use tokio::sync::mpsc;

use super::command::{Command, Outcome};
use super::stats::Counters;
use super::{DatabaseError, DatabaseLock, DatabaseOptions};

/// Commands that run longer than this are logged: everyone behind them waits.
const SLOW_COMMAND: Duration = Duration::from_millis(500);

type Batch = Vec<Box<dyn Command>>;

/// What ended a batch before its commit.
enum Fault {
    /// No transaction began, so no command ran.
    NotBegun(DatabaseError),
    /// The transaction is gone and everything in it with it; nobody was answered.
    Lost,
}

/// The writer's connection, queue and lock.
pub(super) struct Writer {
    connection: SqliteConnection,
    lock: DatabaseLock,
    queue: mpsc::Receiver<Box<dyn Command>>,
    counters: Arc<Counters>,
    batch_max: usize,
    busy_retries: u32,
}

impl Writer {
    pub(super) fn new(
        connection: SqliteConnection,
        lock: DatabaseLock,
        queue: mpsc::Receiver<Box<dyn Command>>,
        counters: Arc<Counters>,
        options: &DatabaseOptions,
    ) -> Self {
        Self {
            connection,
            lock,
            queue,
            counters,
            batch_max: options.batch_max.max(1),
            busy_retries: options.busy_retries,
        }
    }

    /// Works until the queue has ended and is empty; then checkpoints and releases the lock.
    pub(super) fn run(mut self) -> Result<(), DatabaseError> {
        let mut batch = Batch::with_capacity(self.batch_max);
        while self.queue.blocking_recv_many(&mut batch, self.batch_max) > 0 {
            self.counters.taken(batch.len());
            self.process(&mut batch);
        }
        let Self {
            mut connection,
            lock,
            ..
        } = self;
        let closed = checkpoint(&mut connection);
        drop(connection);
        if closed.is_err() {
            lock.note_sound(false);
        }
        drop(lock);
        closed
    }

    /// Runs and answers every command of the batch.
    fn process(&mut self, batch: &mut Batch) {
        // A lone command needs no savepoint: its transaction is one.
        if batch.len() == 1 {
            return self.run_one_by_one(batch);
        }
        match self.run_together(batch) {
            Ok(()) => batch.drain(..).for_each(|command| command.answer()),
            Err(Fault::NotBegun(error)) => {
                batch
                    .drain(..)
                    .for_each(|command| command.fail(error.again()));
            }
            Err(Fault::Lost) => self.run_one_by_one(batch),
        }
    }

    fn run_together(&mut self, batch: &mut Batch) -> Result<(), Fault> {
        self.begin().map_err(Fault::NotBegun)?;
        let done = batch
            .iter_mut()
            .try_for_each(|command| self.run_in_savepoint(command.as_mut()))
            .and_then(|()| self.commit());
        done.map_err(|error| {
            self.roll_back();
            self.counters.batch_lost();
            tracing::warn!(
                error = %DatabaseError::from(error),
                commands = batch.len(),
                "a batch was lost; its commands run again one by one"
            );
            Fault::Lost
        })
    }

    /// An `Err` means that the transaction cannot be trusted any more: SQLite may end it by itself
    /// (<https://sqlite.org/lang_transaction.html>, "Response to errors within a transaction"),
    /// and then the savepoint is gone.
    fn run_in_savepoint(&mut self, command: &mut dyn Command) -> QueryResult<()> {
        self.connection.batch_execute("SAVEPOINT command")?;
        match self.run_timed(command) {
            Outcome::Keep => self.connection.batch_execute("RELEASE command"),
            Outcome::Undo => self
                .connection
                .batch_execute("ROLLBACK TO command; RELEASE command"),
        }
    }

    fn run_one_by_one(&mut self, batch: &mut Batch) {
        let mut not_begun: Option<DatabaseError> = None;
        for command in batch.drain(..) {
            // Each would wait for the same lock again.
            if let Some(error) = &not_begun {
                command.fail(error.again());
                continue;
            }
            not_begun = self.run_alone(command).err();
        }
    }

    /// Runs and answers one command; an `Err` says why no transaction could begin.
    fn run_alone(&mut self, mut command: Box<dyn Command>) -> Result<(), DatabaseError> {
        if let Err(error) = self.begin() {
            command.fail(error.again());
            return Err(error);
        }
        match self.run_timed(command.as_mut()) {
            Outcome::Undo => {
                self.roll_back();
                command.answer();
            }
            Outcome::Keep => match self.commit() {
                Ok(()) => command.answer(),
                Err(error) => {
                    self.roll_back();
                    command.fail(error.into());
                }
            },
        }
        Ok(())
    }

    fn run_timed(&mut self, command: &mut dyn Command) -> Outcome {
        let started = Instant::now();
        let outcome = command.run(&mut self.connection);
        let took = started.elapsed();
        if took > SLOW_COMMAND {
            let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            tracing::warn!(
                command = command.name(),
                duration_ms,
                "a slow database command"
            );
        }
        outcome
    }

    /// Begins a transaction that may write, waiting for other programs within the busy limits.
    fn begin(&mut self) -> Result<(), DatabaseError> {
        let mut retries = 0;
        loop {
            let Err(error) = self.connection.batch_execute("BEGIN IMMEDIATE") else {
                return Ok(());
            };
            match DatabaseError::from(error) {
                DatabaseError::Busy if retries < self.busy_retries => {
                    retries += 1;
                    self.counters.busy_retry();
                }
                error => {
                    // In case a transaction is still open; if none is, there is nothing to undo.
                    self.roll_back();
                    return Err(error);
                }
            }
        }
    }

    fn commit(&mut self) -> QueryResult<()> {
        let started = Instant::now();
        self.connection.batch_execute("COMMIT")?;
        self.counters.committed(started.elapsed());
        Ok(())
    }

    /// Leaves the connection outside any transaction.
    fn roll_back(&mut self) {
        if let Err(error) = self.connection.batch_execute("ROLLBACK") {
            // SQLite has rolled back by itself, which is what was wanted.
            tracing::debug!(%error, "no transaction was left to roll back");
        }
    }
}

/// Moves the write-ahead log into the database and empties it. A reader that is still there makes
/// that incomplete, which is harmless: the next opener finds the log.
fn checkpoint(connection: &mut SqliteConnection) -> Result<(), DatabaseError> {
    let columns = sql::<(Integer, Integer, Integer)>("PRAGMA wal_checkpoint(TRUNCATE)");
    let (busy, _, _) = columns.get_result::<(i32, i32, i32)>(connection)?;
    if busy != 0 {
        tracing::warn!("the write-ahead log stays, because the database is still being read");
    }
    Ok(())
}
