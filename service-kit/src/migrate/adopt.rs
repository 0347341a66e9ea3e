//! Takes over a database that was never under our migrations: what the earlier application wrote,
//! in whichever of its shapes.
//!
//! Owns how tables are rebuilt to the documented schema and that no value is lost on the way.
//! Which tables and columns there are, and what their values mean, is each service's
//! ([`Adoption`]). Everything but the scrub happens inside the unit that applies the migrations.

mod functions;
mod kept;
mod others;
mod report;
mod row;
mod scrub;
mod statements;
mod table;

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;

use super::MigrateError;
use super::bookkeeping;
pub use report::{AdoptedTableReport, AdoptionReport, ColumnCount, SetAside};
pub use row::{KeptAs, OlderRows, OlderValue};
pub(super) use scrub::{scrub, scrub_is_pending};
use table::Found;

/// How a service takes over a database of the earlier application.
#[derive(Debug, Clone, Copy)]
pub struct Adoption {
    /// The documented tables, parents before their children.
    pub tables: &'static [AdoptedTable],
    /// What remains to be done when all migrations are applied. Older values that have no column
    /// in the documented schema are in `adoption_values` then.
    pub finish: fn(
        &mut SqliteConnection,
        DateTime<Utc>,
        &mut AdoptionReport,
    ) -> Result<(), diesel::result::Error>,
}

/// A table of the documented schema and how its rows are made from older ones.
#[derive(Debug, Clone, Copy)]
pub struct AdoptedTable {
    /// Its name, the same in every shape.
    pub name: &'static str,
    /// The column that names a row; it is one of `columns`. Where its expression is NULL, the row
    /// gets a number above all others.
    pub key: &'static str,
    /// Columns without which a table of that name is somebody else's.
    pub recognised_by: &'static [&'static str],
    /// Every column of the documented table with the expression that makes its value from the
    /// older row, which is called `older`. An expression may name every column of `columns`,
    /// `older` and `secret`; one that the older table lacks is NULL. The functions of
    /// `adopt/functions.rs` are there.
    pub columns: &'static [(&'static str, &'static str)],
    /// Older columns that expressions name and the documented table has not.
    pub older: &'static [&'static str],
    /// Columns that later migrations make and that have the name of an older one, with the
    /// expression that makes their value from the older `value`. What is NULL, or what a check of
    /// the column refuses, leaves the column as the migration made it.
    pub later: &'static [(&'static str, &'static str)],
    /// Older columns whose values must not stay in the file in clear.
    pub secret: &'static [&'static str],
    /// Rows that cannot be kept in the table: why, and the condition over the older row. Their
    /// values are set aside in `adoption_values`, and so are those of rows that have the key of an
    /// earlier one or that the documented table refuses.
    pub set_aside: &'static [(&'static str, &'static str)],
}

/// Whether the tables of a database are ones that `adoption` can take over.
pub(super) fn recognises(
    connection: &mut SqliteConnection,
    adoption: &Adoption,
) -> QueryResult<bool> {
    let mut any = false;
    for spec in adoption.tables {
        let columns = table::columns(connection, spec.name)?;
        if columns.is_empty() {
            continue;
        }
        if !table::is_recognised(spec, &columns) {
            return Ok(false);
        }
        any = true;
    }
    Ok(any)
}

/// Makes what an adoption itself makes, for its names.
pub(super) fn create_kept(connection: &mut SqliteConnection) -> QueryResult<()> {
    kept::create_table(connection)?;
    kept::create_index(connection)
}

/// An adoption between its beginning and its end, inside one transaction.
pub(super) struct Run {
    adoption: Adoption,
    /// The names that our migrations use, in lower case.
    ours: BTreeSet<String>,
    found: Vec<Found>,
    renamed: Vec<others::Renamed>,
    statements: Vec<statements::Statement>,
}

impl Run {
    /// Moves older tables out of the way, so that the migrations can make ours. `ours` are the
    /// names that the migrations use, in lower case.
    pub(super) fn begin(
        connection: &mut SqliteConnection,
        adoption: &Adoption,
        ours: BTreeSet<String>,
        now: DateTime<Utc>,
    ) -> Result<Self, MigrateError> {
        functions::register(connection, now)?;
        let statements = statements::take(connection, adoption.tables, &ours)?;
        // A renamed table keeps its name in the references of others: they will mean ours.
        connection.batch_execute("PRAGMA legacy_alter_table = ON")?;
        let renamed = others::move_away(connection, adoption.tables, &ours)?;
        let mut found = Vec::new();
        for spec in adoption.tables {
            if let Some(table) = Found::set_apart(connection, spec)? {
                found.push(table);
            }
        }
        connection.batch_execute("PRAGMA legacy_alter_table = OFF")?;
        kept::create_table(connection)?;
        Ok(Self {
            adoption: *adoption,
            ours,
            found,
            renamed,
            statements,
        })
    }

    /// Fills the documented tables from the older ones.
    pub(super) fn fill(
        &self,
        connection: &mut SqliteConnection,
    ) -> Result<AdoptionReport, MigrateError> {
        let mut report = AdoptionReport::default();
        for table in &self.found {
            report.tables.push(table.fill(connection)?);
        }
        Ok(report)
    }

    /// Once all migrations are applied: fills the columns of ours that have the name of an older
    /// one, lets the service finish, and puts back what hung on the tables.
    pub(super) fn end(
        self,
        connection: &mut SqliteConnection,
        now: DateTime<Utc>,
        report: &mut AdoptionReport,
    ) -> Result<(), MigrateError> {
        kept::create_index(connection)?;
        for table in &self.found {
            table.fill_later_columns(connection)?;
        }
        (self.adoption.finish)(connection, now, report)?;
        for table in &self.found {
            table.drop_older(connection)?;
        }
        report.renamed = self.renamed.iter().map(others::Renamed::said).collect();
        others::let_go_of_missing_rows(connection, &self.ours, report)?;
        let lost = statements::put_back(connection, &self.statements, &self.renamed)?;
        report.statements_lost.extend(lost);
        if self.found.iter().any(Found::has_secrets) {
            report.held_secrets = true;
            bookkeeping::set_meta(connection, scrub::PENDING, "1")?;
        }
        Ok(())
    }

    /// The tables that have another name now: before and after, in lower case.
    pub(super) fn renamed(&self) -> Vec<(String, String)> {
        let renamed = self.renamed.iter();
        renamed
            .map(|one| (one.before.to_lowercase(), one.after.to_lowercase()))
            .collect()
    }
}
