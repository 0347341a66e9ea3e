//! Every statement that runs before a claim is an index lookup.

use std::sync::{Arc, Mutex};

use diesel::connection::{Instrumentation, InstrumentationEvent};
use diesel::prelude::*;
use diesel::sql_types::Text;

use super::{Fixture, now};
use crate::reference::Reference;
use crate::request_id::{KnownRequest, RequestId};
use crate::store::{
    aliases, assets, availability, events, files, inventories, lookup, models, request_ids,
};

#[derive(Clone, Default)]
pub(super) struct Recorder(Arc<Mutex<Vec<String>>>);

impl Recorder {
    /// The statements that ran.
    pub(super) fn statements(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl Instrumentation for Recorder {
    fn on_connection_event(&mut self, event: InstrumentationEvent<'_>) {
        if let InstrumentationEvent::StartQuery { query, .. } = event {
            let text = query.to_string();
            let sql = text.split(" -- binds").next().unwrap_or_default();
            self.0.lock().unwrap().push(sql.to_owned());
        }
    }
}

#[derive(QueryableByName)]
struct Step {
    #[diesel(sql_type = Text)]
    detail: String,
}

pub(super) fn steps(fixture: &mut Fixture, sql: &str) -> Vec<String> {
    let explained = format!("EXPLAIN QUERY PLAN {sql}");
    let rows: Vec<Step> = diesel::sql_query(explained)
        .load(&mut fixture.connection)
        .unwrap();
    rows.into_iter().map(|step| step.detail).collect()
}

/// Every statement that ran is a lookup by an index.
fn assert_no_scan(fixture: &mut Fixture, recorder: &Recorder, least: usize) {
    let connection = &mut fixture.connection;
    connection.set_instrumentation(Recorder::default());
    let statements = recorder.0.lock().unwrap().clone();
    assert!(statements.len() > least, "{statements:#?}");
    for sql in statements {
        let steps = steps(fixture, &sql);
        assert!(!steps.is_empty() || sql.starts_with("REPLACE"), "{sql}");
        for step in steps {
            // AUTOINCREMENT's own table has one row.
            // The servers are few.
            let few = ["sqlite_sequence", "server_inventories"];
            let is_few = few.iter().any(|table| step.contains(table));
            let index = !step.starts_with("SCAN") || is_few;
            assert!(index && !step.contains("TEMP B-TREE"), "{step}\n{sql}");
        }
    }
}

#[test]
fn no_statement_of_a_check_scans_a_table() {
    let mut fixture = Fixture::new();
    let connection = &mut fixture.connection;
    diesel::sql_query(
        "INSERT INTO models (name, type, local_path, filename) VALUES ('x', 'lora', '', 'x.pt')",
    )
    .execute(connection)
    .unwrap();
    let recorder = Recorder::default();
    connection.set_instrumentation(recorder.clone());
    let sha256 = "ab".repeat(32);
    let references = [
        sha256.as_str(),
        "abababab00",
        "abababababab",
        "a/x [abababab00]",
    ]
    .map(|text| Reference::parse(text, None));
    lookup::may_fit(connection, &references).unwrap();
    inventories::get(connection, "left").unwrap();
    assets::of_server(connection, "left").unwrap();
    events::after(connection, 7, 10).unwrap();
    events::history(connection).unwrap();
    assert_no_scan(&mut fixture, &recorder, 17);
}

#[test]
fn no_statement_about_a_name_that_many_have_scans_a_table() {
    let mut fixture = Fixture::new();
    let connection = &mut fixture.connection;
    diesel::sql_query(
        "WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < 2001)
         INSERT INTO models (name, type, local_path, filename)
         SELECT 'x', 'lora', n || '/x.pt', 'x.pt' FROM number",
    )
    .execute(connection)
    .unwrap();
    let recorder = Recorder::default();
    connection.set_instrumentation(recorder.clone());
    let references = ["2001/x.pt", "y"].map(|text| Reference::parse(text, None));
    let found = lookup::may_fit(connection, &references).unwrap();
    let facts = found.iter().map(|one| (one.models.len(), one.truncated));
    assert!(facts.eq([(2001, true), (0, false)]));
    // All at once, one after the other where that is too much, and the paths.
    assert_no_scan(&mut fixture, &recorder, 10);
}

#[test]
fn no_statement_of_a_repeated_request_or_a_use_scans_a_table() {
    let mut fixture = Fixture::new();
    let connection = &mut fixture.connection;
    diesel::sql_query(
        "INSERT INTO models (name, type, local_path, filename) VALUES ('x', 'lora', '', 'x.pt')",
    )
    .execute(connection)
    .unwrap();
    let alias = aliases::insert(connection, 1, "a").unwrap();
    let recorder = Recorder::default();
    connection.set_instrumentation(recorder.clone());
    let id = RequestId::parse("id").unwrap();
    let request = KnownRequest::add_model_alias(id, 1, "a");
    request_ids::put(connection, &request, alias.id, now()).unwrap();
    assert!(
        request_ids::find(connection, &request, now())
            .unwrap()
            .is_some()
    );
    aliases::get(connection, alias.id).unwrap();
    assert!(models::touch(connection, 1, now()).unwrap());
    assert_no_scan(&mut fixture, &recorder, 5);
}

#[test]
fn no_statement_about_the_files_of_a_server_scans_a_table() {
    let mut fixture = Fixture::new();
    let connection = &mut fixture.connection;
    let recorder = Recorder::default();
    connection.set_instrumentation(recorder.clone());
    files::of_server(connection, "left").unwrap();
    files::doubt(connection, &[1, 2], Some(now())).unwrap();
    availability::of_server(connection, "left").unwrap();
    availability::touch_listed(connection, "left", now()).unwrap();
    assert_no_scan(&mut fixture, &recorder, 3);
}
