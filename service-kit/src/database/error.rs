//! What can go wrong with a database, told apart by what an operator would do about it.
//!
//! Diesel passes on SQLite's message but not its result code, so the table of texts here is the
//! one place that reads messages. Does not know what a query meant.

use diesel::ConnectionError;
use diesel::result::{DatabaseErrorKind, Error as DieselError};

use crate::exit::Exit;

/// Why a command or a read failed.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// Another program held the database for longer than the busy limits.
    #[error("the database is locked by another program; close whatever else has it open")]
    Busy,
    /// The disk, or the database's own page limit, is full.
    #[error("the disk is full; free some space, nothing that was acknowledged is lost")]
    Full,
    /// The file, its folder or the file system cannot be written.
    #[error("the database is read-only; check the owner and mode of the file and its folder")]
    ReadOnly,
    /// SQLite found the file damaged; the text is SQLite's.
    #[error("the database is damaged ({0}); stop the service and restore a backup")]
    Corrupt(String),
    /// The file is something else than an SQLite database; the text is SQLite's.
    #[error(
        "the file is not an SQLite database ({0}); stop the service and restore a backup, or \
         choose another data folder"
    )]
    NotADatabase(String),
    /// The operating system refused or failed; the text says what.
    #[error(
        "the database cannot be read or written ({0}); look at the disk, its free space and the \
         system's log"
    )]
    Io(String),
    /// Too much is waiting already; nothing was done, trying later is safe.
    #[error("too many operations are waiting for the database")]
    Overloaded,
    /// The database was closed before the operation could run.
    #[error("the database is closed")]
    Closed,
    /// The operation panicked; what it did is undone.
    #[error("the database operation panicked")]
    Panicked,
    /// The query itself failed: no row, a constraint, a value of the wrong type, wrong SQL.
    #[error(transparent)]
    Query(DieselError),
}

/// A condition of the database itself, as SQLite's own result codes name them.
#[derive(Clone, Copy)]
enum Condition {
    Busy,
    Full,
    ReadOnly,
    Corrupt,
    NotADatabase,
    Io,
}

/// How the messages of the conditions begin: `sqlite3ErrStr` in SQLite's `main.c`, and the two
/// texts of `corruptSchema` and the hot-journal check. Each is tested against the real condition
/// where it can be brought about.
const MESSAGES: &[(&str, Condition)] = &[
    ("database is locked", Condition::Busy),
    ("database table is locked", Condition::Busy),
    ("database schema is locked", Condition::Busy),
    ("locking protocol", Condition::Busy),
    ("database or disk is full", Condition::Full),
    ("attempt to write a readonly database", Condition::ReadOnly),
    ("database disk image is malformed", Condition::Corrupt),
    ("malformed database schema", Condition::Corrupt),
    ("file is not a database", Condition::NotADatabase),
    ("disk I/O error", Condition::Io),
    ("unable to open database", Condition::Io),
    ("access permission denied", Condition::Io),
    ("authorization denied", Condition::Io),
    ("out of memory", Condition::Io),
    ("large file support is disabled", Condition::Io),
];

impl DatabaseError {
    /// The condition of the database behind a diesel error, or `None` when the query itself is
    /// at fault.
    #[must_use]
    pub fn classify(error: &DieselError) -> Option<Self> {
        match error {
            // The kinds that diesel knows are constraints, whose messages hold names of ours.
            DieselError::DatabaseError(DatabaseErrorKind::Unknown, information) => {
                Self::from_message(information.message())
            }
            DieselError::RollbackErrorOnCommit { commit_error, .. } => Self::classify(commit_error),
            _ => None,
        }
    }

    /// How a program ends because of it.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Busy => Exit::Locked,
            Self::Corrupt(_) | Self::NotADatabase(_) => Exit::BadData,
            _ => Exit::Failure,
        }
    }

    /// The condition that a message of SQLite names.
    fn from_message(message: &str) -> Option<Self> {
        let (_, condition) = MESSAGES
            .iter()
            .find(|(start, _)| message.starts_with(start))?;
        let text = message.to_owned();
        Some(match condition {
            Condition::Busy => Self::Busy,
            Condition::Full => Self::Full,
            Condition::ReadOnly => Self::ReadOnly,
            Condition::Corrupt => Self::Corrupt(text),
            Condition::NotADatabase => Self::NotADatabase(text),
            Condition::Io => Self::Io(text),
        })
    }

    /// The same error for one more caller; only [`DatabaseError::Query`] becomes its text.
    pub(super) fn again(&self) -> Self {
        match self {
            Self::Busy => Self::Busy,
            Self::Full => Self::Full,
            Self::ReadOnly => Self::ReadOnly,
            Self::Corrupt(text) => Self::Corrupt(text.clone()),
            Self::NotADatabase(text) => Self::NotADatabase(text.clone()),
            Self::Io(text) => Self::Io(text.clone()),
            Self::Overloaded => Self::Overloaded,
            Self::Closed => Self::Closed,
            Self::Panicked => Self::Panicked,
            Self::Query(error) => Self::Io(error.to_string()),
        }
    }
}

impl From<DieselError> for DatabaseError {
    fn from(error: DieselError) -> Self {
        Self::classify(&error).unwrap_or(Self::Query(error))
    }
}

impl From<ConnectionError> for DatabaseError {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::CouldntSetupConfiguration(error) => error.into(),
            other => {
                let text = other.to_string();
                Self::from_message(&text).unwrap_or(Self::Io(text))
            }
        }
    }
}
