//! Brings a database to the schema that this program needs, or leaves it as it was.
//!
//! Owns the order of the steps: compare, check, back up, apply as one unit. Knows no table beyond
//! its own bookkeeping; the migrations are the service's. Older databases that were never under
//! these migrations are refused here, untouched.

mod backup;
mod backups;
mod bookkeeping;
mod check;
mod error;
mod inspect;
mod step;
mod unit;

use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use diesel::SqliteConnection;
use diesel_migrations::EmbeddedMigrations;

use crate::database::{DatabaseError, DatabaseLock, DatabaseOptions, open_inspector, open_writer};
pub(crate) use backup::remove_unfinished_backups;
pub use backup::{BackupError, back_up_running};
pub use backups::{Backup, backups};
pub use error::MigrateError;
pub use inspect::{AppliedMigration, MigrationStatus};
use step::Step;

/// The version before the first migration, as a target of [`migrate_to`].
pub const NOTHING: &str = "0";

/// What a service wants its database to be.
pub struct Schema {
    /// The database's name, with which its backups begin, such as `mobilesd_jobs`.
    pub database: &'static str,
    /// The migrations, from `embed_migrations!`. Their versions sort as text, so they all have the
    /// same number of digits. Cargo does not notice a new folder by itself: the crate's build
    /// script has to name the folder of the migrations in `cargo::rerun-if-changed`.
    pub migrations: EmbeddedMigrations,
    /// The program and its version, such as `job-service 0.1.0`.
    pub program: &'static str,
}

/// What may be left out of a migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MigrateOptions {
    /// Whether a database that holds something is backed up before it is changed.
    pub backup: bool,
}

impl Default for MigrateOptions {
    fn default() -> Self {
        Self { backup: true }
    }
}

/// What a migration did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationReport {
    /// Whether the database was empty or missing before.
    pub created: bool,
    /// Versions that were applied, oldest first.
    pub applied: Vec<String>,
    /// Versions that were reverted, newest first.
    pub reverted: Vec<String>,
    /// The verified backup that was made first.
    pub backup: Option<PathBuf>,
    /// The newest applied version; [`NOTHING`] when there is none.
    pub schema_version: String,
}

/// Applies every migration that is pending, as one unit, after a verified backup.
///
/// A missing database is created. When nothing is pending the file is not written at all.
pub fn migrate(
    path: &Path,
    lock: &DatabaseLock,
    schema: &Schema,
    now: DateTime<Utc>,
    options: &MigrateOptions,
) -> Result<MigrationReport, MigrateError> {
    let steps = step::steps(schema)?;
    run(path, lock, schema, now, options, &steps, None)
}

/// Applies or reverts migrations until `version` is the newest applied one, as one unit, after a
/// verified backup. [`NOTHING`] reverts all of them.
pub fn migrate_to(
    path: &Path,
    lock: &DatabaseLock,
    schema: &Schema,
    version: &str,
    now: DateTime<Utc>,
    options: &MigrateOptions,
) -> Result<MigrationReport, MigrateError> {
    let steps = step::steps(schema)?;
    if version != NOTHING && !steps.iter().any(|step| step.version() == version) {
        return Err(MigrateError::UnknownVersion {
            version: version.to_owned(),
        });
    }
    run(path, lock, schema, now, options, &steps, Some(version))
}

/// Compares the database with the schema without changing either; works beside a running service.
pub fn status(path: &Path, schema: &Schema) -> Result<MigrationStatus, MigrateError> {
    let steps = step::steps(schema)?;
    inspect::inspect(path, &steps).map_err(|error| damage(error, path, schema))
}

/// The random text that a database was given when it was made; another database, or a restored
/// one, has another, so that resume tokens of the one are not taken for tokens of the other.
pub fn epoch(connection: &mut SqliteConnection) -> Result<String, DatabaseError> {
    Ok(bookkeeping::epoch(connection)?)
}

fn run(
    path: &Path,
    lock: &DatabaseLock,
    schema: &Schema,
    now: DateTime<Utc>,
    options: &MigrateOptions,
    steps: &[Step],
    target: Option<&str>,
) -> Result<MigrationReport, MigrateError> {
    if !lock.guards(path) {
        return Err(MigrateError::WrongLock {
            path: path.to_owned(),
        });
    }
    let status = inspect::inspect(path, steps).map_err(|error| damage(error, path, schema))?;
    status.refusal()?;
    let plan = Plan::new(&status, steps, target);
    let created = status.is_empty();
    if !created && (plan.changes_something() || lock.unclean_before()) {
        let mut inspector = open_inspector(path, &DatabaseOptions::default())?;
        let checked = check::quick_check(&mut inspector);
        lock.note_sound(checked.is_ok());
        checked.map_err(|error| damage(error, path, schema))?;
    }
    let backup = if plan.changes_something() {
        let mut connection = open_writer(path, &DatabaseOptions::default())?;
        let backup = if options.backup && !created {
            let made = backup::back_up(&mut connection, path, schema.database, now);
            Some(made.map_err(MigrateError::Backup)?)
        } else {
            None
        };
        unit::apply(&mut connection, &plan.apply, schema.program, now)?;
        unit::revert(&mut connection, &plan.revert)?;
        backup
    } else {
        None
    };
    let report = plan.report(&status, created, backup);
    tracing::info!(
        database = schema.database,
        schema_version = report.schema_version,
        applied = report.applied.len(),
        reverted = report.reverted.len(),
        created,
        "the database schema is ready"
    );
    Ok(report)
}

/// Names the newest backup beside a damaged database, since that is what comes next.
fn damage(error: MigrateError, path: &Path, schema: &Schema) -> MigrateError {
    let findings = match error {
        MigrateError::Damaged { findings, .. } => findings,
        MigrateError::Database(DatabaseError::Corrupt(text)) => vec![text],
        other => return other,
    };
    MigrateError::Damaged {
        findings,
        newest_backup: backup::newest(path, schema.database),
    }
}

/// Which steps to take; either list is empty.
struct Plan<'a> {
    /// Oldest first.
    apply: Vec<&'a Step>,
    /// Newest first.
    revert: Vec<&'a Step>,
}

impl<'a> Plan<'a> {
    fn new(status: &MigrationStatus, steps: &'a [Step], target: Option<&str>) -> Self {
        let wanted = |step: &Step| match target {
            None => true,
            Some(NOTHING) => false,
            Some(target) => step.version() <= target,
        };
        let applied = |step: &Step| {
            status
                .applied
                .iter()
                .any(|row| row.version == step.version())
        };
        Self {
            apply: steps
                .iter()
                .filter(|step| wanted(step) && !applied(step))
                .collect(),
            revert: steps
                .iter()
                .rev()
                .filter(|step| !wanted(step) && applied(step))
                .collect(),
        }
    }

    fn changes_something(&self) -> bool {
        !self.apply.is_empty() || !self.revert.is_empty()
    }

    fn report(
        &self,
        status: &MigrationStatus,
        created: bool,
        backup: Option<PathBuf>,
    ) -> MigrationReport {
        let versions = |steps: &[&Step]| -> Vec<String> {
            steps.iter().map(|step| step.version().to_owned()).collect()
        };
        let (applied, reverted) = (versions(&self.apply), versions(&self.revert));
        let before = status.applied.iter().map(|row| &row.version);
        let newest = before
            .chain(&applied)
            .filter(|version| !reverted.contains(version))
            .max();
        MigrationReport {
            created,
            schema_version: newest.map_or(NOTHING, String::as_str).to_owned(),
            applied,
            reverted,
            backup,
        }
    }
}
