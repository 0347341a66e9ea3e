//! The tables in which a database remembers what was done to it.
//!
//! `__diesel_schema_migrations` is diesel's; ours add what diesel does not keep: the checksums,
//! and facts about the database as a whole.

use chrono::{DateTime, Utc};
use diesel::connection::SimpleConnection;
use diesel::dsl::sql;
use diesel::migration::MigrationConnection;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Integer, Text};

use crate::clock::to_text;

use super::NOTHING;
use super::step::Step;

/// Diesel's table of applied versions.
pub(super) const DIESEL_TABLE: &str = "__diesel_schema_migrations";

/// Our table of applied versions with their checksums.
pub(super) const OUR_TABLE: &str = "stablequeue_migrations";

/// Our table of facts about the database as a whole.
pub(super) const META_TABLE: &str = "stablequeue_meta";

/// The fact which programs may open the database although they do not know all its migrations.
const OLDEST_SCHEMA_VERSION: &str = "oldest_schema_version";

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
/// `oldest_program` is the program that made the database; which ones may open it is said by
/// [`oldest_schema_version`].
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

/// Records from which schema version on a program may open the database, as the program knows it
/// that changes it; runs inside the unit, when its migrations are recorded.
///
/// Behind a database that was taken back, or only part of the way forward, the program knows of
/// none older than it.
pub(super) fn keep_readable(
    connection: &mut SqliteConnection,
    readable_from: &str,
) -> QueryResult<()> {
    let applied = rows(connection)?;
    let newest = applied.last().map_or(NOTHING, |row| &row.version);
    set_meta(connection, OLDEST_SCHEMA_VERSION, readable_from.min(newest))
}

/// From which schema version on a program may open the database; `None` where no program has said
/// so.
pub(super) fn oldest_schema_version(
    connection: &mut SqliteConnection,
) -> QueryResult<Option<String>> {
    meta(connection, OLDEST_SCHEMA_VERSION)
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

/// Gives the database another epoch; one without our tables gets its own when it is adopted.
pub(super) fn renew_epoch(connection: &mut SqliteConnection) -> QueryResult<()> {
    use stablequeue_meta::{key, table, value};
    if !tables(connection)?.iter().any(|name| name == META_TABLE) {
        return Ok(());
    }
    diesel::update(table.filter(key.eq("epoch")))
        .set(value.eq(sql::<Text>("lower(hex(randomblob(16)))")))
        .execute(connection)?;
    Ok(())
}

/// A fact about the database as a whole.
pub(super) fn meta(connection: &mut SqliteConnection, name: &str) -> QueryResult<Option<String>> {
    use stablequeue_meta::{key, table, value};
    table
        .filter(key.eq(name))
        .select(value)
        .first(connection)
        .optional()
}

pub(super) fn set_meta(
    connection: &mut SqliteConnection,
    name: &str,
    text: &str,
) -> QueryResult<()> {
    use stablequeue_meta::{key, table, value};
    diesel::replace_into(table)
        .values((key.eq(name), value.eq(text)))
        .execute(connection)?;
    Ok(())
}

pub(super) fn remove_meta(connection: &mut SqliteConnection, name: &str) -> QueryResult<()> {
    use stablequeue_meta::{key, table};
    diesel::delete(table.filter(key.eq(name))).execute(connection)?;
    Ok(())
}

/// The tables of the database. SQLite's own ones are left out, and so are virtual tables with what
/// they keep their content in: how many rows that takes is theirs to say, and may become fewer
/// although nothing is lost.
pub(super) fn tables(connection: &mut SqliteConnection) -> QueryResult<Vec<String>> {
    sql::<Text>(
        "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' \
         AND name NOT LIKE 'sqlite~_%' ESCAPE '~' ORDER BY name",
    )
    .load(connection)
}

/// The names of everything in the database.
pub(super) fn names(connection: &mut SqliteConnection) -> QueryResult<Vec<String>> {
    sql::<Text>("SELECT name FROM sqlite_master").load(connection)
}

/// A number that changes on a connection when another one commits
/// (<https://sqlite.org/pragma.html#pragma_data_version>).
pub(super) fn data_version(connection: &mut SqliteConnection) -> QueryResult<i32> {
    sql::<Integer>("PRAGMA data_version").get_result(connection)
}

/// How many rows a table has.
pub(super) fn count(connection: &mut SqliteConnection, name: &str) -> QueryResult<i64> {
    let quoted = name.replace('"', "\"\"");
    sql::<BigInt>(&format!("SELECT count(*) FROM \"{quoted}\"")).get_result(connection)
}
