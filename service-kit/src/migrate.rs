//! Brings a database to the schema that this program needs, or leaves it as it was.
//!
//! Owns the order of the steps: compare, check, back up, apply as one unit; and what is done with
//! backups: verify, restore, prune. Knows no table beyond its own bookkeeping; the migrations are
//! the service's. Databases that were never under these migrations are adopted where the service
//! says how ([`Adoption`]); others are refused, untouched.

mod adopt;
mod backup;
mod backups;
mod bookkeeping;
mod check;
mod damaged;
mod dry_run;
mod error;
mod inspect;
mod prune;
mod replaced;
mod restore;
mod space;
mod step;
mod stoppable;
mod unit;
mod verify;
mod writable;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use diesel::SqliteConnection;
use diesel_migrations::EmbeddedMigrations;
use serde::Serialize;

use crate::database::{
    DatabaseError, DatabaseLock, DatabaseOptions, open_adopter, open_writer, undo_interrupted,
};
pub use adopt::{
    AdoptedTable, AdoptedTableReport, Adoption, AdoptionReport, ColumnCount, KeptAs, OlderRows,
    OlderValue, SetAside,
};
pub(crate) use backup::remove_unfinished_backups;
pub use backup::{BackupError, CopyProgress, back_up_running};
pub use backups::{Backup, backups};
use damaged::damage;
pub use dry_run::{DryRun, TableRows, dry_run};
pub use error::MigrateError;
pub use inspect::{AppliedMigration, MigrationStatus};
pub use prune::{Prune, Pruned, prune_backups, prune_backups_until};
pub use replaced::{Replaced, remove_replaced, replaced};
pub use restore::{Restored, restore};
pub(crate) use space::{SERVICE_MARGIN_BYTES, for_copy_beside_service};
use step::Step;
pub use stoppable::Stop;
pub use verify::{CheckedBackup, verify_backup, verify_backup_until};

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
    /// The oldest schema version with which a program may still open a database of this one: the
    /// newest migration that the release before knew, or, where that is not so, the newest of these.
    ///
    /// A later migration only expands, for a program that does not know it: it adds
    /// - tables;
    /// - columns that may be NULL or have a default, and without them a row is right, because the
    ///   older program makes rows without and never fills in what a migration filled in once;
    /// - indexes, unique ones only over what it added;
    /// - triggers that write only what it added, and that no row of the older program fails.
    ///
    /// It does not rename, remove, narrow or rebuild; and the new program puts no word into an older
    /// column that the older program cannot read. What breaks this moves `readable_from` to itself.
    pub readable_from: &'static str,
    /// The program and its version, such as `job-service 0.1.0`.
    pub program: &'static str,
    /// How a database of the earlier application is taken over; `None` refuses it.
    pub adoption: Option<Adoption>,
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MigrationReport {
    /// Whether the database was empty or missing before.
    pub created: bool,
    /// Versions that were applied, oldest first.
    pub applied: Vec<String>,
    /// Versions that were reverted, newest first.
    pub reverted: Vec<String>,
    /// The verified backup that was made first.
    pub backup: Option<PathBuf>,
    /// What was found and done where the database was the earlier application's.
    pub adoption: Option<AdoptionReport>,
    /// The newest applied version; [`NOTHING`] when there is none.
    pub schema_version: String,
}

/// Applies every migration that is pending, as one unit, after a verified backup.
///
/// A missing database is created. When nothing is pending the file is not written at all, and
/// neither is one that a newer program migrated and that says it may still be opened.
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
    known_step(&steps, Some(version))?;
    run(path, lock, schema, now, options, &steps, Some(version))
}

fn known_step(steps: &[Step], version: Option<&str>) -> Result<(), MigrateError> {
    match version {
        Some(version)
            if version != NOTHING && !steps.iter().any(|step| step.version() == version) =>
        {
            Err(MigrateError::UnknownVersion {
                version: version.to_owned(),
            })
        }
        _ => Ok(()),
    }
}

/// Copies the database at `path`, which no service uses, beside it, whatever its schema is. `step`
/// is told how far the copy is; when it breaks, there is no backup.
pub fn back_up_stopped(
    path: &Path,
    lock: &DatabaseLock,
    schema: &Schema,
    now: DateTime<Utc>,
    step: &mut dyn FnMut(CopyProgress) -> ControlFlow<()>,
) -> Result<Backup, MigrateError> {
    if !lock.guards(path) {
        return Err(MigrateError::WrongLock {
            path: path.to_owned(),
        });
    }
    writable::for_files_beside(path)?;
    restore::finish_interrupted(path, schema.database)?;
    if status(path, schema)?.is_empty() {
        return Err(MigrateError::Nothing {
            path: path.to_owned(),
        });
    }
    damaged::not_cut_off(path, schema)?;
    space::for_copy(path)?;
    let made = backup::back_up_stopped(path, schema.database, now, step);
    made.map_err(|failed| damaged::or_else(path, schema, MigrateError::BackupFailed(failed)))
}

