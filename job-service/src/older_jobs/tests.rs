use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const ENTRY: &str = r#"{
    "mobilesd_job_id": "0b6e", "status": "processing",
    "creation_timestamp": "2025-05-13T10:00:00.000Z", "completion_timestamp": null,
    "generation_params": { "positive_prompt" : "a\u0020fox",  "seed": "1e2", "n": 1.50 },
    "result_details": {"error": "x"}, "retry_count": 2,
    "processing_start_timestamp": "2025-05-13T10:00:01.000Z", "progress_details": {"step":3}
}"#;

fn one(entry: &str) -> OlderJob<'_> {
    job(entry).unwrap()
}

fn column<'a>(job: &'a OlderJob<'_>, name: &str) -> Option<&'a ColumnValue> {
    let mut columns = job.columns.iter();
    columns
        .find(|(of, _, _)| *of == name)
        .map(|(_, _, value)| value)
}

fn text(text: &str) -> ColumnValue {
    ColumnValue::Text(text.to_owned())
}

#[test]
fn an_entry_gives_its_columns_and_keeps_the_rest_and_objects_stay_byte_for_byte() {
    let job = one(ENTRY);
    assert_eq!(job.id, "0b6e");
    assert!(job.was_processing());
    let params = r#"{ "positive_prompt" : "a\u0020fox",  "seed": "1e2", "n": 1.50 }"#;
    assert_eq!(column(&job, "generation_params_json"), Some(&text(params)));
    let result = column(&job, "result_details_json");
    assert_eq!(result, Some(&text(r#"{"error": "x"}"#)));
    assert_eq!(column(&job, "retry_count"), Some(&ColumnValue::Integer(2)));
    assert_eq!(column(&job, "completion_timestamp"), None);
    let mut others = job.others;
    others.sort();
    let expected = [
        (
            "processing_start_timestamp".to_owned(),
            "\"2025-05-13T10:00:01.000Z\"",
        ),
        ("progress_details".to_owned(), "{\"step\":3}"),
    ];
    assert!(others.contains(&expected[0]) && others.contains(&expected[1]));
}

#[test]
fn an_entry_without_an_id_has_the_same_one_every_time() {
    let entry = r#"{"status":"failed","generation_params":{}}"#;
    assert_eq!(one(entry).id, one(entry).id);
    assert_eq!(one(entry).id.len(), 36);
    let other = r#"{"status":"failed","generation_params":{"seed":1}}"#;
    assert_ne!(one(entry).id, one(other).id);
    assert_eq!(one(r#"{"mobilesd_job_id":7}"#).id, "7");
}

#[test]
fn of_two_values_of_one_name_the_last_counts_and_the_other_is_kept() {
    let job = one(r#"{"mobilesd_job_id":"a","status":"failed","status":"pending"}"#);
    assert_eq!(column(&job, "status"), Some(&text("pending")));
    assert_eq!(job.others, [("status".to_owned(), "\"failed\"")]);
}

#[test]
fn what_is_no_list_of_jobs_says_what_it_is() {
    for (file, fault) in [
        ("", ListFault::NotJson { line: 1, column: 0 }),
        ("[{]", ListFault::NotJson { line: 1, column: 3 }),
        ("[1] 2", ListFault::NotJson { line: 1, column: 5 }),
        ("{\"jobs\":[]}", ListFault::NotAList),
        ("\"text\"", ListFault::NotAList),
        ("[{\"alias\":\"a\"},3]", ListFault::NoJobs(2)),
    ] {
        assert_eq!(entries(file).unwrap_err(), fault, "{file}");
    }
    assert_eq!(entries("\u{feff} [] ").unwrap().len(), 0);
    let many = format!("[{}0]", "0,".repeat(ENTRIES_MAX));
    assert_eq!(entries(&many).unwrap_err(), ListFault::TooMany);
}

#[test]
fn a_broken_entry_is_told_apart_from_its_neighbours() {
    let fields = "\"a\":0,".repeat(FIELDS_MAX);
    let deep = format!("{}1{}", "[".repeat(20_000), "]".repeat(20_000));
    let file = format!(
        r#"[{{"mobilesd_job_id":"a","x":{deep}}}, 3, {{"\ud800":1}}, {{{fields}"b":1}}, {{"status":"failed"}}]"#
    );
    let found = entries(&file).unwrap();
    assert!(found[0].job.is_ok());
    for (at, why) in [
        (1, "no object"),
        (2, "name of a field"),
        (3, "more than 1000 fields"),
        (4, "no mobilesd_job_id"),
    ] {
        let refused = found[at].job.as_ref().unwrap_err();
        assert!(refused.contains(why), "{at}: {refused}");
        assert_eq!(found[at].index, at);
    }
    assert_eq!(found[1].text, "3");
}

/// Any JSON that a field could hold.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
        Just(json!("pending")),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(".{0,6}", inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn field() -> impl Strategy<Value = String> {
    let known = COLUMNS
        .into_iter()
        .chain([PARAMS.0, PARAMS.1, RESULT.0, RESULT.1])
        .map(str::to_owned)
        .collect::<Vec<_>>();
    prop_oneof![4 => prop::sample::select(known), 1 => ".{0,8}"]
}

/// An object as text, with fields of one name left in.
fn object(fields: &[(String, Value)]) -> String {
    let fields: Vec<String> = fields
        .iter()
        .map(|(name, value)| format!("{}: {value}", Value::from(name.as_str())))
        .collect();
    format!("{{ {} }}", fields.join(" ,"))
}

proptest! {
    #[test]
    fn no_value_of_an_entry_is_lost(fields in prop::collection::vec((field(), value()), 0..14)) {
        let entry = object(&fields);
        let Ok(job) = job(&entry) else { return Ok(()) };
        let mut given: Vec<String> = fields
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(_, value)| value.to_string())
            .collect();
        let columns = job.columns.iter().map(|(_, json, _)| (*json).to_owned());
        let others = job.others.iter().map(|(_, json)| (*json).to_owned());
        let mut kept: Vec<String> = columns.chain(others).collect();
        given.sort();
        kept.sort();
        prop_assert_eq!(given, kept);
        prop_assert!(!job.id.is_empty());
    }

    #[test]
    fn no_text_makes_it_panic(text in "[\\[\\]{}\",:0-9a-z\\\\ ]{0,60}") {
        if let Ok(found) = entries(&format!("[{text}]")) {
            prop_assert!(found.iter().any(|entry| entry.job.is_ok()) || found.is_empty());
        }
    }
}
