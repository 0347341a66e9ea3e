//! The tables in which a database remembers what was done to it.
//!
//! `__diesel_schema_migrations` is diesel's; ours add what diesel does not keep: the checksums,
//! and facts about the database as a whole.

use chrono::{DateTime, Utc};
use diesel::connection::SimpleConnection;
use diesel::dsl::sql;
use diesel::migration::MigrationConnection;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

use crate::clock::to_text;

use super::step::Step;

/// Diesel's table of applied versions.
pub(super) const DIESEL_TABLE: &str = "__diesel_schema_migrations";

/// Our table of applied versions with their checksums.
pub(super) const OUR_TABLE: &str = "stablequeue_migrations";

diesel::table! {
    stablequeue_migrations (version) {
        version -> Text,
        name -> Text,
        checksum -> Text,
        applied_at -> Text,
    }
}

diesel::table! {
    stablequeue_meta (key) {
        key -> Text,
        value -> Text,
    }
}

const CREATE: &str = "
CREATE TABLE IF NOT EXISTS stablequeue_migrations (
    version TEXT PRIMARY KEY NOT NULL,
    name TEXT NOT NULL,
    checksum TEXT NOT NULL,
    applied_at TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS stablequeue_meta (
    key TEXT PRIMARY KEY NOT NULL,
    value TEXT NOT NULL
);
INSERT OR IGNORE INTO stablequeue_meta (key, value) VALUES ('epoch', lower(hex(randomblob(16))));
";

/// An applied migration as our table has it.
#[derive(Queryable)]
pub(super) struct Row {
    pub(super) version: String,
    pub(super) name: String,
    pub(super) checksum: String,
    pub(super) applied_at: String,
}

/// Creates what is missing of the tables; runs inside the unit.
///
/// `oldest_program` is the program that made the database: migrations only expand, so every later
/// one of the same major version can still open it.
pub(super) fn create(connection: &mut SqliteConnection, program: &str) -> QueryResult<()> {
    connection.setup()?;
    connection.batch_execute(CREATE)?;
    diesel::insert_or_ignore_into(stablequeue_meta::table)
        .values((
            stablequeue_meta::key.eq("oldest_program"),
            stablequeue_meta::value.eq(program),
        ))
        .execute(connection)?;
    Ok(())
}

pub(super) fn record(
    connection: &mut SqliteConnection,
    step: &Step,
    now: DateTime<Utc>,
) -> QueryResult<()> {
    use stablequeue_migrations::{applied_at, checksum, name, table, version};
    diesel::insert_into(table)
        .values((
            version.eq(step.version()),
            name.eq(step.full_name()),
            checksum.eq(step.checksum()),
            applied_at.eq(to_text(now)),
        ))
        .execute(connection)?;
    Ok(())
}

pub(super) fn forget(connection: &mut SqliteConnection, step: &Step) -> QueryResult<()> {
    use stablequeue_migrations::{table, version};
    diesel::delete(table.filter(version.eq(step.version()))).execute(connection)?;
    Ok(())
}

/// The applied migrations, oldest first.
pub(super) fn rows(connection: &mut SqliteConnection) -> QueryResult<Vec<Row>> {
    use stablequeue_migrations::{table, version};
    table.order(version).load(connection)
}

/// The versions that diesel's table has and ours has not.
pub(super) fn unrecorded(connection: &mut SqliteConnection) -> QueryResult<Vec<String>> {
    sql::<Text>(
        "SELECT version FROM __diesel_schema_migrations \
         WHERE version NOT IN (SELECT version FROM stablequeue_migrations) ORDER BY version",
    )
    .load(connection)
}

pub(super) fn epoch(connection: &mut SqliteConnection) -> QueryResult<String> {
    use stablequeue_meta::{key, table, value};
    table
        .filter(key.eq("epoch"))
        .select(value)
        .first(connection)
}

/// The tables of the database, SQLite's own ones left out.
pub(super) fn tables(connection: &mut SqliteConnection) -> QueryResult<Vec<String>> {
    sql::<Text>(
        "SELECT name FROM sqlite_master WHERE type = 'table' \
         AND name NOT LIKE 'sqlite~_%' ESCAPE '~' ORDER BY name",
    )
    .load(connection)
}

/// How many rows a table has.
pub(super) fn count(connection: &mut SqliteConnection, name: &str) -> QueryResult<i64> {
    let quoted = name.replace('"', "\"\"");
    sql::<BigInt>(&format!("SELECT count(*) FROM \"{quoted}\"")).get_result(connection)
}
