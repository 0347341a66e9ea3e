//! What a job is: its states, the facts about its attempts, and which change
//! may follow which. Pure: no I/O and no clock; how rows and messages look is
//! none of its business.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::policy::JobPolicy;

mod words;

pub use words::{
    AppType, AttemptOutcome, AttemptPhase, Endpoint, EventType, HoldReason, ImageKind, JobState,
    ModelRole, Verification,
};

/// Bytes that a job id may have; older ones are not all UUIDs.
pub const JOB_ID_BYTES_MAX: usize = 128;

/// A model that a job needs, as the job names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Requirement {
    /// What for.
    pub role: ModelRole,
    /// A sha256, AutoV2, alias, path or file name.
    pub reference: String,
}

/// A job as it stands in the database, without its parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Its id.
    pub id: String,
    /// Where it stands.
    pub state: JobState,
    /// Why it waits, as the dispatcher last found.
    pub hold: Option<Hold>,
    /// The series of attempts it is in, from 1.
    pub run: i32,
    /// The number of its newest attempt; 0 before the first.
    pub attempt_number: i32,
    /// Attempts of this run that count against the limit.
    pub attempts_spent: i32,
    /// The limit.
    pub attempts_max: i32,
    /// -100 to 100; a higher one goes first.
    pub priority: i32,
    /// The alias asked for; empty for any.
    pub target_server: String,
    /// When it was submitted.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
    /// When it reached a terminal state.
    pub completed_at: Option<DateTime<Utc>>,
    /// When cancelling it was asked for.
    pub cancel_requested_at: Option<DateTime<Utc>>,
    /// Not to be claimed before this time.
    pub not_before: Option<DateTime<Utc>>,
    /// What happens when something goes wrong.
    pub policy: JobPolicy,
    /// When this run began: at the submission, or at the retry.
    pub run_began_at: DateTime<Utc>,
    /// When it fails unless the first attempt of its run has begun.
    pub wait_until: Option<DateTime<Utc>>,
    /// When it fails unless it has ended.
    pub deadline_at: Option<DateTime<Utc>>,
    /// Why it failed.
    pub error: Option<JobError>,
    /// The documented result object, as JSON text.
    pub result_json: Option<String>,
    /// The caller's labels.
    pub labels: BTreeMap<String, String>,
    /// Where it came from.
    pub app_type: AppType,
    /// More about where it came from.
    pub source_info: String,
    /// Which of Forge's calls it uses.
    pub endpoint: Endpoint,
    /// The seed of its first image.
    pub seed: i64,
    /// The variation seed of its first image.
    pub subseed: i64,
    /// The models it needs.
    pub models: Vec<Requirement>,
    /// The checkpoint it was given at its first claim when it named none.
    pub resolved_checkpoint: Option<String>,
    /// The batch it was submitted in.
    pub batch_id: Option<String>,
    /// The key that submitted it.
    pub key_id: Option<String>,
    /// Grows with every change.
    pub revision: i32,
}

/// Why a pending job waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The reason in a code.
    pub reason: HoldReason,
    /// The reason in words, with names and what would help.
    pub message: String,
    /// Since when, where that is kept.
    pub since: Option<DateTime<Utc>>,
    /// When it is over, where that is known.
    pub until: Option<DateTime<Utc>>,
}

/// Why a job failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobError {
    /// A stable code in UPPER_SNAKE.
    pub code: String,
    /// What happened and what to do.
    pub message: String,
    /// The server it happened on; empty when on none.
    pub server: String,
}

/// One try of a job on one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The job.
    pub job_id: String,
    /// From 1, growing over all runs.
    pub number: i32,
    /// The run it belongs to.
    pub run: i32,
    /// The fencing token, which is also Forge's task id.
    pub token: String,
    /// The server's alias.
    pub server: String,
    /// The server process it was sent to.
    pub server_process: Option<String>,
    /// Where it is.
    pub phase: AttemptPhase,
    /// How it ended.
    pub outcome: Option<AttemptOutcome>,
    /// Whether it counts against the limit.
    pub spent: bool,
    /// When it was claimed.
    pub claimed_at: DateTime<Utc>,
    /// When the request went out.
    pub sent_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// What went wrong, in a code.
    pub error_code: Option<String>,
    /// The HTTP status that the server answered with.
    pub http_status: Option<i32>,
    /// What went wrong, in words.
    pub message: Option<String>,
    /// The models as the server knows them, in the order of the job's
    /// requirements.
    pub models: Vec<ResolvedModel>,
    /// The phase it was in when it ended.
    pub last_phase: Option<AttemptPhase>,
    /// Milliseconds for which the server was seen to load models.
    pub loading_ms: Option<i64>,
    /// Milliseconds for which the server was seen to generate.
    pub generating_ms: Option<i64>,
    /// Whether an earlier attempt of the job could still be running when this
    /// one began.
    pub possible_repeat: bool,
    /// How often the service took it up since it last got any further.
    pub recoveries: i32,
}

