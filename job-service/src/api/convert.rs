//! Between the words of the domain and those of the wire. Every conversion
//! takes its source apart field by field, so that a new field is not
//! forgotten.

use std::time::Duration;

use service_kit::clock::{to_proto_duration, to_timestamp};
use stablequeue_proto::jobs::v1 as proto;

use crate::{
    job::{Attempt, Event, Hold, Image, Job, JobState, Requirement, Verification},
    jobs::{Details, Shown},
    policy::Backoff,
    request::GenerationRequest,
};

pub(crate) mod api_key;
pub(crate) mod params;
mod policy;
pub(crate) mod server;
mod words;

pub(crate) use words::{app_type_from_proto, outcome_from_proto, phase_to_proto, state_from_proto};
use words::{
    app_type_to_proto, endpoint_to_proto, event_type_to_proto, hold_to_proto, kind_to_proto,
    outcome_to_proto, role_to_proto, state_to_proto, verification_to_proto,
};

/// A job as it is shown; `details` makes the view FULL. `backoff` holds where
/// its policy says nothing.
pub(crate) fn job(shown: Shown, details: Option<Details>, backoff: Backoff) -> proto::Job {
    let Shown {
        job,
        attempt,
        sequence: _,
    } = shown;
    let full = details.is_some();
    let (request, attempts) = match details {
        Some(details) => (
            GenerationRequest::from_json(job.endpoint, &details.request_json)
                .ok()
                .and_then(|request| params::to_struct(&request.without_pixels())),
            details.attempts,
        ),
        None => (None, Vec::new()),
    };
    let result = result(&job, attempt.as_ref());
    let Job {
        id,
        state,
        hold,
        run,
        attempt_number: _,
        attempts_spent,
        attempts_max,
        priority,
        target_server,
        created_at,
        updated_at,
        completed_at,
        cancel_requested_at,
        not_before,
        policy,
        run_began_at: _,
        wait_until,
        deadline_at,
        error,
        result_json: _,
        labels,
        app_type,
        source_info,
        endpoint,
        seed,
        subseed: _,
        models,
        resolved_checkpoint: _,
        batch_id,
        key_id,
        revision,
    } = job;
    proto::Job {
        job_id: id,
        state: state_to_proto(state).into(),
        hold: hold.map(
            |Hold {
                 reason,
                 message,
                 since,
                 until,
             }| proto::Hold {
                reason: hold_to_proto(reason).into(),
                message,
                start_time: since.map(to_timestamp),
                retry_time: until.or(not_before).map(to_timestamp),
            },
        ),
        run,
        current_attempt: attempt.map(|attempt| attempt_to_proto(attempt, full)),
        attempts_spent,
        max_attempts: attempts_max,
        priority,
        target_server,
        create_time: Some(to_timestamp(created_at)),
        update_time: Some(to_timestamp(updated_at)),
        complete_time: completed_at.map(to_timestamp),
        cancel_requested_time: cancel_requested_at.map(to_timestamp),
        error: error.map(|error| proto::JobError {
            code: error.code,
            message: error.message,
            server: error.server,
        }),
        result,
        labels: labels.into_iter().collect(),
        app_type: app_type_to_proto(app_type).into(),
        source_info,
        endpoint: endpoint_to_proto(endpoint).into(),
        seed,
        models: models
            .into_iter()
            .map(|Requirement { role, reference }| proto::ModelRequirement {
                role: role_to_proto(role).into(),
                reference,
            })
            .collect(),
        request,
        attempts: attempts
            .into_iter()
            .map(|attempt| attempt_to_proto(attempt, true))
            .collect(),
        etag: revision.to_string(),
        batch_id: batch_id.unwrap_or_default(),
        key_id: key_id.unwrap_or_default(),
        policy: Some(policy::policy(&policy, backoff)),
        wait_deadline: wait_until.map(to_timestamp),
        total_deadline: deadline_at.map(to_timestamp),
    }
}

