//! `migrate --import-json`: the list of jobs from before the earlier
//! application had a database.

use std::{fs, path::Path};

use job_service::config::DATABASE_FILE;
use serde_json::{Value, json};
use service_kit::exit::Exit;
use tempfile::TempDir;

use crate::{
    legacy::{Content, backups, copy},
    program::{Program, command},
    world::World,
};

/// A list with every state, and with entries that are no jobs. Its spaces and
/// escapes are those that have to stay.
const LIST: &str = r#"[
  {"mobilesd_job_id": "old-done", "status": "completed",
   "creation_timestamp": "2025-05-13T10:00:00.000Z", "last_updated_timestamp": 1747130460000,
   "completion_timestamp": null, "target_server_alias": "attic",
   "generation_params": { "positive_prompt":"a\u0020castle", "steps" : 20.50 },
   "result_details": {"images":["a.png"],  "n": 1e3}, "retry_count": 1,
   "processing_start_timestamp": "2025-05-13T10:00:01.000Z", "progress_details": {"step": 3}},
  {"mobilesd_job_id": "old-busy", "status": "processing",
   "creation_timestamp": "2025-05-13 11:00:00", "generation_params": {"positive_prompt": "b"}},
  7,
  {"mobilesd_job_id": "old-waiting", "status": "pending",
   "creation_timestamp": "2025-05-13T09:00:00.000Z", "generation_params": {"positive_prompt": "c"}},
  {"mobilesd_job_id": "old-strange", "status": "pending",
   "creation_timestamp": "2025-05-13T12:00:00.000Z", "generation_params": [1]},
  {"mobilesd_job_id": "old-lost", "status": "vanished", "generation_params": {},
   "result_details": {"error": "x"}},
  {"mobilesd_job_id": "old-done", "status": "failed"},
  {"status": "cancelled", "generation_params": {"positive_prompt": "no id"}}
]"#;
/// What of a job an import could change.
const COLUMNS: &str = "status, revision, last_updated_timestamp, generation_params_json, \
                       ifnull(hold_reason, '-'), queue_rank";
/// Jobs of it.
const JOBS: usize = 6;

struct Ended {
    code: Option<i32>,
    said: String,
    errors: String,
}

fn ended(arguments: &[&str], data_dir: &Path) -> Ended {
    let output = command(arguments, data_dir).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended {
        code: output.status.code(),
        said: text(output.stdout),
        errors: text(output.stderr),
    }
}

fn code(exit: Exit) -> Option<i32> {
    Some(exit.code().into())
}

/// A folder for the data, with a file to import in it.
fn with_list(list: &str) -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("job_queue.json");
    fs::write(&file, list).unwrap();
    let flag = format!("--import-json={}", file.display());
    (folder, flag)
}

fn import(flag: &str, further: &[&str], data_dir: &Path) -> Ended {
    ended(&[&["migrate", flag], further].concat(), data_dir)
}

/// Every row of a table, as SQL writes its values, with a job's id first.
fn rows(data_dir: &Path, columns: &str, of: &str) -> Vec<String> {
    use diesel::{Connection as _, SqliteConnection, prelude::*, sql_query, sql_types::Text};
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        text: String,
    }
    let path = data_dir.join(DATABASE_FILE);
    let conn = &mut SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    let sql = format!("SELECT concat_ws('|', {columns}) AS text FROM {of}");
    let rows: Vec<Row> = sql_query(sql).load(conn).unwrap();
    rows.into_iter().map(|row| row.text).collect()
}

