//! What a job's own policy says of waiting, retries and unknown outcomes, and
//! what holds where it says nothing. Pure: when a deadline is due or a retry
//! follows is decided by the dispatcher.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::job::AttemptOutcome;

/// The outcomes after which a policy may ask for another attempt, or for none.
pub const RETRYABLE: [AttemptOutcome; 5] = [
    AttemptOutcome::RetryableError,
    AttemptOutcome::WrongModel,
    AttemptOutcome::BrokenAnswer,
    AttemptOutcome::Lost,
    AttemptOutcome::Interrupted,
];

/// The waits of attempts that did not count: the longest before the second
/// repetition, since the first is made at once.
const UNSPENT_FIRST: Duration = Duration::from_millis(500);
/// The most that those waits grow to.
const UNSPENT_MOST: Duration = Duration::from_secs(30);
/// Doublings that make a difference to any wait that is allowed.
const DOUBLINGS_MAX: u32 = 28;

/// The policy of a job, as it is kept with it: only what its caller set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct JobPolicy {
    /// How long it may wait for its first attempt of a run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait_timeout_ms: Option<u64>,
    /// How long a run may take in all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_timeout_ms: Option<u64>,
    /// The longest wait before the second attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initial_backoff_ms: Option<u64>,
    /// What that wait may grow to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_backoff_ms: Option<u64>,
    /// After which outcomes another attempt follows, by their words; none for
    /// all of [`RETRYABLE`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub retry_on: Vec<String>,
    /// After how long without any word from its server another one is tried;
    /// `None` waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown_retry_after_ms: Option<u64>,
    /// What model-service is asked.
    #[serde(skip_serializing_if = "AvailabilityPolicy::is_default")]
    pub availability: AvailabilityPolicy,
    /// Whether models are downloaded for it that no server has; `None` as the
    /// service is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub download_missing: Option<DownloadPolicy>,
}

/// Whether model-service is asked to download models that a job waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DownloadPolicy {
    /// It is not.
    #[default]
    Never,
    /// It is, for those that no server has which may take the job.
    Allow,
}

/// What model-service is asked before a job is sent, and what its silence
/// means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AvailabilityPolicy {
    /// The job waits until a server is known to have its models.
    #[default]
    Require,
    /// The same, but it fails when fresh inventories say that nobody has them.
    FailFast,
    /// While model-service is away, its last answer and the server's own list
    /// count.
    Prefer,
    /// Nobody is asked.
    Skip,
}

impl AvailabilityPolicy {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// How long retries wait: at most `first` before the first of them, twice as
/// long before each further one, never more than `most`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The longest wait before the first retry.
    pub first: Duration,
    /// The longest wait before any.
    pub most: Duration,
}

impl Backoff {
    /// The longest wait before the retry with this number, from 0.
    #[must_use]
    pub fn longest(self, retry: u32) -> Duration {
        let doubled = self.first.saturating_mul(1 << retry.min(DOUBLINGS_MAX));
        doubled.min(self.most)
    }
}

impl JobPolicy {
    /// Whether another attempt may follow one that ended so.
    #[must_use]
    pub fn retries(&self, outcome: AttemptOutcome) -> bool {
        !RETRYABLE.contains(&outcome)
            || self.retry_on.is_empty()
            || self.retry_on.iter().any(|word| word == outcome.as_str())
    }

    /// After how long without any word from its server another one is tried.
    #[must_use]
    pub fn unknown_retry_after(&self) -> Option<Duration> {
        self.unknown_retry_after_ms.map(Duration::from_millis)
    }

    /// The waits before its retries, where `default` holds for what it leaves
    /// open. A bound that it sets alone draws the other one along.
    #[must_use]
    pub fn backoff(&self, default: Backoff) -> Backoff {
        let set = |ms: Option<u64>| ms.map(Duration::from_millis);
        match (set(self.initial_backoff_ms), set(self.max_backoff_ms)) {
            (Some(first), Some(most)) => Backoff { first, most },
            (Some(first), None) => Backoff {
                first,
                most: default.most.max(first),
            },
            (None, Some(most)) => Backoff {
                first: default.first.min(most),
                most,
            },
            (None, None) => default,
        }
    }

    /// When a job whose run began then has waited too long for an attempt.
    #[must_use]
    pub fn wait_until(&self, began: DateTime<Utc>) -> Option<DateTime<Utc>> {
        later(began, self.wait_timeout_ms)
    }

    /// When a job whose run began then has taken too long.
    #[must_use]
    pub fn deadline_at(&self, began: DateTime<Utc>) -> Option<DateTime<Utc>> {
        later(began, self.total_timeout_ms)
    }
}

/// How long a job waits after an attempt that did not count, of which so many
/// came before it in a row: not at all the first time, since another server
/// may be free, and then longer and longer, so that a server which comes and
/// goes is not claimed for again and again. Half of the wait is not drawn.
#[must_use]
pub fn unspent_wait(before: u32, jitter: f64) -> Duration {
    let Some(retry) = before.checked_sub(1) else {
        return Duration::ZERO;
    };
    let backoff = Backoff {
        first: UNSPENT_FIRST,
        most: UNSPENT_MOST,
    };
    backoff
        .longest(retry)
        .mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0))
}

/// In the milliseconds of the database.
fn later(began: DateTime<Utc>, ms: Option<u64>) -> Option<DateTime<Utc>> {
    let began = DateTime::from_timestamp_millis(began.timestamp_millis())?;
    let wait = TimeDelta::try_milliseconds(i64::try_from(ms?).ok()?)?;
    began.checked_add_signed(wait)
}

#[cfg(test)]
#[path = "policy/tests.rs"]
mod tests;
