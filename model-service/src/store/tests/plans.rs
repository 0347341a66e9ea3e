//! Every statement that runs before a claim is an index lookup.

use std::sync::{Arc, Mutex};

use diesel::connection::{Instrumentation, InstrumentationEvent};
use diesel::prelude::*;
use diesel::sql_types::Text;

use super::Fixture;
use crate::reference::Reference;
use crate::store::{events, inventories, lookup};

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

#[derive(QueryableByName)]
struct Step {
    #[diesel(sql_type = Text)]
    detail: String,
}

fn steps(fixture: &mut Fixture, sql: &str) -> Vec<String> {
    let explained = format!("EXPLAIN QUERY PLAN {sql}");
    let rows: Vec<Step> = diesel::sql_query(explained)
        .load(&mut fixture.connection)
        .unwrap();
    rows.into_iter().map(|step| step.detail).collect()
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
    let references = [sha256.as_str(), "abababab00", "a/x [abababab00]"]
        .map(|text| Reference::parse(text, None));
    lookup::may_fit(connection, &references).unwrap();
    inventories::get(connection, "left").unwrap();
    events::after(connection, 7, 10).unwrap();
    events::history(connection).unwrap();
    connection.set_instrumentation(Recorder::default());
    let statements = recorder.0.lock().unwrap().clone();
    assert!(statements.len() > 20, "{statements:#?}");
    for sql in statements {
        let steps = steps(&mut fixture, &sql);
        assert!(!steps.is_empty(), "{sql}");
        for step in steps {
            // AUTOINCREMENT's own table has one row.
            let index = !step.starts_with("SCAN") || step.contains("sqlite_sequence");
            assert!(index && !step.contains("TEMP B-TREE"), "{step}\n{sql}");
        }
    }
}
