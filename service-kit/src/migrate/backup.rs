//! Makes a verified copy of a database beside it, before a migration or while a service goes on.
//!
//! Does not delete finished backups and does not restore them.
//!
//! The copy is made by SQLite's online backup, page by page, and not by VACUUM INTO: that writes as
//! fast as the disk takes it, and the syncs of a service's commits wait behind it. Free pages are
//! copied too, and with them what was deleted and not yet overwritten, as in the database itself;
//! where an adoption has yet to scrub them ([`super::adopt`]), the copy is scrubbed instead.
//!
//! The copy has a transaction of its own. So row counts are compared only where nobody else
//! writes: a database that moves on has other counts by the time they are taken. What is compared
//! beside a running writer is what cannot move: integrity, references, schema, and which database
//! it is.

mod copy;

use std::fs::{self, File};
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use chrono::{DateTime, TimeDelta, Utc};
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;

use crate::database::{DatabaseError, DatabaseOptions, open_adopter, open_inspector, sibling};

use super::backups::{Backup, backup, beside, name_of};
use super::stoppable::{Stop, Stoppable, never};
use super::{MigrateError, adopt, bookkeeping, check};
use copy::{NoCopy, Pace, copy};

/// What a backup is called while it is not yet verified.
const UNFINISHED: &str = ".partial";

/// What it and SQLite's files beside it are called, which a killed program leaves.
const LEFT: [&str; 3] = [UNFINISHED, ".partial-journal", ".partial-wal"];

/// How many later milliseconds are tried when a backup of that name exists.
const NAMES_MAX: i64 = 1_000;

/// The backup could not be made or does not hold what the database holds; no file is left of it.
#[derive(Debug, thiserror::Error)]
#[error("the backup {} failed: {reason}", .path.display())]
pub struct BackupError {
    /// Where the backup would have been.
    pub path: PathBuf,
    /// What is wrong.
    pub reason: String,
    /// Whether nothing is wrong but that whoever asked for it ended it.
    pub cancelled: bool,
}

impl BackupError {
    fn failed(path: &Path, reason: String) -> Self {
        Self {
            path: path.to_owned(),
            reason,
            cancelled: false,
        }
    }
}

/// How far a copy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyProgress {
    /// Bytes of the database that are in the copy, on disk; it only grows.
    pub done_bytes: u64,
    /// Bytes that will be in it; the same from the first step to the last.
    pub total_bytes: u64,
}

/// What a copy is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beside {
    /// A database that nobody writes to.
    Nobody,
    /// A database that its service writes to.
    Writer,
}

impl Beside {
    fn pace(self) -> Pace {
        match self {
            Self::Nobody => Pace::FULL,
            Self::Writer => Pace::BESIDE_WRITER,
        }
    }
}

/// Copies the database behind `connection`, to which nobody else writes, the content of its
/// write-ahead log included, and returns where the copy is: on disk, readable by its owner only,
/// checked and compared.
pub(super) fn back_up(
    connection: &mut SqliteConnection,
    database: &Path,
    name: &str,
    now: DateTime<Utc>,
) -> Result<PathBuf, BackupError> {
    let beside = Beside::Nobody;
    make(
        connection,
        database,
        name,
        now,
        beside,
        &never(),
        &mut go_on,
    )
}

