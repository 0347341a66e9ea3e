//! Whether the volume has room for what is to be done, asked before it is begun.
//!
//! A full disk is survived as well; it only takes longer to find out, and ends in the middle of a
//! night.

use std::path::Path;

use crate::database::{sibling, volume_free_bytes};

use super::MigrateError;

/// How often the database must fit beside itself for a migration: once as its backup, once as what
/// a rebuild of its tables writes.
const MIGRATION_COPIES: u64 = 2;

/// How often an older application's database must fit for its adoption, which keeps every original
/// value beside what is made of it: as its backup, in the write-ahead log of the transaction and in
/// SQLite's temporary files. Measured on one of 13 MB with those on the same volume: 5.84 times.
const ADOPTION_COPIES: u64 = 6;

/// What stays free besides, for logs and for whoever else writes to the volume.
const MARGIN_BYTES: u64 = 16 * 1024 * 1024;

/// What stays free beside a service that goes on, whose log grows while a copy is made of what it
/// holds, and who may write for a while after that.
pub(crate) const SERVICE_MARGIN_BYTES: u64 = 128 * 1024 * 1024;

/// Fails unless the database at `path` can be migrated, or `adopted` first, on its volume.
pub(super) fn for_migration(path: &Path, adopted: bool) -> Result<(), MigrateError> {
    let copies = if adopted {
        ADOPTION_COPIES
    } else {
        MIGRATION_COPIES
    };
    let free_bytes = volume_free_bytes(path).map_err(|source| io(path, source))?;
    let bytes = size_bytes(path)?.saturating_mul(copies);
    enough(path, bytes.saturating_add(MARGIN_BYTES), free_bytes)
}

/// Fails unless a copy of the database at `path` fits beside it.
pub(super) fn for_copy(path: &Path) -> Result<(), MigrateError> {
    let free_bytes = volume_free_bytes(path).map_err(|source| io(path, source))?;
    let needed_bytes = size_bytes(path)?.saturating_add(MARGIN_BYTES);
    enough(path, needed_bytes, free_bytes)
}

/// Fails unless a copy of the database at `path` fits into so many free bytes and leaves its
/// service [`SERVICE_MARGIN_BYTES`].
pub(crate) fn for_copy_beside_service(path: &Path, free_bytes: u64) -> Result<(), MigrateError> {
    let needed_bytes = size_bytes(path)?.saturating_add(SERVICE_MARGIN_BYTES);
    enough(path, needed_bytes, free_bytes)
}

fn enough(path: &Path, needed_bytes: u64, free_bytes: u64) -> Result<(), MigrateError> {
    if free_bytes >= needed_bytes {
        return Ok(());
    }
    Err(MigrateError::NoSpace {
        path: path.to_owned(),
        needed_bytes,
        free_bytes,
    })
}

/// The database with its write-ahead log.
fn size_bytes(path: &Path) -> Result<u64, MigrateError> {
    let mut bytes = 0_u64;
    for file in [path.to_owned(), sibling(path, "-wal")] {
        match std::fs::metadata(&file) {
            Ok(metadata) => bytes = bytes.saturating_add(metadata.len()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(io(&file, source)),
        }
    }
    Ok(bytes)
}

fn io(path: &Path, source: std::io::Error) -> MigrateError {
    MigrateError::Io {
        path: path.to_owned(),
        source,
    }
}
