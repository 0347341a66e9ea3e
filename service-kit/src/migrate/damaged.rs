//! Says of a database that cannot be used what is wrong with it, and which backup to restore.
//!
//! Only reads. When a database is looked at closely is decided elsewhere.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::database::{DatabaseError, DatabaseOptions, open_inspector, sibling};

use super::verify::verify_backup;
use super::{MigrateError, Schema, backups, check};

/// How many of the newest backups are checked for one that is good.
const BACKUPS_CHECKED_MAX: usize = 10;

/// What of SQLite's header is read (<https://sqlite.org/fileformat.html#the_database_header>).
const HEADER_BYTES: usize = 100;

/// Where the header holds the size of a page, in two bytes; 1 stands for 65,536.
const PAGE_SIZE_AT: usize = 16;

/// Where the header holds the number of pages, in four bytes.
const PAGES_AT: usize = 28;

/// The error for whoever has to act on it: what SQLite says of a file that is damaged, cut off or
/// something else becomes what it is, with the newest good backup beside it; others stay.
pub(super) fn damage(error: MigrateError, path: &Path, schema: &Schema) -> MigrateError {
    let findings = match error {
        MigrateError::Damaged { findings, .. } => findings,
        MigrateError::Database(DatabaseError::Corrupt(text)) => vec![text],
        MigrateError::Database(DatabaseError::NotADatabase(text)) => {
            return MigrateError::NotADatabase {
                path: path.to_owned(),
                text,
                last_good_backup: last_good_backup(path, schema),
            };
        }
        other => return other,
    };
    let last_good_backup = last_good_backup(path, schema);
    match sizes(path) {
        // A file that cannot be read for its header is damaged as SQLite says.
        Ok((size_bytes, wanted_bytes)) if size_bytes < wanted_bytes => MigrateError::CutOff {
            path: path.to_owned(),
            size_bytes,
            wanted_bytes,
            last_good_backup,
        },
        _ => MigrateError::Damaged {
            // A finding of SQLite has several lines.
            findings: findings
                .iter()
                .map(|text| text.replace('\n', ", "))
                .collect(),
            last_good_backup,
        },
    }
}

/// Fails when SQLite's quick check of the database at `path` finds something, or when its end is
/// missing.
pub(super) fn quick_check(path: &Path, schema: &Schema) -> Result<(), MigrateError> {
    let mut inspector = open_inspector(path, &DatabaseOptions::default())?;
    check::quick_check(&mut inspector).map_err(|error| damage(error, path, schema))?;
    not_cut_off(path, schema)
}

/// Fails when the database at `path` is shorter than it says: SQLite reads zeros for what is
/// missing of the last page.
pub(super) fn not_cut_off(path: &Path, schema: &Schema) -> Result<(), MigrateError> {
    // What a log holds may not have reached the file.
    let logged = std::fs::metadata(sibling(path, "-wal")).map_or(0, |log| log.len());
    match sizes(path) {
        Ok((size_bytes, wanted_bytes)) if logged == 0 && size_bytes < wanted_bytes => {
            Err(MigrateError::CutOff {
                path: path.to_owned(),
                size_bytes,
                wanted_bytes,
                last_good_backup: last_good_backup(path, schema),
            })
        }
        _ => Ok(()),
    }
}

/// What is to be said where a copy of the database at `path` failed: that the database is damaged,
/// if the full check finds that, or else `failed`.
pub(super) fn or_else(path: &Path, schema: &Schema, failed: MigrateError) -> MigrateError {
    let checked = open_inspector(path, &DatabaseOptions::default())
        .map_err(MigrateError::from)
        .and_then(|mut inspector| check::integrity_check(&mut inspector));
    match checked.map_err(|error| damage(error, path, schema)) {
        Err(damaged) if damaged.is_bad_data() => damaged,
        _ => failed,
    }
}

/// The newest backup beside the database at `path` that is whole and that this program can use,
/// among the newest few.
fn last_good_backup(path: &Path, schema: &Schema) -> Option<PathBuf> {
    let all = backups(path, schema.database).ok()?;
    let newest = all.into_iter().take(BACKUPS_CHECKED_MAX);
    newest
        .map(|backup| backup.name)
        .find(|name| verify_backup(path, name, schema).is_ok())
        .map(|name| path.with_file_name(name))
}

/// The size of the file, and the one that its header tells.
fn sizes(path: &Path) -> io::Result<(u64, u64)> {
    let mut file = File::open(path)?;
    let size_bytes = file.metadata()?.len();
    let mut header = [0_u8; HEADER_BYTES];
    if size_bytes < HEADER_BYTES as u64 {
        return Ok((size_bytes, HEADER_BYTES as u64));
    }
    file.read_exact(&mut header)?;
    let number = |at: usize, bytes: usize| {
        header[at..at + bytes]
            .iter()
            .fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
    };
    let page_bytes = match number(PAGE_SIZE_AT, 2) {
        1 => 65_536,
        bytes => bytes,
    };
    Ok((size_bytes, number(PAGES_AT, 4) * page_bytes))
}
