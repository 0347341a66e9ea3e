//! The databases that restores have put aside: which there are, and removing them on request.
//!
//! Does not put them aside; `restore.rs` does.

use std::path::Path;
use std::{fs, io};

use chrono::{DateTime, Utc};

use crate::database::sibling;

use super::backups::{folder_of, time_like};
use super::restore::REPLACED;

/// What there may be of one, the database last: as long as it is there, the others are found.
const PARTS: [&str; 4] = ["-wal", "-shm", "-journal", ""];

/// A database that a restore put aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaced {
    /// The name of the file, without its folder.
    pub name: String,
    /// When it was put aside, in UTC.
    pub replaced_at: DateTime<Utc>,
    /// Its size with its logs, in bytes.
    pub size_bytes: u64,
}

/// The databases that were put aside from the one at `path`, which is called `database` as in its
/// backups; newest first.
///
/// # Errors
/// When the folder cannot be read.
pub fn replaced(path: &Path, database: &str) -> io::Result<Vec<Replaced>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder_of(path))? {
        let entry = entry?;
        let file_name = entry.file_name();
        let Some(name) = file_name.to_str() else {
            continue;
        };
        let Some(replaced_at) = time_like(name, database, REPLACED) else {
            continue;
        };
        let mut size_bytes = 0;
        for part in PARTS {
            match fs::symlink_metadata(sibling(&entry.path(), part)) {
                Ok(metadata) if metadata.is_file() => size_bytes += metadata.len(),
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        if entry.file_type()?.is_file() {
            found.push(Replaced {
                name: name.to_owned(),
                replaced_at,
                size_bytes,
            });
        }
    }
    found.sort_by(|a, b| b.name.cmp(&a.name));
    Ok(found)
}

/// Removes all of them with their logs, and answers which. Only files that have the whole name of
/// one are touched.
///
/// # Errors
/// When the folder cannot be read or a file cannot be removed; those before it are gone.
pub fn remove_replaced(path: &Path, database: &str) -> io::Result<Vec<Replaced>> {
    let all = replaced(path, database)?;
    for aside in &all {
        for part in PARTS {
            match fs::remove_file(sibling(&path.with_file_name(&aside.name), part)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                // One without logs, or somebody else was first.
                _ => {}
            }
        }
        tracing::info!(
            database = aside.name,
            "what a restore put aside was removed"
        );
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_with_the_whole_name_are_found_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let older = "jobs_replaced_2026-11-22T11-08-00-123Z.sqlite";
        let newer = "jobs_replaced_2026-11-23T00-00-00-000Z.sqlite";
        fs::write(at(older), "123").unwrap();
        fs::write(at(newer), "1").unwrap();
        fs::write(at(&format!("{newer}-wal")), "45").unwrap();
        let others = [
            "jobs.sqlite",
            "jobs_backup_2026-11-22T11-08-00-123Z.sqlite",
            "jobs_replaced_2026-11-22T11-08-00-123Z.sqlite.kept",
            "jobs_replaced_by_me.sqlite",
            "jobs_replaced_by_me.sqlite-wal",
            "models_replaced_2026-11-22T11-08-00-123Z.sqlite",
        ];
        for other in others {
            fs::write(at(other), "").unwrap();
        }
        let found = replaced(&at("jobs.sqlite"), "jobs").unwrap();
        let facts: Vec<_> = found.iter().map(|it| (&*it.name, it.size_bytes)).collect();
        assert_eq!(facts, [(newer, 3), (older, 3)]);
        assert_eq!(remove_replaced(&at("jobs.sqlite"), "jobs").unwrap(), found);
        let mut left: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, others);
        assert_eq!(remove_replaced(&at("jobs.sqlite"), "jobs").unwrap(), []);
    }
}
