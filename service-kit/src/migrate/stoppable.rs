//! The checks of a database that nobody writes to, which take as long as it is large: they end when
//! they are told to.
//!
//! Changes nothing. What is done with a finding is decided elsewhere.

use std::path::Path;
use std::sync::Arc;

use diesel::result::{DatabaseErrorKind, Error as DieselError};
use rusqlite::{Connection, OpenFlags};

use crate::database::{DatabaseError, DatabaseOptions, inspector_uri};

use super::{MigrateError, check};

/// Says whether what takes long is to end. It is asked often, so it must be quick.
pub type Stop = Arc<dyn Fn() -> bool + Send + Sync>;

/// Steps of SQLite's machine between two questions whether to end: well under a second.
const STEPS_BETWEEN: std::ffi::c_int = 100_000;

/// For what is let go on to its end.
pub(super) fn never() -> Stop {
    Arc::new(|| false)
}

/// A database whose checks can be ended.
pub(super) struct Stoppable(Connection);

impl Stoppable {
    pub(super) fn open(file: &Path, stop: &Stop) -> Result<Self, MigrateError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_URI
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let open = || {
            let connection = Connection::open_with_flags(inspector_uri(file)?, flags)?;
            let options = DatabaseOptions::default();
            connection.execute_batch(&format!(
                "PRAGMA busy_timeout = {}; PRAGMA cache_size = -{}; PRAGMA query_only = ON;",
                options.busy_timeout_ms, options.cache_kib
            ))?;
            let stop = Arc::clone(stop);
            connection.progress_handler(STEPS_BETWEEN, Some(move || stop()))?;
            Ok(Self(connection))
        };
        let opened: Result<Self, Fault> = open();
        if stop() {
            // A small database is checked between two questions.
            return Err(MigrateError::Stopped);
        }
        Ok(opened?)
    }

    /// SQLite's full check.
    pub(super) fn integrity_check(&self) -> Result<(), MigrateError> {
        let findings = self.texts(&format!("PRAGMA integrity_check({})", check::FINDINGS_MAX))?;
        check::judged(findings)
    }

    /// Fails when a row refers to a row that does not exist.
    pub(super) fn foreign_keys(&self) -> Result<(), MigrateError> {
        let violations = self.texts(check::VIOLATIONS)?;
        if violations.is_empty() {
            return Ok(());
        }
        Err(MigrateError::ForeignKeys { violations })
    }

    /// The rows of these tables.
    pub(super) fn rows(&self, tables: &[String]) -> Result<i64, MigrateError> {
        let mut rows = 0_i64;
        for table in tables {
            let query = format!("SELECT count(*) FROM \"{}\"", table.replace('"', "\"\""));
            let counted = self.0.query_row(&query, (), |row| row.get::<_, i64>(0));
            rows = rows.saturating_add(counted.map_err(Fault::from)?);
        }
        Ok(rows)
    }

    fn texts(&self, query: &str) -> Result<Vec<String>, Fault> {
        let mut query = self.0.prepare(query)?;
        let texts = query.query_map((), |row| row.get(0))?;
        Ok(texts.collect::<rusqlite::Result<_>>()?)
    }
}

/// What went wrong, told apart as for every other connection.
struct Fault(MigrateError);

impl From<Fault> for MigrateError {
    fn from(fault: Fault) -> Self {
        fault.0
    }
}

impl From<DatabaseError> for Fault {
    fn from(error: DatabaseError) -> Self {
        Self(error.into())
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        if error.sqlite_error_code() == Some(rusqlite::ErrorCode::OperationInterrupted) {
            return Self(MigrateError::Stopped);
        }
        let text = match error {
            rusqlite::Error::SqliteFailure(_, Some(text)) => text,
            other => other.to_string(),
        };
        let error = DieselError::DatabaseError(DatabaseErrorKind::Unknown, Box::new(text));
        Self(DatabaseError::from(error).into())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use diesel::connection::SimpleConnection as _;

    use super::*;
    use crate::database::open_writer;

    #[test]
    fn a_check_ends_in_its_middle_when_it_is_told_to() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.sqlite");
        let mut writer = open_writer(&file, &DatabaseOptions::default()).unwrap();
        let fill = "CREATE TABLE t (a); CREATE INDEX i ON t (a); INSERT INTO t \
                    WITH RECURSIVE n (v) AS (SELECT 1 UNION ALL SELECT v + 1 FROM n LIMIT 200000) \
                    SELECT v FROM n";
        writer.batch_execute(fill).unwrap();
        drop(writer);
        let asked = Arc::new(AtomicUsize::new(0));
        let counting = Arc::clone(&asked);
        // The first question is asked before the check.
        let stop: Stop = Arc::new(move || counting.fetch_add(1, Ordering::Relaxed) > 0);
        let database = Stoppable::open(&file, &stop).unwrap();
        let stopped = database.integrity_check();
        assert!(matches!(stopped, Err(MigrateError::Stopped)), "{stopped:?}");
        assert_eq!(asked.load(Ordering::Relaxed), 2);
        let whole = Stoppable::open(&file, &never()).unwrap();
        whole.integrity_check().unwrap();
        assert_eq!(whole.rows(&["t".to_owned()]).unwrap(), 200_000);
    }
}
