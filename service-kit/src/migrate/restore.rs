//! Puts a backup into the place of the database, which is kept aside.
//!
//! The copy is finished, checked and on disk before anything is moved. From then on its name says
//! that the restore is decided, and whoever takes the database next finishes it: so at any instant
//! a start finds the old database or the restored one, whole, and never one with the write-ahead
//! log of the other.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use chrono::{DateTime, TimeDelta, Utc};

use crate::database::{DatabaseLock, DatabaseOptions, open_inspector, open_writer, sibling};

use super::backups::{folder_of, name_like, time_like};
use super::verify::{CheckedBackup, file_of, verify_backup};
use super::{MigrateError, Schema, bookkeeping, check, space, writable};

/// What a copy that is to become the database is called, behind the database's name.
const DECIDED: &str = "_restored_";
/// What the database that it replaces is called.
pub(super) const REPLACED: &str = "_replaced_";
/// How the name of an unfinished copy ends.
const UNFINISHED: &str = ".partial";
/// What SQLite needs beside a database to read all of it.
const LOGS: [&str; 2] = ["-wal", "-journal"];
/// How many later milliseconds are tried when a file of a name exists.
const NAMES_MAX: i64 = 1_000;

/// A restore that is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The backup that is the database now.
    pub from: CheckedBackup,
    /// The database from before, with its logs beside it; `None` when there was none.
    pub replaced: Option<PathBuf>,
}

/// Makes the backup of that name the database at `path`, in a new epoch. The schema is the
/// backup's; the next start migrates it.
///
/// # Errors
/// [`MigrateError`]; the database is as it was, unless the words say that a start finishes it.
pub fn restore(
    path: &Path,
    lock: &DatabaseLock,
    schema: &Schema,
    name: &str,
    now: DateTime<Utc>,
) -> Result<Restored, MigrateError> {
    if !lock.guards(path) {
        return Err(MigrateError::WrongLock {
            path: path.to_owned(),
        });
    }
    writable::for_files_beside(path)?;
    finish_interrupted(path, schema.database)?;
    let from = verify_backup(path, name, schema)?;
    let (backup, _) = file_of(path, name, schema)?;
    space::for_copy(&backup)?;
    let move_over = Move::at_a_free_time(path, schema.database, now)?;
    let unfinished = sibling(&move_over.decided, UNFINISHED);
    prepare(&backup, &unfinished, &from).inspect_err(|_| remove_unfinished(&unfinished))?;
    let fault = |source| MigrateError::Io {
        path: move_over.decided.clone(),
        source,
    };
    fs::rename(&unfinished, &move_over.decided).map_err(fault)?;
    sync_folder(path).map_err(fault)?;
    move_over.finish()?;
    let mut connection = open_inspector(path, &DatabaseOptions::default())?;
    let checked = check::quick_check(&mut connection);
    lock.note_sound(checked.is_ok());
    checked?;
    let replaced = Some(move_over.replaced).filter(|replaced| replaced.exists());
    tracing::info!(backup = name, "the database was restored");
    Ok(Restored { from, replaced })
}

/// Finishes a restore that was decided and cut off, and removes the copy of one that was not
/// decided. Whoever calls holds the lock of the database.
pub(super) fn finish_interrupted(path: &Path, database: &str) -> Result<(), MigrateError> {
    let io = |source| MigrateError::Io {
        path: path.to_owned(),
        source,
    };
    let mut decided = Vec::new();
    for entry in fs::read_dir(folder_of(path)).map_err(io)? {
        let name = entry.map_err(io)?.file_name();
        let Some(name) = name.to_str() else { continue };
        if let Some(unfinished) = name.find(UNFINISHED)
            && time_like(&name[..unfinished], database, DECIDED).is_some()
        {
            fs::remove_file(path.with_file_name(name)).map_err(io)?;
        } else if let Some(time) = time_like(name, database, DECIDED) {
            decided.push(time);
        }
    }
    decided.sort_unstable();
    for time in decided {
        tracing::warn!("a restore that was cut off is finished");
        Move::at(path, database, time).finish()?;
    }
    Ok(())
}

/// Copies the backup and makes the copy what the database is to be.
fn prepare(backup: &Path, copy: &Path, from: &CheckedBackup) -> Result<(), MigrateError> {
    let io = |source| MigrateError::Io {
        path: copy.to_owned(),
        source,
    };
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(copy).map_err(io)?;
    let mut source = File::open(backup).map_err(io)?;
    io::copy(&mut source, &mut file).map_err(io)?;
    let mut connection = open_writer(copy, &DatabaseOptions::default())?;
    bookkeeping::renew_epoch(&mut connection)?;
    check::integrity_check(&mut connection)?;
    let rows: i64 = check::row_counts(&mut connection)?.values().sum();
    // The last connection takes the log with it.
    drop(connection);
    if rows != from.rows || sibling(copy, "-wal").exists() {
        return Err(MigrateError::BadBackup {
            finding: "its copy is not what it is".to_owned(),
        });
    }
    file.sync_all().map_err(io)
}

/// The reason why it failed counts; what stays is removed at the next start.
fn remove_unfinished(unfinished: &Path) {
    for end in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(sibling(unfinished, end));
    }
}

/// One database taking the place of another.
struct Move {
    path: PathBuf,
    /// The copy that becomes the database.
    decided: PathBuf,
    /// Where the database goes.
    replaced: PathBuf,
}

/// The moves in their order. Each finds its work done when it comes a second time.
const MOVES: [fn(&Move) -> io::Result<()>; 3] = [Move::logs, Move::keep_aside, Move::replace];

impl Move {
    fn at(path: &Path, database: &str, time: DateTime<Utc>) -> Self {
        Self {
            path: path.to_owned(),
            decided: path.with_file_name(name_like(database, DECIDED, time)),
            replaced: path.with_file_name(name_like(database, REPLACED, time)),
        }
    }

    fn at_a_free_time(
        path: &Path,
        database: &str,
        now: DateTime<Utc>,
    ) -> Result<Self, MigrateError> {
        (0..NAMES_MAX)
            .map(|later_ms| Self::at(path, database, now + TimeDelta::milliseconds(later_ms)))
            .find(|free| !free.replaced.exists() && !free.decided.exists())
            .ok_or_else(|| MigrateError::Io {
                path: path.to_owned(),
                source: io::Error::other("too many files have the names of a restore"),
            })
    }

    fn finish(&self) -> Result<(), MigrateError> {
        MOVES
            .iter()
            .try_for_each(|step| step(self).and_then(|()| sync_folder(&self.path)))
            .map_err(|source| MigrateError::RestoreCutOff {
                path: self.path.clone(),
                source,
            })
    }

    /// The logs go with their database: beside the other one they would destroy it.
    fn logs(&self) -> io::Result<()> {
        for end in LOGS {
            let log = sibling(&self.path, end);
            absent_is_fine(fs::rename(log, sibling(&self.replaced, end)))?;
        }
        absent_is_fine(fs::remove_file(sibling(&self.path, "-shm")))
    }

    /// A second name rather than another one, so that the database is never missing; file systems
    /// without second names get another one.
    fn keep_aside(&self) -> io::Result<()> {
        if self.replaced.exists() || !self.path.exists() {
            return Ok(());
        }
        fs::hard_link(&self.path, &self.replaced)
            .or_else(|_| fs::rename(&self.path, &self.replaced))
    }

    fn replace(&self) -> io::Result<()> {
        fs::rename(&self.decided, &self.path)
    }
}

fn absent_is_fine(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(folder_of(path))?.sync_all()
}

#[cfg(test)]
mod tests;
