//! What attempts leave for those that come after them, and what is read of the
//! queue when some of its rows are broken.

use std::time::Duration;

use diesel::RunQueryDsl as _;

use super::{
    Fixture,
    ends::{again, end, failed, told_to_end},
    now,
    plans::job,
};
use crate::{
    job::{AttemptOutcome, AttemptPhase, JobState},
    policy::JobPolicy,
    store::{
        attempts::{self, AttemptEnd},
        jobs::{self, NewJob},
        queue,
    },
};

fn waiting(id: &str) -> NewJob {
    let policy = JobPolicy {
        wait_timeout_ms: Some(60_000),
        ..JobPolicy::default()
    };
    NewJob { policy, ..job(id) }
}

#[test]
fn a_job_of_which_nothing_was_sent_waits_for_its_first_attempt_again() {
    let mut fixture = Fixture::new();
    fixture.add_server("gpu");
    jobs::insert(&mut fixture.connection, &waiting("1"), now()).unwrap();
    let before = jobs::get(&mut fixture.connection, "1").unwrap();
    assert!(before.wait_until.is_some());
    fixture.ended("1", 1, &end(AttemptOutcome::HandedBack, again()));
    let job = jobs::get(&mut fixture.connection, "1").unwrap();
    assert_eq!(job.state, JobState::Pending);
    assert_eq!(job.wait_until, before.wait_until);
    let late = before.wait_until.unwrap() + Duration::from_secs(1);
    let due = jobs::due(&mut fixture.connection, late, 10).unwrap();
    assert_eq!(due.pending, ["1"]);
    // One that counted was what it waited for.
    fixture.ended("1", 2, &end(AttemptOutcome::Lost, again()));
    fixture.ended("1", 3, &end(AttemptOutcome::HandedBack, again()));
    let job = jobs::get(&mut fixture.connection, "1").unwrap();
    assert_eq!((job.attempts_spent, job.wait_until), (1, None));
}

#[test]
fn a_policy_that_cannot_be_read_does_not_keep_an_attempt_open() {
    let mut fixture = Fixture::new();
    fixture.add_server("gpu");
    jobs::insert(&mut fixture.connection, &waiting("1"), now()).unwrap();
    let attempt = fixture.claimed("1", 1);
    fixture.run("UPDATE jobs SET policy_json = '['").unwrap();
    let back = end(AttemptOutcome::HandedBack, again());
    attempts::end(&mut fixture.connection, &attempt.fence(), &back, now()).unwrap();
    let open = attempts::current(&mut fixture.connection, "1").unwrap();
    assert_eq!(open, None);
}

#[test]
fn an_attempt_that_goes_on_waits_for_no_room_any_more() {
    let mut fixture = Fixture::new();
    fixture.add_server("gpu");
    let conn = &mut fixture.connection;
    jobs::insert(conn, &job("1"), now()).unwrap();
    let fence = fixture.claimed("1", 1).fence();
    let conn = &mut fixture.connection;
    let trouble = Some(("DISK_FULL", "make room"));
    attempts::note_trouble(conn, &fence, AttemptPhase::Saving, trouble, now()).unwrap();
    let code = |conn: &mut _| attempts::current(conn, "1").unwrap().unwrap().error_code;
    assert_eq!(code(conn).as_deref(), Some("DISK_FULL"));
    attempts::enter_phase(conn, &fence, AttemptPhase::Generating, now()).unwrap();
    assert_eq!(code(conn), None);
}

#[test]
fn the_process_that_has_an_attempt_is_on_file_until_the_attempt_is_over() {
    let mut fixture = Fixture::new();
    fixture.add_server("gpu");
    jobs::insert(&mut fixture.connection, &job("1"), now()).unwrap();
    let attempt = fixture.claimed("1", 1);
    let conn = &mut fixture.connection;
    attempts::note_process(conn, &attempt.fence(), "new").unwrap();
    let current = attempts::current(conn, "1").unwrap().unwrap();
    assert_eq!(current.server_process.as_deref(), Some("new"));
    attempts::end(conn, &attempt.fence(), &failed(), now()).unwrap();
    assert!(attempts::note_process(conn, &attempt.fence(), "late").is_err());
}

/// Ends an attempt of a fresh job in a phase, sent or not; whether it may still
/// run.
fn may_still_run(phase: AttemptPhase, with: &AttemptEnd) -> bool {
    let mut fixture = Fixture::new();
    fixture.add_server("gpu");
    jobs::insert(&mut fixture.connection, &job("1"), now()).unwrap();
    let fence = fixture.claimed("1", 1).fence();
    let conn = &mut fixture.connection;
    if phase != AttemptPhase::Claimed {
        attempts::enter_phase(conn, &fence, AttemptPhase::Sending, now()).unwrap();
        attempts::enter_phase(conn, &fence, phase, now()).unwrap();
    }
    if with.outcome == AttemptOutcome::Cancelled {
        jobs::mark_cancel(conn, "1", now()).unwrap();
    }
    attempts::end(conn, &fence, with, now()).unwrap();
    !attempts::abandoned(conn, "1").unwrap().is_empty()
}

#[test]
fn an_attempt_that_ended_while_its_server_was_silent_may_still_run() {
    let unknown = AttemptPhase::OutcomeUnknown;
    let given_up = end(AttemptOutcome::Abandoned, again());
    let crashed = AttemptEnd {
        outcome: AttemptOutcome::Crashed,
        ..failed()
    };
    let expired = AttemptEnd {
        outcome: AttemptOutcome::Expired,
        ..failed()
    };
    let cancelled = told_to_end(Vec::new());
    for (phase, with, wanted) in [
        (unknown, &given_up, true),
        (unknown, &cancelled, true),
        (AttemptPhase::Generating, &cancelled, false),
        (unknown, &expired, true),
        (AttemptPhase::Generating, &expired, false),
        (AttemptPhase::Generating, &crashed, true),
        (AttemptPhase::Claimed, &crashed, false),
        (unknown, &failed(), false),
    ] {
        let found = may_still_run(phase, with);
        assert_eq!(found, wanted, "{phase:?} {:?}", with.outcome);
    }
}

#[test]
fn a_page_ends_at_its_last_row_whether_that_can_be_read_or_not() {
    let mut fixture = Fixture::new();
    for number in 0..205 {
        jobs::insert(&mut fixture.connection, &job(&number.to_string()), now()).unwrap();
    }
    diesel::sql_query("UPDATE jobs SET models_json = '{' WHERE mobilesd_job_id IN ('7', '199')")
        .execute(&mut fixture.connection)
        .unwrap();
    let conn = &mut fixture.connection;
    let first = queue::page(conn, None, 200).unwrap();
    assert_eq!((first.jobs.len(), first.broken.len()), (198, 2));
    assert!(first.is_whole, "there may be more");
    let rest = queue::page(conn, first.last, 200).unwrap();
    let ids: Vec<_> = rest.jobs.iter().map(|job| job.id.as_str()).collect();
    assert_eq!(ids, ["200", "201", "202", "203", "204"]);
    assert!(!rest.is_whole && rest.broken.is_empty());
    assert_eq!(queue::page(conn, rest.last, 200).unwrap().last, None);
}
