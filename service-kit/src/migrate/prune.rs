//! Removes old backups. Only finished ones, known by their whole name, and never the newest that
//! is good.

use std::path::Path;
use std::{fs, io};

use chrono::{DateTime, TimeDelta, Utc};

use super::stoppable::{Stop, never};
use super::verify::{is_pre_adoption, verify_backup_until};
use super::{Backup, MigrateError, Schema, backups};

/// Which backups go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Prune {
    /// How many of the newest stay; `None` lets all stay, as far as `pre_adoption` does.
    pub keep: Option<usize>,
    /// Of the others only those older than this go.
    pub older_than: Option<TimeDelta>,
    /// Whether those from before an adoption go, however new they are.
    pub pre_adoption: bool,
}

/// What was removed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pruned {
    /// The backups that are gone, newest first.
    pub removed: Vec<Backup>,
    /// One that would have gone and stays, as it is the newest good one.
    pub spared: Option<Backup>,
}

/// Removes backups beside the database at `path`. When none of them is good, none is removed.
///
/// # Errors
/// [`MigrateError`] when the folder cannot be read or a file cannot be removed; those before it
/// are gone.
pub fn prune_backups(
    path: &Path,
    schema: &Schema,
    prune: &Prune,
    now: DateTime<Utc>,
) -> Result<Pruned, MigrateError> {
    prune_backups_until(path, schema, prune, now, &never())
}

/// The same, which ends when `stop` says so while it looks for one that is good.
///
/// # Errors
/// As [`prune_backups`], and [`MigrateError::Stopped`]; nothing is removed then.
pub fn prune_backups_until(
    path: &Path,
    schema: &Schema,
    prune: &Prune,
    now: DateTime<Utc>,
    stop: &Stop,
) -> Result<Pruned, MigrateError> {
    let fault = |source| MigrateError::Io {
        path: path.to_owned(),
        source,
    };
    let all = backups(path, schema.database).map_err(fault)?;
    let keep = prune.keep.unwrap_or(usize::MAX);
    let old = |backup: &Backup| match prune.older_than {
        None => true,
        Some(age) => now.signed_duration_since(backup.created_at) > age,
    };
    let goes = |(position, backup): (usize, &Backup)| {
        let too_many = position >= keep && old(backup);
        too_many || (prune.pre_adoption && is_pre_adoption(&path.with_file_name(&backup.name)))
    };
    let going: Vec<&Backup> = all
        .iter()
        .enumerate()
        .filter(|each| goes(*each))
        .map(|(_, backup)| backup)
        .collect();
    let mut pruned = Pruned::default();
    if going.is_empty() {
        return Ok(pruned);
    }
    let Some(newest_good) = newest_good(path, schema, &all, stop)? else {
        tracing::warn!("no backup is good, so none is removed");
        return Ok(pruned);
    };
    for backup in going {
        if backup.name == newest_good.name {
            pruned.spared = Some(backup.clone());
            continue;
        }
        match fs::remove_file(path.with_file_name(&backup.name)) {
            Ok(()) => pruned.removed.push(backup.clone()),
            // Somebody else was first.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(fault(error)),
        }
        tracing::info!(backup = backup.name, "a backup was removed");
    }
    Ok(pruned)
}

/// The first of them that is good.
fn newest_good<'a>(
    path: &Path,
    schema: &Schema,
    all: &'a [Backup],
    stop: &Stop,
) -> Result<Option<&'a Backup>, MigrateError> {
    for backup in all {
        match verify_backup_until(path, &backup.name, schema, stop) {
            Ok(_) => return Ok(Some(backup)),
            Err(MigrateError::Stopped) => return Err(MigrateError::Stopped),
            Err(_) => {}
        }
    }
    Ok(None)
}
