//! The table of what the documented schema has no place for: `adoption_values`, and what comes
//! into it.
//!
//! It stays in the database for good; nothing that is dispatched or shown depends on it.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::Text;

use super::super::MigrateError;
use super::report::ColumnCount;
use super::table::{Found, ROW, has, quoted, same_name, written_columns};

/// A value whose column the documented table has not.
pub(super) const EXTRA: &str = "extra";
/// A value that was replaced by one that readers can use.
pub(super) const REPLACED: &str = "replaced";
/// A value of a row that could not be kept in its table.
pub(super) const SET_ASIDE: &str = "set_aside";

const CREATE_TABLE: &str = "
CREATE TABLE IF NOT EXISTS adoption_values (
    id INTEGER PRIMARY KEY,
    table_name TEXT NOT NULL,
    -- The key of the row; for a row that was set aside, its number.
    row_id TEXT NOT NULL,
    column_name TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('extra', 'replaced', 'set_aside')),
    -- Why a row was set aside.
    reason TEXT,
    -- As it was, in its storage class.
    value
);
";
const CREATE_INDEX: &str = "
CREATE INDEX IF NOT EXISTS idx_adoption_values_row
    ON adoption_values (table_name, column_name, row_id);
";

pub(in super::super) fn create_table(connection: &mut SqliteConnection) -> QueryResult<()> {
    connection.batch_execute(CREATE_TABLE)
}

/// Once the values are in: that is much faster for many of them.
pub(in super::super) fn create_index(connection: &mut SqliteConnection) -> QueryResult<()> {
    connection.batch_execute(CREATE_INDEX)
}

impl Found {
    /// Keeps the values of columns that the documented table has not.
    pub(super) fn keep_extra(
        &self,
        connection: &mut SqliteConnection,
    ) -> QueryResult<Vec<ColumnCount>> {
        let mut counts = Vec::new();
        for column in self.open_columns().filter(|name| !self.is_documented(name)) {
            let kept = self.keep(connection, column, EXTRA, "older.value IS NOT NULL", "")?;
            counts.extend(counted(self.spelled(column), kept));
        }
        Ok(counts)
    }

    /// Keeps the values that are not exactly what the documented table now says.
    pub(super) fn keep_replaced(
        &self,
        connection: &mut SqliteConnection,
    ) -> QueryResult<Vec<ColumnCount>> {
        let mut counts = Vec::new();
        for column in self.open_columns().filter(|name| self.is_documented(name)) {
            let name = quoted(column);
            let join = format!(
                "JOIN {} AS ours ON ours.{} = chosen.adopted_key",
                quoted(self.spec.name),
                quoted(self.spec.key)
            );
            // Without the affinity and the collation of either column: '01' is not 1 here.
            let differs = format!(
                "older.value IS NOT NULL AND (typeof(older.value) <> typeof(ours.{name}) \
                 OR (+older.value) COLLATE BINARY IS NOT +ours.{name})"
            );
            let kept = self.keep(connection, column, REPLACED, &differs, &join)?;
            counts.extend(counted(self.spelled(column), kept));
        }
        Ok(counts)
    }

    fn keep(
        &self,
        connection: &mut SqliteConnection,
        column: &str,
        kind: &str,
        condition: &str,
        join: &str,
    ) -> QueryResult<i64> {
        let kept = diesel::sql_query(format!(
            "INSERT INTO adoption_values (table_name, row_id, column_name, kind, value) \
             SELECT '{}', CAST(chosen.adopted_key AS TEXT), ?, '{kind}', older.value \
             FROM ({}) AS older JOIN temp.adoption_rows AS chosen ON chosen.adopted_row = older.{ROW} \
             {join} WHERE chosen.adopted_reason IS NULL AND {condition} ORDER BY older.{ROW}",
            self.spec.name,
            self.one_column(column),
        ))
        .bind::<Text, _>(self.spelled(column))
        .execute(connection)?;
        Ok(i64::try_from(kept).unwrap_or(i64::MAX))
    }

    /// Keeps the values of the rows that have no place.
    pub(super) fn keep_set_aside(&self, connection: &mut SqliteConnection) -> QueryResult<()> {
        for column in self.open_columns() {
            diesel::sql_query(format!(
                "INSERT INTO adoption_values \
                 (table_name, row_id, column_name, kind, reason, value) \
                 SELECT '{}', CAST(older.{ROW} AS TEXT), ?, '{SET_ASIDE}', chosen.adopted_reason, \
                     older.value \
                 FROM ({}) AS older JOIN temp.adoption_rows AS chosen \
                     ON chosen.adopted_row = older.{ROW} \
                 WHERE chosen.adopted_reason IS NOT NULL AND older.value IS NOT NULL \
                 ORDER BY older.{ROW}",
                self.spec.name,
                self.one_column(column),
            ))
            .bind::<Text, _>(self.spelled(column))
            .execute(connection)?;
        }
        Ok(())
    }

    /// Gives kept values to the columns that later migrations made under the same name.
    pub(super) fn fill_later_columns(
        &self,
        connection: &mut SqliteConnection,
    ) -> Result<(), MigrateError> {
        let ours = written_columns(connection, self.spec.name)?;
        for (column, expression) in self.spec.later {
            if !has(&ours, column) || !has(&self.columns, column) {
                continue;
            }
            let made = format!(
                "SELECT row_id, {expression} AS made FROM adoption_values \
                 WHERE table_name = '{}' AND column_name = '{column}' AND kind = '{EXTRA}'",
                self.spec.name,
            );
            diesel::sql_query(format!(
                "UPDATE OR IGNORE {} AS ours SET {} = kept.made FROM ({made}) AS kept \
                 WHERE ours.{} = kept.row_id AND kept.made IS NOT NULL",
                quoted(self.spec.name),
                quoted(column),
                quoted(self.spec.key),
            ))
            .execute(connection)?;
        }
        Ok(())
    }

    /// The columns whose values may be kept.
    fn open_columns(&self) -> impl Iterator<Item = &str> {
        let secret = |column: &&str| {
            let mut secret = self.spec.secret.iter();
            !secret.any(|name| same_name(name, column))
        };
        self.columns.iter().map(String::as_str).filter(secret)
    }

    fn is_documented(&self, column: &str) -> bool {
        let mut documented = self.spec.columns.iter();
        documented.any(|(name, _)| same_name(name, column))
    }

    /// A column as the service spells it, where it knows it.
    fn spelled<'a>(&'a self, column: &'a str) -> &'a str {
        let spec = self.spec;
        let documented = spec.columns.iter().chain(spec.later).map(|(name, _)| *name);
        documented
            .chain(spec.older.iter().copied())
            .find(|name| same_name(name, column))
            .unwrap_or(column)
    }
}

fn counted(column: &str, values: i64) -> Option<ColumnCount> {
    (values > 0).then(|| ColumnCount {
        column: column.to_owned(),
        values,
    })
}