/// A required model as one server knows it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ResolvedModel {
    /// How the job names it; empty for the baseline checkpoint of a job that
    /// names none.
    pub reference: String,
    /// The title by which the server knows it.
    pub title: String,
    /// Its full hash, when model-service knows it.
    pub sha256: Option<String>,
}

/// What identifies an attempt: every write of it carries all three.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Fence {
    /// The job.
    pub job_id: String,
    /// The attempt's number.
    pub number: i32,
    /// The attempt's token.
    pub token: String,
}

/// An image of a job, whose bytes are in the image store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its place among the job's images, from 0.
    pub position: i32,
    /// SHA-256 of the file, lower-case hexadecimal.
    pub sha256: String,
    /// What it is.
    pub kind: ImageKind,
    /// The file's size.
    pub size_bytes: i64,
    /// Pixels across.
    pub width: i32,
    /// Pixels down.
    pub height: i32,
    /// The seed it was made with.
    pub seed: i64,
    /// The text of its parameters as Forge wrote it.
    pub infotext: String,
    /// How sure the model is.
    pub verification: Verification,
    /// Its media type.
    pub media_type: String,
    /// The attempt that made it.
    pub attempt: i32,
}

/// Something that happened to a job, as it stands in the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its place in the history of all jobs.
    pub sequence: i64,
    /// The job.
    pub job_id: String,
    /// What happened.
    pub kind: EventType,
    /// When.
    pub created_at: DateTime<Utc>,
    /// The state the job has since then.
    pub state: JobState,
    /// The attempt; 0 when in none.
    pub attempt: i32,
    /// The attempt's server; empty when in none.
    pub server: String,
    /// The attempt's phase.
    pub phase: Option<AttemptPhase>,
    /// How the attempt ended.
    pub outcome: Option<AttemptOutcome>,
    /// Why the job waits.
    pub hold: Option<HoldReason>,
    /// The same in words.
    pub message: String,
}

impl Attempt {
    /// What its writes carry.
    #[must_use]
    pub fn fence(&self) -> Fence {
        Fence {
            job_id: self.job_id.clone(),
            number: self.number,
            token: self.token.clone(),
        }
    }
}

impl JobState {
    /// Whether nothing follows by itself.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }

    /// Whether a job in this state may enter `next`: the table of
    /// transitions. Anything else is an error in code. What has failed or was
    /// cancelled goes on as another run.
    #[must_use]
    pub fn may_become(self, next: JobState) -> bool {
        use JobState::{Cancelled, Completed, Failed, Pending, Processing};
        matches!(
            (self, next),
            (Pending, Processing | Cancelled | Failed)
                | (Processing, Completed | Pending | Failed | Cancelled)
                | (Failed | Cancelled, Pending)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_reads_back_as_itself() {
        for state in JobState::ALL {
            assert_eq!(JobState::parse(state.as_str()), Some(*state));
        }
        for reason in HoldReason::ALL {
            assert_eq!(HoldReason::parse(reason.as_str()), Some(*reason));
        }
        for outcome in AttemptOutcome::ALL {
            assert_eq!(AttemptOutcome::parse(outcome.as_str()), Some(*outcome));
        }
        assert_eq!(JobState::parse("done"), None);
    }

    #[test]
    fn only_another_run_follows_a_terminal_state_and_none_a_completed_job() {
        for from in JobState::ALL.iter().filter(|state| state.is_terminal()) {
            for to in JobState::ALL {
                let another_run = *from != JobState::Completed && *to == JobState::Pending;
                assert_eq!(from.may_become(*to), another_run, "{from} -> {to}");
            }
        }
    }

    #[test]
    fn a_job_is_processed_before_it_completes() {
        assert!(!JobState::Pending.may_become(JobState::Completed));
        assert!(JobState::Processing.may_become(JobState::Completed));
    }
}
