use chrono::DateTime;
use serde_json::json;

use super::*;
use crate::{
    board::{Listed, ServerStatus},
    breaker::{Breaker, OpenTimes},
    cooldowns::{CooldownTimes, Cooldowns},
    dispatch::forge::{ListedCheckpoint, Listing},
    server::{Health, Server, Usage},
    store::queue::Place,
};

#[path = "tests/kept_away.rs"]
mod kept_away;

fn state(alias: &str, loaded: &str, last_given: u64) -> ServerState {
    let serde_json::Value::Object(baseline) = json!({"sd_model_checkpoint": "base.safetensors"})
    else {
        panic!("an object");
    };
    ServerState {
        server: Server {
            alias: alias.to_owned(),
            base_url: format!("http://{alias}"),
            usage: Usage::Dedicated,
            labels: BTreeMap::new(),
            enabled: true,
            cordoned: false,
            cordon_reason: String::new(),
            baseline: Some(baseline),
            created_at: DateTime::UNIX_EPOCH,
            updated_at: DateTime::UNIX_EPOCH,
            revision: 1,
            api_login: None,
            ui_login: None,
            interrupts_allowed: false,
        },
        status: ServerStatus {
            health: Health::Healthy,
            checkpoint: loaded.to_owned(),
            ..ServerStatus::default()
        },
        running_job: None,
        last_given,
        breaker: Breaker::default(),
        cooldowns: Cooldowns::default(),
        listed: None,
        clearing: false,
    }
}

fn board(states: Vec<ServerState>) -> BTreeMap<String, ServerState> {
    states
        .into_iter()
        .map(|state| (state.server.alias.clone(), state))
        .collect()
}

fn job(checkpoint: Option<&str>, target: &str) -> QueuedJob {
    QueuedJob {
        id: "job".to_owned(),
        place: Place {
            priority: 0,
            rank: 1,
        },
        target_server: target.to_owned(),
        models: checkpoint
            .map(|reference| Requirement {
                role: ModelRole::Checkpoint,
                reference: reference.to_owned(),
            })
            .into_iter()
            .collect(),
        resolved_checkpoint: None,
        not_before: None,
        hold: None,
        attempt_number: 0,
        run: 1,
        policy: crate::policy::JobPolicy::default(),
        pixels: Some(4_096),
    }
}

fn found(entries: &[(&str, &str, Finding)]) -> Findings {
    entries
        .iter()
        .map(|(server, text, finding)| {
            let reference = Reference {
                is_lora: false,
                text: (*text).to_owned(),
            };
            (((*server).to_owned(), reference), finding.clone())
        })
        .collect()
}

fn available(title: &str) -> Finding {
    Finding::Available {
        title: title.to_owned(),
        sha256: None,
    }
}

/// The time of all these tests.
fn now() -> Moment {
    Moment {
        monotonic: Duration::from_secs(1_000),
        wall: DateTime::UNIX_EPOCH,
    }
}

fn judge(
    job: &QueuedJob,
    board: &BTreeMap<String, ServerState>,
    free: &HashSet<String>,
    past: &Past,
    findings: &Findings,
) -> Verdict {
    let present = Present {
        board,
        free,
        now: now(),
        fresh_for: Duration::from_secs(60),
    };
    super::judge(job, present, past, findings)
}

fn names(names: &[&str]) -> HashSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn refused_by(servers: &[&str]) -> Past {
    Past {
        refused_by: names(servers),
        ..Past::default()
    }
}

fn server_of(verdict: Verdict) -> String {
    match verdict {
        Verdict::Run { server, .. } => server,
        other => panic!("it does not run: {other:?}"),
    }
}

