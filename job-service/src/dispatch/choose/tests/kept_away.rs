//! Servers that are kept from a job: they cool down, their breaker is open, or
//! an attempt of it may still run there.

use super::*;

fn cooling(mut state: ServerState, subject: Subject) -> ServerState {
    let times = CooldownTimes {
        first: Duration::from_secs(60),
        most: Duration::from_secs(60),
    };
    let since = now().wall;
    state.cooldowns.failed(subject, "it failed", since, times);
    state
}

fn both_have_x() -> Findings {
    found(&[
        ("a", "x", available("x.safetensors")),
        ("b", "x", available("x.safetensors")),
    ])
}

#[test]
fn a_model_that_failed_on_a_server_goes_to_another_and_other_models_do_not() {
    let subject = || Subject::model("x.safetensors");
    let sick = || cooling(state("a", "x.safetensors", 0), subject());
    let board_of_two = board(vec![sick(), state("b", "", 9)]);
    let free = names(&["a", "b"]);
    let mut findings = both_have_x();
    let past = Past::default();
    let verdict = judge(&job(Some("x"), ""), &board_of_two, &free, &past, &findings);
    assert_eq!(server_of(verdict), "b");
    findings.extend(found(&[("a", "y", available("y"))]));
    let verdict = judge(&job(Some("y"), "a"), &board_of_two, &free, &past, &findings);
    assert_eq!(server_of(verdict), "a", "only that pair");
    let alone = board(vec![sick()]);
    let verdict = judge(&job(Some("x"), ""), &alone, &free, &past, &findings);
    let Verdict::Cool { message, until } = verdict else {
        panic!("{verdict:?}");
    };
    assert_eq!(until, now().wall + Duration::from_secs(60));
    for part in ["a is not given x.safetensors until", "it failed"] {
        assert!(message.contains(part), "{message}");
    }
    let verdict = judge(
        &job(Some("x"), ""),
        &board_of_two,
        &names(&["a"]),
        &past,
        &findings,
    );
    assert_eq!(reason_of(verdict).0, HoldReason::ServerBusy, "b is sooner");
}

#[test]
fn a_size_that_failed_on_a_server_lets_smaller_ones_pass() {
    let board = board(vec![cooling(state("a", "", 0), Subject::Pixels(5_000))]);
    let free = names(&["a"]);
    for (pixels, runs) in [
        (Some(4_999), true),
        (Some(5_000), false),
        (Some(90_000), false),
        (None, true),
    ] {
        let sized = QueuedJob {
            pixels,
            ..job(Some("x"), "")
        };
        let verdict = judge(&sized, &board, &free, &Past::default(), &both_have_x());
        assert_eq!(
            matches!(verdict, Verdict::Run { .. }),
            runs,
            "{pixels:?}: {verdict:?}"
        );
    }
}

#[test]
fn an_open_breaker_sends_jobs_elsewhere_and_tells_until_when() {
    let mut broken = state("a", "x.safetensors", 0);
    let times = OpenTimes {
        first: Duration::from_secs(30),
        most: Duration::from_secs(30),
    };
    broken.breaker.open("it burns", now(), times);
    assert!(!broken.is_free());
    let free = names(&["b"]);
    let two = board(vec![broken.clone(), state("b", "", 9)]);
    let past = Past::default();
    let verdict = judge(&job(Some("x"), ""), &two, &free, &past, &both_have_x());
    assert_eq!(server_of(verdict), "b");
    let lacks = found(&[
        ("a", "x", available("x.safetensors")),
        ("b", "x", Finding::Missing),
    ]);
    let verdict = judge(&job(Some("x"), ""), &two, &free, &past, &lacks);
    let Verdict::Cool { message, until } = verdict else {
        panic!("{verdict:?}");
    };
    assert_eq!(until, now().wall + Duration::from_secs(30));
    assert!(message.contains("it burns"), "{message}");
}

#[test]
fn a_server_where_an_attempt_may_still_run_is_barred() {
    let board_of_two = board(vec![state("a", "x", 0), state("b", "", 9)]);
    let free = names(&["a", "b"]);
    let past = Past {
        barred: names(&["a"]),
        ..Past::default()
    };
    let verdict = judge(
        &job(Some("x"), ""),
        &board_of_two,
        &free,
        &past,
        &both_have_x(),
    );
    assert_eq!(server_of(verdict), "b");
    let verdict = judge(
        &job(Some("x"), "a"),
        &board_of_two,
        &free,
        &past,
        &both_have_x(),
    );
    assert_eq!(reason_of(verdict).0, HoldReason::ServerUnavailable);
}

#[test]
fn a_job_that_wants_to_fail_fast_does_so_on_fresh_absences_from_all_only() {
    let listed_at = |alias: &str, seconds: u64| ServerState {
        listed: Some(Listed {
            listing: std::sync::Arc::new(Listing::default()),
            at: Duration::from_secs(seconds),
            for_a_job: None,
        }),
        ..state(alias, "", 0)
    };
    let fast = |models| {
        let mut job = job(models, "");
        job.policy.availability = AvailabilityPolicy::FailFast;
        job
    };
    let free = names(&["a", "b"]);
    let nobody = found(&[("a", "x", Finding::Missing), ("b", "x", Finding::Missing)]);
    let verdict_on = |servers: Vec<ServerState>, findings: &Findings| {
        let past = Past::default();
        judge(&fast(Some("x")), &board(servers), &free, &past, findings)
    };
    let both = || vec![listed_at("a", 1_000), listed_at("b", 940)];
    let verdict = verdict_on(both(), &nobody);
    let Verdict::Fail { message } = verdict else {
        panic!("{verdict:?}");
    };
    assert_eq!(message, "a lacks x; b lacks x");
    let stale = vec![listed_at("a", 1_000), listed_at("b", 939)];
    assert!(matches!(verdict_on(stale, &nobody), Verdict::Wait(_)));
    let mut sick = both();
    sick[1].status.health = Health::Unreachable;
    assert!(matches!(verdict_on(sick, &nobody), Verdict::Wait(_)));
    let mut there_by_now = both();
    there_by_now[1].listed = Some(Listed {
        listing: std::sync::Arc::new(Listing {
            checkpoints: vec![ListedCheckpoint {
                title: "x.safetensors".to_owned(),
                model_name: "x".to_owned(),
                filename: "/models/x.safetensors".to_owned(),
                sha256: None,
                hash: None,
            }],
            ..Listing::default()
        }),
        at: Duration::from_secs(1_000),
        for_a_job: None,
    });
    let verdict = verdict_on(there_by_now, &nobody);
    assert!(
        matches!(verdict, Verdict::Wait(_)),
        "it is on its way to model-service"
    );
    let unknown = found(&[("a", "x", Finding::Missing), ("b", "x", Finding::Unknown)]);
    assert!(matches!(verdict_on(both(), &unknown), Verdict::Wait(_)));
    let past = Past::default();
    let verdict = judge(&job(Some("x"), ""), &board(both()), &free, &past, &nobody);
    assert!(matches!(verdict, Verdict::Wait(Some(_))), "it may wait");
}