/// For whoever lets a copy go on to its end.
fn go_on(_: CopyProgress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// Copies the database at `path`, which no service uses, whatever its schema is; `step` as in
/// [`back_up_running`].
pub(super) fn back_up_stopped(
    path: &Path,
    name: &str,
    now: DateTime<Utc>,
    step: &mut dyn FnMut(CopyProgress) -> ControlFlow<()>,
) -> Result<Backup, BackupError> {
    inspect_and_make(path, name, now, Beside::Nobody, &never(), step)
}

/// Copies the database at `path` while its service goes on reading and writing; everything that
/// was acknowledged before the call is in the copy. Blocks until the copy is on disk and checked.
///
/// `step` is told how far the copy is: before the first page, after every step, and the last time
/// when all of it is there and is yet to be checked; when it breaks, the copy ends, and so does the
/// check when `stop` says so. The copy takes twice as long as the disk needs, so that the service's
/// commits find the disk free.
///
/// Whoever calls holds the database's lock and makes one backup at a time.
///
/// # Errors
/// [`BackupError`], which says whether `step` broke or `stop` said so; nothing is left of the copy then.
pub fn back_up_running(
    path: &Path,
    name: &str,
    now: DateTime<Utc>,
    stop: &Stop,
    step: &mut dyn FnMut(CopyProgress) -> ControlFlow<()>,
) -> Result<Backup, BackupError> {
    inspect_and_make(path, name, now, Beside::Writer, stop, step)
}

fn inspect_and_make(
    path: &Path,
    name: &str,
    now: DateTime<Utc>,
    beside: Beside,
    stop: &Stop,
    step: &mut dyn FnMut(CopyProgress) -> ControlFlow<()>,
) -> Result<Backup, BackupError> {
    let failed = |reason: String| BackupError::failed(path, reason);
    let mut connection = open_inspector(path, &DatabaseOptions::default())
        .map_err(|error| failed(error.to_string()))?;
    let made = make(&mut connection, path, name, now, beside, stop, step)?;
    let found = backup(&made, name).map_err(|error| failed(error.to_string()))?;
    found.ok_or_else(|| failed(format!("{} was removed at once", made.display())))
}

fn make(
    connection: &mut SqliteConnection,
    database: &Path,
    name: &str,
    now: DateTime<Utc>,
    beside: Beside,
    stop: &Stop,
    step: &mut dyn FnMut(CopyProgress) -> ControlFlow<()>,
) -> Result<PathBuf, BackupError> {
    let path = free_path(database, name, now)?;
    let unfinished = sibling(&path, UNFINISHED);
    remove_unfinished_backups(database, name)
        .map_err(|error| BackupError::failed(&path, error.to_string()))?;
    let made = copy(database, &unfinished, beside.pace(), step).and_then(|()| {
        scrub(&unfinished)
            .map_err(NoCopy::Failed)
            .and_then(|()| verify(connection, &unfinished, beside, stop))
            .and_then(|()| Ok(publish(&unfinished, &path)?))
    });
    if let Err(no_copy) = made {
        // The reason counts; files that cannot be removed are removed before the next backup.
        let _ = remove_unfinished_backups(database, name);
        return Err(match no_copy {
            NoCopy::Cancelled => BackupError {
                cancelled: true,
                ..BackupError::failed(&path, "it was cancelled".to_owned())
            },
            NoCopy::Failed(reason) => BackupError::failed(&path, reason),
        });
    }
    tracing::info!(backup = %path.display(), "the database was backed up");
    Ok(path)
}

/// Copies the database at `database`, to which nobody else writes, into a new file that only its
/// owner can read, and compares it with what `connection` sees.
pub(super) fn copy_verified(
    connection: &mut SqliteConnection,
    database: &Path,
    target: &Path,
) -> Result<(), MigrateError> {
    let made = copy(database, target, Beside::Nobody.pace(), &mut go_on)
        .and_then(|()| verify(connection, target, Beside::Nobody, &never()));
    let made = made.map_err(|no_copy| match no_copy {
        NoCopy::Failed(reason) => reason,
        NoCopy::Cancelled => "it was cancelled".to_owned(),
    });
    made.map_err(|reason| MigrateError::Copy {
        path: target.to_owned(),
        reason,
    })
}

/// Rewrites the copy without its free pages where the database has yet to be scrubbed: they hold
/// what an adoption removed because it is secret.
fn scrub(target: &Path) -> Result<(), String> {
    let scrubbed = || -> Result<(), DatabaseError> {
        let mut copy = open_adopter(target, &DatabaseOptions::default())?;
        let ours = bookkeeping::tables(&mut copy)?;
        if ours.iter().any(|table| table == bookkeeping::META_TABLE)
            && adopt::scrub_is_pending(&mut copy)?
        {
            // What VACUUM sorts is as large as the database: not in memory.
            copy.batch_execute("PRAGMA temp_store = FILE; VACUUM;")?;
        }
        Ok(())
    };
    scrubbed().map_err(|error| error.to_string())
}

fn verify(
    connection: &mut SqliteConnection,
    target: &Path,
    beside: Beside,
    stop: &Stop,
) -> Result<(), NoCopy> {
    match difference(connection, target, beside, stop) {
        Ok(None) => Ok(()),
        Ok(Some(difference)) => Err(NoCopy::Failed(difference.to_owned())),
        Err(MigrateError::Stopped) => Err(NoCopy::Cancelled),
        Err(error) => Err(NoCopy::Failed(error.to_string())),
    }
}

/// In what the copy is not the database; `None` when it is.
fn difference(
    connection: &mut SqliteConnection,
    target: &Path,
    beside: Beside,
    stop: &Stop,
) -> Result<Option<&'static str>, MigrateError> {
    let checked = Stoppable::open(target, stop)?;
    checked.integrity_check()?;
    let mut copy = open_inspector(target, &DatabaseOptions::default())?;
    if schema(connection)? != schema(&mut copy)? {
        return Ok(Some("its schema is not the database's"));
    }
    match beside {
        Beside::Nobody if check::row_counts(connection)? != check::row_counts(&mut copy)? => {
            return Ok(Some("its row counts are not the database's"));
        }
        Beside::Nobody => {}
        Beside::Writer => {
            match checked.foreign_keys() {
                Err(MigrateError::ForeignKeys { .. }) => {
                    return Ok(Some("rows of it refer to missing ones"));
                }
                checked => checked?,
            }
            if bookkeeping::epoch(connection)? != bookkeeping::epoch(&mut copy)? {
                return Ok(Some("it is another database"));
            }
        }
    }
    Ok(None)
}