#[test]
fn jobs_of_the_list_come_in_by_the_rules_of_the_older_database_and_nothing_is_lost() {
    let (folder, flag) = with_list(LIST);
    let data_dir = folder.path();
    let report = data_dir.join("report.json");
    let report_flag = format!("--report={}", report.display());
    let done = import(&flag, &[&report_flag], data_dir);
    assert_eq!(done.code, code(Exit::Clean), "{}", done.errors);
    for part in [
        "imported 6 jobs",
        "2 entries were refused",
        "entry 2: it is no object",
        "entry 6: entry 0 has the same id",
        "ADOPTED_STALE",
        "ADOPTED_UNREADABLE",
    ] {
        assert!(done.said.contains(part), "{part}: {}", done.said);
    }
    let report: Value = serde_json::from_slice(&fs::read(&report).unwrap()).unwrap();
    assert_eq!(report["import"]["imported"].as_array().unwrap().len(), JOBS);
    assert_eq!(
        report["import"]["refused"][0],
        json!({"index": 2, "reason": "it is no object"})
    );
    assert!(report["schema_version"].is_string());

    let jobs = rows(
        data_dir,
        "mobilesd_job_id, status, creation_timestamp, ifnull(completion_timestamp, '-'), \
         ifnull(hold_reason, '-'), ifnull(error_code, '-')",
        "jobs WHERE mobilesd_job_id LIKE 'old-%' AND mobilesd_job_id <> 'old-lost' \
         ORDER BY mobilesd_job_id",
    );
    assert_eq!(
        jobs,
        [
            "old-busy|pending|2025-05-13T11:00:00.000Z|-|adopted_stale|-",
            "old-done|completed|2025-05-13T10:00:00.000Z|2025-05-13T10:01:00.000Z|-|-",
            "old-strange|pending|2025-05-13T12:00:00.000Z|-|adopted_unreadable|-",
            "old-waiting|pending|2025-05-13T09:00:00.000Z|-|adopted_stale|-",
        ]
    );
    let lost = "jobs WHERE mobilesd_job_id = 'old-lost' AND status = 'failed'";
    assert_eq!(rows(data_dir, "error_code", lost), ["EARLIER_APPLICATION"]);
    // Byte for byte.
    let texts = rows(
        data_dir,
        "generation_params_json, result_details_json",
        "jobs WHERE mobilesd_job_id = 'old-done'",
    );
    let as_in_the_file =
        r#"{ "positive_prompt":"a\u0020castle", "steps" : 20.50 }|{"images":["a.png"],  "n": 1e3}"#;
    assert_eq!(texts, [as_in_the_file]);
    let order = "jobs WHERE status = 'pending' AND queue_rank < 0 ORDER BY queue_rank";
    let order = rows(data_dir, "mobilesd_job_id", order);
    assert_eq!(order, ["old-waiting", "old-busy", "old-strange"]);
    let attempts = rows(data_dir, "job_id, number, phase, spent", "job_attempts");
    assert_eq!(attempts, ["old-busy|1|outcome_unknown|0"]);
    let kept = rows(
        data_dir,
        "row_id, column_name, kind, value",
        "adoption_values WHERE kind <> 'set_aside' ORDER BY row_id, column_name",
    );
    assert_eq!(
        kept,
        [
            "old-busy|creation_timestamp|replaced|\"2025-05-13 11:00:00\"",
            "old-busy|status|replaced|\"processing\"",
            "old-done|last_updated_timestamp|replaced|1747130460000",
            "old-done|processing_start_timestamp|extra|\"2025-05-13T10:00:01.000Z\"",
            "old-done|progress_details|extra|{\"step\": 3}",
            "old-lost|status|replaced|\"vanished\"",
        ]
    );
    let aside = "adoption_values WHERE kind = 'set_aside' ORDER BY row_id";
    let aside = rows(data_dir, "row_id, reason, value", aside);
    assert_eq!(aside[0], "2|it is no object|7");
    assert!(aside[1].starts_with("6|entry 0 has the same id|{\"mobilesd_job_id\""));
}

