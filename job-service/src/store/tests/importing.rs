//! Lists of any entries: each is a job that can be read, or set aside; no value
//! is lost, and a second import changes nothing.

use diesel::connection::SimpleConnection as _;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Fixture, now};
use crate::{
    job::JOB_ID_BYTES_MAX,
    older_jobs::{self, Entry},
    store::{
        adoption::{JobsImport, has_new, import_jobs},
        attempts, images,
        jobs::{self, JobFilter},
        queue,
    },
};

const FIELDS: [&str; 16] = [
    "mobilesd_job_id",
    "status",
    "creation_timestamp",
    "last_updated_timestamp",
    "completion_timestamp",
    "target_server_alias",
    "forge_session_hash",
    "generation_params",
    "generation_params_json",
    "result_details",
    "retry_count",
    "forge_internal_task_id",
    "app_type",
    "source_info",
    "api_key_id",
    "progress_details",
];

fn value() -> impl Strategy<Value = Value> {
    let known = vec![
        json!("pending"),
        json!(" Processing "),
        json!("completed"),
        json!("vanished"),
        json!("2025-05-13T10:00:00.000Z"),
        json!(1_747_130_460_000_i64),
        json!({"positive_prompt": "a", "steps": "9"}),
        json!({"prompt": "b", "forge_internal_task_id": 3}),
        json!([1]),
        json!("a"),
        json!("b"),
    ];
    prop_oneof![
        4 => prop::sample::select(known),
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => any::<f64>().prop_map(Value::from),
        1 => "[^\u{0}]{0,8}".prop_map(Value::from),
    ]
}

fn entry() -> impl Strategy<Value = Value> {
    let fields = prop::collection::btree_map(prop::sample::select(FIELDS.to_vec()), value(), 0..12);
    let fields = fields.prop_map(|fields| {
        let fields = fields.into_iter();
        let fields = fields.map(|(name, value)| (name.to_owned(), value));
        Value::Object(fields.collect())
    });
    prop_oneof![8 => fields, 1 => value()]
}

