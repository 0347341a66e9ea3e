//! How attempts end: what their jobs have a say in, and what is kept of them.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::prelude::*;

use super::{
    Fixture, now,
    plans::{claim_of, job},
};
use crate::{
    error::Error,
    job::{Attempt, AttemptOutcome, AttemptPhase, Fence, Image, ImageKind, JobState, Verification},
    policy::JobPolicy,
    store::{
        attempts::{self, AttemptEnd, Claim, DEADLINE_EXCEEDED, Next},
        images,
        jobs::{self, NewJob},
        schema::job_events,
    },
};

pub(super) fn image(sha256: &str, attempt: i32) -> Image {
    Image {
        position: 0,
        sha256: sha256.to_owned(),
        kind: ImageKind::Sample,
        size_bytes: 1,
        width: 8,
        height: 8,
        seed: 1,
        infotext: String::new(),
        verification: Verification::Name,
        media_type: "image/png".to_owned(),
        attempt,
    }
}

pub(super) fn end(outcome: AttemptOutcome, next: Next) -> AttemptEnd {
    AttemptEnd {
        outcome,
        spent: outcome.is_spent(),
        error_code: Some("CODE".to_owned()),
        http_status: None,
        message: Some("words".to_owned()),
        loading_ms: Some(3),
        generating_ms: Some(4),
        next,
    }
}

pub(super) fn failed() -> AttemptEnd {
    let next = Next::Failed {
        code: "CODE".to_owned(),
        message: "words".to_owned(),
        result_json: r#"{"error":"words"}"#.to_owned(),
        images: Vec::new(),
    };
    end(AttemptOutcome::RetryableError, next)
}

pub(super) fn told_to_end(images: Vec<Image>) -> AttemptEnd {
    let next = Next::Cancelled {
        result_json: r#"{"cancelled":true,"images":["a"],"partial":true}"#.to_owned(),
        images,
    };
    end(AttemptOutcome::Cancelled, next)
}

fn completed(images: Vec<Image>) -> AttemptEnd {
    let next = Next::Completed {
        result_json: "{}".to_owned(),
        images,
    };
    end(AttemptOutcome::Completed, next)
}

/// Everything that is on file of a job.
fn on_file(conn: &mut SqliteConnection, id: &str) -> String {
    let job = jobs::get(conn, id).unwrap();
    let attempts = attempts::of_job(conn, id, 100).unwrap();
    let images = images::of_job(conn, id).unwrap();
    let events: i64 = job_events::table.count().get_result(conn).unwrap();
    format!("{job:?} {attempts:?} {images:?} {events}")
}

pub(super) fn again() -> Next {
    Next::Pending {
        not_before: None,
        hold: None,
    }
}

impl Fixture {
    pub(super) fn claimed(&mut self, id: &str, number: i32) -> Attempt {
        let run = jobs::get(&mut self.connection, id).unwrap().run;
        let claim = Claim {
            fence: Fence {
                job_id: id.to_owned(),
                number,
                token: format!("t{number}"),
            },
            run,
            ..claim_of(id)
        };
        attempts::claim(&mut self.connection, &claim, now())
            .unwrap()
            .unwrap()
    }

    pub(super) fn ended(&mut self, id: &str, number: i32, with: &AttemptEnd) -> AttemptOutcome {
        let attempt = self.claimed(id, number);
        attempts::end(&mut self.connection, &attempt.fence(), with, now()).unwrap()
    }
}

/// An attempt at work whose job was perhaps cancelled, and a moment at which its
/// time is up.
fn due_attempt(cancelled: bool) -> (Fixture, Attempt, DateTime<Utc>) {
    let mut fixture = Fixture::new();
    fixture.add_server("gpu");
    let new = NewJob {
        policy: JobPolicy {
            total_timeout_ms: Some(1_000),
            ..JobPolicy::default()
        },
        ..job("1")
    };
    jobs::insert(&mut fixture.connection, &new, now()).unwrap();
    let attempt = fixture.claimed("1", 1);
    if cancelled {
        jobs::mark_cancel(&mut fixture.connection, "1", now()).unwrap();
    }
    (fixture, attempt, now() + Duration::from_secs(2))
}

