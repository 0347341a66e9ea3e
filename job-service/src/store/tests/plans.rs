//! Every statement that runs often is an index lookup: none reads a whole
//! table, none sorts what an index has in order already.

use std::sync::{Arc, Mutex};

use diesel::connection::{Instrumentation, InstrumentationEvent};
use diesel::prelude::*;
use diesel::sql_types::Text;

use super::{Fixture, now};
use crate::{
    job::{AppType, Endpoint, Fence, JobState},
    store::{
        attempts::{self, AttemptEnd, Claim, Next},
        events, images,
        jobs::{self, JobFilter, JobOrder, NewJob},
        queue, servers,
    },
};

/// The statements that went to the database.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Vec<String>>>);

impl Instrumentation for Recorder {
    fn on_connection_event(&mut self, event: InstrumentationEvent<'_>) {
        if let InstrumentationEvent::StartQuery { query, .. } = event {
            let text = query.to_string();
            let sql = text.split(" -- binds").next().unwrap_or_default();
            self.0.lock().unwrap().push(sql.to_owned());
        }
    }
}

impl Fixture {
    /// The statements that this sends.
    pub(super) fn recorded(&mut self, send: impl FnOnce(&mut SqliteConnection)) -> Vec<String> {
        let recorder = Recorder::default();
        self.connection.set_instrumentation(recorder.clone());
        send(&mut self.connection);
        self.connection.set_instrumentation(Recorder::default());
        let statements = recorder.0.lock().unwrap();
        statements.clone()
    }

    pub(super) fn plan(&mut self, sql: &str) -> Vec<String> {
        #[derive(QueryableByName)]
        struct Step {
            #[diesel(sql_type = Text)]
            detail: String,
        }
        let explained = format!("EXPLAIN QUERY PLAN {sql}");
        let rows: Vec<Step> = diesel::sql_query(explained)
            .load(&mut self.connection)
            .unwrap();
        rows.into_iter().map(|step| step.detail).collect()
    }

    /// No statement reads a whole table or sorts.
    pub(super) fn assert_indexed(&mut self, statements: &[String]) {
        for sql in statements {
            for step in self.plan(sql) {
                let whole = step.starts_with("SCAN") && !reads_in_order(&step);
                assert!(!whole && !step.contains("TEMP B-TREE"), "{step}\n{sql}");
            }
        }
    }
}

/// Whether a scan only walks an index, which a LIMIT ends: a page of all jobs
/// or the first row of a table by its key.
fn reads_in_order(step: &str) -> bool {
    step.contains("USING") && step.contains("INDEX idx_")
        || step == "SCAN job_events"
        || step == "SCAN CONSTANT ROW"
        || step.contains("sqlite_sequence")
}

pub(super) fn job(id: &str) -> NewJob {
    NewJob {
        id: id.to_owned(),
        request_json: "{}".to_owned(),
        endpoint: Endpoint::Txt2img,
        target_server: String::new(),
        priority: 0,
        attempts_max: 3,
        seed: 1,
        subseed: 2,
        models: Vec::new(),
        labels: [("team".to_owned(), "a".to_owned())].into(),
        app_type: AppType::Api,
        source_info: String::new(),
        batch_id: None,
        key_id: None,
        request_bytes: 2,
        pixels: 4096,
        policy: crate::policy::JobPolicy::default(),
    }
}

pub(super) fn claim_of(id: &str) -> Claim {
    Claim {
        fence: Fence {
            job_id: id.to_owned(),
            number: 1,
            token: "t".to_owned(),
        },
        run: 1,
        server: "gpu".to_owned(),
        server_process: None,
        models: Vec::new(),
        target_server: String::new(),
        needs: Vec::new(),
        resolved_checkpoint: None,
        possible_repeat: false,
    }
}

