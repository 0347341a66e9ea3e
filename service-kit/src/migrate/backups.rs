//! The finished backups beside a database: their names, and which there are.
//!
//! Does not make them and does not look into them.

use std::path::{Path, PathBuf};
use std::{fs, io};

use chrono::{DateTime, NaiveDateTime, Utc};

/// What stands behind the database's name in a backup's name.
const BACKUP: &str = "_backup_";
/// How a backup's name ends.
const END: &str = ".sqlite";
/// The time in a backup's name; sorts as text, and has no sign that a file system refuses.
const TIME_SHAPE: &str = "%Y-%m-%dT%H-%M-%S-%3fZ";

/// A verified copy of a database, beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    /// The name of the file, without its folder.
    pub name: String,
    /// When it was begun.
    pub created_at: DateTime<Utc>,
    /// Its size.
    pub size_bytes: u64,
}

/// The finished backups beside the database at `path`, whose backups begin with `database`;
/// newest first.
///
/// # Errors
/// When the folder cannot be read.
pub fn backups(path: &Path, database: &str) -> io::Result<Vec<Backup>> {
    let mut found = Vec::new();
    for file in beside(path, database, END)? {
        found.extend(backup(&file, database)?);
    }
    found.sort_by(|a, b| b.name.cmp(&a.name));
    Ok(found)
}

/// The backup in a file; `None` for a file that is none, or that was removed meanwhile.
pub(super) fn backup(file: &Path, database: &str) -> io::Result<Option<Backup>> {
    let Some(name) = file.file_name().and_then(|name| name.to_str()) else {
        return Ok(None);
    };
    let Some(created_at) = time_of(name, database) else {
        return Ok(None);
    };
    match fs::symlink_metadata(file) {
        Ok(metadata) if metadata.is_file() => Ok(Some(Backup {
            name: name.to_owned(),
            created_at,
            size_bytes: metadata.len(),
        })),
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// What a backup that is begun at `time` is called.
pub(super) fn name_of(database: &str, time: DateTime<Utc>) -> String {
    name_like(database, BACKUP, time)
}

/// What a file beside the database is called that was begun at `time`; `kind` says what it is.
pub(super) fn name_like(database: &str, kind: &str, time: DateTime<Utc>) -> String {
    format!("{database}{kind}{}{END}", time.format(TIME_SHAPE))
}

/// When the backup of that name was begun; `None` for any other name.
fn time_of(name: &str, database: &str) -> Option<DateTime<Utc>> {
    time_like(name, database, BACKUP)
}

/// When the file of that name and kind was begun; `None` for any other name.
pub(super) fn time_like(name: &str, database: &str, kind: &str) -> Option<DateTime<Utc>> {
    let time = name
        .strip_prefix(database)?
        .strip_prefix(kind)?
        .strip_suffix(END)?;
    let time = NaiveDateTime::parse_from_str(time, TIME_SHAPE).ok()?;
    Some(time.and_utc())
}

/// The files beside `path` that are named like its backups and end in `end`.
pub(super) fn beside(path: &Path, database: &str, end: &str) -> io::Result<Vec<PathBuf>> {
    let start = format!("{database}{BACKUP}");
    let mut found = Vec::new();
    for entry in fs::read_dir(folder_of(path))? {
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

/// The folder that a database is in.
pub(super) fn folder_of(path: &Path) -> &Path {
    path.parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::from_text;

    #[test]
    fn a_name_tells_its_time_and_only_a_whole_name_does() {
        let time = from_text("2026-11-22T11:08:00.123Z").unwrap();
        let name = name_of("jobs", time);
        assert_eq!(name, "jobs_backup_2026-11-22T11-08-00-123Z.sqlite");
        assert_eq!(time_of(&name, "jobs"), Some(time));
        for other in [
            "jobs_backup_2026-11-22T11-08-00-123Z.sqlite.partial",
            "jobs_backup_2026-11-22T11-08-00Z.sqlite",
            "jobs_backup_2026-13-22T11-08-00-123Z.sqlite",
            "jobs_backup_mine.sqlite",
            "models_backup_2026-11-22T11-08-00-123Z.sqlite",
            "jobs.sqlite",
        ] {
            assert_eq!(time_of(other, "jobs"), None, "{other}");
        }
    }

    #[test]
    fn only_files_with_a_whole_name_are_backups_and_the_newest_is_first() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let older = "jobs_backup_2026-11-22T11-08-00-123Z.sqlite";
        let newer = "jobs_backup_2026-11-23T00-00-00-000Z.sqlite";
        fs::write(at(older), "123").unwrap();
        fs::write(at(newer), "").unwrap();
        fs::write(at("jobs_backup_of_mine.sqlite"), "").unwrap();
        fs::write(at(&format!("{newer}.partial")), "").unwrap();
        fs::create_dir(at("jobs_backup_2026-11-24T00-00-00-000Z.sqlite")).unwrap();
        let found = backups(&at("jobs.sqlite"), "jobs").unwrap();
        let names: Vec<_> = found.iter().map(|backup| backup.name.as_str()).collect();
        assert_eq!(names, [newer, older]);
        assert_eq!(found[1].size_bytes, 3);
    }
}
