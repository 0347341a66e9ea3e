//! Opens SQLite connections with the settings that our promises rest on.
//!
//! Does not decide who may open one: the lock does.

use std::path::Path;

use diesel::connection::SimpleConnection;
use diesel::dsl::sql;
use diesel::sql_types::{BigInt, Text};
use diesel::{Connection, RunQueryDsl, SqliteConnection};

use super::{DatabaseError, DatabaseOptions, sibling};

/// The connection that writes: every commit is synced to disk before it returns
/// (`synchronous=FULL` in WAL mode, <https://sqlite.org/pragma.html#pragma_synchronous>).
pub(crate) fn open_writer(
    path: &Path,
    options: &DatabaseOptions,
) -> Result<SqliteConnection, DatabaseError> {
    let mut connection = SqliteConnection::establish(plain(path)?)?;
    apply_limits(&mut connection, options)?;
    let mode = sql::<Text>("PRAGMA journal_mode = WAL").get_result::<String>(&mut connection)?;
    if !mode.eq_ignore_ascii_case("wal") {
        return Err(DatabaseError::Io(format!(
            "the journal mode stays '{mode}' instead of WAL; the file system may not support it"
        )));
    }
    connection.batch_execute(&format!(
        "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; \
         PRAGMA wal_autocheckpoint = {}; PRAGMA journal_size_limit = {};",
        options.wal_autocheckpoint_pages, options.wal_size_limit_bytes
    ))?;
    Ok(connection)
}

/// The connection that takes over a database of another program: it writes as safely and leaves
/// the journal mode, so that the file stays as it was when the transaction is undone. Fails with
/// [`DatabaseError::Busy`] while another program writes.
pub(crate) fn open_adopter(
    path: &Path,
    options: &DatabaseOptions,
) -> Result<SqliteConnection, DatabaseError> {
    let mut connection = SqliteConnection::establish(plain(path)?)?;
    apply_limits(&mut connection, options)?;
    connection.batch_execute("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;")?;
    // Whoever else is writing is noticed before anything is made.
    connection.batch_execute("BEGIN IMMEDIATE; COMMIT;")?;
    Ok(connection)
}

/// Lets SQLite undo the transaction that a killed program left in a rollback journal beside the
/// database, which a connection that only reads cannot. Without a journal nothing is opened.
pub(crate) fn undo_interrupted(path: &Path) -> Result<(), DatabaseError> {
    let journal = std::fs::metadata(sibling(path, "-journal"));
    if journal.map_or(0, |journal| journal.len()) > 0 {
        let mut connection = SqliteConnection::establish(plain(path)?)?;
        apply_limits(&mut connection, &DatabaseOptions::default())?;
        sql::<BigInt>("SELECT count(*) FROM sqlite_master").get_result::<i64>(&mut connection)?;
    }
    Ok(())
}

/// A connection that reads beside the writer and refuses to write.
pub(super) fn open_reader(
    path: &Path,
    options: &DatabaseOptions,
) -> Result<SqliteConnection, DatabaseError> {
    let mut connection = SqliteConnection::establish(plain(path)?)?;
    apply_limits(&mut connection, options)?;
    connection.batch_execute("PRAGMA query_only = ON;")?;
    Ok(connection)
}

/// A connection that cannot change what the database holds, also not by undoing what a killed
/// program left in a journal or by moving a log into the file when it closes.
pub(crate) fn open_inspector(
    path: &Path,
    options: &DatabaseOptions,
) -> Result<SqliteConnection, DatabaseError> {
    let uri = inspector_uri(path)?;
    let mut connection = SqliteConnection::establish(&uri)?;
    apply_limits(&mut connection, options)?;
    connection.batch_execute("PRAGMA query_only = ON;")?;
    Ok(connection)
}

/// How SQLite is told to open a database that is only looked at.
pub(crate) fn inspector_uri(path: &Path) -> Result<String, DatabaseError> {
    let text = plain(path)?;
    let left = ["-wal", "-journal"].map(|ending| sibling(path, ending).exists());
    // Whoever reads a database in WAL mode makes SQLite's two files beside it, and only a
    // connection that could write removes them again. Where nothing was left there is nothing that
    // this one could undo or move.
    let could_write = left == [false, false];
    Ok(uri(text, if could_write { "rw" } else { "ro" }))
}

