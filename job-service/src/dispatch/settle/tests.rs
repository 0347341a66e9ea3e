use std::collections::BTreeMap;

use chrono::DateTime;

use super::*;
use crate::{
    job::{AppType, AttemptPhase, Endpoint, HoldReason, JobState},
    policy::{Backoff, JobPolicy},
};

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
        policy: JobPolicy::default(),
        run_began_at: DateTime::UNIX_EPOCH,
        wait_until: None,
        deadline_at: None,
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
        last_phase: None,
        loading_ms: None,
        generating_ms: None,
        possible_repeat: false,
        recoveries: 0,
    }
}

fn waits(unspent_before: u32) -> Waits {
    Waits {
        backoff: Backoff {
            first: Duration::from_secs(1),
            most: Duration::from_secs(60),
        },
        unspent_before,
        jitter: 1.0,
    }
}

fn after(outcome: AttemptOutcome, spent: i32, most: i32, others_left: bool) -> Next {
    let failure = Failure::new(outcome, "CODE", "words");
    follows(&job(spent, most), &failure, others_left, waits(0))
}

fn follows(job: &Job, failure: &Failure, others_left: bool, waits: Waits) -> Next {
    after_failure(
        job,
        &attempt(),
        failure,
        Elsewhere {
            others_left,
            failed_alike: false,
        },
        DateTime::UNIX_EPOCH,
        waits,
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

fn wait_of(next: &Next) -> Duration {
    match next {
        Next::Pending { not_before, .. } => not_before.map_or(Duration::ZERO, |at| {
            (at - DateTime::UNIX_EPOCH).to_std().unwrap()
        }),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_uses_nothing_up_is_tried_ever_slower() {
    let refused = Failure::new(AttemptOutcome::Refused, "CODE", "words");
    let poisoned = Failure::new(
        AttemptOutcome::RetryableError,
        crate::outcome::POISONED,
        "w",
    );
    for failure in [refused, poisoned] {
        assert!(!failure.is_spent());
        let wait = |before| wait_of(&follows(&job(3, 3), &failure, true, waits(before)));
        assert_eq!(wait(0), Duration::ZERO);
        assert!(wait(1) > Duration::ZERO);
        assert!(wait(1) < wait(2) && wait(2) < wait(4));
        assert!(wait(20) <= Duration::from_secs(30));
    }
}

#[test]
fn a_policy_that_names_outcomes_fails_the_job_after_the_others() {
    let mut job = job(1, 3);
    job.policy.retry_on = vec!["lost".to_owned()];
    let broken = Failure::new(AttemptOutcome::BrokenAnswer, "CODE", "words");
    let next = follows(&job, &broken, true, waits(0));
    let Next::Failed { code, message, .. } = next else {
        panic!("{next:?}");
    };
    assert_eq!(code, "CODE");
    assert!(message.contains("broken_answer: words"), "{message}");
    let lost = Failure::new(AttemptOutcome::Lost, "CODE", "words");
    assert_eq!(
        wait_of(&follows(&job, &lost, true, waits(0))),
        Duration::ZERO
    );
    // That is no choice of the policy.
    let refused = Failure::new(AttemptOutcome::Refused, "CODE", "words");
    assert_eq!(
        wait_of(&follows(&job, &refused, true, waits(0))),
        Duration::ZERO
    );
}

#[test]
fn an_attempt_given_up_is_followed_by_another_while_there_is_one_left() {
    let given_up = Failure::new(AttemptOutcome::Abandoned, "OUTCOME_UNKNOWN", "words");
    assert!(given_up.is_spent());
    let next = follows(&job(1, 3), &given_up, true, waits(0));
    assert_eq!(wait_of(&next), Duration::ZERO);
    let next = follows(&job(3, 3), &given_up, true, waits(0));
    assert!(matches!(next, Next::Failed { .. }), "{next:?}");
}

#[test]
fn a_job_that_can_never_work_fails_at_once_with_the_servers_words() {
    let next = after(AttemptOutcome::PermanentError, 1, 3, true);
    let Next::Failed {
        code,
        message,
        result_json,
        images: _,
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