#[test]
fn importing_again_changes_nothing_and_what_is_there_stays_as_it_is() {
    // A database with jobs of its own, taken over in the same command.
    let folder = copy("2025-05-24-jobs-14-keys-8");
    let data_dir = folder.path();
    let first = ended(&["migrate"], data_dir);
    assert_eq!(first.code, code(Exit::Clean), "{}", first.errors);
    let database = data_dir.join(DATABASE_FILE);
    let there = rows(data_dir, "mobilesd_job_id", "jobs ORDER BY 1");
    let id = &there[0];
    let mut list: Vec<Value> = serde_json::from_str(LIST).unwrap();
    list.push(json!({"mobilesd_job_id": id, "status": "failed", "generation_params": {}}));
    let file = data_dir.join("job_queue.json");
    fs::write(&file, Value::from(list).to_string()).unwrap();
    let flag = format!("--import-json={}", file.display());
    let before = rows(
        data_dir,
        COLUMNS,
        &format!("jobs WHERE mobilesd_job_id = '{id}'"),
    );

    let backups_before = backups(&database).len();
    let done = import(&flag, &[], data_dir);
    assert_eq!(done.code, code(Exit::Clean), "{}", done.errors);
    assert!(done.said.contains("imported 6 jobs"), "{}", done.said);
    assert!(done.said.contains("1 were there already"), "{}", done.said);
    assert!(done.said.contains("\nbackup "), "{}", done.said);
    assert_eq!(backups(&database).len(), backups_before + 1);
    let after = rows(
        data_dir,
        COLUMNS,
        &format!("jobs WHERE mobilesd_job_id = '{id}'"),
    );
    assert_eq!(before, after);
    let imported = Content::of(&database);

    let again = import(&flag, &["--no-backup"], data_dir);
    assert_eq!(again.code, code(Exit::Clean), "{}", again.errors);
    assert!(again.said.contains("imported 0 jobs"), "{}", again.said);
    assert!(
        again.said.contains("7 were there already"),
        "{}",
        again.said
    );
    assert_eq!(Content::of(&database), imported);
    assert_eq!(backups(&database).len(), backups_before + 1);
    let totals = rows(data_dir, "jobs", "queue_totals");
    assert_eq!(
        totals,
        rows(data_dir, "count(*)", "jobs WHERE status = 'pending'")
    );
}

#[test]
fn a_file_that_cannot_be_imported_is_told_and_nothing_is_made() {
    for (list, exit, part) in [
        ("[{]", Exit::BadData, "is no JSON: line 1"),
        ("{\"jobs\": []}", Exit::BadData, "holds no list"),
        (
            "[{\"alias\": \"a\"}]",
            Exit::BadData,
            "none of its 1 entries",
        ),
    ] {
        let (folder, flag) = with_list(list);
        let refused = import(&flag, &[], folder.path());
        assert_eq!(refused.code, code(exit), "{}", refused.errors);
        assert!(refused.errors.contains(part), "{part}: {}", refused.errors);
        assert!(!folder.path().join(DATABASE_FILE).exists());
    }
    let (folder, _) = with_list("[]");
    let data_dir = folder.path();
    fs::write(data_dir.join("latin"), b"[\"\xe9\"]").unwrap();
    // Sparse: it takes no room.
    let large = fs::File::create(data_dir.join("large")).unwrap();
    large.set_len(256 * 1024 * 1024 + 1).unwrap();
    for (name, exit, part) in [
        (
            "nowhere.json",
            Exit::BadConfiguration,
            "there is no such file",
        ),
        (".", Exit::BadConfiguration, "is no file"),
        ("latin", Exit::BadData, "no UTF-8"),
        ("large", Exit::BadData, "has more than 268435456 bytes"),
    ] {
        let flag = format!("--import-json={}", data_dir.join(name).display());
        let refused = import(&flag, &[], data_dir);
        assert_eq!(refused.code, code(exit), "{name}: {}", refused.errors);
        assert!(refused.errors.contains(part), "{part}: {}", refused.errors);
        assert!(!data_dir.join(DATABASE_FILE).exists());
    }
    for other in ["--status", "--dry-run", "--to=0001"] {
        let refused = import("--import-json=x", &[other], data_dir);
        assert_eq!(refused.code, code(Exit::BadConfiguration), "{other}");
        assert!(
            refused.errors.contains("--import-json"),
            "{}",
            refused.errors
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_needs_a_service_that_is_stopped() {
    let world = World::new().await;
    let mut program: Program = world.start(&[]);
    program.serves().await;
    let (_list, flag) = with_list(LIST);
    let refused = import(&flag, &[], &world.data_dir());
    assert_eq!(refused.code, code(Exit::Locked), "{}", refused.errors);
    assert!(
        refused.errors.contains("in use by job-service"),
        "{}",
        refused.errors
    );
    program.terminate();
    assert!(program.ends().await.success());
    let done = import(&flag, &[], &world.data_dir());
    assert_eq!(done.code, code(Exit::Clean), "{}", done.errors);
    // The service takes what came in, and what waits for a decision keeps waiting.
    let mut program = world.start(&[]);
    program.serves().await;
    program.terminate();
    assert!(program.ends().await.success());
    let held = "jobs WHERE hold_reason IS NOT NULL AND status = 'pending'";
    assert_eq!(rows(&world.data_dir(), "count(*)", held), ["3"]);
}
