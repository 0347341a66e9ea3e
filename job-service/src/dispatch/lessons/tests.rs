use chrono::DateTime;

use super::*;
use crate::job::{AttemptPhase, ResolvedModel};

fn attempt() -> Attempt {
    let model = |title: &str| ResolvedModel {
        reference: title.to_owned(),
        title: title.to_owned(),
        sha256: None,
    };
    Attempt {
        job_id: "job".to_owned(),
        number: 1,
        run: 1,
        token: "t".to_owned(),
        server: "gpu".to_owned(),
        server_process: None,
        phase: AttemptPhase::Generating,
        outcome: None,
        spent: true,
        claimed_at: DateTime::UNIX_EPOCH,
        sent_at: None,
        ended_at: None,
        error_code: None,
        http_status: None,
        message: None,
        models: vec![model("base.safetensors"), model("ink")],
        last_phase: None,
        loading_ms: None,
        generating_ms: None,
        possible_repeat: false,
        recoveries: 0,
    }
}

fn failure(outcome: AttemptOutcome, code: &'static str) -> Failure {
    Failure {
        model: Some("ink".to_owned()),
        ..Failure::new(outcome, code, "why")
    }
}

#[test]
fn only_what_the_server_may_be_to_blame_for_counts_against_it() {
    use AttemptOutcome::*;
    for (outcome, code, wanted) in [
        (
            RetryableError,
            outcome::OTHER_ERROR,
            Some(Suspect::Job("job")),
        ),
        (BrokenAnswer, "BROKEN_ANSWER", Some(Suspect::Job("job"))),
        (Lost, "ANSWER_LOST", Some(Suspect::Job("job"))),
        (WrongModel, outcome::WRONG_MODEL, Some(Suspect::Job("job"))),
        (Refused, outcome::UNREACHABLE, Some(Suspect::Server)),
        (RetryableError, outcome::POISONED, Some(Suspect::Server)),
        (Refused, "FORGE_UNAUTHENTICATED", Some(Suspect::Server)),
        (Refused, "FORGE_API_MISSING", Some(Suspect::Server)),
        (RetryableError, outcome::OUT_OF_MEMORY, None),
        (RetryableError, outcome::MODEL_UNREADABLE, None),
        (PermanentError, "FORGE_VALIDATION", None),
        (ServerLacksFeature, "LACKS_SAMPLER", None),
        (Interrupted, "INTERRUPTED", None),
    ] {
        let suspect = suspect(&failure(outcome, code), "job");
        assert_eq!(suspect, wanted, "{code}");
    }
}

#[test]
fn the_model_or_the_size_that_failed_is_named() {
    use AttemptOutcome::*;
    let checkpoint = Some(Blame::Model("base.safetensors".to_owned()));
    let lora = Some(Blame::Model("ink".to_owned()));
    for (outcome, code, wanted, not_there) in [
        (
            RetryableError,
            outcome::OUT_OF_MEMORY,
            Some(Blame::Size),
            false,
        ),
        (
            RetryableError,
            outcome::MODEL_UNREADABLE,
            checkpoint.clone(),
            false,
        ),
        (WrongModel, outcome::WRONG_MODEL, checkpoint, true),
        (WrongModel, outcome::LORA_NOT_APPLIED, lora.clone(), true),
        (ServerLacksFeature, outcome::CHECKPOINT_MISSING, lora, true),
        (RetryableError, outcome::OTHER_ERROR, None, false),
        (RetryableError, outcome::POISONED, None, false),
    ] {
        let failure = failure(outcome, code);
        assert_eq!(blame(&failure, &attempt()), wanted, "{code}");
        assert_eq!(is_not_there(&failure), not_there, "{code}");
    }
}
