//! Tables that are nobody's we know: they stay as they are, unless one of ours needs the name or
//! their references would stop ours from working.

use std::collections::BTreeSet;

use diesel::connection::SimpleConnection;
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

use super::super::bookkeeping;
use super::table::{APART, exists, quoted};
use super::{AdoptedTable, AdoptionReport};

/// Before the name of a table whose name ours needs.
const BEFORE_OURS: &str = "older_";
/// The name of a table while it is copied.
const COPIED: &str = "adopted_copy";

/// A table that had to give its name to one of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Renamed {
    pub(super) before: String,
    pub(super) after: String,
}

impl Renamed {
    pub(super) fn said(&self) -> String {
        format!("{} is {} now", self.before, self.after)
    }
}

/// Renames the tables whose names ours need.
pub(super) fn move_away(
    connection: &mut SqliteConnection,
    tables: &[AdoptedTable],
    ours: &BTreeSet<String>,
) -> QueryResult<Vec<Renamed>> {
    let adopted = |name: &str| tables.iter().any(|table| table.name == name);
    let in_between = |name: &str| {
        let apart = name.strip_prefix(APART).is_some_and(adopted);
        apart || name == COPIED
    };
    let mut renamed = Vec::new();
    for before in bookkeeping::tables(connection)? {
        let name = before.to_ascii_lowercase();
        if adopted(&name) || !(ours.contains(&name) || in_between(&name)) {
            continue;
        }
        let mut after = format!("{BEFORE_OURS}{before}");
        while exists(connection, &after)? || ours.contains(&after.to_ascii_lowercase()) {
            after.insert_str(0, BEFORE_OURS);
        }
        connection.batch_execute(&format!(
            "ALTER TABLE {} RENAME TO {}",
            quoted(&before),
            quoted(&after)
        ))?;
        renamed.push(Renamed { before, after });
    }
    Ok(renamed)
}

/// A table whose rows refer to missing ones, or to columns that are not there, would fail every
/// later check, and every deletion of what it refers to. Such a table is copied without its
/// references.
pub(super) fn let_go_of_missing_rows(
    connection: &mut SqliteConnection,
    ours: &BTreeSet<String>,
    report: &mut AdoptionReport,
) -> QueryResult<()> {
    for table in bookkeeping::tables(connection)? {
        if ours.contains(&table.to_ascii_lowercase()) || refers_well(connection, &table) {
            continue;
        }
        let indexes: Vec<String> = sql::<Text>(
            "SELECT sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL \
             AND lower(tbl_name) = lower(",
        )
        .bind::<Text, _>(&table)
        .sql(") ORDER BY rowid")
        .load(connection)?;
        let name = quoted(&table);
        connection.batch_execute(&format!(
            "PRAGMA legacy_alter_table = ON; \
             ALTER TABLE {name} RENAME TO {COPIED}; \
             PRAGMA legacy_alter_table = OFF; \
             CREATE TABLE {name} AS SELECT * FROM {COPIED}; \
             DROP TABLE {COPIED};"
        ))?;
        for index in indexes {
            connection.batch_execute(&index)?;
        }
        report.notes.push(format!(
            "the table {table} referred to rows or columns that do not exist; it keeps its rows \
             and refers to nothing now"
        ));
    }
    Ok(())
}

fn refers_well(connection: &mut SqliteConnection, table: &str) -> bool {
    // References to columns that are not there are an error, not a finding.
    let found: QueryResult<i64> = sql::<BigInt>("SELECT count(*) FROM pragma_foreign_key_check(")
        .bind::<Text, _>(table)
        .sql(")")
        .get_result(connection);
    matches!(found, Ok(0))
}
