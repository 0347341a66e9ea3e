//! One older table: moved aside, read by the names of its columns, and its rows made into rows of
//! the documented table. All of it is done by SQLite, row by row, so that a table of any size
//! needs no more memory than one row.

use diesel::connection::SimpleConnection;
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Text};

use super::super::{MigrateError, bookkeeping};
use super::AdoptedTable;
use super::report::{AdoptedTableReport, SetAside};

/// Before the name of a table while it is adopted.
pub(super) const APART: &str = "adopted_";
/// The number of an older row, whatever its columns are called.
pub(super) const ROW: &str = "adoption_row";
/// Why a row is set aside when an earlier one has its key.
const SAME_KEY: &str = "an earlier row has the same id";
/// Why a row is set aside when a check or a uniqueness of the documented table refuses it.
const REFUSED: &str = "the table cannot hold it, or holds its like already";
/// Keys above this are not counted on from, so that new ones stay whole numbers.
const LARGEST_KEY: i64 = i64::MAX / 2;

/// An older table that was set apart.
pub(super) struct Found {
    pub(super) spec: &'static AdoptedTable,
    /// Its columns, as it spells them.
    pub(super) columns: Vec<String>,
    rows: i64,
    /// The name under which it tells the number of a row.
    row_number: String,
}

/// The columns of a table; none when it does not exist.
pub(super) fn columns(connection: &mut SqliteConnection, table: &str) -> QueryResult<Vec<String>> {
    sql::<Text>(
        "SELECT x.name FROM sqlite_master AS m JOIN pragma_table_xinfo(m.name) AS x \
         WHERE m.type = 'table' AND lower(m.name) = lower(",
    )
    .bind::<Text, _>(table)
    .sql(") ORDER BY x.cid")
    .load(connection)
}

/// The columns of a table that can be written, which generated ones cannot.
pub(super) fn written_columns(
    connection: &mut SqliteConnection,
    table: &str,
) -> QueryResult<Vec<String>> {
    sql::<Text>(
        "SELECT x.name FROM sqlite_master AS m JOIN pragma_table_xinfo(m.name) AS x \
         WHERE m.type = 'table' AND x.hidden = 0 AND lower(m.name) = lower(",
    )
    .bind::<Text, _>(table)
    .sql(") ORDER BY x.cid")
    .load(connection)
}

/// Whether there is anything of that name.
pub(super) fn exists(connection: &mut SqliteConnection, name: &str) -> QueryResult<bool> {
    diesel::select(
        sql::<Bool>("EXISTS (SELECT 1 FROM sqlite_master WHERE lower(name) = lower(")
            .bind::<Text, _>(name)
            .sql("))"),
    )
    .get_result(connection)
}

/// Whether a table with these columns is one that the earlier application made.
pub(super) fn is_recognised(spec: &AdoptedTable, columns: &[String]) -> bool {
    spec.recognised_by.iter().all(|wanted| has(columns, wanted))
}

impl Found {
    /// Renames the table, if it is there, so that the documented one can be made.
    pub(super) fn set_apart(
        connection: &mut SqliteConnection,
        spec: &'static AdoptedTable,
    ) -> Result<Option<Self>, MigrateError> {
        let columns = columns(connection, spec.name)?;
        if columns.is_empty() {
            return Ok(None);
        }
        let rows = bookkeeping::count(connection, spec.name)?;
        let name = quoted(spec.name);
        let apart = quoted(&format!("{APART}{}", spec.name));
        let own_number = ["rowid", "_rowid_", "oid"].into_iter().find(|number| {
            let question = format!("SELECT {number} FROM {name} LIMIT 0");
            !has(&columns, number) && connection.batch_execute(&question).is_ok()
        });
        let row_number = if let Some(number) = own_number {
            connection.batch_execute(&format!("ALTER TABLE {name} RENAME TO {apart}"))?;
            number.to_owned()
        } else {
            // Rows that were counted twice could be counted in two orders.
            let mut number = ROW.to_owned();
            while has(&columns, &number) {
                number.push('_');
            }
            connection.batch_execute(&format!(
                "CREATE TABLE {apart} AS SELECT row_number() OVER () AS {number}, * FROM {name}; \
                 DROP TABLE {name};"
            ))?;
            number
        };
        Ok(Some(Self {
            spec,
            columns,
            rows,
            row_number,
        }))
    }

    /// Whether the table can hold secrets in clear, or held some that are deleted.
    pub(super) fn has_secrets(&self) -> bool {
        let mut secret = self.spec.secret.iter();
        secret.any(|column| has(&self.columns, column))
    }

    /// Fills the documented table and keeps what has no place in it.
    pub(super) fn fill(
        &self,
        connection: &mut SqliteConnection,
    ) -> Result<AdoptedTableReport, MigrateError> {
        self.choose(connection)?;
        self.insert(connection)?;
        let report = AdoptedTableReport {
            table: self.spec.name.to_owned(),
            rows_before: self.rows,
            rows_kept: bookkeeping::count(connection, self.spec.name)?,
            set_aside: set_aside(connection)?,
            extra: self.keep_extra(connection)?,
            replaced: self.keep_replaced(connection)?,
        };
        self.keep_set_aside(connection)?;
        connection.batch_execute("DROP TABLE temp.adoption_rows")?;
        if report.rows_kept + report.rows_set_aside() != self.rows {
            return Err(MigrateError::RowsLost {
                table: self.spec.name.to_owned(),
                before: self.rows,
                after: report.rows_kept + report.rows_set_aside(),
            });
        }
        Ok(report)
    }

