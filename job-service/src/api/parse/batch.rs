//! From a batch to parsed values, item by item.

use stablequeue_proto::jobs::v1::{self as proto, batch_job, submit_job_request::Input};
use tonic::Status;

use super::{request_id, submission::submission};
use crate::{
    api::status,
    error::Error,
    jobs::{BATCH_JOBS_MAX, BatchItem},
    request::Violation,
    request_id::RequestId,
};

/// A batch: every item, or what is wrong with it.
pub(in crate::api) struct Batch {
    pub(in crate::api) items: Vec<Result<BatchItem, Vec<Violation>>>,
    pub(in crate::api) request_id: Option<RequestId>,
}

/// A batch in which every item is good, unless it is one whose items stand
/// alone.
pub(in crate::api) fn parse_batch(
    request: proto::BatchSubmitJobsRequest,
    key_id: Option<&str>,
) -> Result<Batch, Status> {
    let proto::BatchSubmitJobsRequest {
        jobs,
        atomic,
        request_id: id,
    } = request;
    let mut violations = Vec::new();
    let request_id = request_id("request_id", id, key_id, &mut violations);
    if !(1..=BATCH_JOBS_MAX).contains(&jobs.len()) {
        let words = format!("must have 1 to {BATCH_JOBS_MAX} items");
        violations.push(Violation::new("jobs", words));
        return Err(status(Error::Invalid(violations)));
    }
    let items: Vec<_> = jobs
        .into_iter()
        .enumerate()
        .map(|(at, job)| item(at, job))
        .collect();
    let count: usize = items.iter().flatten().map(|item| item.variations).sum();
    if count > BATCH_JOBS_MAX {
        let words = format!("have {count} variations together; {BATCH_JOBS_MAX} is the limit");
        violations.push(Violation::new("jobs", words));
    }
    if atomic.unwrap_or(true) {
        let found = items.iter().filter_map(|item| item.as_ref().err());
        violations.extend(found.flatten().cloned());
    }
    if !violations.is_empty() {
        return Err(status(Error::Invalid(violations)));
    }
    Ok(Batch { items, request_id })
}

fn item(at: usize, job: proto::BatchJob) -> Result<BatchItem, Vec<Violation>> {
    let proto::BatchJob {
        input,
        target_server,
        priority,
        max_attempts,
        labels,
        app_type,
        source_info,
        variations,
        policy,
    } = job;
    let request = proto::SubmitJobRequest {
        input: input.map(|input| match input {
            batch_job::Input::Params(params) => Input::Params(params),
            batch_job::Input::ForgePayload(payload) => Input::ForgePayload(payload),
        }),
        target_server,
        priority,
        max_attempts,
        labels,
        app_type,
        source_info,
        request_id: String::new(),
        policy,
    };
    let mut found = Vec::new();
    let submission = submission(request, &mut found);
    let variations = usize::try_from(variations.unwrap_or(1))
        .ok()
        .filter(|count| (1..=BATCH_JOBS_MAX).contains(count));
    if variations.is_none() {
        let words = format!("must be 1 to {BATCH_JOBS_MAX}");
        found.push(Violation::new("variations", words));
    }
    let item = submission
        .zip(variations)
        .map(|(submission, variations)| BatchItem {
            submission,
            variations,
        });
    if let Some(fault) = item.as_ref().and_then(BatchItem::fault) {
        found.push(Violation::new("variations", fault));
    }
    match item {
        Some(item) if found.is_empty() => Ok(item),
        _ => Err(found
            .into_iter()
            .map(|violation| Violation {
                path: format!("jobs[{at}].{}", violation.path),
                ..violation
            })
            .collect()),
    }
}
