//! From a submission to parsed values.

use stablequeue_proto::jobs::v1::{self as proto, submit_job_request::Input};
use tonic::Status;

use super::{
    ATTEMPTS, PRIORITIES, SOURCE_INFO_BYTES_MAX, app_type_of, labels, policy::policy, request_id,
};
use crate::{
    api::{convert, status},
    error::Error,
    job::AppType,
    jobs::{ATTEMPTS_DEFAULT, Submission},
    request::{GenerationRequest, Violation},
    request_id::RequestId,
    server::alias_fault,
};

/// A submission by the caller with this key, and the id that makes it
/// repeatable.
pub(in crate::api) fn parse_submission(
    mut request: proto::SubmitJobRequest,
    key_id: Option<&str>,
) -> Result<(Submission, Option<RequestId>), Status> {
    let mut violations = Vec::new();
    let id = std::mem::take(&mut request.request_id);
    let id = request_id("request_id", id, key_id, &mut violations);
    match submission(request, &mut violations) {
        Some(submission) if violations.is_empty() => Ok((submission, id)),
        _ => Err(status(Error::Invalid(violations))),
    }
}

/// A submission without its request id; `None` when something is wrong with
/// it, which goes to `violations`.
pub(in crate::api) fn submission(
    request: proto::SubmitJobRequest,
    violations: &mut Vec<Violation>,
) -> Option<Submission> {
    let proto::SubmitJobRequest {
        target_server,
        priority,
        max_attempts,
        labels: given_labels,
        app_type,
        source_info,
        request_id: _,
        policy: given_policy,
        input,
    } = request;
    let before = violations.len();
    let generation = generation(input, violations);
    let target_server = target(target_server, violations);
    let priority = self::priority(priority, violations);
    let attempts_max = attempts_max(max_attempts, violations);
    let labels = labels("labels", given_labels, violations);
    let app_type = app_type_of(app_type, violations).unwrap_or(AppType::Api);
    if source_info.len() > SOURCE_INFO_BYTES_MAX {
        let words = format!("must have at most {SOURCE_INFO_BYTES_MAX} bytes");
        violations.push(Violation::new("source_info", words));
    }
    let policy = policy(given_policy, violations);
    if violations.len() > before {
        return None;
    }
    Some(Submission {
        request: generation?,
        target_server,
        priority,
        attempts_max,
        labels,
        app_type,
        source_info,
        policy,
    })
}

/// What to generate.
pub(super) fn generation(
    input: Option<Input>,
    violations: &mut Vec<Violation>,
) -> Option<GenerationRequest> {
    let parsed = match input {
        Some(Input::Params(params)) => convert::params::from_params(params),
        Some(Input::ForgePayload(payload)) => convert::params::from_forge_payload(payload),
        None => Err(vec![Violation::new(
            "input",
            "one of params and forge_payload is required",
        )]),
    };
    parsed.map_err(|found| violations.extend(found)).ok()
}

pub(super) fn target(alias: String, violations: &mut Vec<Violation>) -> String {
    if !alias.is_empty()
        && let Some(fault) = alias_fault(&alias)
    {
        violations.push(Violation::new("target_server", fault));
    }
    alias
}

pub(super) fn priority(priority: Option<i32>, violations: &mut Vec<Violation>) -> i32 {
    let priority = priority.unwrap_or(0);
    if !PRIORITIES.contains(&priority) {
        violations.push(Violation::new("priority", "must be -100 to 100"));
    }
    priority
}

pub(super) fn attempts_max(most: Option<i32>, violations: &mut Vec<Violation>) -> i32 {
    let most = most.unwrap_or(ATTEMPTS_DEFAULT);
    if !ATTEMPTS.contains(&most) {
        violations.push(Violation::new("max_attempts", "must be 1 to 10"));
    }
    most
}
