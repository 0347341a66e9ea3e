//! Folders of the earlier application: what becomes of their jobs, keys and
//! servers when the service starts on them.

use std::{collections::BTreeMap, fs, path::Path};

use chrono::{DateTime, TimeDelta, Utc};
use diesel::{Connection as _, prelude::*, sql_query, sql_types::Text};
use job_service::{config::DATABASE_FILE, keys::BootstrapKey};
use service_kit::{auth, auth::Token, clock::from_text};
use stablequeue_proto::jobs::v1::*;
use tempfile::TempDir;

use crate::harness::{Service, with};

mod holds;
mod keys;
mod servers;

/// Every sample folder, with the jobs and keys that it has.
const SAMPLES: [(&str, usize, usize); 6] = [
    ("2025-05-13-jobs-10-columns", 6, 0),
    ("2025-05-14-jobs-10-models-11", 7, 0),
    ("2025-05-24-jobs-14-keys-8", 3, 2),
    ("2025-06-14-models-26", 0, 1),
    ("2025-06-20-jobs-14-models-33", 21, 3),
    ("2025-06-20-wal-not-checkpointed", 26, 3),
];

/// The last one, which was left in use.
const NEWEST: &str = SAMPLES[5].0;
/// One with a job that was under way.
const UNDER_WAY: &str = SAMPLES[2].0;

/// When the samples were left: a little after the newest of their jobs.
fn time_of_samples() -> DateTime<Utc> {
    from_text("2026-11-22T12:30:00.000Z").unwrap()
}

/// A copy of a sample.
fn copy(sample: &str) -> TempDir {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/legacy-databases");
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(samples.join(sample)).unwrap() {
        let entry = entry.unwrap();
        // Not fs::copy: the samples cannot be written, and a copy must.
        let bytes = fs::read(entry.path()).unwrap();
        fs::write(folder.path().join(entry.file_name()), bytes).unwrap();
    }
    folder
}

/// A connection to the database in a folder.
fn database(folder: &Path) -> SqliteConnection {
    SqliteConnection::establish(folder.join(DATABASE_FILE).to_str().unwrap()).unwrap()
}

/// The column `text` of every row.
fn texts(conn: &mut SqliteConnection, sql: &str) -> Vec<String> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        text: String,
    }
    let rows: Vec<Row> = sql_query(sql).load(conn).unwrap();
    rows.into_iter().map(|row| row.text).collect()
}

/// Everything that a job asked for and came to, byte for byte, by id.
fn kept(conn: &mut SqliteConnection) -> Vec<String> {
    let sql = "SELECT mobilesd_job_id || ' ' || hex(generation_params_json) || ' ' \
                   || coalesce(hex(result_details_json), 'NULL') AS text \
               FROM jobs ORDER BY mobilesd_job_id";
    texts(conn, sql)
}

/// Every row of every table but the bookkeeping, as text.
fn everything(conn: &mut SqliteConnection) -> BTreeMap<String, Vec<String>> {
    let tables = texts(
        conn,
        "SELECT name AS text FROM sqlite_master WHERE type = 'table' \
             AND name NOT LIKE 'sqlite_%' ORDER BY name",
    );
    let of = |table: String| {
        let columns = texts(
            conn,
            &format!(
                "SELECT 'quote(\"' || name || '\")' AS text FROM pragma_table_info('{table}')"
            ),
        );
        let columns = columns.join(" || ' ' || ");
        let rows = texts(
            conn,
            &format!("SELECT {columns} AS text FROM \"{table}\" ORDER BY 1"),
        );
        (table, rows)
    };
    tables.into_iter().map(of).collect()
}

/// A service on a copy of a sample at a time, and a key that may do everything.
async fn adopted(folder: TempDir, now: DateTime<Utc>) -> (Service, Token) {
    let admin = auth::ApiKey::generate().unwrap().token();
    let key = BootstrapKey::parse(admin.expose()).unwrap();
    let service = Service::in_folder(folder, "127.0.0.1:0", now, |config| {
        config.bootstrap_key = Some(key);
    })
    .await;
    (service, admin)
}

/// One job in full.
async fn job(service: &mut Service, by: &Token, id: &str) -> Job {
    let request = GetJobRequest {
        job_id: id.to_owned(),
        view: JobView::Full.into(),
    };
    let answer = service.jobs.get_job(with(request, Some(by))).await;
    answer.unwrap().into_inner().job.unwrap()
}

/// All jobs in full, newest first.
async fn all(service: &mut Service, by: &Token) -> Vec<Job> {
    let request = ListJobsRequest {
        page_size: 1000,
        view: JobView::Full.into(),
        ..ListJobsRequest::default()
    };
    let answer = service.jobs.list_jobs(with(request, Some(by))).await;
    answer.unwrap().into_inner().jobs
}

