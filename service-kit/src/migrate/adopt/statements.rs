//! Indexes, triggers and views: taken off before the tables are rebuilt, since they name older
//! columns, and put back afterwards where they still can be.

use std::collections::BTreeSet;

use diesel::connection::SimpleConnection;
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::Text;

use super::AdoptedTable;
use super::others::Renamed;
use super::table::{exists, quoted, written_columns};

/// A statement of the older schema.
#[derive(Debug, Clone, QueryableByName)]
pub(super) struct Statement {
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = Text)]
    name: String,
    /// The table or view that it hangs on; its own name for a view.
    #[diesel(sql_type = Text)]
    table_name: String,
    #[diesel(sql_type = Text)]
    text: String,
}

/// Takes off all triggers and views, the indexes of `tables`, and those whose names ours need.
pub(super) fn take(
    connection: &mut SqliteConnection,
    tables: &[AdoptedTable],
    ours: &BTreeSet<String>,
) -> QueryResult<Vec<Statement>> {
    let found: Vec<Statement> = diesel::sql_query(
        "SELECT type AS kind, name, tbl_name AS table_name, sql AS text FROM sqlite_master \
         WHERE sql IS NOT NULL AND type IN ('index', 'trigger', 'view') ORDER BY rowid",
    )
    .load(connection)?;
    let is_in_the_way = |statement: &Statement| {
        let table = tables
            .iter()
            .any(|table| table.name.eq_ignore_ascii_case(&statement.table_name));
        statement.kind != "index" || table || ours.contains(&statement.name.to_ascii_lowercase())
    };
    let taken: Vec<Statement> = found.into_iter().filter(is_in_the_way).collect();
    // Triggers first: one of a view goes with its view.
    for kind in ["trigger", "index", "view"] {
        for statement in taken.iter().filter(|statement| statement.kind == kind) {
            let name = quoted(&statement.name);
            connection.batch_execute(&format!("DROP {kind} IF EXISTS {name}"))?;
        }
    }
    Ok(taken)
}

/// Puts back what ours do not replace. What names a column that is gone cannot be put back; it is
/// told with its text.
pub(super) fn put_back(
    connection: &mut SqliteConnection,
    statements: &[Statement],
    renamed: &[Renamed],
) -> QueryResult<Vec<String>> {
    let mut lost = Vec::new();
    let mut left: Vec<&Statement> = Vec::new();
    for statement in statements {
        let on_renamed = renamed.iter().any(|one| {
            one.before.eq_ignore_ascii_case(&statement.table_name) && statement.kind != "view"
        });
        if on_renamed {
            lost.push(statement.lost("its table has another name now"));
        } else if replaced(connection, statement)? {
            continue;
        } else if exists(connection, &statement.name)? {
            lost.push(statement.lost("its name is one of ours"));
        } else {
            left.push(statement);
        }
    }
    // A view can name one that comes later.
    loop {
        let before = left.len();
        let mut failed = Vec::new();
        for statement in left {
            if let Err(error) = put(connection, statement)? {
                failed.push((statement, error));
            }
        }
        if failed.len() == before || failed.is_empty() {
            let failed = failed.iter();
            lost.extend(failed.map(|(statement, error)| statement.lost(error)));
            return Ok(lost);
        }
        left = failed.into_iter().map(|(statement, _)| statement).collect();
    }
}

impl Statement {
    fn lost(&self, why: &str) -> String {
        let Self {
            kind, name, text, ..
        } = self;
        format!("{kind} {name}: {why}; it was: {text}")
    }
}

/// Whether ours of the same name says the same.
fn replaced(connection: &mut SqliteConnection, statement: &Statement) -> QueryResult<bool> {
    let ours: Vec<String> = sql::<Text>("SELECT sql FROM sqlite_master WHERE type = ")
        .bind::<Text, _>(&statement.kind)
        .sql(" AND lower(name) = lower(")
        .bind::<Text, _>(&statement.name)
        .sql(") AND sql IS NOT NULL")
        .load(connection)?;
    let older = plain(&statement.text);
    Ok(ours.iter().any(|ours| plain(ours) == older))
}

/// A statement without what only its looks are made of.
fn plain(text: &str) -> String {
    let looks = |letter: &char| letter.is_whitespace() || matches!(letter, '"' | '`' | '[' | ']');
    let letters = text.chars().filter(|letter| !looks(letter));
    letters.collect::<String>().to_ascii_lowercase()
}

/// The inner error is SQLite's objection to the statement.
fn put(
    connection: &mut SqliteConnection,
    statement: &Statement,
) -> QueryResult<Result<(), String>> {
    connection.batch_execute("SAVEPOINT put_back")?;
    let made = connection
        .batch_execute(&statement.text)
        .and_then(|()| try_out(connection, statement));
    match made {
        Ok(()) => connection.batch_execute("RELEASE put_back")?,
        Err(error) => {
            connection.batch_execute("ROLLBACK TO put_back; RELEASE put_back")?;
            return Ok(Err(error.to_string()));
        }
    }
    Ok(Ok(()))
}

/// SQLite takes a view or a trigger that names a missing column, and objects only when it is used:
/// then every change of the table would fail.
fn try_out(connection: &mut SqliteConnection, statement: &Statement) -> QueryResult<()> {
    let table = quoted(&statement.table_name);
    match statement.kind.as_str() {
        "view" => connection.batch_execute(&format!("SELECT 1 FROM {table} LIMIT 0")),
        "trigger" => {
            let columns = written_columns(connection, &statement.table_name)?;
            if columns.is_empty() {
                // It is a view's.
                return Ok(());
            }
            let same: Vec<String> = columns
                .iter()
                .map(|column| format!("{0} = {0}", quoted(column)))
                .collect();
            connection.batch_execute(&format!(
                "EXPLAIN INSERT INTO {table} DEFAULT VALUES; \
                 EXPLAIN UPDATE {table} SET {}; EXPLAIN DELETE FROM {table};",
                same.join(", ")
            ))
        }
        _ => Ok(()),
    }
}
