//! Older tables of any shape with any values become rows that can be read, and
//! a job that waits for a decision runs for nobody.

use std::path::Path;

use diesel::{prelude::*, sql_query};
use proptest::prelude::*;
use service_kit::{
    database::DatabaseLock,
    migrate::{self, MigrateOptions, MigrationReport},
};
use tempfile::TempDir;

use super::{
    Fixture, now,
    plans::{claim_of, job},
};
use crate::{
    config::DATABASE_FILE,
    job::{HoldReason, JobState},
    request::GenerationRequest,
    run::schema,
    store::{
        api_keys, attempts,
        jobs::{self, JobFilter, RowChange},
        queue,
    },
};

/// Columns of the two tables; the first ones are those by which they are known.
const JOBS: [&str; 15] = [
    "mobilesd_job_id",
    "status",
    "generation_params_json",
    "creation_timestamp",
    "last_updated_timestamp",
    "completion_timestamp",
    "target_server_alias",
    "forge_session_hash",
    "result_details_json",
    "retry_count",
    "forge_internal_task_id",
    "app_type",
    "source_info",
    "api_key_id",
    "bulk_job_id",
];
const KEYS: [&str; 12] = [
    "id",
    "name",
    "key",
    "secret",
    "created_at",
    "last_used",
    "is_active",
    "permissions",
    "rate_limit_tier",
    "custom_rate_limits",
    "description",
    "key_prefix",
];

fn migrated(folder: &Path) -> MigrationReport {
    let path = folder.join(DATABASE_FILE);
    let lock = DatabaseLock::acquire(&path, "test").unwrap();
    let options = MigrateOptions { backup: false };
    migrate::migrate(&path, &lock, &schema(), now(), &options).unwrap()
}

fn opened(folder: &Path) -> SqliteConnection {
    SqliteConnection::establish(folder.join(DATABASE_FILE).to_str().unwrap()).unwrap()
}

/// A table with some of the columns in some order, of no type.
fn make(conn: &mut SqliteConnection, table: &str, columns: &[&str], rows: &[Vec<String>]) {
    let names = columns.join(", ");
    let sql = format!("CREATE TABLE {table} ({names})");
    sql_query(sql).execute(conn).unwrap();
    for row in rows {
        let values = row[..columns.len()].join(", ");
        let sql = format!("INSERT INTO {table} ({names}) VALUES ({values})");
        sql_query(sql).execute(conn).unwrap();
    }
}

/// A value of any class, as SQL.
fn value() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "'pending'",
        "'processing'",
        "' Pending '",
        "'completed'",
        "'failed'",
        "'queued'",
        "'2025-06-20T08:05:09.000Z'",
        "'2025-06-20 08:05:09'",
        "1750406709000",
        "'{\"prompt\":\"p\"}'",
        "'{\"positive_prompt\":\"p\",\"steps\":\"9\"}'",
        "'{\"prompt\":\"p\",\"steps\":\"banana\"}'",
        "'{\"raw_generation_info\":\"p\"}'",
        "'[1]'",
        "'{'",
        "'mk_00000000111111112222222233333333'",
        "'mk_000000001111111122222222'",
        "'00000000111111112222222233333333'",
    ]);
    prop_oneof![
        words.prop_map(str::to_owned),
        Just("NULL".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f32>()
            .prop_filter("finite", |number| number.is_finite())
            .prop_map(|number| format!("{number:e}")),
        "[^\0']{0,12}".prop_map(|text| format!("'{text}'")),
        prop::collection::vec(any::<u8>(), 0..8)
            .prop_map(|bytes| format!("x'{}'", hex::encode(bytes))),
    ]
}

fn rows(columns: usize) -> impl Strategy<Value = Vec<Vec<String>>> {
    prop::collection::vec(prop::collection::vec(value(), columns), 0..6)
}