/// The schema without SQLite's statistics, which a service may make for the first time meanwhile.
fn schema(connection: &mut SqliteConnection) -> QueryResult<Vec<String>> {
    let mut schema = check::schema_text(connection)?;
    schema.retain(|made| !made.starts_with("table sqlite_stat"));
    Ok(schema)
}

/// Gives the verified file its name, for good.
fn publish(unfinished: &Path, path: &Path) -> io::Result<()> {
    fs::rename(unfinished, path)?;
    match path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        Some(folder) => File::open(folder)?.sync_all(),
        None => File::open(".")?.sync_all(),
    }
}

fn free_path(database: &Path, name: &str, now: DateTime<Utc>) -> Result<PathBuf, BackupError> {
    let mut path = PathBuf::new();
    for later_ms in 0..NAMES_MAX {
        let time = now + TimeDelta::milliseconds(later_ms);
        path = database.with_file_name(name_of(name, time));
        if !path.exists() {
            return Ok(path);
        }
    }
    let reason = "too many backups have that name".to_owned();
    Err(BackupError::failed(&path, reason))
}

/// Removes what a killed program left; the lock of the database makes sure that none is in use.
pub(crate) fn remove_unfinished_backups(database: &Path, name: &str) -> io::Result<()> {
    for ending in LEFT {
        let left = beside(database, name, ending)?;
        left.iter().try_for_each(fs::remove_file)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use diesel::connection::SimpleConnection;

    use super::*;
    use crate::database::open_writer;

    fn database(path: &Path, statements: &str) -> SqliteConnection {
        let mut connection = open_writer(path, &DatabaseOptions::default()).unwrap();
        connection.batch_execute(statements).unwrap();
        connection
    }

    #[test]
    fn a_copy_that_is_not_the_database_is_told_from_one_that_is() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let mut original = database(&at("a"), "CREATE TABLE t (a); INSERT INTO t VALUES (1)");
        drop(database(
            &at("same"),
            "CREATE TABLE t (a); INSERT INTO t VALUES (1)",
        ));
        drop(database(&at("fewer"), "CREATE TABLE t (a)"));
        drop(database(
            &at("other"),
            "CREATE TABLE t (a, b); INSERT INTO t VALUES (1, 2)",
        ));
        fs::write(at("broken"), "SQLite format 3 it is not").unwrap();

        let mut verified = |name| verify(&mut original, &at(name), Beside::Nobody, &never());
        assert_eq!(verified("same"), Ok(()));
        for (name, wrong) in [("fewer", "row counts"), ("other", "schema")] {
            let Err(NoCopy::Failed(reason)) = verified(name) else {
                panic!("{name} is another");
            };
            assert!(reason.contains(wrong), "{reason}");
        }
        assert!(verified("broken").is_err());
        assert!(verified("missing").is_err());
        let stop: Stop = std::sync::Arc::new(|| true);
        let stopped = verify(&mut original, &at("same"), Beside::Writer, &stop);
        assert_eq!(stopped, Err(NoCopy::Cancelled));
    }
}
