//! Whether this process may write a database and its folder, asked before anything is made there.
//!
//! SQLite opens what it may not write for reading, and says so only with the first write: by then
//! a backup would have been made in vain, or calls would get through of which none can be kept.

use std::path::Path;

use rustix::fs::{Access, access};

use super::MigrateError;
use super::backups::folder_of;

/// Fails unless files can be made in the folder of the database at `path`, and the file, where
/// there is one, can be written.
pub(super) fn for_changes(path: &Path) -> Result<(), MigrateError> {
    for_files_beside(path)?;
    match may(path, Access::WRITE_OK) {
        Err(MigrateError::NotWritable { source, .. })
            if source.kind() == std::io::ErrorKind::NotFound =>
        {
            Ok(())
        }
        done => done,
    }
}

/// Fails unless files can be made in the folder of the database at `path`.
pub(super) fn for_files_beside(path: &Path) -> Result<(), MigrateError> {
    may(folder_of(path), Access::WRITE_OK | Access::EXEC_OK)
}

fn may(path: &Path, what: Access) -> Result<(), MigrateError> {
    access(path, what).map_err(|error| MigrateError::NotWritable {
        path: path.to_owned(),
        source: error.into(),
    })
}
