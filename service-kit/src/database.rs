//! One SQLite database: a single writer on a thread of its own, and a few readers.
//!
//! Owns the lock, the connections, the command queue and how failures of SQLite are told apart.
//! Knows no table; what a command does is the caller's.

mod command;
mod connection;
mod error;
mod figures;
mod filesystem;
mod lock;
mod readers;
mod stats;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;

use diesel::SqliteConnection;
use tokio::sync::{mpsc, oneshot};

use command::{Call, Command};
pub(crate) use connection::{
    inspector_uri, open_adopter, open_inspector, open_writer, undo_interrupted,
};
pub use error::DatabaseError;
pub use figures::DatabaseFigures;
pub(crate) use filesystem::{sibling, volume_free_bytes};
pub use lock::{DatabaseLock, LockError};
use readers::Readers;
use stats::Counters;
pub use stats::{COMMIT_BUCKETS_US, DatabaseStats};
use writer::Writer;

/// How a database is opened. Every value is a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseOptions {
    /// Read-only connections; this many reads run at once.
    pub readers: u32,
    /// Commands that may wait for the writer; one more is answered `Overloaded` at once.
    pub queue_capacity: usize,
    /// Commands that share one commit at most.
    pub batch_max: usize,
    /// How long SQLite waits for a lock that another program holds, in milliseconds.
    pub busy_timeout_ms: u32,
    /// How often the writer waits that long again before the batch is answered `Busy`.
    pub busy_retries: u32,
    /// Page cache of each connection, in KiB.
    pub cache_kib: u32,
    /// Pages in the write-ahead log after which a commit also checkpoints.
    pub wal_autocheckpoint_pages: u32,
    /// Size that the write-ahead log file is cut back to after a checkpoint, in bytes.
    pub wal_size_limit_bytes: u64,
    /// How long a read waits for a free connection before it is answered `Overloaded`, in milliseconds.
    pub read_wait_ms: u32,
    /// Reads that take longer are logged and counted, since the write-ahead log cannot be reused
    /// while one runs; in milliseconds.
    pub read_long_ms: u32,
}

impl Default for DatabaseOptions {
    fn default() -> Self {
        Self {
            readers: 4,
            queue_capacity: 1024,
            batch_max: 128,
            busy_timeout_ms: 5_000,
            busy_retries: 2,
            cache_kib: 16 * 1024,
            wal_autocheckpoint_pages: 1_000,
            wal_size_limit_bytes: 64 * 1024 * 1024,
            read_wait_ms: 10_000,
            read_long_ms: 2_000,
        }
    }
}

/// A connection that only reads, also beside the service that has the database at `path`.
///
/// # Errors
/// When there is no database there, or none that can be read.
pub fn open_read_only(path: &Path) -> Result<SqliteConnection, DatabaseError> {
    open_inspector(path, &DatabaseOptions::default())
}

/// A handle on an open database; clones share it.
///
/// Call [`Database::close`] before the process ends. When the last handle is dropped instead, the
/// queue is still drained and the lock released, which blocks the dropping thread for that long.
#[derive(Clone)]
pub struct Database {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    /// `None` once the database is closed; the only sender, so taking it ends the writer.
    queue: RwLock<Option<mpsc::Sender<Box<dyn Command>>>>,
    readers: Arc<Readers>,
    counters: Arc<Counters>,
    writer: Mutex<Option<JoinHandle<Result<(), DatabaseError>>>>,
}