#[test]
fn choosing_reads_the_indexes_of_the_queue_and_no_row() {
    let mut fixture = Fixture::new();
    assert_eq!(
        fixture.plan(queue::PAGE),
        [
            "MERGE (UNION ALL)",
            "LEFT",
            "SEARCH jobs USING COVERING INDEX idx_jobs_queue (priority=? AND queue_rank>?)",
            "RIGHT",
            "SEARCH jobs USING COVERING INDEX idx_jobs_queue (priority<?)",
        ]
    );
    assert_eq!(
        fixture.plan(queue::NEXT_DUE),
        ["SEARCH jobs USING COVERING INDEX idx_jobs_due (not_before>?)"]
    );
    // The index holds the processing jobs and nothing else.
    assert_eq!(
        fixture.plan(queue::PROCESSING),
        ["SCAN jobs USING COVERING INDEX idx_jobs_processing"]
    );
    let sent = fixture.recorded(|conn| {
        queue::page(conn, None, 10).unwrap();
        queue::next_due(conn, now()).unwrap();
        queue::processing(conn).unwrap();
    });
    assert_eq!(sent, [queue::PAGE, queue::NEXT_DUE, queue::PROCESSING]);
}

#[test]
fn pages_of_the_queue_together_are_the_queue_in_its_order() {
    let mut fixture = Fixture::new();
    let conn = &mut fixture.connection;
    for (id, priority) in [("a", 0), ("b", 5), ("c", 0), ("d", -5), ("e", 5), ("f", 0)] {
        let job = NewJob {
            priority,
            ..job(id)
        };
        jobs::insert(conn, &job, now()).unwrap();
    }
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let queue::Page {
            jobs: page, broken, ..
        } = queue::page(conn, after, 2).unwrap();
        assert!(broken.is_empty(), "{broken:?}");
        let Some(last) = page.last() else { break };
        after = Some(last.place);
        seen.extend(page.into_iter().map(|job| job.id));
    }
    assert_eq!(seen, ["b", "e", "a", "c", "f", "d"]);
}

#[test]
fn the_life_of_a_job_is_written_by_key() {
    let mut fixture = Fixture::new();
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
    let sent = fixture.recorded(|conn| {
        jobs::insert(conn, &job("1"), now()).unwrap();
        jobs::insert(conn, &job("2"), now()).unwrap();
        jobs::cancel_pending(conn, "2", now()).unwrap();
        let claim = claim_of("1");
        attempts::claim(conn, &claim, now()).unwrap().unwrap();
        let phase = crate::job::AttemptPhase::Sending;
        attempts::enter_phase(conn, &claim.fence, phase, now()).unwrap();
        jobs::mark_cancel(conn, "1", now()).unwrap();
        let end = AttemptEnd {
            outcome: crate::job::AttemptOutcome::Completed,
            spent: true,
            error_code: None,
            http_status: None,
            message: None,
            loading_ms: None,
            generating_ms: None,
            next: Next::Completed {
                result_json: "{}".to_owned(),
                images: Vec::new(),
            },
        };
        attempts::end(conn, &claim.fence, &end, now()).unwrap();
        attempts::of_job(conn, "1", 10).unwrap();
        attempts::servers_lacking(conn, "1", 1).unwrap();
        images::of_job(conn, "1").unwrap();
        // The wish to cancel it came first.
        assert_eq!(jobs::get(conn, "1").unwrap().state, JobState::Cancelled);
    });
    assert!(sent.len() > 20, "{sent:#?}");
    fixture.assert_indexed(&sent);
}

#[test]
fn events_are_read_by_job_and_by_place() {
    let mut fixture = Fixture::new();
    jobs::insert(&mut fixture.connection, &job("1"), now()).unwrap();
    jobs::insert(&mut fixture.connection, &job("2"), now()).unwrap();
    let sent = fixture.recorded(|conn| {
        assert_eq!(events::of_job_after(conn, "1", 0, 10).unwrap().len(), 1);
        assert_eq!(events::last_sequence(conn).unwrap(), 2);
        assert_eq!(events::first_sequence(conn).unwrap(), Some(1));
        let later = now() + std::time::Duration::from_secs(60);
        assert_eq!(events::prune(conn, later, 10).unwrap(), 1);
    });
    fixture.assert_indexed(&sent);
    let of_job = fixture.plan(&sent[0]);
    let index = "USING INDEX idx_job_events_job (job_id=? AND sequence>?)";
    assert!(of_job[0].contains(index), "{of_job:?}");
}

