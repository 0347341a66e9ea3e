//! The lock of a database: one file beside it, held by one process at a time.
//!
//! Also remembers whether the process before stopped in order. Does not open the database.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::exit::Exit;

use super::filesystem::{network_file_system, resolved, sibling};

/// Longest holder text that is read from a lock file, in bytes.
const HOLDER_MAX_BYTES: u64 = 256;

/// Why a database could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process, or another part of this one, has it.
    #[error("the database is in use by {by}; stop that first, or go through the running service")]
    Held {
        /// The holder's name and process id, as it wrote them.
        by: String,
    },
    /// File locks and shared memory do not work there as SQLite needs them.
    #[error(
        "{path} is on a network file system ({kind}), where SQLite cannot keep a database safe; \
         use a local disk"
    )]
    NetworkFileSystem {
        /// The database.
        path: PathBuf,
        /// The file system's name, as the kernel calls it.
        kind: String,
    },
    /// The lock file could not be made, read or written.
    #[error("cannot lock the database with {path}: {source}; {}", advice(.source))]
    Io {
        /// The lock file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

impl LockError {
    /// How a program ends because of it.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Held { .. } => Exit::Locked,
            Self::NetworkFileSystem { .. } | Self::Io { .. } => Exit::Failure,
        }
    }
}

fn advice(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "the user that this program runs as must be able to write this file and its folder, \
             so look at their owners and modes, and whether the volume is mounted read-only"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "the disk is full: free some space"
        }
        _ => "look at the disk and the system's log",
    }
}

/// The exclusive right to write one database, until it is dropped.
///
/// The operating system releases the lock when the process ends in whatever way; the text in the
/// file stays then, which is how the next holder knows that the stop was not in order. It also
/// stays until a check has found the database sound again, however many holders that takes.
#[derive(Debug)]
pub struct DatabaseLock {
    file: File,
    database: PathBuf,
    unclean_before: bool,
    sound: AtomicBool,
}

impl DatabaseLock {
    /// Locks the database at `database` (which need not exist, its folder must) for `holder`, the
    /// name that others are shown. Does not wait.
    pub fn acquire(database: &Path, holder: &str) -> Result<Self, LockError> {
        let fault = |path: &Path, source| LockError::Io {
            path: path.to_owned(),
            source,
        };
        let resolved = resolved(database).map_err(|source| fault(database, source))?;
        if let Some(kind) = network_file_system(&resolved) {
            return Err(LockError::NetworkFileSystem {
                path: resolved,
                kind,
            });
        }
        let path = sibling(&resolved, ".lock");
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(|source| fault(&path, source))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let by = read_text(&mut file).unwrap_or_default();
                let by = if by.is_empty() {
                    "another process".to_owned()
                } else {
                    by
                };
                return Err(LockError::Held { by });
            }
            Err(TryLockError::Error(source)) => return Err(fault(&path, source)),
        }
        let before = read_text(&mut file).map_err(|source| fault(&path, source))?;
        write_text(
            &mut file,
            &format!("{holder} (process {})", std::process::id()),
        )
        .map_err(|source| fault(&path, source))?;
        let unclean_before = !before.is_empty();
        Ok(Self {
            file,
            database: resolved,
            unclean_before,
            sound: AtomicBool::new(!unclean_before),
        })
    }

    /// Whether this is the lock of the database at `path`.
    #[must_use]
    pub fn guards(&self, path: &Path) -> bool {
        resolved(path).is_ok_and(|path| path == self.database)
    }

    /// Whether the holder before was killed, or could not close the database in order.
    #[must_use]
    pub fn unclean_before(&self) -> bool {
        self.unclean_before
    }

    /// Notes what a check, or the end of the work, has shown: unless the database is sound, the
    /// next holder checks it.
    pub(crate) fn note_sound(&self, sound: bool) {
        self.sound.store(sound, Relaxed);
    }
}

impl Drop for DatabaseLock {
    fn drop(&mut self) {
        if !self.sound.load(Relaxed) || std::thread::panicking() {
            return;
        }
        if let Err(error) = self.file.set_len(0) {
            tracing::warn!(%error, "the lock file stays; the next start checks the database");
        }
    }
}

fn read_text(file: &mut File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.take(HOLDER_MAX_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
}

fn write_text(file: &mut File, text: &str) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(text.as_bytes())?;
    file.sync_data()
}