    /// Decides for each older row what its key is and whether it is kept.
    fn choose(&self, connection: &mut SqliteConnection) -> QueryResult<()> {
        let spec = self.spec;
        let key = spec.columns.iter().find(|(name, _)| *name == spec.key);
        let key = key.map_or("NULL", |(_, value)| value);
        let mut reason = String::from("CASE");
        for (why, condition) in spec.set_aside {
            reason.push_str(&format!(" WHEN {condition} THEN '{why}'"));
        }
        reason.push_str(" WHEN 0 THEN '' END");
        // The names of its columns are none that an expression would use.
        connection.batch_execute(&format!(
            "CREATE TEMP TABLE adoption_rows \
                 (adopted_row INTEGER PRIMARY KEY, adopted_key, adopted_reason TEXT); \
             INSERT INTO temp.adoption_rows SELECT {ROW}, {key}, {reason} FROM ({}) AS older; \
             CREATE INDEX temp.adoption_rows_key ON adoption_rows (adopted_key, adopted_row); \
             UPDATE temp.adoption_rows SET adopted_key = made.new_key FROM ( \
                 SELECT adopted_row AS row, row_number() OVER (ORDER BY adopted_row) \
                     + max(0, coalesce((SELECT max(adopted_key) FROM temp.adoption_rows \
                         WHERE typeof(adopted_key) = 'integer' \
                             AND adopted_key < {LARGEST_KEY}), 0)) AS new_key \
                 FROM temp.adoption_rows \
                 WHERE adopted_key IS NULL AND adopted_reason IS NULL) AS made \
             WHERE made.row = adoption_rows.adopted_row; \
             UPDATE temp.adoption_rows AS later SET adopted_reason = '{SAME_KEY}' \
             WHERE adopted_reason IS NULL AND EXISTS ( \
                 SELECT 1 FROM temp.adoption_rows AS earlier \
                 WHERE earlier.adopted_key = later.adopted_key \
                     AND earlier.adopted_row < later.adopted_row \
                     AND earlier.adopted_reason IS NULL);",
            self.source()
        ))
    }

    /// Makes the rows. One that the documented table refuses fails no adoption: it is set aside.
    fn insert(&self, connection: &mut SqliteConnection) -> QueryResult<()> {
        let spec = self.spec;
        let name = |(name, _): &(&str, &str)| quoted(name);
        let value = |(name, value): &(&'static str, &'static str)| {
            let is_key = *name == spec.key;
            if is_key { "chosen.adopted_key" } else { *value }
        };
        let names: Vec<String> = spec.columns.iter().map(name).collect();
        let values: Vec<&str> = spec.columns.iter().map(value).collect();
        connection.batch_execute(&format!(
            "INSERT OR IGNORE INTO {table} ({names}) SELECT {values} FROM ({source}) AS older \
             JOIN temp.adoption_rows AS chosen ON chosen.adopted_row = older.{ROW} \
             WHERE chosen.adopted_reason IS NULL ORDER BY older.{ROW}; \
             UPDATE temp.adoption_rows SET adopted_reason = '{REFUSED}' \
             WHERE adopted_reason IS NULL AND NOT EXISTS (SELECT 1 FROM {table} AS ours \
                 WHERE ours.{key} = adoption_rows.adopted_key)",
            table = quoted(spec.name),
            names = names.join(", "),
            values = values.join(", "),
            source = self.source(),
            key = quoted(spec.key),
        ))
    }

    /// The older rows with every name that an expression may use.
    fn source(&self) -> String {
        let spec = self.spec;
        let documented = spec.columns.iter().map(|(name, _)| *name);
        let older = spec.older.iter().chain(spec.secret).copied();
        let mut parts = vec![format!("{} AS {ROW}", self.row_number)];
        for name in documented.chain(older) {
            let value = if has(&self.columns, name) {
                quoted(name)
            } else {
                "NULL".to_owned()
            };
            parts.push(format!("{value} AS {}", quoted(name)));
        }
        format!("SELECT {} FROM {}", parts.join(", "), self.apart())
    }

    /// One older column under the name `value`, with the number of its row.
    pub(super) fn one_column(&self, column: &str) -> String {
        format!(
            "SELECT {} AS {ROW}, {} AS value FROM {}",
            self.row_number,
            quoted(column),
            self.apart()
        )
    }

    /// Drops the older table; what it held is zeroed in the file.
    pub(super) fn drop_older(&self, connection: &mut SqliteConnection) -> Result<(), MigrateError> {
        connection.batch_execute(&format!(
            "PRAGMA secure_delete = ON; DROP TABLE {}",
            self.apart()
        ))?;
        Ok(())
    }

    fn apart(&self) -> String {
        quoted(&format!("{APART}{}", self.spec.name))
    }
}

/// A name as SQL takes it, whatever is in it.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn set_aside(connection: &mut SqliteConnection) -> QueryResult<Vec<SetAside>> {
    let rows: Vec<(String, i64)> = sql::<(Text, BigInt)>(
        "SELECT adopted_reason, count(*) FROM temp.adoption_rows \
         WHERE adopted_reason IS NOT NULL GROUP BY adopted_reason ORDER BY adopted_reason",
    )
    .load(connection)?;
    let row = |(reason, rows)| SetAside { reason, rows };
    Ok(rows.into_iter().map(row).collect())
}

pub(super) fn has(columns: &[String], name: &str) -> bool {
    let mut columns = columns.iter();
    columns.any(|column| same_name(column, name))
}

/// SQLite's names are the same in any case of ASCII letters.
pub(super) fn same_name(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other)
}
