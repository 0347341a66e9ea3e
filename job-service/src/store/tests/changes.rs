//! What was judged and what is claimed are the same job.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{
    Fixture,
    ends::{again, end},
    now,
    plans::{claim_of, job},
};
use crate::{
    error::Error,
    job::{AttemptOutcome, Endpoint, JobState, ModelRole, Requirement},
    policy::JobPolicy,
    store::{
        attempts::{self, AttemptEnd, Claim},
        jobs::{self, NewInput, NewJob, RowChange},
        servers,
    },
};

fn input(models: Vec<Requirement>) -> RowChange {
    RowChange {
        input: Some(NewInput {
            request_json: r#"{"prompt":"other"}"#.to_owned(),
            endpoint: Endpoint::Txt2img,
            seed: 1,
            subseed: 1,
            models,
            request_bytes: 18,
            pixels: 4096,
        }),
        ..RowChange::default()
    }
}

fn checkpoint() -> Vec<Requirement> {
    vec![Requirement {
        role: ModelRole::Checkpoint,
        reference: "other".to_owned(),
    }]
}

#[test]
fn a_job_that_was_changed_since_it_was_judged_is_not_claimed() {
    let mut fixture = Fixture::new();
    let conn = &mut fixture.connection;
    let server = servers::NewServer {
        alias: "gpu".to_owned(),
        base_url: "http://h".to_owned(),
        usage: crate::server::Usage::Dedicated,
        labels: std::collections::BTreeMap::new(),
        enabled: true,
        interrupts_allowed: false,
        api_login: None,
        ui_login: None,
    };
    servers::insert(conn, &super::vault(), &server, 10, now()).unwrap();
    let elsewhere = RowChange {
        target_server: Some("attic".to_owned()),
        ..RowChange::default()
    };
    for (id, change) in [("1", elsewhere), ("2", input(checkpoint()))] {
        jobs::insert(conn, &job(id), now()).unwrap();
        jobs::update(conn, id, &change, None, now()).unwrap();
        let claimed = attempts::claim(conn, &claim_of(id), now()).unwrap();
        assert_eq!(claimed, None, "{change:?}");
        assert_eq!(jobs::get(conn, id).unwrap().state, JobState::Pending);
    }
    // As it was judged after the change.
    let claim = Claim {
        needs: checkpoint(),
        ..claim_of("2")
    };
    assert!(attempts::claim(conn, &claim, now()).unwrap().is_some());
    let late = jobs::update(conn, "2", &input(Vec::new()), None, now()).unwrap_err();
    assert!(matches!(late, Error::JobNotPending { .. }), "{late}");
    assert_eq!(jobs::get(conn, "2").unwrap().models, checkpoint());
}

#[test]
fn what_does_not_matter_for_its_server_does_not_hinder_a_claim() {
    let mut fixture = Fixture::new();
    let conn = &mut fixture.connection;
    let server = servers::NewServer {
        alias: "gpu".to_owned(),
        base_url: "http://h".to_owned(),
        usage: crate::server::Usage::Dedicated,
        labels: std::collections::BTreeMap::new(),
        enabled: true,
        interrupts_allowed: false,
        api_login: None,
        ui_login: None,
    };
    servers::insert(conn, &super::vault(), &server, 10, now()).unwrap();
    jobs::insert(conn, &job("1"), now()).unwrap();
    let change = RowChange {
        priority: Some(5),
        ..input(Vec::new())
    };
    jobs::update(conn, "1", &change, None, now()).unwrap();
    assert!(
        attempts::claim(conn, &claim_of("1"), now())
            .unwrap()
            .is_some()
    );
    // What goes out is read after the claim.
    assert!(jobs::request_json(conn, "1").unwrap().contains("other"));
}

#[test]
fn the_times_of_another_input_count_from_it_whatever_else_is_changed() {
    let began = now();
    let changed = began + Duration::from_secs(50);
    let policy = JobPolicy {
        wait_timeout_ms: Some(10_000),
        total_timeout_ms: Some(20_000),
        ..JobPolicy::default()
    };
    for (with_it, before) in [(None, &policy), (Some(&policy), &JobPolicy::default())] {
        let mut fixture = Fixture::new();
        fixture.add_server("gpu");
        let new = NewJob {
            policy: before.clone(),
            ..job("1")
        };
        jobs::insert(&mut fixture.connection, &new, began).unwrap();
        let back = end(AttemptOutcome::RetryableError, again());
        fixture.ended("1", 1, &back);
        let change = RowChange {
            policy: with_it.cloned(),
            ..input(Vec::new())
        };
        let conn = &mut fixture.connection;
        jobs::update(conn, "1", &change, None, changed).unwrap();
        let job = jobs::get(conn, "1").unwrap();
        let ms = |at: DateTime<Utc>| at.timestamp_millis();
        assert_eq!((job.run, ms(job.run_began_at)), (2, ms(changed)));
        let wait = changed + Duration::from_secs(10);
        assert_eq!(job.wait_until.map(ms), Some(ms(wait)), "{with_it:?}");
        let deadline = changed + Duration::from_secs(20);
        assert_eq!(job.deadline_at.map(ms), Some(ms(deadline)), "{with_it:?}");
    }
}

#[test]
fn an_attempt_that_sent_nothing_does_not_end_the_waiting() {
    let mut fixture = Fixture::new();
    fixture.add_server("gpu");
    jobs::insert(&mut fixture.connection, &job("1"), now()).unwrap();
    let unsent = AttemptEnd {
        spent: false,
        ..end(AttemptOutcome::Lost, again())
    };
    fixture.ended("1", 1, &unsent);
    let change = RowChange {
        policy: Some(JobPolicy {
            wait_timeout_ms: Some(10_000),
            ..JobPolicy::default()
        }),
        ..RowChange::default()
    };
    let wait_until = |fixture: &mut Fixture| {
        let conn = &mut fixture.connection;
        jobs::update(conn, "1", &change, None, now()).unwrap();
        jobs::get(conn, "1").unwrap().wait_until
    };
    assert!(wait_until(&mut fixture).is_some());
    fixture.ended("1", 2, &end(AttemptOutcome::Lost, again()));
    assert_eq!(wait_until(&mut fixture), None);
}

#[test]
fn what_ended_or_is_taken_since_it_was_judged_is_not_claimed() {
    let mut fixture = Fixture::new();
    fixture.add_server("gpu");
    let conn = &mut fixture.connection;
    for id in ["cancelled", "first", "second"] {
        jobs::insert(conn, &job(id), now()).unwrap();
    }
    assert!(jobs::cancel_pending(conn, "cancelled", now()).unwrap());
    let mut claimed = |id: &str| {
        let attempt = attempts::claim(conn, &claim_of(id), now()).unwrap();
        (attempt.is_some(), jobs::get(conn, id).unwrap().state)
    };
    assert_eq!(claimed("cancelled"), (false, JobState::Cancelled));
    assert_eq!(claimed("first"), (true, JobState::Processing));
    // The server has one now.
    assert_eq!(claimed("second"), (false, JobState::Pending));
}
