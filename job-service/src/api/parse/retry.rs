//! From a retry to parsed values.

use service_kit::page::PageToken;
use stablequeue_proto::jobs::v1 as proto;
use tonic::Status;

use super::{STATES_MAX, batch_id_of, job_id, request_id, time, too_many};
use crate::{
    api::{convert, status},
    error::Error,
    job::{JOB_ID_BYTES_MAX, JobState},
    jobs::{RETRIES_MAX, RetryChoice},
    request::Violation,
    request_id::RequestId,
    store::jobs::RetryFilter,
};

/// Bytes of an error code that a filter names.
const CODE_BYTES_MAX: usize = 128;

/// A retry of one job.
pub(in crate::api) struct Retry {
    pub(in crate::api) id: String,
    pub(in crate::api) as_new: bool,
    pub(in crate::api) request_id: Option<RequestId>,
}

/// A retry of several.
pub(in crate::api) struct BatchRetry {
    pub(in crate::api) choice: RetryChoice,
    pub(in crate::api) request_id: Option<RequestId>,
    /// What a page token is made for.
    pub(in crate::api) made_for: Vec<u8>,
}

pub(in crate::api) fn parse_retry(
    request: proto::RetryJobRequest,
    key_id: Option<&str>,
) -> Result<Retry, Status> {
    let proto::RetryJobRequest {
        job_id: id,
        as_new,
        request_id: given,
    } = request;
    let id = job_id(id)?;
    let mut violations = Vec::new();
    let request_id = request_id("request_id", given, key_id, &mut violations);
    if !violations.is_empty() {
        return Err(status(Error::Invalid(violations)));
    }
    Ok(Retry {
        id,
        as_new,
        request_id,
    })
}

pub(in crate::api) fn parse_batch_retry(
    request: proto::BatchRetryJobsRequest,
    key_id: Option<&str>,
) -> Result<BatchRetry, Status> {
    let proto::BatchRetryJobsRequest {
        job_ids,
        states,
        batch_id,
        error_code,
        complete_time_from,
        complete_time_to,
        request_id: given,
        page_token,
    } = request;
    let mut violations = Vec::new();
    let request_id = request_id("request_id", given, key_id, &mut violations);
    let filtered = !states.is_empty()
        || !batch_id.is_empty()
        || !error_code.is_empty()
        || complete_time_from.is_some()
        || complete_time_to.is_some();
    let words = match (job_ids.is_empty(), filtered || !page_token.is_empty()) {
        (false, true) => Some("must be empty when a filter is set, and the other way round"),
        (true, false) => Some(
            "is empty, and so is every filter: name jobs, or set a filter; \
             states: [FAILED] for all that failed",
        ),
        (true, true) | (false, false) => None,
    };
    violations.extend(words.map(|words| Violation::new("job_ids", words)));
    if error_code.len() > CODE_BYTES_MAX {
        let words = format!("must have at most {CODE_BYTES_MAX} bytes");
        violations.push(Violation::new("error_code", words));
    }
    let mut filter = RetryFilter {
        states: ended(&states, &mut violations),
        batch_id: batch_id_of(batch_id, &mut violations),
        error_code,
        ended_from: time("complete_time_from", complete_time_from, &mut violations),
        ended_to: time("complete_time_to", complete_time_to, &mut violations),
        key_id: None,
        after: None,
    };
    // The Debug text names every filter; only equality matters here.
    let made_for = format!("{filter:?}").into_bytes();
    if !page_token.is_empty() {
        match PageToken::decode(&page_token, &made_for) {
            Ok(after) => filter.after = Some(after),
            Err(error) => violations.push(Violation::new("page_token", error.to_string())),
        }
    }
    let choice = match job_ids.is_empty() {
        true => RetryChoice::Filter(filter),
        false => RetryChoice::Ids(ids(job_ids, &mut violations)),
    };
    if !violations.is_empty() {
        return Err(status(Error::Invalid(violations)));
    }
    Ok(BatchRetry {
        choice,
        request_id,
        made_for,
    })
}

/// The states to retry, each once: FAILED where none is named.
fn ended(given: &[i32], violations: &mut Vec<Violation>) -> Vec<JobState> {
    let mut states = Vec::new();
    if too_many("states", given.len(), STATES_MAX, violations) {
        return states;
    }
    for (at, value) in given.iter().enumerate() {
        let state = proto::JobState::try_from(*value).ok();
        match state.and_then(convert::state_from_proto) {
            Some(state) if state.may_become(JobState::Pending) && state.is_terminal() => {
                states.push(state);
            }
            _ => violations.push(Violation::new(
                format!("states[{at}]"),
                "must be FAILED or CANCELLED",
            )),
        }
    }
    if states.is_empty() {
        states.push(JobState::Failed);
    }
    states.sort_unstable();
    states.dedup();
    states
}

/// Ids that could be some, each named once.
fn ids(given: Vec<String>, violations: &mut Vec<Violation>) -> Vec<String> {
    if too_many("job_ids", given.len(), RETRIES_MAX, violations) {
        return Vec::new();
    }
    let mut seen = std::collections::HashSet::new();
    for (at, id) in given.iter().enumerate() {
        if job_id(id.clone()).is_err() {
            let words = format!("must have 1 to {} bytes", JOB_ID_BYTES_MAX);
            violations.push(Violation::new(format!("job_ids[{at}]"), words));
        } else if !seen.insert(id.as_str()) {
            let words = "is named twice";
            violations.push(Violation::new(format!("job_ids[{at}]"), words));
        }
    }
    given
}
