//! Why a database was not migrated, in words an operator can act on.
//!
//! In every case but one the database is what it was before: a scrub that waits follows an
//! adoption that is done.

use std::io;
use std::path::PathBuf;

use crate::database::DatabaseError;
use crate::exit::Exit;

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
    /// It has migrations that this program lacks, although it has later ones.
    #[error(
        "the database has the migrations {}, which this program lacks although its own go on to \
         {program}: the program is not of the line of versions that made the database; start \
         the released program, or restore a backup from before",
        .versions.join(", ")
    )]
    Gap {
        /// The versions that are missing here.
        versions: Vec<String>,
        /// The newest migration of this program.
        program: String,
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
        "migration {version} is not applied although the later {applied} is: the program is not \
         of the line of versions that made the database; start the released program that \
         migrated it last, or restore a backup from before {applied}"
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
        advice(.last_good_backup)
    )]
    Damaged {
        /// What SQLite's check found.
        findings: Vec<String>,
        /// The newest good backup beside the database.
        last_good_backup: Option<PathBuf>,
    },
    /// The end of the file is missing.
    #[error(
        "the database {} is cut off: it has {size_bytes} bytes and was made of {wanted_bytes}, \
         perhaps by a copy that did not end; {}",
        .path.display(),
        advice(.last_good_backup)
    )]
    CutOff {
        /// The database.
        path: PathBuf,
        /// Bytes that it has.
        size_bytes: u64,
        /// Bytes that it had.
        wanted_bytes: u64,
        /// The newest good backup beside the database.
        last_good_backup: Option<PathBuf>,
    },
    /// The file is something else.
    #[error("{} is not an SQLite database ({text}); {}", .path.display(), advice(.last_good_backup))]
    NotADatabase {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        text: String,
        /// The newest good backup beside it.
        last_good_backup: Option<PathBuf>,
    },
    /// The file or its folder cannot be written by this process.
    #[error(
        "{} cannot be written: {source}; the user that this program runs as must be able to \
         write the database and its folder, so look at their owners and modes, and whether the \
         volume is mounted read-only",
        .path.display()
    )]
    NotWritable {
        /// The file or the folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
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
    #[error("this program has no migration {version}; `migrate --status` shows those there are")]
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
        "the migration was undone, because rows would refer to missing ones: {}; \
         the program from before still opens the database: use it and report this",
        .violations.join(", ")
    )]
    ForeignKeys {
        /// Child table, parent table and how many rows, in words.
        violations: Vec<String>,
    },
    /// After the migrations, a table would have fewer rows than before; rolled back.
    #[error(
        "the migration was undone, because the table {table} would have kept {after} of its \
         {before} rows; the program from before still opens the database: use it and report this"
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
    #[error("no migration without a backup, and {}{}", .0, disk_advice(.0))]
    Backup(BackupError),
    /// There is no database that could be backed up.
    #[error(
        "there is no database at {}, or nothing in it; --data-dir names its folder",
        .path.display()
    )]
    Nothing {
        /// Where it would be.
        path: PathBuf,
    },
    /// A backup that was asked for failed; nothing is left of it.
    #[error("{}{}", .0, disk_advice(.0))]
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
    /// Whoever asked for it ended it.
    #[error("it was told to stop")]
    Stopped,
    /// No backup has that name.
    #[error("there is no backup with the name {name:?}; `backups list` shows those there are")]
    NoBackup {
        /// The name.
        name: String,
    },
    /// A backup is damaged.
    #[error("the backup is damaged: {finding}; `backups verify --all` shows which are good")]
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
            | Self::Gap { .. }
            | Self::Damaged { .. }
            | Self::CutOff { .. }
            | Self::NotADatabase { .. }
            | Self::StrayLog { .. }
            | Self::BadBackup { .. }
            | Self::ForeignKeys { .. }
            | Self::RowsLost { .. } => true,
            Self::Database(_) | Self::Failed { .. } => self.is_damage(),
            Self::UnknownVersion { .. }
            | Self::NoDown { .. }
            | Self::Backup(_)
            | Self::BackupFailed(_)
            | Self::Nothing { .. }
            | Self::Copy { .. }
            | Self::NoSpace { .. }
            | Self::NoBackup { .. }
            | Self::Stopped
            | Self::RestoreCutOff { .. }
            | Self::NotWritable { .. }
            | Self::WrongLock { .. }
            | Self::AdoptsWhole
            | Self::Interrupted { .. }
            | Self::ScrubWaits
            | Self::Embedded(_)
            | Self::Io { .. } => false,
        }
    }

    /// Whether SQLite found the file damaged while it was changed.
    pub(super) fn is_damage(&self) -> bool {
        match self {
            Self::Database(error) | Self::Failed { source: error, .. } => {
                error.exit() == Exit::BadData
            }
            _ => false,
        }
    }

    /// How a program ends because of it.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            _ if self.is_bad_data() => Exit::BadData,
            Self::UnknownVersion { .. } => Exit::BadConfiguration,
            Self::ScrubWaits => Exit::Locked,
            Self::Database(error) | Self::Failed { source: error, .. } => error.exit(),
            _ => Exit::Failure,
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

/// What to look at where a backup failed, unless its reason says that already.
fn disk_advice(failed: &BackupError) -> &'static str {
    if failed.cancelled || failed.reason.contains("look at the disk") {
        return "";
    }
    "; look at the disk, its free space and the system's log"
}

/// What to do where the file cannot be used.
fn advice(last_good_backup: &Option<PathBuf>) -> String {
    let Some(path) = last_good_backup else {
        return "no good backup is beside it: put a good copy of the file in its place, or choose \
                another data folder"
            .to_owned();
    };
    let name = path.file_name().unwrap_or(path.as_os_str());
    format!(
        "the last good backup is {}: `backups restore {}` makes it the database and keeps the \
         file aside",
        path.display(),
        name.display()
    )
}
