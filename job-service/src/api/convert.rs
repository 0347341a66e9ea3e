//! Between the words of the domain and those of the wire. Every conversion
//! takes its source apart field by field, so that a new field is not
//! forgotten.

use service_kit::clock::to_timestamp;
use stablequeue_proto::jobs::v1 as proto;

use crate::{
    job::{
        AppType, Attempt, AttemptOutcome, AttemptPhase, Endpoint, Event, EventType, Hold,
        HoldReason, Image, ImageKind, Job, JobState, ModelRole, Requirement, Verification,
    },
    jobs::{Details, Shown},
    request::GenerationRequest,
};

pub(crate) mod api_key;
pub(crate) mod params;
pub(crate) mod server;

/// A job as it is shown; `details` makes the view FULL.
pub(crate) fn job(shown: Shown, details: Option<Details>) -> proto::Job {
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
             }| proto::Hold {
                reason: hold_to_proto(reason).into(),
                message,
                start_time: since.map(to_timestamp),
                retry_time: not_before.map(to_timestamp),
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
    }
}

/// The result from the documented object: what an older program wrote there
/// shows as far as it has the keys.
fn result(job: &Job, attempt: Option<&Attempt>) -> Option<proto::JobResult> {
    if !matches!(job.state, JobState::Completed | JobState::Cancelled) {
        return None;
    }
    let details: serde_json::Value = serde_json::from_str(job.result_json.as_deref()?).ok()?;
    let images = details["images"].as_array().map_or(0, Vec::len);
    if job.state == JobState::Cancelled && images == 0 {
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
    } = attempt;
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

/// A state that a filter names; `None` for none.
pub(crate) fn state_from_proto(state: proto::JobState) -> Option<JobState> {
    match state {
        proto::JobState::Unspecified => None,
        proto::JobState::Pending => Some(JobState::Pending),
        proto::JobState::Processing => Some(JobState::Processing),
        proto::JobState::Completed => Some(JobState::Completed),
        proto::JobState::Failed => Some(JobState::Failed),
        proto::JobState::Cancelled => Some(JobState::Cancelled),
    }
}

/// Where a job comes from; `None` when it is not said.
pub(crate) fn app_type_from_proto(app_type: proto::AppType) -> Option<AppType> {
    match app_type {
        proto::AppType::Unspecified => None,
        proto::AppType::Forge => Some(AppType::Forge),
        proto::AppType::Browser => Some(AppType::Browser),
        proto::AppType::Api => Some(AppType::Api),
    }
}

/// A state.
pub(crate) fn state_to_proto(state: JobState) -> proto::JobState {
    match state {
        JobState::Pending => proto::JobState::Pending,
        JobState::Processing => proto::JobState::Processing,
        JobState::Completed => proto::JobState::Completed,
        JobState::Failed => proto::JobState::Failed,
        JobState::Cancelled => proto::JobState::Cancelled,
    }
}

/// A phase.
pub(crate) fn phase_to_proto(phase: AttemptPhase) -> proto::AttemptPhase {
    match phase {
        AttemptPhase::Claimed => proto::AttemptPhase::Claimed,
        AttemptPhase::Sending => proto::AttemptPhase::Sending,
        AttemptPhase::Queued => proto::AttemptPhase::Queued,
        AttemptPhase::Loading => proto::AttemptPhase::Loading,
        AttemptPhase::Generating => proto::AttemptPhase::Generating,
        AttemptPhase::Fetching => proto::AttemptPhase::Fetching,
        AttemptPhase::Saving => proto::AttemptPhase::Saving,
        AttemptPhase::OutcomeUnknown => proto::AttemptPhase::OutcomeUnknown,
        AttemptPhase::Ended => proto::AttemptPhase::Ended,
    }
}

fn hold_to_proto(reason: HoldReason) -> proto::HoldReason {
    match reason {
        HoldReason::NoServer => proto::HoldReason::NoServer,
        HoldReason::TargetUnknown => proto::HoldReason::TargetUnknown,
        HoldReason::ServerUnavailable => proto::HoldReason::ServerUnavailable,
        HoldReason::ServerCordoned => proto::HoldReason::ServerCordoned,
        HoldReason::ServerBusy => proto::HoldReason::ServerBusy,
        HoldReason::ModelMissing => proto::HoldReason::ModelMissing,
        HoldReason::ModelAmbiguous => proto::HoldReason::ModelAmbiguous,
        HoldReason::ModelServiceUnavailable => proto::HoldReason::ModelServiceUnavailable,
        HoldReason::RetryBackoff => proto::HoldReason::RetryBackoff,
        HoldReason::ServerLacksFeature => proto::HoldReason::ServerLacksFeature,
        HoldReason::AdoptedStale => proto::HoldReason::AdoptedStale,
        HoldReason::AdoptedUnreadable => proto::HoldReason::AdoptedUnreadable,
    }
}

fn outcome_to_proto(outcome: AttemptOutcome) -> proto::AttemptOutcome {
    match outcome {
        AttemptOutcome::Completed => proto::AttemptOutcome::Completed,
        AttemptOutcome::Refused => proto::AttemptOutcome::Refused,
        AttemptOutcome::HandedBack => proto::AttemptOutcome::HandedBack,
        AttemptOutcome::ServerLacksFeature => proto::AttemptOutcome::ServerLacksFeature,
        AttemptOutcome::PermanentError => proto::AttemptOutcome::PermanentError,
        AttemptOutcome::RetryableError => proto::AttemptOutcome::RetryableError,
        AttemptOutcome::WrongModel => proto::AttemptOutcome::WrongModel,
        AttemptOutcome::BrokenAnswer => proto::AttemptOutcome::BrokenAnswer,
        AttemptOutcome::Lost => proto::AttemptOutcome::Lost,
        AttemptOutcome::Cancelled => proto::AttemptOutcome::Cancelled,
        AttemptOutcome::Interrupted => proto::AttemptOutcome::Interrupted,
    }
}

fn event_type_to_proto(kind: EventType) -> proto::JobEventType {
    match kind {
        EventType::Submitted => proto::JobEventType::Submitted,
        EventType::Held => proto::JobEventType::Held,
        EventType::Claimed => proto::JobEventType::Claimed,
        EventType::PhaseChanged => proto::JobEventType::PhaseChanged,
        EventType::AttemptEnded => proto::JobEventType::AttemptEnded,
        EventType::CancelRequested => proto::JobEventType::CancelRequested,
        EventType::Completed => proto::JobEventType::Completed,
        EventType::Failed => proto::JobEventType::Failed,
        EventType::Cancelled => proto::JobEventType::Cancelled,
        EventType::Updated => proto::JobEventType::Updated,
        EventType::Deleted => proto::JobEventType::Deleted,
    }
}

fn verification_to_proto(verification: Verification) -> proto::Verification {
    match verification {
        Verification::Hash => proto::Verification::Hash,
        Verification::Name => proto::Verification::Name,
        Verification::Unverified => proto::Verification::Unverified,
    }
}

fn kind_to_proto(kind: ImageKind) -> proto::ImageKind {
    match kind {
        ImageKind::Sample => proto::ImageKind::Sample,
        ImageKind::Extra => proto::ImageKind::Extra,
        ImageKind::Partial => proto::ImageKind::Partial,
    }
}

fn app_type_to_proto(app_type: AppType) -> proto::AppType {
    match app_type {
        AppType::Forge => proto::AppType::Forge,
        AppType::Browser => proto::AppType::Browser,
        AppType::Api => proto::AppType::Api,
    }
}

fn endpoint_to_proto(endpoint: Endpoint) -> proto::Endpoint {
    match endpoint {
        Endpoint::Txt2img => proto::Endpoint::Txt2img,
        Endpoint::Img2img => proto::Endpoint::Img2img,
    }
}

fn role_to_proto(role: ModelRole) -> proto::ModelRole {
    match role {
        ModelRole::Checkpoint => proto::ModelRole::Checkpoint,
        ModelRole::HiresCheckpoint => proto::ModelRole::HiresCheckpoint,
        ModelRole::Refiner => proto::ModelRole::Refiner,
        ModelRole::Lora => proto::ModelRole::Lora,
    }
}
