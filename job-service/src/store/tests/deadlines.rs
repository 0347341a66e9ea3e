//! What is due when: by two indexes, whatever else the table holds.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::prelude::*;

use super::{
    Fixture, now,
    plans::{claim_of, job},
};
use crate::{
    job::{EventType, HoldReason, JobState},
    policy::JobPolicy,
    store::{
        attempts, events,
        jobs::{self, Due, NewJob, RowChange},
        queue::{self, HoldChange},
    },
};

fn with(id: &str, wait_ms: Option<u64>, total_ms: Option<u64>) -> NewJob {
    NewJob {
        policy: JobPolicy {
            wait_timeout_ms: wait_ms,
            total_timeout_ms: total_ms,
            ..JobPolicy::default()
        },
        ..job(id)
    }
}

fn after(ms: u64, at: DateTime<Utc>) -> DateTime<Utc> {
    at + Duration::from_millis(ms)
}

#[test]
fn deadlines_are_read_by_their_indexes() {
    let mut fixture = Fixture::new();
    let waited = "USING INDEX idx_jobs_wait_until (wait_until>? AND wait_until<?)";
    let overdue = "USING INDEX idx_jobs_deadline (status=? AND deadline_at>? AND deadline_at<?)";
    for (statement, index) in [
        (jobs::WAITED, waited),
        (jobs::OVERDUE, overdue),
        (jobs::OVERDUE_AT_WORK, overdue),
    ] {
        let plan = fixture.plan(statement);
        assert_eq!(plan.len(), 1, "{plan:?}");
        assert!(plan[0].ends_with(index), "{plan:?}");
    }
    let plan = fixture.plan(jobs::NEXT_DEADLINE);
    let searches = plan.iter().filter(|step| step.contains("SEARCH jobs"));
    assert_eq!(searches.count(), 3, "{plan:#?}");
    for step in &plan {
        assert!(!step.contains("SCAN jobs"), "{plan:#?}");
        assert!(!step.contains("TEMP B-TREE"), "{plan:#?}");
    }
    let sent = fixture.recorded(|conn| {
        jobs::due(conn, now(), 10).unwrap();
        jobs::next_deadline(conn, now()).unwrap();
    });
    assert_eq!(
        sent,
        [
            jobs::WAITED,
            jobs::OVERDUE,
            jobs::OVERDUE_AT_WORK,
            jobs::NEXT_DEADLINE
        ]
    );
}

#[test]
fn a_job_is_due_at_its_moment_and_not_before() {
    let mut fixture = Fixture::new();
    let conn = &mut fixture.connection;
    let at = DateTime::from_timestamp_millis(now().timestamp_millis()).unwrap();
    assert_eq!(jobs::next_deadline(conn, at).unwrap(), None);
    for new in [
        with("both", Some(20), Some(30)),
        with("total", None, Some(10)),
        with("wait", Some(15), None),
        with("none", None, None),
    ] {
        jobs::insert(conn, &new, at).unwrap();
    }
    for (from, next) in [
        (0, Some(10)),
        (10, Some(15)),
        (15, Some(20)),
        (20, Some(30)),
        (30, None),
    ] {
        let found = jobs::next_deadline(conn, after(from, at)).unwrap();
        assert_eq!(found, next.map(|ms| after(ms, at)), "{from}");
    }
    let due = |conn: &mut SqliteConnection, ms, limit| {
        jobs::due(conn, after(ms, at), limit).unwrap().pending
    };
    assert_eq!(due(conn, 9, 10), Vec::<String>::new());
    assert_eq!(due(conn, 10, 10), ["total"]);
    assert_eq!(due(conn, 60, 10), ["wait", "both", "total"]);
    assert_eq!(
        due(conn, 60, 1),
        ["wait", "total"],
        "at most one of each kind"
    );
}

