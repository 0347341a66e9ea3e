//! Taking over a database of another program: a small schema of the tests' own.

use chrono::{DateTime, Utc};
use diesel::SqliteConnection;
use diesel::connection::SimpleConnection;
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::Text;
use service_kit::migrate::{
    AdoptedTable, Adoption, AdoptionReport, MigrateError, MigrateOptions, MigrationReport, Schema,
    migrate,
};

use crate::migrating::{Source, noon, schema};
use crate::support::Place;

pub(crate) const DOCUMENTED: Source = (
    "0001_documented",
    "CREATE TABLE owners (id TEXT PRIMARY KEY NOT NULL, token_hash TEXT NOT NULL, \
         name TEXT NOT NULL);\n\
     CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL, size INTEGER, \
         state TEXT NOT NULL CHECK (state IN ('open', 'done')), made_at TEXT);\n\
     CREATE INDEX idx_notes_state ON notes (state);\n\
     CREATE TABLE tags (id INTEGER PRIMARY KEY, \
         note_id INTEGER NOT NULL REFERENCES notes (id) ON DELETE CASCADE, \
         label TEXT NOT NULL, UNIQUE (note_id, label));",
    Some("DROP TABLE tags; DROP TABLE notes; DROP TABLE owners;"),
);
pub(crate) const LATER: Source = (
    "0002_later",
    "ALTER TABLE notes ADD COLUMN colour TEXT CHECK (colour IN ('red', 'blue'));\n\
     ALTER TABLE notes ADD COLUMN text_key TEXT GENERATED ALWAYS AS (lower(text)) VIRTUAL;\n\
     CREATE TABLE events (id INTEGER PRIMARY KEY, kind TEXT NOT NULL);\n\
     CREATE INDEX idx_events_kind ON events (kind);",
    Some("DROP TABLE events;"),
);

pub(crate) const ADOPTION: Adoption = Adoption {
    tables: &[OWNERS, NOTES, TAGS],
    finish: |_, _, _| Ok(()),
};

const OWNERS: AdoptedTable = AdoptedTable {
    name: "owners",
    key: "id",
    recognised_by: &["id", "name"],
    columns: &[
        ("id", "coalesce(nullif(adopt_text(id), ''), adopt_id())"),
        (
            "token_hash",
            "coalesce(adopt_text(token_hash), adopt_sha256(token), '')",
        ),
        ("name", "coalesce(adopt_text(name), 'unnamed')"),
    ],
    older: &[],
    later: &[],
    secret: &["token"],
    set_aside: &[],
};
const NOTES: AdoptedTable = AdoptedTable {
    name: "notes",
    key: "id",
    recognised_by: &["id", "text"],
    columns: &[
        ("id", "CASE WHEN typeof(id) = 'integer' THEN id END"),
        ("text", "coalesce(adopt_text(text), adopt_text(body), '')"),
        ("size", "CASE WHEN typeof(size) = 'integer' THEN size END"),
        (
            "state",
            "CASE WHEN lower(trim(adopt_text(state))) = 'done' THEN 'done' ELSE 'open' END",
        ),
        ("made_at", "adopt_time(made_at)"),
    ],
    older: &["body"],
    later: &[("colour", "adopt_text(value)"), ("text_key", "value")],
    secret: &[],
    set_aside: &[],
};
const TAGS: AdoptedTable = AdoptedTable {
    name: "tags",
    key: "id",
    recognised_by: &["note_id", "label"],
    columns: &[
        ("id", "CASE WHEN typeof(id) = 'integer' THEN id END"),
        ("note_id", "note_id"),
        ("label", "coalesce(adopt_text(label), '')"),
    ],
    older: &[],
    later: &[],
    secret: &[],
    set_aside: &[(
        "it belongs to no note",
        "NOT EXISTS (SELECT 1 FROM notes WHERE notes.id = older.note_id)",
    )],
};

/// The schema that adopts.
pub(crate) fn adopting(sources: &[Source]) -> Schema {
    Schema {
        adoption: Some(ADOPTION),
        ..schema(sources)
    }
}

/// A last migration that ends only where there is no note.
pub(crate) fn adopting_for_ever() -> Schema {
    let up = "INSERT INTO events (kind) WITH RECURSIVE n (value) AS \
              (SELECT id FROM notes UNION ALL SELECT value + 1 FROM n) \
              SELECT value || hex(zeroblob(500)) FROM n;";
    adopting(&[DOCUMENTED, LATER, ("0003_endless", up, None)])
}

/// A database that another program made with `statements`.
pub(crate) fn older(statements: &str) -> Place {
    let place = Place::new();
    place.raw().batch_execute(statements).unwrap();
    place
}

pub(crate) fn adopt(place: &Place) -> Result<MigrationReport, MigrateError> {
    adopt_with(place, &adopting(&[DOCUMENTED, LATER]))
}

pub(crate) fn adopt_with(place: &Place, schema: &Schema) -> Result<MigrationReport, MigrateError> {
    let options = MigrateOptions::default();
    migrate(&place.path, &place.lock(), schema, noon(), &options)
}

/// Adopts what must be adopted.
pub(crate) fn adopted(place: &Place) -> AdoptionReport {
    adopt(place).unwrap().adoption.unwrap()
}

/// The rows of a query of one column, as text.
pub(crate) fn texts(connection: &mut SqliteConnection, query: &str) -> Vec<String> {
    sql::<Text>(query).load(connection).unwrap()
}

pub(crate) fn rows(place: &Place, query: &str) -> Vec<String> {
    texts(&mut place.raw(), query)
}

/// What was kept of a column: the row and the value as SQL writes it.
pub(crate) fn kept(place: &Place, table: &str, column: &str) -> Vec<String> {
    rows(
        place,
        &format!(
            "SELECT row_id || ' ' || kind || ' ' || quote(value) FROM adoption_values \
             WHERE table_name = '{table}' AND column_name = '{column}' ORDER BY id"
        ),
    )
}

/// A `finish` that fails after everything else is done.
pub(crate) fn fails(
    connection: &mut SqliteConnection,
    _: DateTime<Utc>,
    _: &mut AdoptionReport,
) -> QueryResult<()> {
    connection.batch_execute("DELETE FROM notes; INSERT INTO missing VALUES (1)")
}
