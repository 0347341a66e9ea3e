//! From an update of a job to parsed values.

use stablequeue_proto::jobs::v1::{self as proto, submit_job_request, update_job_request::Input};
use tonic::Status;

use super::{
    job_id, labels, mask_paths,
    policy::policy,
    submission::{attempts_max, generation, priority, target},
};
use crate::{api::status, error::Error, jobs::JobChange, request::Violation};

/// An update of a job.
pub(in crate::api) struct Update {
    pub(in crate::api) id: String,
    pub(in crate::api) change: JobChange,
    pub(in crate::api) revision: Option<i32>,
}

pub(in crate::api) fn parse_update(request: proto::UpdateJobRequest) -> Result<Update, Status> {
    let set = set_fields(&request);
    let proto::UpdateJobRequest {
        job_id: id,
        update_mask,
        etag,
        mut input,
        mut target_server,
        priority: given_priority,
        max_attempts,
        labels: mut given_labels,
        release_hold,
        policy: mut given_policy,
    } = request;
    let id = job_id(id)?;
    let mut violations = Vec::new();
    let mut change = JobChange::default();
    let paths = match update_mask {
        Some(mask) => mask_paths(mask, &mut violations),
        None => set.into_iter().map(str::to_owned).collect(),
    };
    for path in paths {
        match path.as_str() {
            "priority" => change.priority = Some(priority(given_priority, &mut violations)),
            "max_attempts" => {
                change.attempts_max = Some(attempts_max(max_attempts, &mut violations));
            }
            "target_server" => {
                let alias = std::mem::take(&mut target_server);
                change.target_server = Some(target(alias, &mut violations));
            }
            "labels" => {
                let given = std::mem::take(&mut given_labels);
                change.labels = Some(labels("labels", given, &mut violations));
            }
            "policy" => change.policy = Some(policy(given_policy.take(), &mut violations)),
            "release_hold" => change.release_hold = release_hold,
            "params" | "forge_payload" => {
                let given = input.take_if(|input| name_of(input) == path);
                match given.map(submitted) {
                    Some(given) => change.request = generation(Some(given), &mut violations),
                    None => violations.push(Violation::new(path, "is named and not set")),
                }
            }
            other => violations.push(Violation::new(
                "update_mask.paths",
                format!(
                    "{other:?} cannot be changed; priority, target_server, labels, max_attempts, \
                     policy, params, forge_payload and release_hold can, each as a whole"
                ),
            )),
        }
    }
    let revision = revision(&etag, &mut violations);
    if !violations.is_empty() {
        return Err(status(Error::Invalid(violations)));
    }
    Ok(Update {
        id,
        change,
        revision,
    })
}

fn revision(etag: &str, violations: &mut Vec<Violation>) -> Option<i32> {
    if etag.is_empty() {
        return None;
    }
    let revision = etag.parse().ok();
    if revision.is_none() {
        violations.push(Violation::new("etag", "is not an etag of this service"));
    }
    revision
}

fn set_fields(request: &proto::UpdateJobRequest) -> Vec<&'static str> {
    let set = [
        ("priority", request.priority.is_some()),
        ("max_attempts", request.max_attempts.is_some()),
        ("target_server", !request.target_server.is_empty()),
        ("labels", !request.labels.is_empty()),
        ("release_hold", request.release_hold),
        ("policy", request.policy.is_some()),
    ];
    set.into_iter()
        .filter_map(|(name, is_set)| is_set.then_some(name))
        .chain(request.input.as_ref().map(name_of))
        .collect()
}

fn name_of(input: &Input) -> &'static str {
    match input {
        Input::Params(_) => "params",
        Input::ForgePayload(_) => "forge_payload",
    }
}

fn submitted(input: Input) -> submit_job_request::Input {
    match input {
        Input::Params(params) => submit_job_request::Input::Params(params),
        Input::ForgePayload(payload) => submit_job_request::Input::ForgePayload(payload),
    }
}
