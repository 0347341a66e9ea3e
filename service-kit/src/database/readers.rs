//! The read-only connections and who may use one.
//!
//! Own code rather than a pool library: a semaphore and a list are all that is needed, and the
//! libraries bring threads or timers of their own. Does not know the writer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use diesel::SqliteConnection;
use diesel::connection::SimpleConnection;
use tokio::sync::Semaphore;

use super::connection::open_reader;
use super::stats::Counters;
use super::{DatabaseError, DatabaseOptions};

/// How long closing waits for reads that still run.
const CLOSE_WAIT: Duration = Duration::from_secs(5);

/// The pool: as many permits as connections, and the connections that nobody uses now.
pub(super) struct Readers {
    path: PathBuf,
    options: DatabaseOptions,
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<SqliteConnection>>,
}

impl Readers {
    pub(super) fn open(path: &Path, options: &DatabaseOptions) -> Result<Self, DatabaseError> {
        let count = options.readers.max(1);
        let idle = (0..count)
            .map(|_| open_reader(path, options))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            path: path.to_owned(),
            options: options.clone(),
            permits: Arc::new(Semaphore::new(count as usize)),
            idle: Mutex::new(idle),
        })
    }

    /// Waits for running reads, within a limit, refuses further ones and closes the connections.
    pub(super) async fn close(&self) {
        let all = self.permits.acquire_many(self.options.readers.max(1));
        if tokio::time::timeout(CLOSE_WAIT, all).await.is_err() {
            tracing::warn!("a read still runs while the database closes");
        }
        self.close_now();
    }

    /// Refuses further reads and closes the connections that nobody uses.
    pub(super) fn close_now(&self) {
        self.permits.close();
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    /// A connection for one read; a new one where a broken one was thrown away.
    fn take(&self) -> Result<SqliteConnection, DatabaseError> {
        let idle = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        idle.map_or_else(|| open_reader(&self.path, &self.options), Ok)
    }

    fn put_back(&self, connection: SqliteConnection) {
        if !self.permits.is_closed() {
            self.idle
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(connection);
        }
    }
}

/// Runs `f` on a free connection, on a thread that may block.
pub(super) async fn read<T, E, F>(
    readers: &Arc<Readers>,
    counters: &Arc<Counters>,
    name: &'static str,
    f: F,
) -> Result<T, E>
where
    F: FnOnce(&mut SqliteConnection) -> Result<T, E> + Send + 'static,
    T: Send + 'static,
    E: From<DatabaseError> + Send + 'static,
{
    let wait = Duration::from_millis(u64::from(readers.options.read_wait_ms));
    let permit = tokio::time::timeout(wait, Arc::clone(&readers.permits).acquire_owned())
        .await
        .map_err(|_| DatabaseError::Overloaded)?
        .map_err(|_| DatabaseError::Closed)?;
    let (readers, counters) = (Arc::clone(readers), Arc::clone(counters));
    let task = tokio::task::spawn_blocking(move || {
        let started = Instant::now();
        let result = read_now(&readers, f);
        let took = started.elapsed();
        let long = took > Duration::from_millis(u64::from(readers.options.read_long_ms));
        counters.read(long);
        if long {
            let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            tracing::warn!(
                read = name,
                duration_ms,
                "a long read kept the write-ahead log"
            );
        }
        drop(permit);
        result
    });
    // Only a runtime that shuts down cancels a blocking task.
    task.await
        .unwrap_or_else(|_| Err(DatabaseError::Closed.into()))
}

fn read_now<T, E, F>(readers: &Readers, f: F) -> Result<T, E>
where
    F: FnOnce(&mut SqliteConnection) -> Result<T, E>,
    E: From<DatabaseError>,
{
    let mut connection = readers.take()?;
    connection
        .batch_execute("BEGIN DEFERRED")
        .map_err(DatabaseError::from)?;
    let result = catch_unwind(AssertUnwindSafe(|| f(&mut connection)));
    // A connection that cannot end its transaction is thrown away, and so is one that was used in
    // a panic.
    if result.is_ok() && connection.batch_execute("ROLLBACK").is_ok() {
        readers.put_back(connection);
    }
    result.unwrap_or_else(|_| Err(DatabaseError::Panicked.into()))
}
