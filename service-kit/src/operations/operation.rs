//! What an operation is: its kinds, its states, how far it is and what came of
//! it. Nothing here is stored or sent.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use uuid::{NoContext, Timestamp, Uuid};

use super::LibraryReport;
use crate::auth::Caller;
use crate::clock::{from_text, to_text};
use crate::migrate::{Backup, CheckedBackup};
use crate::status::Failure;

/// Reason of an operation that was ended by somebody.
pub const OPERATION_CANCELLED: &str = "OPERATION_CANCELLED";

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum OperationKind {
    /// Makes a checked copy of the database.
    CreateBackup,
    /// Looks into a backup.
    VerifyBackup,
    /// Looks after the database.
    Optimize,
    /// Looks for the files of a library.
    Scan,
    /// Reads files of a library for their digests.
    Hashing,
    /// Asks others for what is known of the files of a library.
    Enrichment,
    /// Fetches a file for a library.
    Download,
}

impl OperationKind {
    /// All kinds.
    pub const ALL: [Self; 7] = [
        Self::CreateBackup,
        Self::VerifyBackup,
        Self::Optimize,
        Self::Scan,
        Self::Hashing,
        Self::Enrichment,
        Self::Download,
    ];

    /// The word in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CreateBackup => "create_backup",
            Self::VerifyBackup => "verify_backup",
            Self::Optimize => "optimize",
            Self::Scan => "scan",
            Self::Hashing => "hashing",
            Self::Enrichment => "enrichment",
            Self::Download => "download",
        }
    }

    /// Whether it is work on a library: such work has [`OperationResult::Library`]
    /// as its result, and callers who may see models may see it.
    pub const fn is_of_library(self) -> bool {
        match self {
            Self::CreateBackup | Self::VerifyBackup | Self::Optimize => false,
            Self::Scan | Self::Hashing | Self::Enrichment | Self::Download => true,
        }
    }

    /// The kind with that word; `None` for one of another program.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// Whether an operation goes on or how it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum OperationState {
    /// It goes on, or will when the service has started.
    Running,
    /// It is done.
    Succeeded,
    /// It could not be done.
    Failed,
    /// It ended because somebody asked for that.
    Cancelled,
}

impl OperationState {
    /// All states.
    pub const ALL: [Self; 4] = [
        Self::Running,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
    ];

    /// The word in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// The state with that word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }

    /// Whether it has ended, for good.
    pub const fn is_terminal(self) -> bool {
        !matches!(self, Self::Running)
    }
}

/// How far an operation is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationProgress {
    /// What is done.
    pub done: u64,
    /// What there is to do in all; 0 while that is not known.
    pub total: u64,
    /// In what that is counted, such as `bytes`.
    pub unit: Cow<'static, str>,
}

/// A database that was looked after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptimizedDatabase {
    /// Size of the main file.
    pub size_bytes: u64,
    /// Pages of the write-ahead log.
    pub wal_pages: i64,
    /// Those of them that are in the main file now.
    pub checkpointed_pages: i64,
}

/// What came of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OperationResult {
    /// Of [`OperationKind::CreateBackup`].
    Backup(Backup),
    /// Of [`OperationKind::VerifyBackup`].
    CheckedBackup(CheckedBackup),
    /// Of [`OperationKind::Optimize`].
    OptimizedDatabase(OptimizedDatabase),
    /// Of the kinds that [are of a library](OperationKind::is_of_library).
    Library(LibraryReport),
}

/// Long work that is not a job, as it is at one moment.
#[derive(Debug, Clone)]
pub struct Operation {
    /// Its id, a UUID.
    pub id: String,
    /// What it does; `None` for the work of another program.
    pub kind: Option<OperationKind>,
    /// Whether it goes on or how it ended.
    pub state: OperationState,
    /// What it is about; empty when that is clear.
    pub target: String,
    /// How far it is, as far as that is known.
    pub progress: Option<OperationProgress>,
    /// The name of the caller who began it; empty when the service did itself.
    pub caller: String,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
    /// When it moved last.
    pub updated_at: DateTime<Utc>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// When somebody first asked for its end.
    pub cancel_requested_at: Option<DateTime<Utc>>,
    /// How often it was begun, without those starts that an orderly stop ended.
    pub starts: i32,
    /// Why it failed.
    pub error: Option<Failure>,
    /// What came of it.
    pub result: Option<OperationResult>,
}

