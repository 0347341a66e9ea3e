//! The questions that are asked of a database before and after it is changed.
//!
//! Changes nothing.

use std::collections::BTreeMap;

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::Text;

use super::MigrateError;
use super::bookkeeping::{count, tables};

/// Most findings of a check that are reported.
pub(super) const FINDINGS_MAX: u32 = 10;

/// The rows that refer to rows that do not exist, in words.
pub(super) const VIOLATIONS: &str = "SELECT \"table\" || ' to ' || parent || ' (' || count(*) || ')' \
     FROM pragma_foreign_key_check GROUP BY \"table\", parent";

/// SQLite's quick check; finds damage except in the agreement of indexes with tables.
pub(super) fn quick_check(connection: &mut SqliteConnection) -> Result<(), MigrateError> {
    run(connection, "quick_check")
}

/// SQLite's full check.
pub(super) fn integrity_check(connection: &mut SqliteConnection) -> Result<(), MigrateError> {
    run(connection, "integrity_check")
}

fn run(connection: &mut SqliteConnection, pragma: &str) -> Result<(), MigrateError> {
    let findings: Vec<String> =
        sql::<Text>(&format!("PRAGMA {pragma}({FINDINGS_MAX})")).load(connection)?;
    judged(findings)
}

/// What the findings of a check by SQLite mean.
pub(super) fn judged(findings: Vec<String>) -> Result<(), MigrateError> {
    if findings.iter().map(String::as_str).eq(["ok"]) {
        return Ok(());
    }
    Err(MigrateError::Damaged {
        findings,
        last_good_backup: None,
    })
}

/// Fails when a row refers to a row that does not exist.
pub(super) fn foreign_keys(connection: &mut SqliteConnection) -> Result<(), MigrateError> {
    let violations: Vec<String> = sql::<Text>(VIOLATIONS).load(connection)?;
    if violations.is_empty() {
        Ok(())
    } else {
        Err(MigrateError::ForeignKeys { violations })
    }
}

/// The rows of every table.
pub(super) fn row_counts(connection: &mut SqliteConnection) -> QueryResult<BTreeMap<String, i64>> {
    let mut counts = BTreeMap::new();
    for table in tables(connection)? {
        let rows = count(connection, &table)?;
        counts.insert(table, rows);
    }
    Ok(counts)
}

/// Fails when a table is gone or has fewer rows than `before`: our migrations only expand.
pub(super) fn no_row_lost(
    before: &BTreeMap<String, i64>,
    after: &BTreeMap<String, i64>,
) -> Result<(), MigrateError> {
    for (table, &before) in before {
        let after = after.get(table).copied().unwrap_or(0);
        if after < before {
            return Err(MigrateError::RowsLost {
                table: table.clone(),
                before,
                after,
            });
        }
    }
    Ok(())
}

/// The statements that make up the schema.
pub(super) fn schema_text(connection: &mut SqliteConnection) -> QueryResult<Vec<String>> {
    sql::<Text>(
        "SELECT type || ' ' || name || ' ' || sql FROM sqlite_master \
         WHERE sql IS NOT NULL ORDER BY type, name",
    )
    .load(connection)
}
