//! What follows for a job whose attempt ended without its images: another
//! attempt and after how long, or its failure. Pure; the draw comes in.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::json;

use super::Elsewhere;
use crate::{
    job::{Attempt, AttemptOutcome, HoldReason, Job},
    outcome::Failure,
    policy::{self, Backoff},
    store::attempts::Next,
};

/// How long a job waits that is tried again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waits {
    /// After an attempt that counted.
    pub(super) backoff: Backoff,
    /// How many in a row did not count before this one.
    pub(super) unspent_before: u32,
    /// From 0 to 1, drawn.
    pub(super) jitter: f64,
}

impl Waits {
    /// Exponential, with full jitter.
    fn after_spent(self, spent: i32) -> Duration {
        let retry = u32::try_from(spent - 1).unwrap_or(0);
        let longest = self.backoff.longest(retry);
        longest.mul_f64(self.jitter.clamp(0.0, 1.0))
    }

    pub(super) fn after_unspent(self) -> Duration {
        policy::unspent_wait(self.unspent_before, self.jitter)
    }
}

/// Another attempt after a wait.
pub(super) fn again(wait: Duration, why: &str, now: DateTime<Utc>) -> Next {
    let not_before = (!wait.is_zero()).then(|| now + wait);
    Next::Pending {
        not_before,
        hold: not_before.map(|_| {
            let message = format!("tries again after: {why}");
            (HoldReason::RetryBackoff, message)
        }),
    }
}

/// What follows for a job whose attempt failed.
pub(super) fn after_failure(
    job: &Job,
    attempt: &Attempt,
    failure: &Failure,
    elsewhere: Elsewhere,
    now: DateTime<Utc>,
    waits: Waits,
) -> Next {
    let again = |wait: Duration| again(wait, &failure.message, now);
    if !failure.is_spent() {
        return again(waits.after_unspent());
    }
    let used_up = job.attempts_spent >= job.attempts_max;
    match failure.outcome {
        AttemptOutcome::ServerLacksFeature if elsewhere.others_left => again(Duration::ZERO),
        AttemptOutcome::ServerLacksFeature
        | AttemptOutcome::PermanentError
        | AttemptOutcome::Crashed => failed(attempt, failure, failure.message.clone()),
        outcome if !job.policy.retries(outcome) => failed(
            attempt,
            failure,
            format!(
                "its policy tries nothing again after {outcome}: {}",
                failure.message
            ),
        ),
        _ if elsewhere.failed_alike => failed(
            attempt,
            failure,
            format!("it failed alike on two servers: {}", failure.message),
        ),
        _ if used_up => failed(
            attempt,
            failure,
            format!(
                "all {} attempts are used; the last: {}",
                job.attempts_max, failure.message
            ),
        ),
        // Known to be gone, or waited for as long as its policy wants: nothing
        // speaks for waiting.
        AttemptOutcome::Lost | AttemptOutcome::Abandoned => again(Duration::ZERO),
        _ => again(waits.after_spent(job.attempts_spent)),
    }
}

/// It failed, with the words that are told.
pub(super) fn failed(attempt: &Attempt, failure: &Failure, message: String) -> Next {
    let result = json!({
        "error": message,
        "details": failure.message,
        "server": attempt.server,
        "http_status": failure.http_status,
    });
    Next::Failed {
        code: failure.code.to_owned(),
        message,
        result_json: result.to_string(),
        images: Vec::new(),
    }
}
