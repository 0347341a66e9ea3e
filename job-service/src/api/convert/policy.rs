//! A job's policy on the wire, with what holds where it says nothing.

use std::time::Duration;

use service_kit::clock::to_proto_duration;
use stablequeue_proto::jobs::v1 as proto;

use super::words::outcome_to_proto;
use crate::policy::{AvailabilityPolicy, Backoff, DownloadPolicy, JobPolicy, RETRYABLE};

/// A policy as it is shown.
pub(super) fn policy(policy: &JobPolicy, default: Backoff) -> proto::JobPolicy {
    let duration = |time: Duration| Some(to_proto_duration(time));
    let ms = |ms: Option<u64>| ms.map(|ms| to_proto_duration(Duration::from_millis(ms)));
    let Backoff { first, most } = policy.backoff(default);
    let retried = RETRYABLE.iter().filter(|outcome| policy.retries(**outcome));
    let JobPolicy {
        wait_timeout_ms,
        total_timeout_ms,
        initial_backoff_ms: _,
        max_backoff_ms: _,
        retry_on: _,
        unknown_retry_after_ms,
        availability,
        download_missing,
    } = policy;
    proto::JobPolicy {
        wait_timeout: ms(*wait_timeout_ms),
        total_timeout: ms(*total_timeout_ms),
        initial_backoff: duration(first),
        max_backoff: duration(most),
        retry_on: retried
            .map(|outcome| outcome_to_proto(*outcome).into())
            .collect(),
        unknown_policy: match unknown_retry_after_ms {
            Some(_) => proto::UnknownPolicy::RetryAfter,
            None => proto::UnknownPolicy::Wait,
        }
        .into(),
        unknown_retry_after: ms(*unknown_retry_after_ms),
        availability: match availability {
            AvailabilityPolicy::Require => proto::AvailabilityPolicy::Require,
            AvailabilityPolicy::FailFast => proto::AvailabilityPolicy::FailFast,
            AvailabilityPolicy::Prefer => proto::AvailabilityPolicy::Prefer,
            AvailabilityPolicy::Skip => proto::AvailabilityPolicy::Skip,
        }
        .into(),
        download_missing: match download_missing {
            // The setting may be another one by tomorrow.
            None => proto::DownloadMissingPolicy::Unspecified,
            Some(DownloadPolicy::Never) => proto::DownloadMissingPolicy::Never,
            Some(DownloadPolicy::Allow) => proto::DownloadMissingPolicy::Allow,
        }
        .into(),
    }
}
