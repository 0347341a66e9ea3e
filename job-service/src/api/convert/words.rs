//! Between the closed sets of words of the domain and those of the wire.

use stablequeue_proto::jobs::v1 as proto;

use crate::job::{
    AppType, AttemptOutcome, AttemptPhase, Endpoint, EventType, HoldReason, ImageKind, JobState,
    ModelRole, Verification,
};

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

pub(super) fn hold_to_proto(reason: HoldReason) -> proto::HoldReason {
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
        HoldReason::CoolingDown => proto::HoldReason::CoolingDown,
    }
}

pub(super) fn outcome_to_proto(outcome: AttemptOutcome) -> proto::AttemptOutcome {
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
        AttemptOutcome::Abandoned => proto::AttemptOutcome::Abandoned,
        AttemptOutcome::Expired => proto::AttemptOutcome::Expired,
        AttemptOutcome::Crashed => proto::AttemptOutcome::Crashed,
    }
}

/// An outcome that a policy names; `None` for none and for an unknown one.
pub(crate) fn outcome_from_proto(value: i32) -> Option<AttemptOutcome> {
    let value = proto::AttemptOutcome::try_from(value).ok()?;
    let named = |outcome: &&AttemptOutcome| outcome_to_proto(**outcome) == value;
    AttemptOutcome::ALL.iter().find(named).copied()
}

pub(super) fn event_type_to_proto(kind: EventType) -> proto::JobEventType {
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
        EventType::Retried => proto::JobEventType::Retried,
    }
}

pub(super) fn verification_to_proto(verification: Verification) -> proto::Verification {
    match verification {
        Verification::Hash => proto::Verification::Hash,
        Verification::Name => proto::Verification::Name,
        Verification::Unverified => proto::Verification::Unverified,
    }
}

pub(super) fn kind_to_proto(kind: ImageKind) -> proto::ImageKind {
    match kind {
        ImageKind::Sample => proto::ImageKind::Sample,
        ImageKind::Extra => proto::ImageKind::Extra,
        ImageKind::Partial => proto::ImageKind::Partial,
    }
}

pub(super) fn app_type_to_proto(app_type: AppType) -> proto::AppType {
    match app_type {
        AppType::Forge => proto::AppType::Forge,
        AppType::Browser => proto::AppType::Browser,
        AppType::Api => proto::AppType::Api,
    }
}

pub(super) fn endpoint_to_proto(endpoint: Endpoint) -> proto::Endpoint {
    match endpoint {
        Endpoint::Txt2img => proto::Endpoint::Txt2img,
        Endpoint::Img2img => proto::Endpoint::Img2img,
    }
}

pub(super) fn role_to_proto(role: ModelRole) -> proto::ModelRole {
    match role {
        ModelRole::Checkpoint => proto::ModelRole::Checkpoint,
        ModelRole::HiresCheckpoint => proto::ModelRole::HiresCheckpoint,
        ModelRole::Refiner => proto::ModelRole::Refiner,
        ModelRole::Lora => proto::ModelRole::Lora,
    }
}
