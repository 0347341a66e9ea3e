use std::collections::BTreeMap;

use chrono::DateTime;

use super::*;
use crate::job::{AppType, AttemptPhase, Endpoint, JobState};

fn job(spent: i32, most: i32) -> Job {
    Job {
        id: "job".to_owned(),
        state: JobState::Processing,
        hold: None,
        run: 1,
        attempt_number: spent,
        attempts_spent: spent,
        attempts_max: most,
        priority: 0,
        target_server: String::new(),
        created_at: DateTime::UNIX_EPOCH,
        updated_at: DateTime::UNIX_EPOCH,
        completed_at: None,
        cancel_requested_at: None,
        not_before: None,
        error: None,
        result_json: None,
        labels: BTreeMap::new(),
        app_type: AppType::Api,
        source_info: String::new(),
        endpoint: Endpoint::Txt2img,
        seed: 1,
        subseed: 1,
        models: Vec::new(),
        resolved_checkpoint: None,
        batch_id: None,
        key_id: None,
        revision: 1,
    }
}

fn attempt() -> Attempt {
    Attempt {
        job_id: "job".to_owned(),
        number: 1,
        run: 1,
        token: "token".to_owned(),
        server: "gpu".to_owned(),
        server_process: None,
        phase: AttemptPhase::Sending,
        outcome: None,
        spent: true,
        claimed_at: DateTime::UNIX_EPOCH,
        sent_at: None,
        ended_at: None,
        error_code: None,
        http_status: None,
        message: None,
        models: Vec::new(),
    }
}

fn after(outcome: AttemptOutcome, spent: i32, most: i32, others_left: bool) -> Next {
    let failure = Failure::new(outcome, "CODE", "words");
    after_failure(
        &job(spent, most),
        &attempt(),
        &failure,
        Elsewhere {
            others_left,
            failed_alike: false,
        },
        DateTime::UNIX_EPOCH,
        1.0,
        &Pace::default(),
    )
}

#[test]
fn an_attempt_that_never_reached_the_server_uses_nothing_up() {
    for outcome in [AttemptOutcome::Refused, AttemptOutcome::HandedBack] {
        assert!(!outcome.is_spent());
        let next = after(outcome, 3, 3, false);
        assert!(
            matches!(
                next,
                Next::Pending {
                    not_before: None,
                    ..
                }
            ),
            "{next:?}"
        );
    }
}

#[test]
fn a_job_that_can_never_work_fails_at_once_with_the_servers_words() {
    let next = after(AttemptOutcome::PermanentError, 1, 3, true);
    let Next::Failed {
        code,
        message,
        result_json,
    } = next
    else {
        panic!("{next:?}");
    };
    assert_eq!((code.as_str(), message.as_str()), ("CODE", "words"));
    assert!(result_json.contains(r#""server":"gpu""#), "{result_json}");
}

#[test]
fn what_one_server_lacks_fails_only_when_no_other_is_left() {
    let next = after(AttemptOutcome::ServerLacksFeature, 1, 3, true);
    assert!(matches!(next, Next::Pending { .. }), "{next:?}");
    let next = after(AttemptOutcome::ServerLacksFeature, 1, 3, false);
    assert!(matches!(next, Next::Failed { .. }), "{next:?}");
}

#[test]
fn retries_wait_longer_each_time_and_end_with_the_limit() {
    let wait = |spent| match after(AttemptOutcome::RetryableError, spent, 10, true) {
        Next::Pending {
            not_before: Some(at),
            hold: Some((reason, words)),
        } => {
            assert_eq!(reason, HoldReason::RetryBackoff);
            assert!(words.contains("words"), "{words}");
            (at - DateTime::UNIX_EPOCH).num_milliseconds()
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(
        [wait(1), wait(2), wait(3), wait(9)],
        [1_000, 2_000, 4_000, 60_000]
    );
    let next = after(AttemptOutcome::RetryableError, 3, 3, true);
    let Next::Failed { message, .. } = next else {
        panic!("{next:?}");
    };
    assert!(message.contains("all 3 attempts are used"), "{message}");
}

#[test]
fn a_generation_known_to_be_gone_is_repeated_without_waiting() {
    let next = after(AttemptOutcome::Lost, 1, 3, true);
    assert!(
        matches!(
            next,
            Next::Pending {
                not_before: None,
                ..
            }
        ),
        "{next:?}"
    );
}
