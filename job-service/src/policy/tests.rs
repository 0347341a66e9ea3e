use super::*;

const DEFAULT: Backoff = Backoff {
    first: Duration::from_secs(1),
    most: Duration::from_secs(60),
};

fn bounds(initial_ms: Option<u64>, max_ms: Option<u64>) -> (u128, u128) {
    let policy = JobPolicy {
        initial_backoff_ms: initial_ms,
        max_backoff_ms: max_ms,
        ..JobPolicy::default()
    };
    let Backoff { first, most } = policy.backoff(DEFAULT);
    (first.as_millis(), most.as_millis())
}

#[test]
fn a_bound_that_is_set_alone_draws_the_other_one_along() {
    assert_eq!(bounds(None, None), (1_000, 60_000));
    assert_eq!(bounds(Some(5), Some(7)), (5, 7));
    assert_eq!(bounds(Some(90_000), None), (90_000, 90_000));
    assert_eq!(bounds(None, Some(0)), (0, 0));
    assert_eq!(bounds(Some(0), None), (0, 60_000));
}

#[test]
fn waits_double_up_to_their_bound_and_no_number_overflows_them() {
    let secs = |retry| DEFAULT.longest(retry).as_secs();
    assert_eq!([0, 1, 2, 5, 6, u32::MAX].map(secs), [1, 2, 4, 32, 60, 60]);
    let none = Backoff {
        first: Duration::ZERO,
        most: Duration::ZERO,
    };
    assert_eq!(none.longest(9), Duration::ZERO);
    // The smallest first wait still reaches the largest bound.
    let long = Backoff {
        first: Duration::from_millis(1),
        most: Duration::from_secs(24 * 3600),
    };
    assert_eq!(long.longest(u32::MAX), long.most);
}

#[test]
fn what_does_not_count_is_repeated_at_once_and_then_ever_slower() {
    assert_eq!(unspent_wait(0, 1.0), Duration::ZERO);
    assert_eq!(unspent_wait(1, 1.0), UNSPENT_FIRST);
    assert_eq!(unspent_wait(1, 0.0), UNSPENT_FIRST / 2);
    for before in 1..40 {
        assert!(unspent_wait(before, 0.0) >= UNSPENT_FIRST / 2);
        assert!(unspent_wait(before, 1.0) <= UNSPENT_MOST);
        assert!(unspent_wait(before + 1, 0.5) >= unspent_wait(before, 0.5));
    }
    assert_eq!(unspent_wait(u32::MAX, 1.0), UNSPENT_MOST);
}

#[test]
fn an_empty_list_retries_everything_and_another_only_what_it_names() {
    let all = JobPolicy::default();
    let lost_only = JobPolicy {
        retry_on: vec!["lost".to_owned()],
        ..JobPolicy::default()
    };
    for outcome in RETRYABLE {
        assert!(all.retries(outcome));
        assert_eq!(
            lost_only.retries(outcome),
            outcome == AttemptOutcome::Lost,
            "{outcome}"
        );
    }
    // What is no choice of the policy is not refused by it.
    assert!(lost_only.retries(AttemptOutcome::Refused));
    assert!(lost_only.retries(AttemptOutcome::Abandoned));
}

#[test]
fn deadlines_count_from_the_beginning_of_the_run() {
    let began = DateTime::UNIX_EPOCH + TimeDelta::microseconds(1_500);
    let policy = JobPolicy {
        wait_timeout_ms: Some(1_000),
        total_timeout_ms: Some(366 * 24 * 3_600_000),
        ..JobPolicy::default()
    };
    let ms = |at: Option<DateTime<Utc>>| at.map(|at| at.timestamp_millis());
    assert_eq!(ms(policy.wait_until(began)), Some(1_001));
    assert_eq!(
        ms(policy.deadline_at(began)),
        Some(366 * 24 * 3_600_000 + 1)
    );
    assert_eq!(JobPolicy::default().deadline_at(began), None);
}

#[test]
fn what_is_kept_is_what_was_set_and_reads_back() {
    assert_eq!(serde_json::to_string(&JobPolicy::default()).unwrap(), "{}");
    let policy = JobPolicy {
        unknown_retry_after_ms: Some(5),
        retry_on: vec!["lost".to_owned()],
        availability: AvailabilityPolicy::FailFast,
        download_missing: Some(DownloadPolicy::Never),
        ..JobPolicy::default()
    };
    let text = serde_json::to_string(&policy).unwrap();
    assert_eq!(
        text,
        r#"{"retry_on":["lost"],"unknown_retry_after_ms":5,"availability":"fail_fast","download_missing":"never"}"#
    );
    assert_eq!(serde_json::from_str::<JobPolicy>(&text).unwrap(), policy);
}
