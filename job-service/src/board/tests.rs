use std::collections::BTreeMap;

use serde_json::Map;

use super::*;
use crate::{
    breaker::{Moment, OpenTimes, Suspect},
    job::{AppType, Endpoint, Hold, HoldReason, Job, JobState},
    policy::AvailabilityPolicy,
    policy::JobPolicy,
    server::Usage,
};

fn server(alias: &str) -> Server {
    Server {
        alias: alias.to_owned(),
        base_url: "http://h".to_owned(),
        usage: Usage::Dedicated,
        labels: BTreeMap::new(),
        enabled: true,
        cordoned: false,
        cordon_reason: String::new(),
        baseline: Some(Map::new()),
        created_at: DateTime::UNIX_EPOCH,
        updated_at: DateTime::UNIX_EPOCH,
        revision: 1,
        api_login: None,
        ui_login: None,
        interrupts_allowed: false,
    }
}

fn job(target: &str) -> Job {
    Job {
        id: "job".to_owned(),
        state: JobState::Pending,
        hold: None,
        run: 1,
        attempt_number: 0,
        attempts_spent: 0,
        attempts_max: 3,
        priority: 0,
        target_server: target.to_owned(),
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

fn reason(board: &Board, job: &Job) -> Option<HoldReason> {
    board.hold_of(job).map(|hold| hold.reason)
}

#[test]
fn a_waiting_job_says_what_it_waits_for_at_every_step() {
    let board = Board::default();
    let any = job("");
    assert_eq!(reason(&board, &any), Some(HoldReason::NoServer));
    assert_eq!(reason(&board, &job("gpu")), Some(HoldReason::TargetUnknown));
    board.put(server("gpu"));
    assert_eq!(reason(&board, &any), Some(HoldReason::ServerUnavailable));
    board.update_status("gpu", |status| status.health = Health::Healthy);
    assert_eq!(reason(&board, &any), None, "it is next");
    board.model_service_failed("refused".to_owned(), DateTime::UNIX_EPOCH);
    assert_eq!(
        reason(&board, &any),
        Some(HoldReason::ModelServiceUnavailable)
    );
    assert!(board.model_service_answered(), "it was down");
    board.occupy("gpu", "other");
    assert_eq!(reason(&board, &any), Some(HoldReason::ServerBusy));
    board.vacate("gpu", "nobody");
    assert_eq!(
        reason(&board, &any),
        Some(HoldReason::ServerBusy),
        "not by another"
    );
    board.vacate("gpu", "other");
    let mut cordoned = server("gpu");
    cordoned.cordoned = true;
    board.put(cordoned);
    assert_eq!(reason(&board, &any), Some(HoldReason::ServerCordoned));
    let mut disabled = server("gpu");
    disabled.enabled = false;
    board.put(disabled);
    assert_eq!(reason(&board, &any), Some(HoldReason::NoServer));
}

#[test]
fn what_holds_every_job_is_told_before_what_holds_this_one() {
    let board = Board::default();
    board.put(server("gpu"));
    board.update_status("gpu", |status| status.health = Health::Healthy);
    let mut own = job("");
    own.hold = Some(Hold {
        reason: HoldReason::ModelMissing,
        message: "gpu lacks x".to_owned(),
        since: None,
        until: None,
    });
    assert_eq!(reason(&board, &own), Some(HoldReason::ModelMissing));
    board.update_status("gpu", |status| status.health = Health::Unreachable);
    assert_eq!(reason(&board, &own), Some(HoldReason::ServerUnavailable));
    own.state = JobState::Completed;
    assert_eq!(reason(&board, &own), None, "it waits no longer");
}

#[test]
fn a_job_that_waits_for_a_decision_says_so_whatever_the_servers_are() {
    let board = Board::default();
    let mut job = job("");
    job.hold = Some(Hold {
        reason: HoldReason::AdoptedStale,
        message: "decide".to_owned(),
        since: None,
        until: None,
    });
    assert_eq!(reason(&board, &job), Some(HoldReason::AdoptedStale));
    board.put(server("a"));
    assert_eq!(reason(&board, &job), Some(HoldReason::AdoptedStale));
    job.state = JobState::Cancelled;
    assert_eq!(reason(&board, &job), None);
}

fn ready(alias: &str, board: &Board) {
    board.put(server(alias));
    board.update_status(alias, |status| status.health = Health::Healthy);
}

fn open(alias: &str, seconds: u64, board: &Board) {
    let now = Moment {
        monotonic: Duration::ZERO,
        wall: DateTime::UNIX_EPOCH,
    };
    let times = OpenTimes {
        first: Duration::from_secs(seconds),
        most: Duration::from_secs(seconds),
    };
    board.update_breaker(alias, |breaker| {
        for _ in 0..3 {
            breaker.failed(Suspect::Server, "refused", now, times);
        }
    });
}

#[test]
fn open_breakers_hold_a_job_until_the_first_is_over() {
    let board = Board::default();
    ready("a", &board);
    ready("b", &board);
    open("a", 20, &board);
    let any = job("");
    assert_eq!(reason(&board, &any), None, "b takes it");
    board.occupy("b", "other");
    let hold = board.hold_of(&any).unwrap();
    assert_eq!(hold.reason, HoldReason::ServerBusy);
    for words in ["a gets no jobs", "b runs another job"] {
        assert!(hold.message.contains(words), "{}", hold.message);
    }
    open("b", 10, &board);
    let hold = board.hold_of(&any).unwrap();
    assert_eq!(hold.reason, HoldReason::CoolingDown);
    let wanted = DateTime::UNIX_EPOCH + Duration::from_secs(10);
    assert_eq!(hold.until, Some(wanted));
    for word in ["a gets no jobs", "b gets no jobs", "refused"] {
        assert!(hold.message.contains(word), "{}", hold.message);
    }
    let now = Moment {
        monotonic: Duration::from_secs(4),
        wall: DateTime::UNIX_EPOCH + Duration::from_secs(4),
    };
    assert_eq!(board.next_end(now), Some(Duration::from_secs(6)));
    assert_eq!(board.advance_breakers(Duration::from_secs(10)), ["b"]);
    board.vacate("b", "other");
    assert_eq!(reason(&board, &any), None, "b gets it on trial");
    board.forget_failures("a");
    assert!(board.get("a").is_some_and(|state| state.is_free()));
}

#[test]
fn a_job_that_goes_without_model_service_is_not_held_by_its_silence() {
    let board = Board::default();
    ready("a", &board);
    board.model_service_failed("refused".to_owned(), DateTime::UNIX_EPOCH);
    for (policy, wanted) in [
        (AvailabilityPolicy::Require, true),
        (AvailabilityPolicy::FailFast, true),
        (AvailabilityPolicy::Prefer, false),
        (AvailabilityPolicy::Skip, false),
    ] {
        let mut job = job("");
        job.policy.availability = policy;
        let held = reason(&board, &job) == Some(HoldReason::ModelServiceUnavailable);
        assert_eq!(held, wanted, "{policy:?}");
    }
}

#[test]
fn a_server_that_is_cleared_holds_a_job_and_says_so() {
    let board = Board::default();
    ready("a", &board);
    board.set_clearing("a", true);
    let any = job("");
    let hold = board.hold_of(&any).unwrap();
    assert_eq!(hold.reason, HoldReason::ServerBusy);
    assert!(
        hold.message.contains("a is being cleared"),
        "{}",
        hold.message
    );
    ready("b", &board);
    assert_eq!(reason(&board, &any), None, "b takes it");
    board.set_clearing("a", false);
    assert_eq!(reason(&board, &job("a")), None);
}

#[test]
fn a_baseline_changes_nothing_else_of_its_server() {
    let board = Board::default();
    let mut fresh = server("a");
    fresh.baseline = None;
    board.put(fresh.clone());
    // Somebody cordons it while its options are being kept.
    board.put(Server {
        cordoned: true,
        ..fresh
    });
    board.keep_baseline("a", "http://elsewhere", Some(Map::new()));
    assert_eq!(
        board.get("a").unwrap().server.baseline,
        None,
        "of another one"
    );
    board.keep_baseline("a", "http://h", Some(Map::new()));
    let state = board.get("a").unwrap();
    assert!(state.server.cordoned && state.server.baseline.is_some());
}