impl Operation {
    /// One that begins now, with an id of its own, as its row will say.
    pub(super) fn beginning(new: &NewOperation, now: DateTime<Utc>) -> Self {
        let id = new_id(now);
        let now = from_text(&to_text(now)).unwrap_or(now);
        Self {
            id,
            kind: Some(new.kind),
            state: OperationState::Running,
            target: new.target.clone(),
            progress: None,
            caller: new.caller.name.clone(),
            created_at: now,
            updated_at: now,
            ended_at: None,
            cancel_requested_at: None,
            starts: 1,
            error: None,
            result: None,
        }
    }

    /// What its caller is to be told once it has ended.
    ///
    /// # Errors
    /// Why it failed, or that it was cancelled.
    pub fn outcome(&self) -> Result<Option<OperationResult>, Failure> {
        match (self.state, &self.error) {
            (OperationState::Failed, Some(failure)) => Err(failure.clone()),
            (OperationState::Failed, None) => Err(Failure::internal()),
            (OperationState::Cancelled, _) => Err(Failure::aborted(
                OPERATION_CANCELLED,
                "the operation was cancelled; call again, with another request_id, to begin anew",
            )),
            (OperationState::Running | OperationState::Succeeded, _) => Ok(self.result.clone()),
        }
    }
}

/// Who begins an operation; by default the service itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OperationCaller {
    /// The id of the key; `None` where nobody was recognised.
    pub key_id: Option<String>,
    /// The name of the caller.
    pub name: String,
}

impl From<&Caller> for OperationCaller {
    fn from(caller: &Caller) -> Self {
        Self {
            key_id: caller.key_id.clone(),
            name: caller.name.clone(),
        }
    }
}

/// An operation that is to begin.
#[derive(Debug, Clone)]
pub struct NewOperation {
    /// What it does.
    pub kind: OperationKind,
    /// What it is about; empty when that is clear.
    pub target: String,
    /// What was asked for, as a JSON object: enough to begin again after a restart.
    pub request_json: String,
    /// Who asks for it.
    pub caller: OperationCaller,
    /// The caller's own id of the call.
    pub request_id: Option<String>,
}

/// Whether two contents are the same, in whichever order their fields are.
pub(super) fn same_content(one: &str, other: &str) -> bool {
    let read = |json: &str| serde_json::from_str::<serde_json::Value>(json).ok();
    one == other || read(one).is_some_and(|one| Some(one) == read(other))
}

/// A fresh id: a UUID of version 7 for this time.
fn new_id(now: DateTime<Utc>) -> String {
    let seconds = u64::try_from(now.timestamp()).unwrap_or_default();
    let time = Timestamp::from_unix(NoContext, seconds, now.timestamp_subsec_nanos());
    Uuid::new_v7(time).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_are_compared_by_what_they_say() {
        assert!(same_content(r#"{"a": 1, "b": "x"}"#, r#"{"b":"x","a":1}"#));
        assert!(!same_content(r#"{"a": 1}"#, r#"{"a": 2}"#));
        assert!(same_content("{", "{") && !same_content("{", "["));
    }

    #[test]
    fn every_word_is_read_back_and_no_other() {
        for kind in OperationKind::ALL {
            assert_eq!(OperationKind::parse(kind.as_str()), Some(kind));
        }
        for state in OperationState::ALL {
            assert_eq!(OperationState::parse(state.as_str()), Some(state));
        }
        assert_eq!(OperationKind::parse("Scan"), None);
        assert_eq!(OperationState::parse("Running"), None);
    }
}
