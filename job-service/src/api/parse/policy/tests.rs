use super::*;

fn time(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

fn parsed(given: proto::JobPolicy) -> Result<JobPolicy, Vec<String>> {
    let mut violations = Vec::new();
    let policy = policy(Some(given), &mut violations);
    let words = |violation: Violation| format!("{}: {}", violation.path, violation.description);
    match violations.is_empty() {
        true => Ok(policy),
        false => Err(violations.into_iter().map(words).collect()),
    }
}

fn refused(given: proto::JobPolicy) -> String {
    let faults = parsed(given).unwrap_err();
    assert_eq!(faults.len(), 1, "{faults:?}");
    faults.into_iter().next().unwrap()
}

#[test]
fn none_and_an_empty_one_are_the_default() {
    assert_eq!(policy(None, &mut Vec::new()), JobPolicy::default());
    assert_eq!(
        parsed(proto::JobPolicy::default()),
        Ok(JobPolicy::default())
    );
}

#[test]
fn every_field_is_kept_in_milliseconds() {
    let whole = parsed(proto::JobPolicy {
        wait_timeout: time(1),
        total_timeout: time(366 * 24 * 3600),
        initial_backoff: time(3600),
        max_backoff: time(24 * 3600),
        retry_on: vec![
            proto::AttemptOutcome::Lost.into(),
            proto::AttemptOutcome::WrongModel.into(),
            proto::AttemptOutcome::Lost.into(),
        ],
        unknown_policy: proto::UnknownPolicy::RetryAfter.into(),
        unknown_retry_after: Some(prost_types::Duration {
            seconds: 1,
            nanos: 1,
        }),
        availability: proto::AvailabilityPolicy::Prefer.into(),
        download_missing: proto::DownloadMissingPolicy::Allow.into(),
    });
    let expected = JobPolicy {
        wait_timeout_ms: Some(1_000),
        total_timeout_ms: Some(366 * 24 * 3_600_000),
        initial_backoff_ms: Some(3_600_000),
        max_backoff_ms: Some(24 * 3_600_000),
        retry_on: vec!["wrong_model".to_owned(), "lost".to_owned()],
        unknown_retry_after_ms: Some(1_001),
        availability: AvailabilityPolicy::Prefer,
        download_missing: Some(DownloadPolicy::Allow),
    };
    assert_eq!(whole, Ok(expected));
}

#[test]
fn a_time_out_of_its_bounds_is_told_with_them() {
    let days = 24 * 3600;
    for seconds in [-1, 0, 366 * days + 1] {
        let wait = proto::JobPolicy {
            wait_timeout: time(seconds),
            ..proto::JobPolicy::default()
        };
        assert_eq!(
            refused(wait),
            "policy.wait_timeout: must be 1 s to 366 days"
        );
        let total = proto::JobPolicy {
            total_timeout: time(seconds),
            ..proto::JobPolicy::default()
        };
        assert_eq!(
            refused(total),
            "policy.total_timeout: must be 1 s to 366 days"
        );
        let unknown = proto::JobPolicy {
            unknown_policy: proto::UnknownPolicy::RetryAfter.into(),
            unknown_retry_after: time(seconds),
            ..proto::JobPolicy::default()
        };
        assert_eq!(
            refused(unknown),
            "policy.unknown_retry_after: must be 1 s to 7 days"
        );
    }
    let initial = proto::JobPolicy {
        initial_backoff: time(3601),
        ..proto::JobPolicy::default()
    };
    assert_eq!(
        refused(initial),
        "policy.initial_backoff: must be 0 to 1 hour"
    );
    let most = proto::JobPolicy {
        max_backoff: time(days + 1),
        ..proto::JobPolicy::default()
    };
    assert_eq!(refused(most), "policy.max_backoff: must be 0 to 24 hours");
}

#[test]
fn fields_that_do_not_go_together_are_told() {
    let backwards = proto::JobPolicy {
        initial_backoff: time(3),
        max_backoff: time(2),
        ..proto::JobPolicy::default()
    };
    assert_eq!(
        refused(backwards),
        "policy.max_backoff: must not be less than policy.initial_backoff"
    );
    let without_time = proto::JobPolicy {
        unknown_policy: proto::UnknownPolicy::RetryAfter.into(),
        ..proto::JobPolicy::default()
    };
    let fault = refused(without_time);
    assert!(
        fault.starts_with("policy.unknown_retry_after: is required"),
        "{fault}"
    );
    for word in [
        proto::UnknownPolicy::Wait,
        proto::UnknownPolicy::Unspecified,
    ] {
        let needless_time = proto::JobPolicy {
            unknown_policy: word.into(),
            unknown_retry_after: time(5),
            ..proto::JobPolicy::default()
        };
        let fault = refused(needless_time);
        assert!(
            fault.starts_with("policy.unknown_retry_after: must be absent"),
            "{fault}"
        );
    }
}

#[test]
fn only_the_five_outcomes_can_be_chosen() {
    use proto::AttemptOutcome as Wire;
    let chosen = |outcome: i32| proto::JobPolicy {
        retry_on: vec![outcome],
        ..proto::JobPolicy::default()
    };
    let mut taken = 0;
    for value in (0..=14).chain([99]) {
        match parsed(chosen(value)) {
            Ok(policy) => {
                taken += 1;
                assert_eq!(policy.retry_on.len(), 1);
            }
            Err(faults) => {
                assert!(
                    faults[0].starts_with("policy.retry_on[0]: must be"),
                    "{faults:?}"
                );
            }
        }
    }
    assert_eq!(taken, 5);
    assert!(parsed(chosen(Wire::Interrupted.into())).is_ok());
    assert!(parsed(chosen(Wire::Refused.into())).is_err());
}

#[test]
fn too_many_outcomes_are_told_once() {
    let many = proto::JobPolicy {
        retry_on: vec![i32::MAX; OUTCOMES_MAX + 1],
        ..proto::JobPolicy::default()
    };
    let told = refused(many);
    assert_eq!(told, "policy.retry_on: must have at most 16 items");
}

#[test]
fn words_that_do_not_exist_are_told() {
    let faults = parsed(proto::JobPolicy {
        unknown_policy: 9,
        availability: 9,
        download_missing: 9,
        ..proto::JobPolicy::default()
    });
    let faults = faults.unwrap_err().join("\n");
    assert!(
        faults.contains("policy.unknown_policy: 9 is not"),
        "{faults}"
    );
    assert!(faults.contains("policy.availability: 9 is not"), "{faults}");
    assert!(
        faults.contains("policy.download_missing: 9 is not"),
        "{faults}"
    );
}
