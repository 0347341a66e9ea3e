//! Why a database was not migrated, in words an operator can act on.
//!
//! In every case but one the database is what it was before: a scrub that waits follows an
//! adoption that is done.

use std::io;
use std::path::PathBuf;

use crate::database::DatabaseError;

use super::BackupError;

/// Why a database was not migrated; it is as it was before, but for [`MigrateError::ScrubWaits`].
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// A newer program has migrated it, and has not said that this one may still open it.
    #[error(
        "the database is newer than this program: its schema version is {database} and the \
         program's is {program}, it has the migrations {}, which this program does not know, and \
         {}; start the program version that made them, or restore a backup from before",
        .versions.join(", "),
        readers(.oldest)
    )]
    Newer {
        /// The unknown versions.
        versions: Vec<String>,
        /// The newest migration of the database.
        database: String,
        /// The newest migration of this program.
        program: String,
        /// The oldest schema version with which a program may open it, where that is recorded.
        oldest: Option<String>,
    },
    /// A newer program has migrated it; this one may use it, not change its schema.
    #[error(
        "a newer program has migrated the database: it has the migrations {}, which this program \
         cannot take back; use that program",
        .versions.join(", ")
    )]
    Ahead {
        /// The unknown versions.
        versions: Vec<String>,
    },
    /// The text of a migration is not the one that was applied.
    #[error(
        "migration {version} of this program is not the text that was applied to the database; \
         use the released program, or restore a backup from before that migration"
    )]
    Changed {
        /// The migration.
        version: String,
    },
    /// A migration is older than one that is applied already.
    #[error(
        "migration {version} is not applied although the later {applied} is; this program was \
         not built from a line of versions that the database has seen"
    )]
    OutOfOrder {
        /// The migration that is missing.
        version: String,
        /// A later one that is applied.
        applied: String,
    },
    /// The file holds tables, but none of these migrations ever ran on it.
    #[error(
        "the database was neither made by this program (it holds {} without a record of our \
         migrations) nor by the earlier application in a shape that can be taken over, so it was \
         left untouched; choose another data folder",
        .tables.join(", ")
    )]
    NotOurs {
        /// The tables that were found.
        tables: Vec<String>,
    },
    /// The file is damaged.
    #[error(
        "the database is damaged: {}; {}",
        .findings.join("; "),
        restore_advice(.newest_backup)
    )]
    Damaged {
        /// What SQLite's check found.
        findings: Vec<String>,
        /// The newest backup beside the database.
        newest_backup: Option<PathBuf>,
    },
    /// The database file is missing or empty while its write-ahead log is there.
    #[error(
        "{wal} holds data of a database file that is gone; put the database file back beside it, \
         or move it away to start with an empty database"
    )]
    StrayLog {
        /// The write-ahead log.
        wal: PathBuf,
    },
    /// The asked-for version is none of this program's.
    #[error("this program has no migration {version}")]
    UnknownVersion {
        /// The version asked for.
        version: String,
    },
    /// The migration cannot be reverted.
    #[error("migration {version} has no down.sql, so it cannot be reverted; restore a backup")]
    NoDown {
        /// The migration.
        version: String,
    },
    /// A migration failed; the unit was rolled back.
    #[error("migration {version} failed and was undone: {source}")]
    Failed {
        /// The migration.
        version: String,
        /// What failed.
        source: DatabaseError,
    },
    /// After the migrations, rows would refer to rows that do not exist; rolled back.
    #[error(
        "the migration was undone, because rows would refer to missing ones: {}",
        .violations.join(", ")
    )]
    ForeignKeys {
        /// Child table, parent table and how many rows, in words.
        violations: Vec<String>,
    },
    /// After the migrations, a table would have fewer rows than before; rolled back.
    #[error(
        "the migration was undone, because the table {table} would have kept {after} of its \
         {before} rows"
    )]
    RowsLost {
        /// The table.
        table: String,
        /// Rows before.
        before: i64,
        /// Rows after.
        after: i64,
    },
    /// The backup could not be made or does not hold what the database holds.
    #[error("no migration without a backup, and {0}")]
    Backup(BackupError),
    /// There is no database that could be backed up.
    #[error("there is no database at {}, or nothing in it", .path.display())]
    Nothing {
        /// Where it would be.
        path: PathBuf,
    },
    /// A backup that was asked for failed; nothing is left of it.
    #[error(transparent)]
    BackupFailed(BackupError),
    /// A copy of the database could not be made or is not what the database is.
    #[error("the copy {} of the database failed: {reason}", .path.display())]
    Copy {
        /// Where the copy would have been.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The volume has no room for what has to be written.
    #[error(
        "{} needs up to {needed_bytes} bytes of free space and its volume has {free_bytes}; free \
         some space, for example by moving older backups away, and try again",
        .path.display()
    )]
    NoSpace {
        /// What is to be copied.
        path: PathBuf,
        /// Bytes that have to be free.
        needed_bytes: u64,
        /// Bytes that are free.
        free_bytes: u64,
    },
    /// No backup has that name.
    #[error("there is no backup with the name {name:?}; `backups list` shows those there are")]
    NoBackup {
        /// The name.
        name: String,
    },
    /// A backup is damaged.
    #[error("the backup is damaged: {finding}")]
    BadBackup {
        /// What was found.
        finding: String,
    },
    /// A restore was decided and could not be finished.
    #[error(
        "the restore of {} could not be finished: {source}; the next start finishes it",
        .path.display()
    )]
    RestoreCutOff {
        /// The database.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The database is the earlier application's, and some of the migrations were asked for.
    #[error(
        "the database is the earlier application's and can only be taken over whole; migrate it \
         without a version"
    )]
    AdoptsWhole,
    /// An interrupted transaction has to be undone from the journal beside the database, which
    /// whoever only looks must not do.
    #[error(
        "{journal} holds a transaction that was interrupted; it is undone when the database is \
         migrated or the service starts"
    )]
    Interrupted {
        /// The rollback journal.
        journal: PathBuf,
    },
    /// The database was taken over, but what was deleted from it is still in the file.
    #[error(
        "the database was taken over, but the keys and secrets that it held in clear cannot be \
         removed from its file while another program reads it; close whatever else has it open \
         and start again"
    )]
    ScrubWaits,
    /// The lock is another database's.
    #[error("the lock that was taken is not the lock of {path}")]
    WrongLock {
        /// The database.
        path: PathBuf,
    },
    /// The migrations in this program are unusable.
    #[error("the migrations in this program cannot be used: {0}")]
    Embedded(String),
    /// A file beside the database could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The database could not be used.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl MigrateError {
    /// Whether the data itself is the reason (exit code 65), and not the machine or the program.
    #[must_use]
    pub fn is_bad_data(&self) -> bool {
        match self {
            Self::Newer { .. }
            | Self::Ahead { .. }
            | Self::Changed { .. }
            | Self::OutOfOrder { .. }
            | Self::NotOurs { .. }
            | Self::Damaged { .. }
            | Self::StrayLog { .. }
            | Self::BadBackup { .. }
            | Self::ForeignKeys { .. }
            | Self::RowsLost { .. } => true,
            Self::Database(error) | Self::Failed { source: error, .. } => {
                matches!(
                    error,
                    DatabaseError::Corrupt(_) | DatabaseError::NotADatabase(_)
                )
            }
            Self::UnknownVersion { .. }
            | Self::NoDown { .. }
            | Self::Backup(_)
            | Self::BackupFailed(_)
            | Self::Nothing { .. }
            | Self::Copy { .. }
            | Self::NoSpace { .. }
            | Self::NoBackup { .. }
            | Self::RestoreCutOff { .. }
            | Self::WrongLock { .. }
            | Self::AdoptsWhole
            | Self::Interrupted { .. }
            | Self::ScrubWaits
            | Self::Embedded(_)
            | Self::Io { .. } => false,
        }
    }
}

impl From<diesel::result::Error> for MigrateError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Database(error.into())
    }
}

fn readers(oldest: &Option<String>) -> String {
    match oldest {
        Some(oldest) => format!("only programs from schema version {oldest} on may open it"),
        None => "it does not say that an older program may open it".to_owned(),
    }
}

fn restore_advice(newest_backup: &Option<PathBuf>) -> String {
    match newest_backup {
        Some(path) => format!("the newest backup is {}", path.display()),
        None => "no backup was found beside it".to_owned(),
    }
}
