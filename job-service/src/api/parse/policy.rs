//! From a policy on the wire to a parsed one. What it means is decided in
//! `policy`.

use std::{ops::RangeInclusive, time::Duration};

use service_kit::clock::from_proto_duration;
use stablequeue_proto::jobs::v1 as proto;

use super::too_many;
use crate::{
    api::convert,
    job::AttemptOutcome,
    policy::{AvailabilityPolicy, DownloadPolicy, JobPolicy, RETRYABLE},
    request::Violation,
};

/// Outcomes to retry after that a policy names; there are fewer.
const OUTCOMES_MAX: usize = 16;
const SECOND_MS: u64 = 1_000;
const HOUR_MS: u64 = 3_600 * SECOND_MS;
const DAY_MS: u64 = 24 * HOUR_MS;
/// How long a job may wait or take, when it says so.
const TIMEOUTS: (RangeInclusive<u64>, &str) = (SECOND_MS..=366 * DAY_MS, "must be 1 s to 366 days");
/// The waits before a second attempt.
const INITIAL_BACKOFFS: (RangeInclusive<u64>, &str) = (0..=HOUR_MS, "must be 0 to 1 hour");
/// What they may grow to.
const MAX_BACKOFFS: (RangeInclusive<u64>, &str) = (0..=DAY_MS, "must be 0 to 24 hours");
/// After how long an attempt of unknown outcome may be given up.
const UNKNOWN_RETRIES: (RangeInclusive<u64>, &str) =
    (SECOND_MS..=7 * DAY_MS, "must be 1 s to 7 days");

/// A policy; what is wrong with it goes to `violations`. None is the default
/// one.
pub(super) fn policy(
    given: Option<proto::JobPolicy>,
    violations: &mut Vec<Violation>,
) -> JobPolicy {
    let Some(given) = given else {
        return JobPolicy::default();
    };
    let proto::JobPolicy {
        wait_timeout,
        total_timeout,
        initial_backoff,
        max_backoff,
        retry_on,
        unknown_policy,
        unknown_retry_after,
        availability,
        download_missing,
    } = given;
    let mut ms = |name, given, bounds| milliseconds(name, given, bounds, violations);
    let policy = JobPolicy {
        wait_timeout_ms: ms("wait_timeout", wait_timeout, TIMEOUTS),
        total_timeout_ms: ms("total_timeout", total_timeout, TIMEOUTS),
        initial_backoff_ms: ms("initial_backoff", initial_backoff, INITIAL_BACKOFFS),
        max_backoff_ms: ms("max_backoff", max_backoff, MAX_BACKOFFS),
        unknown_retry_after_ms: ms("unknown_retry_after", unknown_retry_after, UNKNOWN_RETRIES),
        retry_on: retried(&retry_on, violations),
        availability: availability_of(availability, violations),
        download_missing: download_of(download_missing, violations),
    };
    if let (Some(first), Some(most)) = (policy.initial_backoff_ms, policy.max_backoff_ms)
        && most < first
    {
        let words = "must not be less than policy.initial_backoff";
        violations.push(Violation::new("policy.max_backoff", words));
    }
    check_unknown(unknown_policy, unknown_retry_after.is_some(), violations);
    policy
}

/// A time in whole milliseconds, rounded up so that a short one is not none.
fn milliseconds(
    name: &str,
    given: Option<prost_types::Duration>,
    (bounds, words): (RangeInclusive<u64>, &str),
    violations: &mut Vec<Violation>,
) -> Option<u64> {
    let given = given?;
    let ms = from_proto_duration(&given)
        .map(|time| {
            time.saturating_add(Duration::from_nanos(999_999))
                .as_millis()
        })
        .and_then(|ms| u64::try_from(ms).ok())
        .filter(|ms| bounds.contains(ms));
    if ms.is_none() {
        violations.push(Violation::new(format!("policy.{name}"), words));
    }
    ms
}

/// The words of the outcomes to retry after, each once and in one order, so
/// that two ways to write a policy are the same policy.
fn retried(given: &[i32], violations: &mut Vec<Violation>) -> Vec<String> {
    if too_many("policy.retry_on", given.len(), OUTCOMES_MAX, violations) {
        return Vec::new();
    }
    let mut named = Vec::new();
    for (at, value) in given.iter().enumerate() {
        match convert::outcome_from_proto(*value).filter(|outcome| RETRYABLE.contains(outcome)) {
            Some(outcome) => named.push(outcome),
            None => violations.push(Violation::new(
                format!("policy.retry_on[{at}]"),
                "must be RETRYABLE_ERROR, WRONG_MODEL, BROKEN_ANSWER, LOST or INTERRUPTED",
            )),
        }
    }
    let words = RETRYABLE
        .iter()
        .filter(|outcome| named.contains(*outcome))
        .map(|outcome: &AttemptOutcome| outcome.as_str().to_owned());
    words.collect()
}

fn availability_of(value: i32, violations: &mut Vec<Violation>) -> AvailabilityPolicy {
    use proto::AvailabilityPolicy as Wire;
    match Wire::try_from(value) {
        Ok(Wire::Unspecified | Wire::Require) => AvailabilityPolicy::Require,
        Ok(Wire::FailFast) => AvailabilityPolicy::FailFast,
        Ok(Wire::Prefer) => AvailabilityPolicy::Prefer,
        Ok(Wire::Skip) => AvailabilityPolicy::Skip,
        Err(_) => {
            let words = format!("{value} is not an availability policy; use REQUIRE");
            violations.push(Violation::new("policy.availability", words));
            AvailabilityPolicy::Require
        }
    }
}

fn download_of(value: i32, violations: &mut Vec<Violation>) -> Option<DownloadPolicy> {
    use proto::DownloadMissingPolicy as Wire;
    match Wire::try_from(value) {
        Ok(Wire::Unspecified) => None,
        Ok(Wire::Never) => Some(DownloadPolicy::Never),
        Ok(Wire::Allow) => Some(DownloadPolicy::Allow),
        Err(_) => {
            let words = format!("{value} is not a policy of downloads; use NEVER or ALLOW");
            violations.push(Violation::new("policy.download_missing", words));
            None
        }
    }
}

/// The time belongs to RETRY_AFTER, and RETRY_AFTER needs it.
fn check_unknown(value: i32, has_time: bool, violations: &mut Vec<Violation>) {
    use proto::UnknownPolicy::{RetryAfter, Unspecified, Wait};
    let violation = match (proto::UnknownPolicy::try_from(value), has_time) {
        (Ok(RetryAfter), true) | (Ok(Unspecified | Wait), false) => return,
        (Ok(RetryAfter), false) => Violation::new(
            "policy.unknown_retry_after",
            "is required with UNKNOWN_POLICY_RETRY_AFTER: 1 s to 7 days",
        ),
        (Ok(Unspecified | Wait), true) => Violation::new(
            "policy.unknown_retry_after",
            "must be absent unless unknown_policy is UNKNOWN_POLICY_RETRY_AFTER",
        ),
        (Err(_), _) => Violation::new(
            "policy.unknown_policy",
            format!("{value} is not an unknown policy; use WAIT or RETRY_AFTER"),
        ),
    };
    violations.push(violation);
}

#[cfg(test)]
#[path = "policy/tests.rs"]
mod tests;