#[test]
fn a_list_walks_an_index_in_its_order_unless_what_it_sorts_is_few() {
    use JobState::{Completed, Failed, Pending, Processing};
    let mut fixture = Fixture::new();
    let status = "SEARCH jobs USING INDEX idx_jobs_status_creation (status=?";
    let created = "jobs USING INDEX idx_jobs_creation";
    let updated = "jobs USING INDEX idx_jobs_updated";
    // States, the index by the time of submission, the one by the last change.
    let cases: [(&[JobState], &str, &str); 5] = [
        (&[], created, updated),
        (&[Pending], status, status),
        (&[Pending, Processing], status, status),
        (&[Completed], status, updated),
        (&[Completed, Failed], created, updated),
    ];
    let cursor = ("2026-11-22T11:08:00.123Z".to_owned(), "1".to_owned());
    for (states, by_creation, by_update) in cases {
        for (order, index) in orders(by_creation, by_update) {
            for cursor in [None, Some(&cursor)] {
                let filter = JobFilter {
                    states: states.to_vec(),
                    labels: [("team".to_owned(), "a".to_owned())].into(),
                    order,
                    ..JobFilter::default()
                };
                let sent = fixture.recorded(|conn| {
                    jobs::list(conn, &filter, cursor, 10).unwrap();
                });
                assert_eq!(sent.len(), 1);
                let plan = fixture.plan(&sent[0]);
                assert!(plan[0].contains(index), "{plan:?}\n{}", sent[0]);
                let search = index == status || cursor.is_some();
                assert!(plan[0].starts_with("SEARCH") || !search, "{plan:?}");
                let sorts = plan
                    .iter()
                    .any(|step| step == "USE TEMP B-TREE FOR ORDER BY");
                assert!(!sorts || !states.contains(&Completed), "{plan:?}");
            }
        }
    }
}

#[test]
fn the_jobs_of_a_batch_are_read_by_its_index() {
    let mut fixture = Fixture::new();
    for states in [vec![], vec![JobState::Pending], vec![JobState::Completed]] {
        for (order, by_creation) in orders(true, false) {
            let filter = JobFilter {
                batch_id: "b".to_owned(),
                states: states.clone(),
                order,
                ..JobFilter::default()
            };
            let sent = fixture.recorded(|conn| {
                jobs::list(conn, &filter, None, 10).unwrap();
            });
            let plan = fixture.plan(&sent[0]);
            let index = "SEARCH jobs USING INDEX idx_jobs_batch (batch_id=?)";
            assert_eq!(plan[0], index, "{}", sent[0]);
            assert!(plan.len() == 1 || !by_creation, "{plan:?}");
        }
    }
}

pub(super) fn orders<T: Copy>(by_creation: T, by_update: T) -> [(JobOrder, T); 4] {
    let of = |by_update, ascending| JobOrder {
        by_update,
        ascending,
    };
    [
        (of(false, false), by_creation),
        (of(false, true), by_creation),
        (of(true, false), by_update),
        (of(true, true), by_update),
    ]
}

#[test]
fn pages_of_a_list_together_are_the_list() {
    let mut fixture = Fixture::new();
    let conn = &mut fixture.connection;
    let at = now();
    for (id, later_ms) in [("a", 0), ("b", 0), ("c", 0), ("d", 5), ("e", 5)] {
        let then = at + std::time::Duration::from_millis(later_ms);
        jobs::insert(conn, &job(id), then).unwrap();
    }
    for (order, expected) in orders("abcde", "abcde") {
        let filter = JobFilter {
            order,
            ..JobFilter::default()
        };
        let mut seen = String::new();
        let mut cursor = None;
        loop {
            let page = jobs::list(conn, &filter, cursor.as_ref(), 2).unwrap();
            let Some(last) = page.last() else { break };
            cursor = Some(jobs::cursor_of(last, order));
            seen.extend(page.into_iter().map(|job| job.id));
        }
        let expected: String = if order.ascending {
            expected.to_owned()
        } else {
            expected.chars().rev().collect()
        };
        assert_eq!(seen, expected, "{order:?}");
    }
}