fn apply_limits(
    connection: &mut SqliteConnection,
    options: &DatabaseOptions,
) -> Result<(), DatabaseError> {
    // The timeout comes first, so that the others wait too.
    connection.batch_execute(&format!(
        "PRAGMA busy_timeout = {}; PRAGMA cache_size = -{}; PRAGMA temp_store = MEMORY;",
        options.busy_timeout_ms, options.cache_kib
    ))?;
    Ok(())
}

/// The path as diesel takes it. One that SQLite would read as a URI or as a name for a database in
/// memory is refused.
fn plain(path: &Path) -> Result<&str, DatabaseError> {
    let text = path.to_str().ok_or_else(|| {
        DatabaseError::Io(format!("the path {} is not valid UTF-8", path.display()))
    })?;
    let special = text.is_empty()
        || text.starts_with(':')
        || text.starts_with("file:")
        || text.starts_with("sqlite:");
    if special {
        return Err(DatabaseError::Io(format!(
            "'{text}' is not a path of a database file"
        )));
    }
    Ok(text)
}

/// The path as a URI that makes no file (<https://sqlite.org/uri.html>).
fn uri(path: &str, mode: &str) -> String {
    let escaped = path
        .replace('%', "%25")
        .replace('?', "%3f")
        .replace('#', "%23");
    format!("file:{escaped}?mode={mode}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_uri_characters_opens_the_file_of_that_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("50%20 of?a#b.sqlite");
        let options = DatabaseOptions::default();
        open_writer(&path, &options)
            .unwrap()
            .batch_execute("CREATE TABLE t (a)")
            .unwrap();
        assert!(path.exists());
        let mut inspector = open_inspector(&path, &options).unwrap();
        inspector.batch_execute("SELECT a FROM t").unwrap();
    }

    #[test]
    fn an_inspector_cannot_write() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sqlite");
        let options = DatabaseOptions::default();
        drop(open_writer(&path, &options).unwrap());
        let mut inspector = open_inspector(&path, &options).unwrap();
        let refused = inspector.batch_execute("CREATE TABLE t (a)").unwrap_err();
        assert!(matches!(
            DatabaseError::from(refused),
            DatabaseError::ReadOnly
        ));
    }

    #[test]
    fn an_inspector_leaves_no_file_beside_a_database_that_was_closed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sqlite");
        let options = DatabaseOptions::default();
        let mut writer = open_writer(&path, &options).unwrap();
        writer.batch_execute("CREATE TABLE t (a)").unwrap();
        let files = || std::fs::read_dir(folder.path()).unwrap().count();
        drop(writer);
        assert_eq!(files(), 1);
        let mut inspector = open_inspector(&path, &options).unwrap();
        inspector.batch_execute("SELECT a FROM t").unwrap();
        assert_eq!(files(), 3, "it is in WAL mode");
        drop(inspector);
        assert_eq!(files(), 1);
    }

    #[test]
    fn an_inspector_moves_no_log_into_the_database() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sqlite");
        let options = DatabaseOptions::default();
        let mut writer = open_writer(&path, &options).unwrap();
        writer.batch_execute("CREATE TABLE t (a)").unwrap();
        // What a killed program leaves.
        let copy = folder.path().join("copy.sqlite");
        for ending in ["", "-wal"] {
            std::fs::copy(sibling(&path, ending), sibling(&copy, ending)).unwrap();
        }
        let log = std::fs::read(sibling(&copy, "-wal")).unwrap();
        let mut inspector = open_inspector(&copy, &options).unwrap();
        inspector.batch_execute("SELECT a FROM t").unwrap();
        drop(inspector);
        assert_eq!(std::fs::read(sibling(&copy, "-wal")).unwrap(), log);
    }

    #[test]
    fn paths_that_sqlite_would_not_take_as_a_file_are_refused() {
        for path in ["", ":memory:", "file:a.sqlite", "sqlite://a.sqlite"] {
            assert!(plain(Path::new(path)).is_err(), "{path}");
        }
    }
}
