//! Whose jobs are whose: lists of one key walk its indexes, and its waiting
//! jobs are counted as they come and go.

use diesel::prelude::*;
use diesel::sql_types::BigInt;

use super::{
    Fixture, now,
    plans::{claim_of, job, orders},
};
use crate::{
    error::Error,
    job::JobState,
    store::{
        attempts::{self, AttemptEnd, Next},
        jobs::{self, JobFilter, NewJob},
        queue, servers,
    },
    viewer::Whose,
};

fn job_of(id: &str, key_id: Option<&str>) -> NewJob {
    NewJob {
        key_id: key_id.map(str::to_owned),
        ..job(id)
    }
}

fn of_key(key_id: &str) -> JobFilter {
    JobFilter {
        whose: Whose::Key(key_id.to_owned()),
        ..JobFilter::default()
    }
}

#[test]
fn a_list_of_one_key_walks_its_index_and_sorts_nothing() {
    use JobState::{Completed, Failed, Pending};
    let mut fixture = Fixture::new();
    let (created, updated) = ("idx_jobs_key (", "idx_jobs_key_updated (");
    let cursor = ("2026-11-22T11:08:00.123Z".to_owned(), "1".to_owned());
    for states in [vec![], vec![Pending], vec![Completed, Failed]] {
        for (order, index) in orders(created, updated) {
            for cursor in [None, Some(&cursor)] {
                let filter = JobFilter {
                    states: states.clone(),
                    order,
                    ..of_key("k")
                };
                let sent = fixture.recorded(|conn| {
                    jobs::list(conn, &filter, cursor, 10).unwrap();
                });
                assert_eq!(sent.len(), 1);
                let plan = fixture.plan(&sent[0]);
                assert_eq!(plan.len(), 1, "{plan:?}\n{}", sent[0]);
                let search = format!("SEARCH jobs USING INDEX {index}api_key_id=?");
                assert!(plan[0].starts_with(&search), "{plan:?}\n{}", sent[0]);
            }
        }
    }
}

#[test]
fn the_jobs_of_a_batch_are_read_by_its_index_for_one_key_too() {
    let mut fixture = Fixture::new();
    let filter = JobFilter {
        batch_id: "b".to_owned(),
        ..of_key("k")
    };
    let sent = fixture.recorded(|conn| {
        jobs::list(conn, &filter, None, 10).unwrap();
    });
    let plan = fixture.plan(&sent[0]);
    let index = "SEARCH jobs USING INDEX idx_jobs_batch (batch_id=?)";
    assert_eq!(plan, [index], "{}", sent[0]);
}

#[test]
fn pages_of_one_key_together_are_its_jobs_in_every_order() {
    let mut fixture = Fixture::new();
    let conn = &mut fixture.connection;
    let at = now();
    for (id, key_id) in [
        ("a", Some("k")),
        ("b", Some("other")),
        ("c", None),
        ("d", Some("k")),
        ("e", Some("k")),
    ] {
        jobs::insert(conn, &job_of(id, key_id), at).unwrap();
    }
    for (order, _) in orders("", "") {
        let filter = JobFilter {
            order,
            ..of_key("k")
        };
        let (mut seen, mut cursor) = (Vec::new(), None);
        loop {
            let page = jobs::list(conn, &filter, cursor.as_ref(), 2).unwrap();
            let Some(last) = page.last() else { break };
            cursor = Some(jobs::cursor_of(last, order));
            seen.extend(page.into_iter().map(|job| (job.id, job.key_id)));
        }
        let mut expected = ["a", "d", "e"].map(|id| (id.to_owned(), Some("k".to_owned())));
        if !order.ascending {
            expected.reverse();
        }
        assert_eq!(seen, expected, "{order:?}");
    }
    let count = |conn: &mut SqliteConnection, whose| {
        let filter = JobFilter {
            whose,
            ..JobFilter::default()
        };
        jobs::list(conn, &filter, None, 10).unwrap().len()
    };
    assert_eq!(count(conn, Whose::Everybody), 5);
    assert_eq!(count(conn, Whose::Nobody), 0);
}