#[test]
fn what_waited_too_long_fails_with_why_and_what_got_more_time_does_not() {
    let mut fixture = Fixture::new();
    let conn = &mut fixture.connection;
    let at = now();
    for id in ["gone", "saved"] {
        jobs::insert(conn, &with(id, Some(10), None), at).unwrap();
    }
    let hold = HoldChange {
        job_id: "gone".to_owned(),
        hold: Some((HoldReason::ModelMissing, "gpu lacks it".to_owned())),
        until: None,
    };
    queue::set_holds(conn, &[hold], at).unwrap();
    let more = RowChange {
        policy: Some(JobPolicy::default()),
        ..RowChange::default()
    };
    jobs::update(conn, "saved", &more, None, at).unwrap();
    let late = after(11, at);
    assert!(!jobs::expire(conn, "saved", "why", late).unwrap());
    assert!(!jobs::expire(conn, "gone", "why", at).unwrap());
    assert!(jobs::expire(conn, "gone", "gpu lacks it", late).unwrap());
    assert!(!jobs::expire(conn, "gone", "again", late).unwrap());
    let job = jobs::get(conn, "gone").unwrap();
    let error = job.error.unwrap();
    assert_eq!((job.state, job.hold), (JobState::Failed, None));
    assert_eq!(error.code, jobs::WAIT_DEADLINE_EXCEEDED);
    assert!(
        error.message.ends_with("; gpu lacks it"),
        "{}",
        error.message
    );
    let history = events::of_job_after(conn, "gone", 0, 10).unwrap();
    let last = history.last().unwrap();
    assert_eq!(
        (last.kind, last.state),
        (EventType::Failed, JobState::Failed)
    );
    assert_eq!(last.message, error.message);
    assert_eq!(jobs::get(conn, "saved").unwrap().wait_until, None);
}

#[test]
fn the_first_attempt_ends_the_waiting_and_only_the_total_time_goes_on() {
    let mut fixture = Fixture::new();
    fixture.add_server("gpu");
    let conn = &mut fixture.connection;
    let at = now();
    jobs::insert(conn, &with("1", Some(10), Some(50)), at).unwrap();
    let claim = claim_of("1");
    assert!(
        attempts::claim(conn, &claim, after(20, at))
            .unwrap()
            .is_none(),
        "its time was up before it was claimed"
    );
    assert!(
        attempts::claim(conn, &claim, after(5, at))
            .unwrap()
            .is_some()
    );
    let expected = Due {
        pending: Vec::new(),
        processing: vec![("1".to_owned(), 1)],
    };
    assert_eq!(jobs::due(conn, after(49, at), 10).unwrap(), Due::default());
    assert_eq!(jobs::due(conn, after(60, at), 10).unwrap(), expected);
}

#[test]
fn a_job_that_waits_for_a_decision_has_no_deadlines_until_there_is_one() {
    let mut fixture = Fixture::new();
    let at = now();
    jobs::insert(&mut fixture.connection, &job("1"), at).unwrap();
    fixture
        .run("UPDATE jobs SET hold_reason = 'adopted_stale', hold_message = 'old'")
        .unwrap();
    let conn = &mut fixture.connection;
    let policy = RowChange {
        policy: Some(with("", Some(10), Some(20)).policy),
        ..RowChange::default()
    };
    jobs::update(conn, "1", &policy, None, at).unwrap();
    assert_eq!(
        jobs::due(conn, after(60_000, at), 10).unwrap(),
        Due::default()
    );
    let release = RowChange {
        release_hold: true,
        ..RowChange::default()
    };
    let released = after(1_000, at);
    jobs::update(conn, "1", &release, None, released).unwrap();
    let due = |conn: &mut SqliteConnection, ms| jobs::due(conn, after(ms, released), 10).unwrap();
    assert_eq!(due(conn, 9), Due::default());
    assert_eq!(due(conn, 11).pending, ["1"]);
}

#[test]
fn a_policy_that_cannot_be_read_holds_nobody_up() {
    let mut fixture = Fixture::new();
    let at = now();
    for id in ["bad", "good"] {
        jobs::insert(&mut fixture.connection, &with(id, Some(10), None), at).unwrap();
    }
    fixture
        .run("UPDATE jobs SET policy_json = '[' WHERE mobilesd_job_id = 'bad'")
        .unwrap();
    let conn = &mut fixture.connection;
    let queue::Page {
        jobs: page, broken, ..
    } = queue::page(conn, None, 10).unwrap();
    assert_eq!(page.len(), 1);
    assert_eq!(page[0].id, "good");
    assert_eq!(broken.len(), 1);
    let late = after(11, at);
    assert_eq!(jobs::due(conn, late, 10).unwrap().pending.len(), 2);
    assert!(jobs::expire(conn, "bad", "it cannot be read", late).unwrap());
}
