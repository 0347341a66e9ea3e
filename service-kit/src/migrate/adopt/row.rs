//! Older rows that are in no table of the database, such as those of a file: made into rows of a
//! documented table by the same expressions as those of a database that is adopted.
//!
//! Does not read files, and does not decide which rows there are.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text};
use diesel::sqlite::Sqlite;

use super::table::quoted;
use super::{AdoptedTable, functions, kept};

/// Between the names of columns in an answer; none of them has it.
const BETWEEN: char = ',';

/// A value of an older row, in the storage class that it had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OlderValue {
    /// Text, as it was.
    Text(String),
    /// A whole number.
    Integer(i64),
}

/// Why a value is kept in `adoption_values`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeptAs<'a> {
    /// The documented table has no such column.
    Extra,
    /// The column has a value that readers can use instead.
    Replaced,
    /// The row has no place in the table, and why.
    SetAside(&'a str),
}

/// Makes rows of one documented table of a database that has all migrations.
#[derive(Debug, Clone)]
pub struct OlderRows {
    table: &'static AdoptedTable,
    insert: String,
    compare: String,
}

impl OlderRows {
    /// Gets a connection ready. `now` is the time that rows get which kept none.
    ///
    /// # Errors
    /// Those of the database.
    pub fn begin(
        connection: &mut SqliteConnection,
        table: &'static AdoptedTable,
        now: DateTime<Utc>,
    ) -> QueryResult<Self> {
        functions::register(connection, now)?;
        super::create_kept(connection)?;
        let names: Vec<String> = table.columns.iter().map(|(name, _)| quoted(name)).collect();
        let values: Vec<&str> = table.columns.iter().map(|(_, value)| *value).collect();
        let source: Vec<String> = (1..)
            .zip(columns(table))
            .map(|(at, name)| format!("?{at} AS {}", quoted(name)))
            .collect();
        let name = quoted(table.name);
        let differs: Vec<String> = (1..)
            .zip(table.columns)
            .map(|(at, (column, _))| {
                let ours = format!("ours.{}", quoted(column));
                // Without the affinity and the collation of the column: '01' is not 1 here.
                format!(
                    "iif(?{at} IS NOT NULL AND (typeof(?{at}) <> typeof({ours}) \
                     OR (+{ours}) COLLATE BINARY IS NOT ?{at}), '{column}{BETWEEN}', '')"
                )
            })
            .collect();
        Ok(Self {
            table,
            insert: format!(
                "INSERT OR IGNORE INTO {name} ({}) SELECT {} FROM (SELECT {}) AS older",
                names.join(", "),
                values.join(", "),
                source.join(", "),
            ),
            compare: format!(
                "SELECT {} AS text FROM {name} AS ours WHERE ours.{} = ?{}",
                differs.join(" || "),
                quoted(table.key),
                columns(table).count() + 1,
            ),
        })
    }

    /// Makes the row with this key from older values by the names of their columns; what is not
    /// among them is NULL. Answers the columns whose values were replaced by ones that readers can
    /// use, or `None` when the table cannot hold the row or has one with that key.
    ///
    /// # Errors
    /// Those of the database.
    pub fn insert(
        &self,
        connection: &mut SqliteConnection,
        key: &str,
        values: &[(&str, OlderValue)],
    ) -> QueryResult<Option<Vec<&'static str>>> {
        if self.bound(&self.insert, values).execute(connection)? == 0 {
            return Ok(None);
        }
        let compare = self.bound(&self.compare, values).bind::<Text, _>(key);
        let replaced: Found = compare.get_result(connection)?;
        let is_replaced = |column: &&str| replaced.text.split(BETWEEN).any(|name| name == *column);
        let columns = self.table.columns.iter().map(|(name, _)| *name);
        Ok(Some(columns.filter(is_replaced).collect()))
    }

    fn bound<'a>(
        &self,
        sql: &str,
        values: &'a [(&str, OlderValue)],
    ) -> diesel::query_builder::BoxedSqlQuery<'a, Sqlite, diesel::query_builder::SqlQuery> {
        let mut query = diesel::sql_query(sql).into_boxed::<Sqlite>();
        for name in columns(self.table) {
            let value = values.iter().find(|(of, _)| *of == name);
            query = match value.map(|(_, value)| value) {
                None => query.bind::<Nullable<Text>, _>(None::<&str>),
                Some(OlderValue::Text(text)) => query.bind::<Text, _>(text.as_str()),
                Some(OlderValue::Integer(number)) => query.bind::<BigInt, _>(*number),
            };
        }
        query
    }

    /// Keeps a value for which the table has no place, once however often it is kept.
    ///
    /// # Errors
    /// Those of the database.
    pub fn keep(
        &self,
        connection: &mut SqliteConnection,
        row_id: &str,
        column: &str,
        value: &str,
        kept_as: KeptAs<'_>,
    ) -> QueryResult<()> {
        let (kind, reason) = match kept_as {
            KeptAs::Extra => (kept::EXTRA, None),
            KeptAs::Replaced => (kept::REPLACED, None),
            KeptAs::SetAside(reason) => (kept::SET_ASIDE, Some(reason)),
        };
        diesel::sql_query(
            "INSERT INTO adoption_values (table_name, row_id, column_name, kind, reason, value) \
             SELECT ?1, ?2, ?3, ?4, ?5, ?6 WHERE NOT EXISTS (SELECT 1 FROM adoption_values \
                 WHERE table_name = ?1 AND column_name = ?3 AND row_id = ?2 AND kind = ?4 \
                     AND value = ?6)",
        )
        .bind::<Text, _>(self.table.name)
        .bind::<Text, _>(row_id)
        .bind::<Text, _>(column)
        .bind::<Text, _>(kind)
        .bind::<Nullable<Text>, _>(reason)
        .bind::<Text, _>(value)
        .execute(connection)?;
        Ok(())
    }
}

#[derive(QueryableByName)]
struct Found {
    #[diesel(sql_type = Text)]
    text: String,
}

/// Every name that an expression may use, the documented columns first.
fn columns(table: &'static AdoptedTable) -> impl Iterator<Item = &'static str> {
    let documented = table.columns.iter().map(|(name, _)| *name);
    documented.chain(table.older.iter().chain(table.secret).copied())
}
