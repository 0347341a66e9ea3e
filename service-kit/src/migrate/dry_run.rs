//! Does a migration on a verified copy of the database and tells what it would change.
//!
//! The copy is beside the database, readable by its owner only, and is removed in every case; one
//! that a killed program left is removed by the next dry run or start.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::database::{DatabaseLock, DatabaseOptions, open_inspector, sibling};

use super::{
    MigrateError, MigrateOptions, MigrationReport, Plan, Schema, backup, carry_out, check, damage,
    inspect, known_step, restore, space, step,
};

/// What the copy is called, behind the name of the database.
const COPY: &str = ".dry-run";

/// What SQLite keeps beside a database.
const BESIDE: [&str; 4] = ["", "-wal", "-shm", "-journal"];

/// What a migration would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DryRun {
    /// As of the migration itself; no backup was made.
    pub report: MigrationReport,
    /// Every table that is there before or after.
    pub tables: Vec<TableRows>,
}

/// The rows of a table before and after a migration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableRows {
    /// Its name.
    pub table: String,
    /// Rows before; `None` where it did not exist.
    pub before: Option<i64>,
    /// Rows after; `None` where it is gone.
    pub after: Option<i64>,
}

/// Migrates a copy of the database at `path`, to `version` where one is given, and tells what came
/// of it. The database itself is only read.
pub fn dry_run(
    path: &Path,
    lock: &DatabaseLock,
    schema: &Schema,
    version: Option<&str>,
    now: DateTime<Utc>,
) -> Result<DryRun, MigrateError> {
    if !lock.guards(path) {
        return Err(MigrateError::WrongLock {
            path: path.to_owned(),
        });
    }
    let steps = step::steps(schema)?;
    known_step(&steps, version)?;
    restore::finish_interrupted(path, schema.database)?;
    let _span = tracing::info_span!("dry_run").entered();
    remove_leftovers(path)?;
    let adoption = schema.adoption.as_ref();
    let status =
        inspect::inspect(path, &steps, adoption).map_err(|error| damage(error, path, schema))?;
    status.admit(version)?;
    let copy = Copy(sibling(path, COPY));
    if !status.is_empty() {
        space::for_migration(path, status.adoptable)?;
        let mut original = open_inspector(path, &DatabaseOptions::default())?;
        check::quick_check(&mut original).map_err(|error| damage(error, path, schema))?;
        backup::copy_verified(&mut original, path, &copy.0)?;
    }
    let before = copy.rows()?;
    let plan = Plan::new(&status, &steps, version);
    let options = MigrateOptions { backup: false };
    let report = carry_out(&copy.0, schema, now, &options, &status, &plan)?;
    let after = copy.rows()?;
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let tables = names
        .into_iter()
        .map(|table| TableRows {
            table: table.clone(),
            before: before.get(table).copied(),
            after: after.get(table).copied(),
        })
        .collect();
    Ok(DryRun { report, tables })
}

/// Removes the copy that a killed dry run left; whoever calls holds the lock of the database.
pub(super) fn remove_leftovers(path: &Path) -> Result<(), MigrateError> {
    let copy = sibling(path, COPY);
    remove(&copy).map_err(|source| MigrateError::Io { path: copy, source })
}

/// The copy, which goes with this.
struct Copy(PathBuf);

impl Copy {
    fn rows(&self) -> Result<std::collections::BTreeMap<String, i64>, MigrateError> {
        if !self.0.exists() {
            return Ok(std::collections::BTreeMap::new());
        }
        let mut connection = open_inspector(&self.0, &DatabaseOptions::default())?;
        Ok(check::row_counts(&mut connection)?)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.0) {
            let copy = self.0.display();
            tracing::warn!(%error, %copy, "the copy stays until the next start");
        }
    }
}

fn remove(copy: &Path) -> io::Result<()> {
    for end in BESIDE {
        match fs::remove_file(sibling(copy, end)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
