//! Makes a verified copy of a database beside it, before a migration or while a service goes on.
//!
//! Does not delete finished backups and does not restore them.
//!
//! The copy is made by VACUUM INTO, which reads one moment of the database
//! (<https://sqlite.org/lang_vacuum.html#vacuuminto>) and cannot join a transaction of ours. So row
//! counts are compared only where nobody else writes: a database that moves on has other counts
//! by the time they are taken. What is compared beside a running writer is what cannot move:
//! integrity, references, schema, and which database it is.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use chrono::{DateTime, TimeDelta, Utc};
use diesel::prelude::*;
use diesel::sql_types::Text;

use crate::database::{DatabaseError, DatabaseOptions, open_inspector, sibling};

use super::backups::{Backup, backup, backups, beside, name_of};
use super::{MigrateError, bookkeeping, check};

/// What a backup is called while it is not yet verified.
const UNFINISHED: &str = ".partial";

/// What SQLite has beside it, which a killed program leaves too.
const UNFINISHED_JOURNAL: &str = ".partial-journal";

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
}

/// What a copy is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beside {
    /// A database that nobody writes to.
    Nobody,
    /// A database that its service writes to.
    Writer,
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
    make(connection, database, name, now, Beside::Nobody)
}

/// Copies the database at `path` while its service goes on reading and writing; everything that
/// was acknowledged before the call is in the copy. Blocks until the copy is on disk and checked.
///
/// Whoever calls holds the database's lock and makes one backup at a time.
///
/// # Errors
/// [`BackupError`]; nothing is left of the copy then.
pub fn back_up_running(path: &Path, name: &str, now: DateTime<Utc>) -> Result<Backup, BackupError> {
    let failed = |reason: String| BackupError {
        path: path.to_owned(),
        reason,
    };
    let mut connection = open_inspector(path, &DatabaseOptions::default())
        .map_err(|error| failed(error.to_string()))?;
    let made = make(&mut connection, path, name, now, Beside::Writer)?;
    let found = backup(&made, name).map_err(|error| failed(error.to_string()))?;
    found.ok_or_else(|| failed(format!("{} was removed at once", made.display())))
}

fn make(
    connection: &mut SqliteConnection,
    database: &Path,
    name: &str,
    now: DateTime<Utc>,
    beside: Beside,
) -> Result<PathBuf, BackupError> {
    let path = free_path(database, name, now)?;
    let unfinished = sibling(&path, UNFINISHED);
    let failed = |reason: String| BackupError {
        path: path.clone(),
        reason,
    };
    remove_unfinished_backups(database, name).map_err(|error| failed(error.to_string()))?;
    let made = copy(connection, &unfinished)
        .and_then(|()| verify(connection, &unfinished, beside))
        .and_then(|()| publish(&unfinished, &path).map_err(|error| error.to_string()));
    if let Err(reason) = made {
        // The reason counts; a file that cannot be removed is removed before the next backup.
        let _ = fs::remove_file(&unfinished);
        return Err(failed(reason));
    }
    tracing::info!(backup = %path.display(), "the database was backed up");
    Ok(path)
}

/// Copies the database behind `connection`, to which nobody else writes, into a new file that only
/// its owner can read, and compares the two.
pub(super) fn copy_verified(
    connection: &mut SqliteConnection,
    target: &Path,
) -> Result<(), MigrateError> {
    copy(connection, target)
        .and_then(|()| verify(connection, target, Beside::Nobody))
        .map_err(|reason| MigrateError::Copy {
            path: target.to_owned(),
            reason,
        })
}

/// The newest backup beside `database`.
pub(super) fn newest(database: &Path, name: &str) -> Option<PathBuf> {
    let newest = backups(database, name).ok()?.into_iter().next()?;
    Some(database.with_file_name(newest.name))
}

fn copy(connection: &mut SqliteConnection, target: &Path) -> Result<(), String> {
    let text = target.to_str().ok_or("its path is not valid UTF-8")?;
    // VACUUM INTO takes an empty file that exists; made here, nobody else can ever read it.
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(target).map_err(|error| error.to_string())?;
    diesel::sql_query("VACUUM INTO ?")
        .bind::<Text, _>(text)
        .execute(connection)
        .map_err(|error| DatabaseError::from(error).to_string())?;
    // VACUUM INTO does not sync.
    file.sync_all().map_err(|error| error.to_string())
}

fn verify(connection: &mut SqliteConnection, target: &Path, beside: Beside) -> Result<(), String> {
    match difference(connection, target, beside) {
        Ok(None) => Ok(()),
        Ok(Some(difference)) => Err(difference.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// In what the copy is not the database; `None` when it is.
fn difference(
    connection: &mut SqliteConnection,
    target: &Path,
    beside: Beside,
) -> Result<Option<&'static str>, MigrateError> {
    let mut copy = open_inspector(target, &DatabaseOptions::default())?;
    check::integrity_check(&mut copy)?;
    if check::schema_text(connection)? != check::schema_text(&mut copy)? {
        return Ok(Some("its schema is not the database's"));
    }
    match beside {
        Beside::Nobody if check::row_counts(connection)? != check::row_counts(&mut copy)? => {
            return Ok(Some("its row counts are not the database's"));
        }
        Beside::Nobody => {}
        Beside::Writer => {
            match check::foreign_keys(&mut copy) {
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
    Err(BackupError {
        path,
        reason: "too many backups have that name".to_owned(),
    })
}

/// Removes what a killed program left; the lock of the database makes sure that none is in use.
pub(crate) fn remove_unfinished_backups(database: &Path, name: &str) -> io::Result<()> {
    for ending in [UNFINISHED, UNFINISHED_JOURNAL] {
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

        assert_eq!(verify(&mut original, &at("same"), Beside::Nobody), Ok(()));
        let fewer = verify(&mut original, &at("fewer"), Beside::Nobody).unwrap_err();
        assert!(fewer.contains("row counts"), "{fewer}");
        let other = verify(&mut original, &at("other"), Beside::Nobody).unwrap_err();
        assert!(other.contains("schema"), "{other}");
        assert!(verify(&mut original, &at("broken"), Beside::Nobody).is_err());
        assert!(verify(&mut original, &at("missing"), Beside::Nobody).is_err());
    }
}