/// Compares the database with the schema without changing either; works beside a running service.
pub fn status(path: &Path, schema: &Schema) -> Result<MigrationStatus, MigrateError> {
    let steps = step::steps(schema)?;
    inspect::inspect(path, &steps, schema.adoption.as_ref())
        .map_err(|error| damage(error, path, schema))
}

/// The same in a program that has the database open. What is damaged is not looked at more closely:
/// whoever opens and closes the file by other ways than SQLite's takes SQLite's locks from it.
pub(crate) fn status_while_open(
    path: &Path,
    schema: &Schema,
) -> Result<MigrationStatus, MigrateError> {
    inspect::inspect(path, &step::steps(schema)?, schema.adoption.as_ref())
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
    writable::for_changes(path)?;
    restore::finish_interrupted(path, schema.database)?;
    dry_run::remove_leftovers(path)?;
    if let Err(error) = remove_unfinished_backups(path, schema.database) {
        // It takes space and nothing else; the next backup says so if it is in its way.
        tracing::warn!(%error, "what a killed backup left cannot be removed");
    }
    undo_interrupted(path)?;
    let status = inspect::inspect(path, steps, schema.adoption.as_ref())
        .map_err(|error| damage(error, path, schema))?;
    status.admit(target)?;
    let plan = Plan::new(&status, steps, target);
    let created = status.is_empty();
    if !created && plan.changes_something() {
        space::for_migration(path, status.adoptable)?;
    }
    if !created && (plan.changes_something() || lock.unclean_before()) {
        let checked = damaged::quick_check(path, schema);
        lock.note_sound(checked.is_ok());
        checked?;
    }
    carry_out(path, schema, now, options, &status, &plan)
}

/// Does what is planned with the database at `path`, which is known to be sound.
fn carry_out(
    path: &Path,
    schema: &Schema,
    now: DateTime<Utc>,
    options: &MigrateOptions,
    status: &MigrationStatus,
    plan: &Plan<'_>,
) -> Result<MigrationReport, MigrateError> {
    let created = status.is_empty();
    let (mut backup, mut adopted) = (None, None);
    if plan.changes_something() {
        let adoption = schema.adoption.as_ref().filter(|_| status.adoptable);
        let options_of_file = DatabaseOptions::default();
        let mut connection = match adoption {
            Some(_) => open_adopter(path, &options_of_file)?,
            None => open_writer(path, &options_of_file)?,
        };
        let seen = bookkeeping::data_version(&mut connection)?;
        if options.backup && !created {
            let made = backup::back_up(&mut connection, path, schema.database, now);
            let failed = |failed| damaged::or_else(path, schema, MigrateError::Backup(failed));
            backup = Some(made.map_err(failed)?);
        }
        let done = unit::apply(&mut connection, schema, &plan.apply, adoption, seen, now).and_then(
            |adopted| {
                unit::revert(&mut connection, schema, &plan.revert)?;
                Ok(adopted)
            },
        );
        drop(connection);
        adopted = done.inspect_err(|error| {
            if let Some(made) = &backup
                && !error.is_damage()
            {
                remove_superfluous(made, path, schema, status);
            }
        })?;
    }
    if let Some(adopted) = &mut adopted {
        adopted.name_backup(backup.as_deref());
        adopted.log();
    }
    scrub_if_pending(path, status, adopted.as_ref())?;
    let report = plan.report(status, created, backup, adopted);
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

/// Removes the backup of a migration that was undone: whoever tries again and again would fill the
/// disk with them. It stays where the database is not seen to be what it was.
fn remove_superfluous(backup: &Path, path: &Path, schema: &Schema, before: &MigrationStatus) {
    if !self::status(path, schema).is_ok_and(|after| after == *before) {
        return;
    }
    match std::fs::remove_file(backup) {
        Ok(()) => tracing::info!(
            backup = %backup.display(),
            "the migration was undone, and its backup removed"
        ),
        Err(error) => tracing::warn!(%error, backup = %backup.display(), "a backup stays"),
    }
}

/// Finishes what an adoption, this one or one that was interrupted, left to do after its commit.
fn scrub_if_pending(
    path: &Path,
    status: &MigrationStatus,
    adopted: Option<&AdoptionReport>,
) -> Result<(), MigrateError> {
    let held_secrets = adopted.is_some_and(|report| report.held_secrets);
    if held_secrets || status.scrub_pending {
        let mut connection = open_writer(path, &DatabaseOptions::default())?;
        adopt::scrub(&mut connection)?;
        tracing::info!("what was secret and in clear is gone from the file");
    }
    Ok(())
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
        adoption: Option<AdoptionReport>,
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
            adoption,
        }
    }
}
