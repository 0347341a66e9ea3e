//! Each fact of the documented schema of the jobs database is found in the
//! created one: columns, indexes, defaults, checks.

use super::Fixture;

/// Name, type, NOT NULL, default, place in the primary key; the documented
/// columns come first, in this order.
type Column = (&'static str, &'static str, bool, Option<&'static str>, i32);

const JOBS: [Column; 14] = [
    ("mobilesd_job_id", "TEXT", false, None, 1),
    ("status", "TEXT", true, Some("'pending'"), 0),
    ("creation_timestamp", "TEXT", true, None, 0),
    ("last_updated_timestamp", "TEXT", true, None, 0),
    ("completion_timestamp", "TEXT", false, None, 0),
    ("target_server_alias", "TEXT", true, None, 0),
    ("forge_session_hash", "TEXT", false, None, 0),
    ("generation_params_json", "TEXT", true, None, 0),
    ("result_details_json", "TEXT", false, None, 0),
    ("retry_count", "INTEGER", false, Some("0"), 0),
    ("forge_internal_task_id", "TEXT", false, None, 0),
    ("app_type", "TEXT", false, Some("'forge'"), 0),
    ("source_info", "TEXT", false, None, 0),
    ("api_key_id", "TEXT", false, None, 0),
];

const API_KEYS: [Column; 10] = [
    ("id", "TEXT", false, None, 1),
    ("name", "TEXT", true, None, 0),
    ("key_prefix", "TEXT", true, None, 0),
    ("key_hash", "TEXT", true, None, 0),
    ("secret_hash", "TEXT", true, None, 0),
    ("created_at", "TEXT", true, None, 0),
    ("last_used", "TEXT", false, None, 0),
    ("is_active", "BOOLEAN", false, Some("1"), 0),
    ("permissions", "TEXT", false, None, 0),
    ("description", "TEXT", false, None, 0),
];

/// Table, index, its columns in order.
const INDEXES: [(&str, &str, &str); 3] = [
    (
        "jobs",
        "idx_jobs_status_creation",
        "status,creation_timestamp",
    ),
    ("api_keys", "idx_api_keys_key_prefix", "key_prefix"),
    ("api_keys", "idx_api_keys_active", "is_active"),
];

/// The newest version.
const NEWEST: &str = "0010";

const STATES: [&str; 5] = ["pending", "processing", "completed", "failed", "cancelled"];

/// A row with nothing but what the documented schema asks for.
const BARE_JOB: &str = "INSERT INTO jobs (mobilesd_job_id, creation_timestamp,
    last_updated_timestamp, target_server_alias, generation_params_json)
    VALUES ('1', 't', 't', '', '{}')";
const BARE_KEY: &str = "INSERT INTO api_keys (id, name, key_prefix, key_hash, secret_hash,
    created_at) VALUES ('1', 'n', 'mk_', 'h', 's', 't')";

fn fact((name, kind, not_null, default, key): &Column) -> String {
    let default = default.unwrap_or("NULL");
    format!("{name} {kind} {} {default} {key}", i32::from(*not_null))
}

fn columns(fixture: &mut Fixture, table: &str) -> Vec<String> {
    fixture.texts(&format!(
        "SELECT name || ' ' || type || ' ' || \"notnull\" || ' '
             || ifnull(dflt_value, 'NULL') || ' ' || pk AS text
         FROM pragma_table_info('{table}') ORDER BY cid"
    ))
}

#[test]
fn every_documented_column_is_there_with_its_type_default_and_key() {
    let mut fixture = Fixture::new();
    for (table, documented) in [("jobs", &JOBS[..]), ("api_keys", &API_KEYS[..])] {
        let found = columns(&mut fixture, table);
        let expected: Vec<String> = documented.iter().map(fact).collect();
        assert_eq!(found[..expected.len()], expected, "{table}");
    }
}

#[test]
fn every_column_of_ours_lets_a_writer_of_the_documented_ones_go_on() {
    let mut fixture = Fixture::new();
    let found = columns(&mut fixture, "jobs");
    assert!(found.len() > JOBS.len());
    fixture.run(BARE_JOB).unwrap();
    fixture.run(BARE_KEY).unwrap();
    let job = super::super::jobs::get(&mut fixture.connection, "1");
    // Its times are not ours; what counts is that every column had a default.
    let why = job.unwrap_err().to_string();
    assert!(why.contains("is not a time"), "{why}");
}