#[test]
fn a_job_of_another_owner_is_the_same_as_none() {
    let mut fixture = Fixture::new();
    let conn = &mut fixture.connection;
    jobs::insert(conn, &job_of("owned", Some("k")), now()).unwrap();
    jobs::insert(conn, &job_of("free", None), now()).unwrap();
    for (id, owner, there) in [
        ("owned", Some("k"), true),
        ("owned", None, true),
        ("owned", Some("other"), false),
        ("owned", Some(""), false),
        ("free", Some("k"), false),
        ("free", Some(""), false),
        ("none", Some("k"), false),
    ] {
        match jobs::get_of(conn, id, owner) {
            Ok(job) => assert_eq!((job.id.as_str(), there), (id, true), "{owner:?}"),
            Err(Error::JobNotFound(found)) => assert_eq!((found.as_str(), there), (id, false)),
            Err(other) => panic!("{other}"),
        }
    }
    let sent = fixture.recorded(|conn| {
        let _absent = jobs::get_of(conn, "none", Some("k"));
        assert_eq!(queue::jobs_of_key(conn, "k").unwrap(), 1);
    });
    fixture.assert_indexed(&sent);
}

impl Fixture {
    /// Counts the waiting jobs of a key, and compares with what is kept.
    fn waiting_of(&mut self, key_id: &str) -> i64 {
        #[derive(QueryableByName)]
        struct Count {
            #[diesel(sql_type = BigInt)]
            jobs: i64,
        }
        let sql = format!(
            "SELECT count(*) AS jobs FROM jobs WHERE status = 'pending' AND api_key_id = '{key_id}'"
        );
        let conn = &mut self.connection;
        let Count { jobs } = diesel::sql_query(sql).get_result(conn).unwrap();
        assert_eq!(queue::jobs_of_key(conn, key_id).unwrap(), jobs);
        jobs
    }
}

#[test]
fn the_waiting_jobs_of_a_key_are_counted_at_every_step() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.waiting_of("k"), 0);
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
    servers::insert(&mut fixture.connection, &super::vault(), &server, 10, now()).unwrap();
    for (id, key_id) in [
        ("1", Some("k")),
        ("2", Some("k")),
        ("3", Some("k")),
        ("4", Some("l")),
        ("5", None),
    ] {
        jobs::insert(&mut fixture.connection, &job_of(id, key_id), now()).unwrap();
    }
    assert_eq!((fixture.waiting_of("k"), fixture.waiting_of("l")), (3, 1));
    jobs::cancel_pending(&mut fixture.connection, "2", now()).unwrap();
    jobs::cancel_pending(&mut fixture.connection, "5", now()).unwrap();
    assert_eq!(fixture.waiting_of("k"), 2);
    let claim = claim_of("1");
    attempts::claim(&mut fixture.connection, &claim, now())
        .unwrap()
        .unwrap();
    assert_eq!(fixture.waiting_of("k"), 1);
    let end = AttemptEnd {
        outcome: crate::job::AttemptOutcome::RetryableError,
        spent: true,
        error_code: None,
        http_status: None,
        message: None,
        loading_ms: None,
        generating_ms: None,
        next: Next::Pending {
            not_before: None,
            hold: None,
        },
    };
    attempts::end(&mut fixture.connection, &claim.fence, &end, now()).unwrap();
    assert_eq!(fixture.waiting_of("k"), 2);
    jobs::delete(&mut fixture.connection, "2", now()).unwrap();
    // A writer that knows the documented columns only.
    fixture
        .run("DELETE FROM jobs WHERE mobilesd_job_id = '3'")
        .unwrap();
    assert_eq!((fixture.waiting_of("k"), fixture.waiting_of("l")), (1, 1));
}

#[test]
fn what_waited_before_the_migration_is_counted_by_key() {
    let mut fixture = Fixture::new();
    fixture.migrate_to("0005");
    for (id, status, key_id) in [
        ("1", "pending", "'k'"),
        ("2", "pending", "NULL"),
        ("3", "failed", "'k'"),
    ] {
        let sql = format!(
            "INSERT INTO jobs (mobilesd_job_id, status, creation_timestamp,
                last_updated_timestamp, target_server_alias, generation_params_json, api_key_id)
             VALUES ('{id}', '{status}', 't', 't', '', '{{}}', {key_id})"
        );
        fixture.run(&sql).unwrap();
    }
    fixture.migrate_to("0006");
    assert_eq!(fixture.waiting_of("k"), 1);
}