fn reason_of(verdict: Verdict) -> (HoldReason, String) {
    match verdict {
        Verdict::Wait(Some(hold)) => hold,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_job_goes_only_where_its_model_is() {
    let board = board(vec![state("a", "", 0), state("b", "", 5)]);
    let findings = found(&[
        ("a", "x", Finding::Missing),
        ("b", "x", available("x.safetensors")),
    ]);
    let free = names(&["a", "b"]);
    let verdict = judge(
        &job(Some("x"), ""),
        &board,
        &free,
        &Past::default(),
        &findings,
    );
    assert_eq!(server_of(verdict), "b");
    let (reason, words) = reason_of(judge(
        &job(Some("x"), ""),
        &board,
        &names(&["a"]),
        &Past::default(),
        &findings,
    ));
    assert_eq!(reason, HoldReason::ServerBusy);
    assert!(words.contains('b') && !words.contains("a,"), "{words}");
    let (reason, words) = reason_of(judge(
        &job(Some("x"), "a"),
        &board,
        &free,
        &Past::default(),
        &findings,
    ));
    assert_eq!(
        (reason, words.as_str()),
        (HoldReason::ModelMissing, "a lacks x")
    );
}

#[test]
fn a_server_with_the_checkpoint_loaded_goes_before_the_longest_idle_one() {
    let board = board(vec![state("a", "other", 1), state("b", "x.safetensors", 9)]);
    let findings = found(&[
        ("a", "x", available("x.safetensors")),
        ("b", "x", available("x.safetensors")),
    ]);
    let free = names(&["a", "b"]);
    let verdict = judge(
        &job(Some("x"), ""),
        &board,
        &free,
        &Past::default(),
        &findings,
    );
    assert_eq!(server_of(verdict), "b");
}

#[test]
fn among_equals_the_server_that_waited_longest_is_taken() {
    let board = board(vec![state("a", "", 7), state("b", "", 3)]);
    let findings = found(&[("a", "x", available("x")), ("b", "x", available("x"))]);
    let free = names(&["a", "b"]);
    let verdict = judge(
        &job(Some("x"), ""),
        &board,
        &free,
        &Past::default(),
        &findings,
    );
    assert_eq!(server_of(verdict), "b");
}

#[test]
fn a_job_without_a_checkpoint_gets_the_baseline_of_its_server() {
    let board = board(vec![state("a", "", 0)]);
    let findings = found(&[("a", "base.safetensors", available("base.safetensors"))]);
    let free = names(&["a"]);
    let verdict = judge(&job(None, ""), &board, &free, &Past::default(), &findings);
    let Verdict::Run { models, .. } = verdict else {
        panic!("{verdict:?}");
    };
    assert_eq!(models[0].title, "base.safetensors");
    let mut kept = job(None, "");
    kept.resolved_checkpoint = Some("kept".to_owned());
    let (reason, _) = reason_of(judge(&kept, &board, &free, &Past::default(), &findings));
    assert_eq!(
        reason,
        HoldReason::ModelMissing,
        "the kept checkpoint is asked for"
    );
}

#[test]
fn an_ambiguous_reference_is_told_with_its_candidates_and_never_guessed() {
    let board = board(vec![state("a", "", 0)]);
    let both = Finding::Ambiguous(vec!["d1/x".to_owned(), "d2/x".to_owned()]);
    let findings = found(&[("a", "x", both)]);
    let verdict = judge(
        &job(Some("x"), ""),
        &board,
        &names(&["a"]),
        &Past::default(),
        &findings,
    );
    let (reason, words) = reason_of(verdict);
    assert_eq!(reason, HoldReason::ModelAmbiguous);
    assert!(words.contains("d1/x, d2/x"), "{words}");
}

#[test]
fn a_server_that_refused_the_run_is_not_asked_again() {
    let board = board(vec![state("a", "", 0), state("b", "", 0)]);
    let findings = found(&[("a", "x", available("x")), ("b", "x", available("x"))]);
    let free = names(&["a", "b"]);
    let refused = refused_by(&["a"]);
    let verdict = judge(&job(Some("x"), ""), &board, &free, &refused, &findings);
    assert_eq!(server_of(verdict), "b");
    let refused = refused_by(&["a", "b"]);
    let (reason, _) = reason_of(judge(
        &job(Some("x"), ""),
        &board,
        &free,
        &refused,
        &findings,
    ));
    assert_eq!(reason, HoldReason::ServerLacksFeature);
}

#[test]
fn what_nobody_knows_is_not_taken_for_there() {
    let board = board(vec![state("a", "", 0)]);
    let free = names(&["a"]);
    for finding in [Finding::Unknown, Finding::Stale] {
        let findings = found(&[("a", "x", finding)]);
        let verdict = judge(
            &job(Some("x"), ""),
            &board,
            &free,
            &Past::default(),
            &findings,
        );
        assert_eq!(reason_of(verdict).0, HoldReason::ModelMissing);
    }
    let verdict = judge(
        &job(Some("x"), ""),
        &board,
        &free,
        &Past::default(),
        &Findings::new(),
    );
    assert_eq!(reason_of(verdict).0, HoldReason::ModelMissing);
}

#[test]
fn unhealthy_and_cordoned_servers_are_told_from_the_board() {
    let mut sick = state("a", "", 0);
    sick.status.health = Health::Unreachable;
    let mut cordoned = state("b", "", 0);
    cordoned.server.cordoned = true;
    let board = board(vec![sick, cordoned]);
    let verdict = judge(
        &job(Some("x"), ""),
        &board,
        &names(&[]),
        &Past::default(),
        &Findings::new(),
    );
    assert_eq!(verdict, Verdict::Wait(None));
}

#[test]
fn a_retry_goes_to_another_server_first() {
    let board = board(vec![state("a", "x", 0), state("b", "", 9)]);
    let findings = found(&[("a", "x", available("x")), ("b", "x", available("x"))]);
    let free = names(&["a", "b"]);
    let past = Past {
        failed_on: [("a".to_owned(), 1)].into(),
        ..Past::default()
    };
    let verdict = judge(&job(Some("x"), ""), &board, &free, &past, &findings);
    assert_eq!(server_of(verdict), "b");
    let verdict = judge(
        &job(Some("x"), ""),
        &board,
        &names(&["a"]),
        &past,
        &findings,
    );
    assert_eq!(
        server_of(verdict),
        "a",
        "the same server is better than none"
    );
}