/// All of the first `sure` columns and some of the others, in any order.
fn columns(all: &'static [&'static str], sure: usize) -> impl Strategy<Value = Vec<&'static str>> {
    let (sure, others) = all.split_at(sure);
    let others = prop::sample::subsequence(others, 0..=others.len());
    others
        .prop_map(move |others| [sure, &others].concat())
        .prop_shuffle()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]
    #[test]
    fn older_rows_of_any_kind_can_be_read_and_none_is_lost(
        job_columns in columns(&JOBS, 3),
        key_columns in columns(&KEYS, 2),
        job_rows in rows(JOBS.len()),
        key_rows in rows(KEYS.len()),
        with_keys in any::<bool>(),
    ) {
        let folder: TempDir = tempfile::tempdir().unwrap();
        let conn = &mut opened(folder.path());
        make(conn, "jobs", &job_columns, &job_rows);
        if with_keys {
            make(conn, "api_keys", &key_columns, &key_rows);
        }
        let report = migrated(folder.path()).adoption.unwrap();
        let conn = &mut opened(folder.path());
        let listed = jobs::list(conn, &JobFilter::default(), None, 100).unwrap();
        let aside = report.tables[0].rows_set_aside();
        prop_assert_eq!(listed.len() + usize::try_from(aside).unwrap(), job_rows.len());
        for job in &listed {
            let text = jobs::request_json(conn, &job.id).unwrap();
            let is_read = GenerationRequest::from_json(job.endpoint, &text).is_ok();
            let held = job.hold.as_ref().map(|hold| hold.reason);
            let is_pending = job.state == JobState::Pending;
            prop_assert!(!is_pending || is_read || held == Some(HoldReason::AdoptedUnreadable));
            prop_assert_ne!(job.state, JobState::Processing);
            attempts::of_job(conn, &job.id, 10).unwrap();
        }
        let queue::Page { jobs: queue, broken, .. } = queue::page(conn, None, 100).unwrap();
        prop_assert!(broken.is_empty(), "{:?}", broken);
        let run = listed.iter().filter(|job| job.state == JobState::Pending && job.hold.is_none());
        prop_assert_eq!(queue.len(), run.count());
        let totals = queue::totals(conn).unwrap();
        let pending = listed.iter().filter(|job| job.state == JobState::Pending);
        prop_assert_eq!(usize::try_from(totals.jobs).unwrap(), pending.count());
        if with_keys {
            let aside = usize::try_from(report.tables[1].rows_set_aside()).unwrap();
            let keys = api_keys::all(conn).unwrap();
            prop_assert_eq!(keys.len() + aside, key_rows.len());
            prop_assert_eq!(api_keys::is_required(conn).unwrap(), !keys.is_empty());
        }
    }
}

#[test]
fn a_job_that_waits_for_a_decision_is_neither_chosen_nor_claimed_until_it_is_released() {
    let mut fixture = Fixture::new();
    fixture
        .run(
            "INSERT INTO forge_servers (alias, base_url, usage, created_at, updated_at) \
             VALUES ('gpu', 'http://h', 'dedicated', '', '')",
        )
        .unwrap();
    for reason in ["adopted_stale", "adopted_unreadable"] {
        jobs::insert(&mut fixture.connection, &job(reason), now()).unwrap();
        let hold =
            format!("UPDATE jobs SET hold_reason = '{reason}' WHERE mobilesd_job_id = '{reason}'");
        fixture.run(&hold).unwrap();
    }
    let conn = &mut fixture.connection;
    assert!(queue::page(conn, None, 10).unwrap().jobs.is_empty());
    for reason in ["adopted_stale", "adopted_unreadable"] {
        let claimed = attempts::claim(conn, &claim_of(reason), now()).unwrap();
        assert_eq!(claimed, None, "{reason}");
    }
    let release = RowChange {
        release_hold: true,
        ..RowChange::default()
    };
    jobs::update(conn, "adopted_stale", &release, None, now()).unwrap();
    let chosen = queue::page(conn, None, 10).unwrap().jobs;
    assert_eq!(chosen.len(), 1);
    assert_eq!(chosen[0].id, "adopted_stale");
    let claimed = attempts::claim(conn, &claim_of("adopted_stale"), now()).unwrap();
    assert!(claimed.is_some());
}

#[test]
fn on_the_way_back_nothing_is_sent_that_an_older_program_cannot_read() {
    let mut fixture = Fixture::new();
    for id in ["held", "runs", "ended"] {
        jobs::insert(&mut fixture.connection, &job(id), now()).unwrap();
    }
    for sql in [
        "UPDATE jobs SET generation_params_json = 'older', adopted_request_json = '{}'",
        "UPDATE jobs SET hold_reason = 'adopted_stale' WHERE mobilesd_job_id = 'held'",
        "UPDATE jobs SET status = 'failed' WHERE mobilesd_job_id = 'ended'",
    ] {
        fixture.run(sql).unwrap();
    }
    fixture.migrate_to("0006");
    let rows = fixture.texts(
        "SELECT mobilesd_job_id || ' ' || status || ' ' || generation_params_json || ' ' \
             || coalesce(hold_reason, 'free') AS text FROM jobs ORDER BY 1",
    );
    let wanted = [
        "ended failed older free",
        "held cancelled older free",
        "runs pending {} free",
    ];
    assert_eq!(rows, wanted);
    let waiting = fixture.texts("SELECT CAST(jobs AS TEXT) AS text FROM queue_totals");
    assert_eq!(waiting, ["1"]);
}
