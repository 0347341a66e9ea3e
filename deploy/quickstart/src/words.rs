//! The words for phases, holds and verification. Pure.

use stablequeue_proto::jobs::v1::{AttemptPhase, HoldReason, Verification};

/// What an attempt does in a phase.
pub(crate) fn phase(phase: AttemptPhase) -> &'static str {
    match phase {
        AttemptPhase::Unspecified => "working",
        AttemptPhase::Claimed => "claimed",
        AttemptPhase::Sending => "sending",
        AttemptPhase::Queued => "queued",
        AttemptPhase::Loading => "loading the checkpoint",
        AttemptPhase::Generating => "generating",
        AttemptPhase::Fetching => "fetching",
        AttemptPhase::Saving => "saving",
        AttemptPhase::OutcomeUnknown => "finding out what became of it",
        AttemptPhase::Ended => "ended",
    }
}

/// Why a job waits: the service's own words where it has some.
pub(crate) fn hold(reason: HoldReason, message: &str) -> String {
    if reason == HoldReason::Unspecified && message.is_empty() {
        "for its turn".to_owned()
    } else if message.is_empty() {
        let name = reason.as_str_name();
        name.trim_start_matches("HOLD_REASON_")
            .replace('_', " ")
            .to_lowercase()
    } else {
        message.to_owned()
    }
}

/// Whether waiting is enough: nobody has to do anything.
pub(crate) fn passes_by_itself(reason: HoldReason) -> bool {
    match reason {
        HoldReason::Unspecified | HoldReason::ServerBusy | HoldReason::RetryBackoff => true,
        HoldReason::NoServer
        | HoldReason::TargetUnknown
        | HoldReason::ServerUnavailable
        | HoldReason::ServerCordoned
        | HoldReason::ModelMissing
        | HoldReason::ModelAmbiguous
        | HoldReason::ModelServiceUnavailable
        | HoldReason::ServerLacksFeature
        | HoldReason::AdoptedStale
        | HoldReason::AdoptedUnreadable
        | HoldReason::CoolingDown => false,
    }
}

/// How sure it is which model made an image.
pub(crate) fn verification(verification: Verification) -> &'static str {
    match verification {
        Verification::Hash => "verified by its hash",
        Verification::Name => "verified by its name",
        Verification::Unverified | Verification::Unspecified => {
            "not verified, because the server does not say"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_without_a_message_is_told_by_its_reason() {
        assert_eq!(hold(HoldReason::ServerBusy, ""), "server busy");
        assert_eq!(hold(HoldReason::Unspecified, ""), "for its turn");
        assert_eq!(hold(HoldReason::ServerBusy, "gpu is busy"), "gpu is busy");
    }
}
