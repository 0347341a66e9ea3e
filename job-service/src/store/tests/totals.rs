//! What waits is counted as it comes and goes, whoever writes.

use diesel::prelude::*;
use diesel::sql_types::BigInt;

use super::{
    Fixture, now,
    plans::{claim_of, job},
};
use crate::store::{
    attempts::{self, AttemptEnd, Next},
    jobs::{self, NewInput, NewJob, RowChange},
    queue::{self, QueueTotals},
    servers,
};

impl Fixture {
    /// Counts, and compares with what is kept.
    fn counted(&mut self) -> (i64, i64) {
        #[derive(QueryableByName)]
        struct Count {
            #[diesel(sql_type = BigInt)]
            jobs: i64,
            #[diesel(sql_type = BigInt)]
            bytes: i64,
        }
        let sql = "SELECT count(*) AS jobs, ifnull(sum(request_bytes), 0) AS bytes
            FROM jobs WHERE status = 'pending'";
        let Count { jobs, bytes } = diesel::sql_query(sql)
            .get_result(&mut self.connection)
            .unwrap();
        let kept = queue::totals(&mut self.connection).unwrap();
        let request_bytes = bytes;
        assert_eq!(
            kept,
            QueueTotals {
                jobs,
                request_bytes
            }
        );
        (jobs, bytes)
    }
}

#[test]
fn the_totals_are_those_of_the_pending_jobs_at_every_step() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.counted(), (0, 0));
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
    for (id, request_bytes) in [("1", 10), ("2", 200), ("3", 3_000)] {
        let job = NewJob {
            request_bytes,
            pixels: 4096,
            ..job(id)
        };
        jobs::insert(&mut fixture.connection, &job, now()).unwrap();
    }
    assert_eq!(fixture.counted(), (3, 3_210));
    jobs::cancel_pending(&mut fixture.connection, "2", now()).unwrap();
    assert_eq!(fixture.counted(), (2, 3_010));
    let claim = claim_of("1");
    attempts::claim(&mut fixture.connection, &claim, now())
        .unwrap()
        .unwrap();
    assert_eq!(fixture.counted(), (1, 3_000));
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
    assert_eq!(fixture.counted(), (2, 3_010));
    let change = RowChange {
        input: Some(NewInput {
            request_json: "{}".to_owned(),
            endpoint: crate::job::Endpoint::Txt2img,
            seed: 1,
            subseed: 1,
            models: Vec::new(),
            request_bytes: 40,
            pixels: 4096,
        }),
        ..RowChange::default()
    };
    jobs::update(&mut fixture.connection, "1", &change, None, now()).unwrap();
    assert_eq!(fixture.counted(), (2, 3_040));
    jobs::delete(&mut fixture.connection, "2", now()).unwrap();
    assert_eq!(fixture.counted(), (2, 3_040));
    // A writer that knows the documented columns only.
    fixture
        .run("DELETE FROM jobs WHERE mobilesd_job_id = '3'")
        .unwrap();
    assert_eq!(fixture.counted(), (1, 40));
}

#[test]
fn jobs_that_waited_before_the_migration_are_counted() {
    let mut fixture = Fixture::new();
    fixture.migrate_to("0003");
    for (id, status) in [("1", "pending"), ("2", "pending"), ("3", "failed")] {
        let sql = format!(
            "INSERT INTO jobs (mobilesd_job_id, status, creation_timestamp,
                last_updated_timestamp, target_server_alias, generation_params_json)
             VALUES ('{id}', '{status}', 't', 't', '', '{{\"é\":1}}')"
        );
        fixture.run(&sql).unwrap();
    }
    fixture.migrate_to("0004");
    assert_eq!(fixture.counted(), (2, 16));
}