#[test]
fn every_documented_index_is_there_and_whole() {
    let mut fixture = Fixture::new();
    for (table, index, columns) in INDEXES {
        let found = fixture.texts(&format!(
            "SELECT l.\"unique\" || ' ' || l.partial || ' '
                 || (SELECT group_concat(name) FROM pragma_index_info(l.name)) AS text
             FROM pragma_index_list('{table}') AS l WHERE l.name = '{index}'"
        ));
        assert_eq!(found, [format!("0 0 {columns}")], "{index}");
    }
}

#[test]
fn the_documented_defaults_are_written() {
    let mut fixture = Fixture::new();
    fixture.run(BARE_JOB).unwrap();
    fixture.run(BARE_KEY).unwrap();
    let job = "SELECT status || ' ' || retry_count || ' ' || app_type AS text FROM jobs";
    assert_eq!(fixture.texts(job), ["pending 0 forge"]);
    let key = "SELECT CAST(is_active AS TEXT) AS text FROM api_keys";
    assert_eq!(fixture.texts(key), ["1"]);
}

#[test]
fn a_status_is_one_of_the_documented_five() {
    let mut fixture = Fixture::new();
    fixture.run(BARE_JOB).unwrap();
    for state in STATES {
        let sql = format!("UPDATE jobs SET status = '{state}'");
        assert_eq!(fixture.run(&sql).unwrap(), 1, "{state}");
    }
    for wrong in ["'queued'", "'PENDING'", "''", "NULL"] {
        let sql = format!("UPDATE jobs SET status = {wrong}");
        assert!(fixture.run(&sql).is_err(), "{wrong}");
    }
}

#[test]
fn what_is_documented_as_needed_cannot_be_left_out() {
    let mut fixture = Fixture::new();
    fixture.run(BARE_JOB).unwrap();
    fixture.run(BARE_KEY).unwrap();
    for (table, documented) in [("jobs", &JOBS[..]), ("api_keys", &API_KEYS[..])] {
        for (column, _, not_null, _, _) in documented {
            let sql = format!("UPDATE {table} SET {column} = NULL");
            assert_eq!(fixture.run(&sql).is_err(), *not_null, "{table}.{column}");
        }
    }
    assert!(
        fixture.run(BARE_JOB).is_ok(),
        "a key that is NULL is no key"
    );
    assert!(fixture.run(BARE_JOB).is_err(), "a job id exists once");
}

#[test]
fn the_first_migration_is_the_documented_schema_and_no_more() {
    let mut fixture = Fixture::new();
    fixture.migrate_to("0001");
    for (table, documented) in [("jobs", &JOBS[..]), ("api_keys", &API_KEYS[..])] {
        let expected: Vec<String> = documented.iter().map(fact).collect();
        assert_eq!(columns(&mut fixture, table), expected, "{table}");
    }
    let ours = "SELECT name AS text FROM sqlite_master WHERE name LIKE '%job%'
        OR name LIKE '%api_key%' ORDER BY name";
    let expected = [
        "api_keys",
        "idx_api_keys_active",
        "idx_api_keys_key_prefix",
        "idx_jobs_status_creation",
        "jobs",
        "sqlite_autoindex_api_keys_1",
        "sqlite_autoindex_jobs_1",
    ];
    assert_eq!(fixture.texts(ours), expected);
}

#[test]
fn every_migration_can_be_taken_back_and_done_again() {
    let mut fixture = Fixture::new();
    let schema = "SELECT name || ' ' || ifnull(sql, '') AS text FROM sqlite_master
        WHERE name LIKE '%job%' OR name LIKE '%api_key%' OR name LIKE '%server%'
        OR name LIKE '%request_id%' OR name = 'queue_totals' ORDER BY name";
    let whole = fixture.texts(schema);
    assert!(whole.len() > 15, "{whole:#?}");
    fixture.migrate_to("0001");
    fixture.run(BARE_JOB).unwrap();
    fixture.migrate_to(NEWEST);
    let kept = "SELECT mobilesd_job_id || ' ' || revision AS text FROM jobs";
    assert_eq!(fixture.texts(kept), ["1 1"]);
    assert_eq!(fixture.texts(schema), whole);
    fixture.run("DELETE FROM jobs").unwrap();
    fixture.migrate_to(service_kit::migrate::NOTHING);
    assert!(fixture.texts(schema).is_empty());
    fixture.migrate_to(NEWEST);
    assert_eq!(fixture.texts(schema), whole);
}