#[tokio::test]
async fn every_sample_is_taken_over_with_all_its_rows_and_texts() {
    for (sample, jobs, keys) in SAMPLES {
        let before = kept(&mut database(copy(sample).path()));
        assert_eq!(before.len(), jobs, "{sample}");
        let (service, _) = adopted(copy(sample), time_of_samples()).await;
        let folder = service.stopped().await;
        let conn = &mut database(folder.path());
        assert_eq!(kept(conn), before, "{sample}");
        let found = texts(conn, "SELECT name AS text FROM api_keys");
        assert_eq!(found.len(), keys + 1, "{sample}: {found:?}");
        let lost = texts(
            conn,
            "SELECT table_name || row_id AS text FROM adoption_values WHERE kind = 'set_aside'",
        );
        assert_eq!(lost, Vec::<String>::new(), "{sample}");
    }
}

#[tokio::test]
async fn every_job_that_was_taken_over_is_shown_in_full() {
    for (sample, jobs, _) in SAMPLES {
        let (mut service, admin) = adopted(copy(sample), time_of_samples()).await;
        let listed = all(&mut service, &admin).await;
        assert_eq!(listed.len(), jobs, "{sample}");
        for listed in listed {
            let shown = job(&mut service, &admin, &listed.job_id).await;
            assert_eq!(shown, listed, "{sample}");
            let ended = !matches!(shown.state(), JobState::Pending);
            assert_eq!(shown.complete_time.is_some(), ended, "{sample}: {shown:?}");
            assert_ne!(shown.state(), JobState::Processing);
            if shown.state() == JobState::Failed {
                let error = shown.error.unwrap();
                assert_eq!(error.code, "EARLIER_APPLICATION", "{sample}");
            }
        }
    }
}

#[tokio::test]
async fn text_that_is_no_json_makes_no_job_unreadable() {
    let folder = copy(UNDER_WAY);
    let conn = &mut database(folder.path());
    for (id, status, params, result) in [
        ("array", "completed", "'[1]'", "'[2]'"),
        ("broken", "failed", "'{\"prompt\":'", "'{'"),
        ("bytes", "completed", "x'ff00'", "x'ff'"),
        ("number", "cancelled", "7", "8"),
        ("empty", "failed", "''", "NULL"),
        ("waiting", "pending", "'{\"prompt\":'", "NULL"),
    ] {
        let sql = format!(
            "INSERT INTO jobs (mobilesd_job_id, status, creation_timestamp, \
                 last_updated_timestamp, target_server_alias, generation_params_json, \
                 result_details_json) \
             VALUES ('{id}', '{status}', 'yesterday', '', 'x', {params}, {result})"
        );
        sql_query(sql).execute(conn).unwrap();
    }
    let (mut service, admin) = adopted(folder, time_of_samples()).await;
    assert_eq!(all(&mut service, &admin).await.len(), 3 + 6);
    for id in ["array", "broken", "bytes", "number", "empty"] {
        let shown = job(&mut service, &admin, id).await;
        assert!(shown.complete_time.is_some(), "{shown:?}");
    }
    let waiting = job(&mut service, &admin, "waiting").await;
    let hold = waiting.hold.unwrap();
    assert_eq!(hold.reason(), HoldReason::AdoptedUnreadable);
    assert!(hold.message.contains("no JSON"), "{hold:?}");
}

#[tokio::test]
async fn a_second_start_takes_over_nothing_and_changes_nothing() {
    for (sample, ..) in SAMPLES {
        let (service, _) = adopted(copy(sample), time_of_samples()).await;
        let folder = service.stopped().await;
        let backups = |folder: &Path| {
            let names = fs::read_dir(folder).unwrap();
            let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            names.filter(|name| name.contains("_backup_")).count()
        };
        assert_eq!(backups(folder.path()), 1, "{sample}");
        let before = everything(&mut database(folder.path()));
        let later = time_of_samples() + TimeDelta::days(3);
        let service = Service::in_folder(folder, "127.0.0.1:0", later, |_| {}).await;
        let folder = service.stopped().await;
        let mut after = everything(&mut database(folder.path()));
        // Probes are not kept, so that all that may be new is a baseline, and no
        // server answers here.
        assert_eq!(after.len(), before.len(), "{sample}");
        for (table, rows) in before {
            assert_eq!(after.remove(&table).unwrap(), rows, "{sample}: {table}");
        }
        assert_eq!(backups(folder.path()), 1, "{sample}");
    }
}