/// The result from the documented object: what an older program wrote there
/// shows as far as it has the keys.
fn result(job: &Job, attempt: Option<&Attempt>) -> Option<proto::JobResult> {
    if !job.state.is_terminal() {
        return None;
    }
    let details: serde_json::Value = serde_json::from_str(job.result_json.as_deref()?).ok()?;
    let images = details["images"].as_array().map_or(0, Vec::len);
    if job.state != JobState::Completed && images == 0 {
        return None;
    }
    let text = |key: &str| details[key].as_str().unwrap_or_default().to_owned();
    let verification = Verification::parse(&text("verification"));
    let server = match text("server") {
        server if server.is_empty() => attempt
            .map(|attempt| attempt.server.clone())
            .unwrap_or_default(),
        server => server,
    };
    Some(proto::JobResult {
        verification: verification
            .map_or(proto::Verification::Unspecified, verification_to_proto)
            .into(),
        checkpoint: text("checkpoint"),
        checkpoint_hash: text("checkpoint_hash"),
        image_count: i32::try_from(images).unwrap_or(i32::MAX),
        server,
        partial: details["partial"].as_bool().unwrap_or(false),
    })
}

fn attempt_to_proto(attempt: Attempt, full: bool) -> proto::Attempt {
    let Attempt {
        job_id: _,
        number,
        run,
        token,
        server,
        server_process,
        phase,
        outcome,
        spent,
        claimed_at,
        sent_at,
        ended_at,
        error_code,
        http_status,
        message,
        models: _,
        last_phase,
        loading_ms,
        generating_ms,
        possible_repeat,
        recoveries,
    } = attempt;
    let duration =
        |ms: Option<i64>| ms.map(|ms| to_proto_duration(Duration::from_millis(ms.unsigned_abs())));
    proto::Attempt {
        number,
        run,
        server,
        phase: phase_to_proto(phase).into(),
        outcome: outcome
            .map_or(proto::AttemptOutcome::Unspecified, outcome_to_proto)
            .into(),
        spent,
        start_time: Some(to_timestamp(claimed_at)),
        send_time: sent_at.map(to_timestamp),
        end_time: ended_at.map(to_timestamp),
        error_code: error_code.unwrap_or_default(),
        message: message.filter(|_| full).unwrap_or_default(),
        http_status: http_status.unwrap_or(0),
        token: if full { token } else { String::new() },
        server_process: server_process.unwrap_or_default(),
        last_phase: last_phase
            .map_or(proto::AttemptPhase::Unspecified, phase_to_proto)
            .into(),
        load_time: duration(loading_ms),
        generate_time: duration(generating_ms),
        possible_repeat,
        recoveries,
    }
}

/// An image.
pub(crate) fn image(image: Image) -> proto::Image {
    let Image {
        position,
        sha256,
        kind,
        size_bytes,
        width,
        height,
        seed,
        infotext,
        verification,
        media_type,
        attempt,
    } = image;
    proto::Image {
        position,
        sha256,
        kind: kind_to_proto(kind).into(),
        size_bytes,
        width,
        height,
        seed,
        infotext,
        verification: verification_to_proto(verification).into(),
        media_type,
        attempt,
    }
}

/// An event.
pub(crate) fn event(event: Event) -> proto::JobEvent {
    let Event {
        sequence: _,
        job_id,
        kind,
        created_at,
        state,
        attempt,
        server,
        phase,
        outcome,
        hold,
        message,
    } = event;
    proto::JobEvent {
        job_id,
        r#type: event_type_to_proto(kind).into(),
        create_time: Some(to_timestamp(created_at)),
        state: state_to_proto(state).into(),
        attempt,
        server,
        phase: phase
            .map_or(proto::AttemptPhase::Unspecified, phase_to_proto)
            .into(),
        outcome: outcome
            .map_or(proto::AttemptOutcome::Unspecified, outcome_to_proto)
            .into(),
        hold_reason: hold
            .map_or(proto::HoldReason::Unspecified, hold_to_proto)
            .into(),
        message,
    }
}