impl Database {
    /// Opens the database at `path` and starts its writer, which keeps `lock` until the end.
    ///
    /// Fails when the lock is another file's, when the file is not a database, or when it cannot
    /// be put into WAL mode.
    pub fn open(
        path: &Path,
        lock: DatabaseLock,
        options: DatabaseOptions,
    ) -> Result<Self, DatabaseError> {
        if !lock.guards(path) {
            return Err(DatabaseError::Io(format!(
                "the lock that was taken is not the lock of {}",
                path.display()
            )));
        }
        let connection = open_writer(path, &options)?;
        let readers = Arc::new(Readers::open(path, &options)?);
        let counters = Arc::new(Counters::default());
        let (sender, receiver) = mpsc::channel(options.queue_capacity.max(1));
        let writer = Writer::new(connection, lock, receiver, Arc::clone(&counters), &options);
        let thread = std::thread::Builder::new()
            .name("database-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(|error| DatabaseError::Io(format!("cannot start the writer: {error}")))?;
        Ok(Self {
            shared: Arc::new(Shared {
                path: path.to_owned(),
                queue: RwLock::new(Some(sender)),
                readers,
                counters,
                writer: Mutex::new(Some(thread)),
            }),
        })
    }

    /// Where the database file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// Runs `f` on the writer and answers once its commit is on disk.
    ///
    /// `f` shares a transaction with other commands, in a savepoint of its own: an `Err` undoes
    /// this command and no other. It may run a second time, in a transaction of its own, when the
    /// first one was lost before anybody was answered; so it must not move its captures away. It
    /// must pass on the first database error, and must not open a transaction.
    ///
    /// Dropping the future does not take a queued command back.
    pub async fn write<T, E, F>(&self, name: &'static str, f: F) -> Result<T, E>
    where
        F: FnMut(&mut SqliteConnection) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<DatabaseError> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        self.enqueue(Box::new(Call::new(name, f, answer)))?;
        answered
            .await
            .unwrap_or_else(|_| Err(DatabaseError::Closed.into()))
    }

    fn enqueue(&self, command: Box<dyn Command>) -> Result<(), DatabaseError> {
        let queue = self
            .shared
            .queue
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let sender = queue.as_ref().ok_or(DatabaseError::Closed)?;
        sender.try_send(command).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => {
                self.shared.counters.overloaded();
                DatabaseError::Overloaded
            }
            mpsc::error::TrySendError::Closed(_) => DatabaseError::Closed,
        })
    }

    /// Runs `f` on a read-only connection, inside one read transaction: all its statements see the
    /// same state, which holds every command that was answered before.
    pub async fn read<T, E, F>(&self, name: &'static str, f: F) -> Result<T, E>
    where
        F: FnOnce(&mut SqliteConnection) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<DatabaseError> + Send + 'static,
    {
        readers::read(&self.shared.readers, &self.shared.counters, name, f).await
    }

    /// Figures since the database was opened.
    #[must_use]
    pub fn stats(&self) -> DatabaseStats {
        let queue = self
            .shared
            .queue
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let (length, capacity) = queue.as_ref().map_or((0, 0), |sender| {
            (
                sender.max_capacity() - sender.capacity(),
                sender.max_capacity(),
            )
        });
        self.shared.counters.snapshot(length, capacity)
    }

    /// Drains the queue, moves the write-ahead log into the database and releases the lock.
    ///
    /// Commands and reads of other handles are answered `Closed` from then on. A second call finds
    /// nothing to do.
    pub async fn close(self) -> Result<(), DatabaseError> {
        self.shared.readers.close().await;
        let Some(thread) = self.shared.stop_writer() else {
            return Ok(());
        };
        tokio::task::spawn_blocking(move || finished(thread))
            .await
            .unwrap_or(Err(DatabaseError::Panicked))
    }
}

impl std::fmt::Debug for Database {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Database")
            .field("path", &self.shared.path)
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// Ends the queue; the writer leaves once it is empty.
    fn stop_writer(&self) -> Option<JoinHandle<Result<(), DatabaseError>>> {
        drop(
            self.queue
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        self.writer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.readers.close_now();
        let Some(thread) = self.stop_writer() else {
            return;
        };
        // A command that owns the last handle ends here on the writer itself, which cannot wait
        // for itself and leaves by itself.
        if thread.thread().id() == std::thread::current().id() {
            return;
        }
        if let Err(error) = finished(thread) {
            tracing::error!(%error, "the database did not close cleanly");
        }
    }
}

fn finished(thread: JoinHandle<Result<(), DatabaseError>>) -> Result<(), DatabaseError> {
    thread.join().unwrap_or(Err(DatabaseError::Panicked))
}
