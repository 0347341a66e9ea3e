//! Makes a verified copy of a database beside it.
//!
//! Does not delete finished backups and does not restore them.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use chrono::{DateTime, TimeDelta, Utc};
use diesel::prelude::*;
use diesel::sql_types::Text;

use crate::database::{DatabaseError, DatabaseOptions, open_inspector, sibling};

use super::{MigrateError, check};

/// What a backup is called while it is not yet verified.
const UNFINISHED: &str = ".partial";

/// How many later milliseconds are tried when a backup of that name exists.
const NAMES_MAX: i64 = 1_000;

/// Copies the database behind `connection`, the content of its write-ahead log included, and
/// returns where the copy is: on disk, readable by its owner only, checked and compared.
pub(super) fn back_up(
    connection: &mut SqliteConnection,
    database: &Path,
    name: &str,
    now: DateTime<Utc>,
) -> Result<PathBuf, MigrateError> {
    let path = free_path(database, name, now)?;
    let unfinished = sibling(&path, UNFINISHED);
    let failed = |reason: String| MigrateError::Backup {
        path: path.clone(),
        reason,
    };
    remove_unfinished(database, name).map_err(|error| failed(error.to_string()))?;
    let made = copy(connection, &unfinished)
        .and_then(|()| verify(connection, &unfinished))
        .and_then(|()| publish(&unfinished, &path).map_err(|error| error.to_string()));
    if let Err(reason) = made {
        // The reason counts; a file that cannot be removed is removed before the next backup.
        let _ = fs::remove_file(&unfinished);
        return Err(failed(reason));
    }
    tracing::info!(backup = %path.display(), "the database was backed up");
    Ok(path)
}

/// The newest backup beside `database`; their names sort by time.
pub(super) fn newest(database: &Path, name: &str) -> Option<PathBuf> {
    let found = beside(database, name, ".sqlite").ok()?;
    found.into_iter().max()
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

fn verify(connection: &mut SqliteConnection, target: &Path) -> Result<(), String> {
    match difference(connection, target) {
        Ok(None) => Ok(()),
        Ok(Some(difference)) => Err(difference.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// In what the copy is not the database; `None` when it is.
fn difference(
    connection: &mut SqliteConnection,
    target: &Path,
) -> Result<Option<&'static str>, MigrateError> {
    let mut copy = open_inspector(target, &DatabaseOptions::default())?;
    check::integrity_check(&mut copy)?;
    if check::schema_text(connection)? != check::schema_text(&mut copy)? {
        return Ok(Some("its schema is not the database's"));
    }
    if check::row_counts(connection)? != check::row_counts(&mut copy)? {
        return Ok(Some("its row counts are not the database's"));
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

fn free_path(database: &Path, name: &str, now: DateTime<Utc>) -> Result<PathBuf, MigrateError> {
    let mut path = PathBuf::new();
    for later_ms in 0..NAMES_MAX {
        let time = now + TimeDelta::milliseconds(later_ms);
        let time = time.format("%Y-%m-%dT%H-%M-%S-%3fZ");
        path = database.with_file_name(format!("{name}_backup_{time}.sqlite"));
        if !path.exists() {
            return Ok(path);
        }
    }
    Err(MigrateError::Backup {
        path,
        reason: "too many backups have that name".to_owned(),
    })
}

/// Removes what a killed program left; the lock of the database makes sure that none is in use.
fn remove_unfinished(database: &Path, name: &str) -> io::Result<()> {
    beside(database, name, UNFINISHED)?
        .iter()
        .try_for_each(fs::remove_file)
}

/// The files beside `database` that are named like its backups and end in `end`.
fn beside(database: &Path, name: &str, end: &str) -> io::Result<Vec<PathBuf>> {
    let folder = database
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let start = format!("{name}_backup_");
    let mut found = Vec::new();
    for entry in fs::read_dir(folder.unwrap_or(Path::new(".")))? {
        let entry = entry?;
        let file_name = entry.file_name();
        let matches = file_name
            .to_str()
            .is_some_and(|f| f.starts_with(&start) && f.ends_with(end));
        if matches {
            found.push(entry.path());
        }
    }
    Ok(found)
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

        assert_eq!(verify(&mut original, &at("same")), Ok(()));
        let fewer = verify(&mut original, &at("fewer")).unwrap_err();
        assert!(fewer.contains("row counts"), "{fewer}");
        let other = verify(&mut original, &at("other")).unwrap_err();
        assert!(other.contains("schema"), "{other}");
        assert!(verify(&mut original, &at("broken")).is_err());
        assert!(verify(&mut original, &at("missing")).is_err());
    }
}
