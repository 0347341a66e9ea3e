//! Why a command did nothing, and the exit code for it.

use std::io;
use std::path::PathBuf;

use crate::database::LockError;
use crate::exit::Exit;
use crate::migrate::MigrateError;

/// Why a command did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The database cannot be locked.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The database or a backup refuses; what was there is as it was.
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    /// A file or a folder cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// It was done, but the report could not be written.
    #[error("the report {path} could not be written: {source}; the database was migrated")]
    Report {
        /// Where the report would be.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

impl CommandError {
    /// How the program ends because of it.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Lock(error) => error.exit(),
            Self::Migrate(error) => error.exit(),
            Self::Io { .. } | Self::Report { .. } => Exit::Failure,
        }
    }
}