#[test]
fn an_attempt_told_to_end_is_cancelled_when_that_was_asked_for_and_else_expired() {
    for (cancelled, state, outcome) in [
        (true, JobState::Cancelled, AttemptOutcome::Cancelled),
        (false, JobState::Failed, AttemptOutcome::Expired),
    ] {
        let (mut fixture, attempt, late) = due_attempt(cancelled);
        let conn = &mut fixture.connection;
        let told = told_to_end(vec![image("partial", 1)]);
        let ended = attempts::end(conn, &attempt.fence(), &told, late).unwrap();
        let job = jobs::get(conn, "1").unwrap();
        assert_eq!((job.state, ended), (state, outcome));
        assert_eq!(images::of_job(conn, "1").unwrap().len(), 1);
        let code = job.error.map(|error| error.code);
        assert_eq!(code.as_deref(), (!cancelled).then_some(DEADLINE_EXCEEDED));
    }
}

#[test]
fn no_attempt_follows_after_the_deadline_or_a_wish_to_cancel() {
    for (cancelled, state) in [(true, JobState::Cancelled), (false, JobState::Failed)] {
        let (mut fixture, attempt, late) = due_attempt(cancelled);
        let conn = &mut fixture.connection;
        let lost = end(AttemptOutcome::Lost, again());
        let ended = attempts::end(conn, &attempt.fence(), &lost, late).unwrap();
        assert_eq!(ended, AttemptOutcome::Lost);
        assert_eq!(jobs::get(conn, "1").unwrap().state, state);
    }
}

#[test]
fn attempts_that_did_not_count_are_kept_up_to_a_bound_and_those_that_did_always() {
    let mut fixture = Fixture::new();
    fixture.add_server("gpu");
    jobs::insert(&mut fixture.connection, &job("1"), now()).unwrap();
    for number in 1..=30 {
        let outcome = match number {
            2 => AttemptOutcome::Lost,
            _ => AttemptOutcome::Refused,
        };
        fixture.ended("1", number, &end(outcome, again()));
    }
    let conn = &mut fixture.connection;
    let kept = attempts::of_job(conn, "1", 100).unwrap();
    let numbers: Vec<i32> = kept.iter().map(|attempt| attempt.number).collect();
    let expected: Vec<i32> = std::iter::once(2).chain(11..=30).collect();
    assert_eq!(numbers, expected);
    assert_eq!(attempts::unspent_in_a_row(conn, "1", 1).unwrap(), 20);
    assert_eq!(jobs::get(conn, "1").unwrap().attempts_spent, 1);
    fixture.ended("1", 31, &end(AttemptOutcome::Lost, again()));
    let conn = &mut fixture.connection;
    assert_eq!(attempts::unspent_in_a_row(conn, "1", 1).unwrap(), 0);
}

#[test]
fn what_an_earlier_attempt_still_writes_changes_nothing() {
    let mut fixture = Fixture::new();
    fixture.add_server("gpu");
    jobs::insert(&mut fixture.connection, &job("1"), now()).unwrap();
    let first = fixture.claimed("1", 1).fence();
    let given_up = end(AttemptOutcome::Abandoned, again());
    attempts::end(&mut fixture.connection, &first, &given_up, now()).unwrap();
    let second = fixture.claimed("1", 2).fence();
    // As of a process that works on a copy of the database.
    let namesake = Fence {
        token: first.token.clone(),
        ..second.clone()
    };
    let conn = &mut fixture.connection;
    for is_over in [false, true] {
        if is_over {
            let done = completed(vec![image("second", 2)]);
            attempts::end(conn, &second, &done, now()).unwrap();
        }
        let before = on_file(conn, "1");
        for late in [&first, &namesake] {
            let done = completed(vec![image("late", 1)]);
            let told = attempts::end(conn, late, &done, now()).unwrap_err();
            assert!(matches!(told, Error::AttemptOver { .. }), "{told}");
            let told = attempts::enter_phase(conn, late, AttemptPhase::Saving, now()).unwrap_err();
            assert!(matches!(told, Error::AttemptOver { .. }), "{told}");
        }
        assert_eq!(on_file(conn, "1"), before);
    }
}
