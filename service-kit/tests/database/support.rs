//! What the tests share: a database in a folder of its own, and a way to fill one batch.

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::dsl::sql;
use diesel::sql_types::{BigInt, Text};
use diesel::{Connection, RunQueryDsl, SqliteConnection};
use service_kit::database::{Database, DatabaseError, DatabaseLock, DatabaseOptions};
use tempfile::TempDir;
use tokio::task::JoinSet;

/// The bound of every wait in these tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A database file in a temporary folder.
pub(crate) struct Place {
    pub(crate) folder: TempDir,
    pub(crate) path: PathBuf,
}

impl Place {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mobilesd_jobs.sqlite");
        Self { folder, path }
    }

    /// A database with the table `notes`.
    pub(crate) fn with_notes() -> Self {
        let place = Self::new();
        let mut connection = place.raw();
        connection
            .batch_execute("PRAGMA journal_mode = WAL; CREATE TABLE notes (text TEXT UNIQUE)")
            .unwrap();
        place
    }

    pub(crate) fn lock(&self) -> DatabaseLock {
        DatabaseLock::acquire(&self.path, "the test").unwrap()
    }

    pub(crate) fn open(&self) -> Database {
        self.open_with(DatabaseOptions::default())
    }

    pub(crate) fn open_with(&self, options: DatabaseOptions) -> Database {
        Database::open(&self.path, self.lock(), options).unwrap()
    }

    /// A connection of another program.
    pub(crate) fn raw(&self) -> SqliteConnection {
        raw(&self.path)
    }

    /// What another program sees in `notes`.
    pub(crate) fn notes(&self) -> Vec<String> {
        notes(&mut self.raw())
    }

    pub(crate) fn sibling(&self, end: &str) -> PathBuf {
        PathBuf::from(format!("{}{end}", self.path.display()))
    }

    /// The names of all files in the folder, sorted.
    pub(crate) fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

pub(crate) fn raw(path: &Path) -> SqliteConnection {
    SqliteConnection::establish(path.to_str().unwrap()).unwrap()
}

pub(crate) fn notes(connection: &mut SqliteConnection) -> Vec<String> {
    sql::<Text>("SELECT text FROM notes ORDER BY rowid")
        .load(connection)
        .unwrap()
}

pub(crate) fn number(connection: &mut SqliteConnection, query: &str) -> i64 {
    sql::<BigInt>(query).get_result(connection).unwrap()
}

pub(crate) fn insert(connection: &mut SqliteConnection, text: &str) -> Result<(), DatabaseError> {
    diesel::sql_query("INSERT INTO notes (text) VALUES (?)")
        .bind::<Text, _>(text)
        .execute(connection)?;
    Ok(())
}

pub(crate) async fn note(database: &Database, text: &str) -> Result<(), DatabaseError> {
    let text = text.to_owned();
    database
        .write("note", move |connection| insert(connection, &text))
        .await
}

/// Waits until `condition` holds.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < PATIENCE, "never: {what}");
        tokio::task::yield_now().await;
    }
}

/// A writer that stands still in a command of its own, so that what is queued meanwhile becomes
/// one batch.
pub(crate) struct Gate {
    open: mpsc::Sender<()>,
    held: JoinSet<Result<(), DatabaseError>>,
}

impl Gate {
    pub(crate) async fn close(database: &Database) -> Self {
        let (open, opened) = mpsc::channel();
        let (stand, standing) = mpsc::channel();
        let mut held = JoinSet::new();
        let database = database.clone();
        held.spawn(async move {
            database
                .write("gate", move |_| {
                    stand.send(()).unwrap();
                    opened.recv_timeout(PATIENCE).unwrap();
                    Ok::<_, DatabaseError>(())
                })
                .await
        });
        until("the gate stands", || standing.try_recv().is_ok()).await;
        Self { open, held }
    }

    pub(crate) async fn open(mut self) {
        self.open.send(()).unwrap();
        self.held.join_next().await.unwrap().unwrap().unwrap();
    }
}

/// Commands in flight, answered in any order and collected by their position.
pub(crate) struct Flight<T> {
    tasks: JoinSet<(usize, Result<T, DatabaseError>)>,
}

impl<T: Send + 'static> Flight<T> {
    pub(crate) fn new() -> Self {
        Self {
            tasks: JoinSet::new(),
        }
    }

    /// Queues a command and waits until it is in the queue.
    pub(crate) async fn add<F>(&mut self, database: &Database, f: F)
    where
        F: FnMut(&mut SqliteConnection) -> Result<T, DatabaseError> + Send + 'static,
    {
        let before = database.stats().queue_length;
        let position = self.tasks.len();
        let own = database.clone();
        self.tasks
            .spawn(async move { (position, own.write("in flight", f).await) });
        until("the command is queued", || {
            database.stats().queue_length > before
        })
        .await;
    }

    /// The answers in the order of the commands.
    pub(crate) async fn land(mut self) -> Vec<Result<T, DatabaseError>> {
        let mut answers = Vec::new();
        while let Some(answer) = self.tasks.join_next().await {
            answers.push(answer.unwrap());
        }
        answers.sort_by_key(|(position, _)| *position);
        answers.into_iter().map(|(_, answer)| answer).collect()
    }
}