pub(super) fn import(fixture: &mut Fixture, entries: &[Entry<'_>]) -> JobsImport {
    let conn = &mut fixture.connection;
    conn.batch_execute("BEGIN IMMEDIATE").unwrap();
    let done = import_jobs(conn, entries, now()).unwrap();
    conn.batch_execute("COMMIT").unwrap();
    done
}

/// What the database has of a job or an entry: its columns and what is kept
/// beside them, as text.
fn kept(fixture: &mut Fixture, id: &str) -> Vec<String> {
    let id = id.replace('\'', "''");
    fixture.texts(&format!(
        "SELECT CAST(value AS TEXT) AS text FROM adoption_values WHERE row_id = '{id}' \
         UNION ALL SELECT CAST(value AS TEXT) FROM jobs, json_each(json_array( \
             mobilesd_job_id, status, creation_timestamp, last_updated_timestamp, \
             completion_timestamp, target_server_alias, forge_session_hash, \
             generation_params_json, result_details_json, retry_count, forge_internal_task_id, \
             app_type, source_info, api_key_id)) AS each \
         WHERE mobilesd_job_id = '{id}' AND each.value IS NOT NULL"
    ))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn entries_of_any_kind_become_jobs_or_are_set_aside_and_no_value_is_lost(
        list in prop::collection::vec(entry(), 0..8),
    ) {
        let text = Value::from(list).to_string();
        let Ok(entries) = older_jobs::entries(&text) else { return Ok(()) };
        let mut fixture = Fixture::new();
        let done = import(&mut fixture, &entries);
        prop_assert_eq!(done.imported.len() + done.refused.len(), entries.len());
        prop_assert!(done.present.is_empty());
        for entry in &entries {
            let refused = done.refused.iter().any(|one| one.index == entry.index);
            if refused {
                let kept = kept(&mut fixture, &entry.index.to_string());
                prop_assert!(kept.iter().any(|text| text == entry.text), "{}", entry.text);
                continue;
            }
            let job = entry.job.as_ref().unwrap();
            let columns = job.columns.iter().map(|(_, json, _)| *json);
            let kept = kept(&mut fixture, &job.id);
            for json in columns.chain(job.others.iter().map(|(_, json)| *json)) {
                let said: Option<String> = serde_json::from_str(json).ok();
                let found = kept.iter().any(|text| text == json || Some(text) == said.as_ref());
                prop_assert!(found, "{json} of {}: {kept:?}", entry.text);
            }
        }
        let conn = &mut fixture.connection;
        let listed = jobs::list(conn, &JobFilter::default(), None, 100).unwrap();
        prop_assert_eq!(listed.len(), done.imported.len());
        for job in &listed {
            jobs::request_json(conn, &job.id).unwrap();
            attempts::of_job(conn, &job.id, 10).unwrap();
        }
        let broken = queue::page(conn, None, 100).unwrap().broken;
        prop_assert!(broken.is_empty(), "{:?}", broken);

        prop_assert_eq!(has_new(conn, &entries).unwrap(), !done.refused.is_empty());
        let count = "SELECT count(*) || ' ' || (SELECT count(*) FROM adoption_values) || ' ' \
                         || total(revision) AS text FROM jobs";
        let before = fixture.texts(count);
        let again = import(&mut fixture, &entries);
        prop_assert!(again.imported.is_empty());
        prop_assert_eq!(again.present, done.imported);
        prop_assert_eq!(again.refused, done.refused);
        prop_assert_eq!(fixture.texts(count), before);
    }
}

#[test]
fn what_waited_in_the_file_goes_before_what_waits_in_the_database() {
    let mut fixture = Fixture::new();
    let waiting = |id: &str, time: &str| {
        json!({"mobilesd_job_id": id, "status": "pending", "creation_timestamp": time,
            "generation_params": {"positive_prompt": "a"}})
    };
    let order = "SELECT mobilesd_job_id AS text FROM jobs ORDER BY queue_rank";
    for (list, expected) in [
        (json!([waiting("c", "2025-05-13T10:00:00Z")]), vec!["c"]),
        (
            json!([
                waiting("b", "2025-05-13T09:00:00Z"),
                waiting("a", "2025-05-13 08:00:00"),
            ]),
            vec!["a", "b", "c"],
        ),
    ] {
        let text = list.to_string();
        import(&mut fixture, &older_jobs::entries(&text).unwrap());
        assert_eq!(fixture.texts(order), expected);
    }
    let ranks = fixture.texts("SELECT group_concat(queue_rank, ' ') AS text FROM jobs");
    assert_eq!(ranks.len(), 1);
    assert!(
        ranks[0].split(' ').all(|rank| rank.starts_with('-')),
        "{ranks:?}"
    );
}

#[test]
fn nothing_takes_the_place_of_a_job_at_work_which_may_wait_again() {
    let mut fixture = Fixture::new();
    let entry = |id: &str| {
        json!([{"mobilesd_job_id": id, "status": "pending",
            "creation_timestamp": "2025-05-13T10:00:00Z",
            "generation_params": {"positive_prompt": "a"}}])
        .to_string()
    };
    import(&mut fixture, &older_jobs::entries(&entry("first")).unwrap());
    fixture
        .run("UPDATE jobs SET status = 'processing'")
        .unwrap();
    import(
        &mut fixture,
        &older_jobs::entries(&entry("second")).unwrap(),
    );
    let order = "SELECT mobilesd_job_id || ' ' || queue_rank AS text FROM jobs ORDER BY queue_rank";
    assert_eq!(fixture.texts(order), ["second -2", "first -1"]);
}

#[test]
fn a_job_that_was_deleted_does_not_come_back() {
    let mut fixture = Fixture::new();
    let text = json!([{"mobilesd_job_id": "a", "status": "failed", "generation_params": {}}]);
    let text = text.to_string();
    let entries = older_jobs::entries(&text).unwrap();
    import(&mut fixture, &entries);
    jobs::delete(&mut fixture.connection, "a", now()).unwrap();
    assert!(!has_new(&mut fixture.connection, &entries).unwrap());
    let again = import(&mut fixture, &entries);
    assert_eq!(
        (again.imported.len(), again.deleted),
        (0, vec!["a".to_owned()])
    );
    assert!(
        fixture
            .texts("SELECT mobilesd_job_id AS text FROM jobs")
            .is_empty()
    );
}

#[test]
fn an_id_that_no_call_could_name_is_kept_beside_another() {
    let mut fixture = Fixture::new();
    let long = "x".repeat(JOB_ID_BYTES_MAX + 1);
    let fits = "y".repeat(JOB_ID_BYTES_MAX);
    let entry = |id: &str| json!({"mobilesd_job_id": id, "status": "failed"});
    let mut list = [entry(&long), entry(&fits)];
    for entry in &mut list {
        entry["generation_params"] = json!({});
    }
    let text = Value::from(list.to_vec()).to_string();
    let entries = older_jobs::entries(&text).unwrap();
    let done = import(&mut fixture, &entries);
    assert_eq!(done.imported[1], fits);
    assert_eq!(done.imported[0].len(), 36, "an id of ours");
    let kept = fixture.texts(
        "SELECT row_id || ' ' || value AS text FROM adoption_values \
         WHERE column_name = 'mobilesd_job_id' AND kind = 'replaced'",
    );
    assert_eq!(kept, [format!("{} \"{long}\"", done.imported[0])]);
    assert_eq!(import(&mut fixture, &entries).present, done.imported);
}

#[test]
fn files_and_older_results_are_read_in_the_order_of_an_index() {
    let mut fixture = Fixture::new();
    let statements = fixture.recorded(|conn| {
        images::files::page(conn, "", 10).unwrap();
        images::files::is_named(conn, "", "image/png").unwrap();
        images::files::older_results(conn, "", 10).unwrap();
    });
    assert_eq!(statements.len(), 3);
    fixture.assert_indexed(&statements);
}
