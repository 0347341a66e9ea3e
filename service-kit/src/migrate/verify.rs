//! Looks into a backup: whether it is whole, and whether this program can use it.
//!
//! Changes nothing.

use std::path::{Path, PathBuf};

use diesel::SqliteConnection;

use crate::database::{DatabaseError, DatabaseOptions, open_inspector};

use super::backups::backup;
use super::bookkeeping::{self, OUR_TABLE};
use super::stoppable::{Stop, Stoppable, never};
use super::{Backup, MigrateError, Schema, inspect, step};

/// A backup that is whole and that this program can use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedBackup {
    /// The file.
    pub backup: Backup,
    /// Its newest migration; [`NOTHING`](super::NOTHING) for one from before an adoption.
    pub schema_version: String,
    /// Whether it was made before the database was adopted, so that it may hold secrets in clear.
    pub pre_adoption: bool,
    /// The rows of all its tables.
    pub rows: i64,
}

/// Checks the backup of that name beside the database at `path`: its integrity, its references,
/// and that its schema is one that this program knows.
///
/// # Errors
/// [`MigrateError`]; [`MigrateError::NoBackup`] when none has that name.
pub fn verify_backup(
    path: &Path,
    name: &str,
    schema: &Schema,
) -> Result<CheckedBackup, MigrateError> {
    verify_backup_until(path, name, schema, &never())
}

/// The same, which ends when `stop` says so.
///
/// # Errors
/// As [`verify_backup`], and [`MigrateError::Stopped`].
pub fn verify_backup_until(
    path: &Path,
    name: &str,
    schema: &Schema,
    stop: &Stop,
) -> Result<CheckedBackup, MigrateError> {
    let (file, found) = file_of(path, name, schema)?;
    let steps = step::steps(schema)?;
    let status = inspect::inspect(&file, &steps, schema.adoption.as_ref()).map_err(as_damage)?;
    status.refusal()?;
    if status.is_empty() {
        return Err(damaged("it holds no table"));
    }
    let database = Stoppable::open(&file, stop).map_err(as_damage)?;
    database.integrity_check().map_err(as_damage)?;
    let pre_adoption = !status.foreign_tables.is_empty();
    if !pre_adoption {
        database.foreign_keys().map_err(as_damage)?;
    }
    let mut connection = open_inspector(&file, &DatabaseOptions::default())?;
    let tables = bookkeeping::tables(&mut connection)?;
    Ok(CheckedBackup {
        backup: found,
        schema_version: status.schema_version().to_owned(),
        pre_adoption,
        rows: database.rows(&tables)?,
    })
}

/// The file of a backup beside the database at `path`.
pub(super) fn file_of(
    path: &Path,
    name: &str,
    schema: &Schema,
) -> Result<(PathBuf, Backup), MigrateError> {
    let none = || MigrateError::NoBackup {
        name: name.to_owned(),
    };
    // A name, not a path: nothing outside the folder is looked at.
    if Path::new(name).file_name().is_none_or(|last| last != name) {
        return Err(none());
    }
    let file = path.with_file_name(name);
    match backup(&file, schema.database) {
        Ok(Some(found)) => Ok((file, found)),
        Ok(None) => Err(none()),
        Err(source) => Err(MigrateError::Io { path: file, source }),
    }
}

/// Whether a backup is from before an adoption; a file that cannot be read is not known to be.
pub(super) fn is_pre_adoption(file: &Path) -> bool {
    let tables = |file: &Path| -> Result<Vec<String>, DatabaseError> {
        let mut connection: SqliteConnection = open_inspector(file, &DatabaseOptions::default())?;
        Ok(bookkeeping::tables(&mut connection)?)
    };
    tables(file)
        .is_ok_and(|tables| !tables.is_empty() && tables.iter().all(|table| table != OUR_TABLE))
}

/// A backup that SQLite cannot read is damaged, whatever the words.
fn as_damage(error: MigrateError) -> MigrateError {
    match error {
        MigrateError::Database(
            DatabaseError::Corrupt(text) | DatabaseError::NotADatabase(text),
        ) => damaged(text),
        MigrateError::Damaged { findings, .. } => damaged(findings.join("; ")),
        MigrateError::ForeignKeys { violations } => damaged(format!(
            "rows refer to missing ones: {}",
            violations.join(", ")
        )),
        other => other,
    }
}

fn damaged(finding: impl Into<String>) -> MigrateError {
    MigrateError::BadBackup {
        finding: finding.into(),
    }
}
