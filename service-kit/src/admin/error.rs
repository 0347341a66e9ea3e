//! Owns why an operation of administration fails, and how that looks on the
//! wire.

use std::io;
use std::time::Duration;

use tonic::Code;

use crate::database::DatabaseError;
use crate::migrate::{BackupError, MigrateError};
use crate::operations::{OperationError, Unfinished};
use crate::server::stopping;
use crate::status::{Failure, error_chain};

/// When a caller should try again after the limit was met.
const RETRY: Duration = Duration::from_secs(1);

/// Reason of what has to wait for another backup.
pub(super) const BACKUP_RUNNING: &str = "BACKUP_RUNNING";
/// Reason of a backup that does not fit.
pub(super) const NOT_ENOUGH_SPACE: &str = "NOT_ENOUGH_SPACE";

/// Why an operation failed. Nothing was changed, and no file was left.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// A backup is being made, checked or removed.
    #[error("a backup is being made or checked; call again when that is done")]
    BackupRunning,
    /// A backup is not good.
    #[error("{name}: {error}")]
    NotGood {
        /// Its name.
        name: String,
        /// Why.
        error: MigrateError,
    },
    /// As many backups are being downloaded as may be.
    #[error("as many backups are being downloaded as may be at once; call again when one is done")]
    TooManyDownloads,
    /// A download is to begin behind the end.
    #[error("the backup has {size_bytes} bytes")]
    Offset {
        /// Its size.
        size_bytes: u64,
    },
    /// The space went while a copy was made.
    #[error(
        "the volume has {free_bytes} bytes free and others write to it, so the backup was ended: \
         {needed_bytes} are to stay free; free some space, for example by moving older backups away"
    )]
    NoSpace {
        /// Bytes that are to stay free.
        needed_bytes: u64,
        /// Bytes that are free.
        free_bytes: u64,
    },
    /// The backup could not be made, or was not what the database holds.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The state of the migrations could not be read.
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    /// A file beside the database could not be read.
    #[error("a file of the data folder cannot be read")]
    Io(#[from] io::Error),
    /// It could not be begun or followed as an operation, or may not begin now.
    #[error(transparent)]
    Operation(#[from] OperationError),
    /// The operation was begun and did not succeed.
    #[error(transparent)]
    Ended(Failure),
    /// The database could not be read.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl From<AdminError> for Failure {
    fn from(error: AdminError) -> Self {
        let text = error.to_string();
        match error {
            AdminError::NotGood { .. } => Self::precondition("BACKUP_NOT_GOOD", "backup", text),
            AdminError::TooManyDownloads => {
                Self::exhausted("TOO_MANY_DOWNLOADS", "backups", &text, Some(RETRY))
            }
            AdminError::Offset { .. } => Self::out_of_range("OFFSET_BEHIND_END", text),
            AdminError::Migrate(MigrateError::NoBackup { name }) => Self::not_found("backup", name),
            AdminError::Migrate(MigrateError::Stopped) => stopping(),
            AdminError::BackupRunning => Self::precondition(BACKUP_RUNNING, "backup", text),
            AdminError::NoSpace { .. } | AdminError::Migrate(MigrateError::NoSpace { .. }) => {
                Self::precondition(NOT_ENOUGH_SPACE, "volume", text)
            }
            AdminError::Backup(error) => {
                tracing::error!(error = error_chain(&error), "a backup failed");
                let text = format!("the backup failed and was removed: {}", error.reason);
                Self::new(Code::Internal, "BACKUP_FAILED", text)
            }
            AdminError::Operation(error) => error.into(),
            AdminError::Ended(failure) => failure,
            AdminError::Database(error) => error.into(),
            error @ (AdminError::Migrate(_) | AdminError::Io(_)) => Self::internal_because(&error),
        }
    }
}

impl From<AdminError> for Unfinished {
    fn from(error: AdminError) -> Self {
        match error {
            AdminError::Backup(BackupError {
                cancelled: true, ..
            })
            | AdminError::Migrate(MigrateError::Stopped) => Self::Stopped,
            error => Self::Failed(error.into()),
        }
    }
}
