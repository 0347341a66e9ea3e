//! Runs migrations as one unit: all of them and their bookkeeping, or nothing.
//!
//! Does not decide which ones.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel_migrations::MigrationHarness;

use crate::database::DatabaseError;

use super::adopt::{self, Adoption, AdoptionReport};
use super::step::Step;
use super::{MigrateError, Schema, bookkeeping, check};

/// Applies `steps` in their order; with an adoption, the older tables are taken over on the way.
///
/// `seen` is the [`bookkeeping::data_version`] of the connection before the backup was made: when
/// another program has written since, nothing is done.
pub(super) fn apply(
    connection: &mut SqliteConnection,
    schema: &Schema,
    steps: &[&Step],
    adoption: Option<&Adoption>,
    seen: i32,
    now: DateTime<Utc>,
) -> Result<Option<AdoptionReport>, MigrateError> {
    if steps.is_empty() {
        return Ok(None);
    }
    if adoption.is_some() {
        // What is sorted on the way may be larger than memory.
        connection.batch_execute("PRAGMA temp_store = FILE")?;
    }
    let ours = adoption
        .map(|_| names_made(steps, schema.program))
        .transpose()?;
    in_unit(connection, |connection| {
        if bookkeeping::data_version(connection)? != seen {
            return Err(DatabaseError::Busy.into());
        }
        let before = check::row_counts(connection)?;
        let mut adopting = match (adoption, ours) {
            (Some(adoption), Some(ours)) => {
                Some(adopt::Run::begin(connection, adoption, ours, now)?)
            }
            _ => None,
        };
        bookkeeping::create(connection, schema.program)?;
        let mut report = None;
        for step in steps {
            tracing::info!(migration = step.full_name(), "applying a migration");
            MigrationHarness::run_migration(connection, *step).map_err(|e| failed(step, e))?;
            bookkeeping::record(connection, step, now)?;
            // The first migration makes the documented tables.
            if let (Some(run), None) = (&adopting, &report) {
                report = Some(run.fill(connection)?);
            }
        }
        bookkeeping::keep_readable(connection, schema.readable_from)?;
        let mut renamed = Vec::new();
        if let (Some(run), Some(report)) = (adopting.take(), &mut report) {
            renamed = run.renamed();
            run.end(connection, now, report)?;
        }
        check::foreign_keys(connection)?;
        let after = check::row_counts(connection)?;
        match &report {
            None => check::no_row_lost(&before, &after)?,
            Some(report) => no_row_lost(before, after, report, &renamed)?,
        }
        Ok(report)
    })
}

/// An adoption may rename tables, also in the case of their letters, and set rows aside.
fn no_row_lost(
    before: BTreeMap<String, i64>,
    after: BTreeMap<String, i64>,
    report: &AdoptionReport,
    renamed: &[(String, String)],
) -> Result<(), MigrateError> {
    let lower = |counts: BTreeMap<String, i64>| -> BTreeMap<String, i64> {
        let counts = counts.into_iter();
        counts
            .map(|(name, rows)| (name.to_lowercase(), rows))
            .collect()
    };
    let (mut before, mut after) = (lower(before), lower(after));
    for (older, newer) in renamed {
        if let Some(rows) = before.remove(older) {
            before.insert(newer.clone(), rows);
        }
    }
    for table in &report.tables {
        *after.entry(table.table.clone()).or_default() += table.rows_set_aside();
    }
    check::no_row_lost(&before, &after)
}

/// The names of everything that `steps` make, in lower case, and of our own tables.
fn names_made(steps: &[&Step], program: &str) -> Result<BTreeSet<String>, MigrateError> {
    let mut trial = SqliteConnection::establish(":memory:").map_err(DatabaseError::from)?;
    bookkeeping::create(&mut trial, program)?;
    adopt::create_kept(&mut trial)?;
    for step in steps {
        MigrationHarness::run_migration(&mut trial, *step).map_err(|e| failed(step, e))?;
    }
    let names = bookkeeping::names(&mut trial)?;
    Ok(names.iter().map(|name| name.to_lowercase()).collect())
}

/// Reverts `steps` in their order.
pub(super) fn revert(
    connection: &mut SqliteConnection,
    schema: &Schema,
    steps: &[&Step],
) -> Result<(), MigrateError> {
    if steps.is_empty() {
        return Ok(());
    }
    if let Some(step) = steps.iter().find(|step| !step.has_down()) {
        return Err(MigrateError::NoDown {
            version: step.version().to_owned(),
        });
    }
    in_unit(connection, |connection| {
        for step in steps {
            tracing::info!(migration = step.full_name(), "reverting a migration");
            MigrationHarness::revert_migration(connection, *step).map_err(|e| failed(step, e))?;
            bookkeeping::forget(connection, step)?;
        }
        bookkeeping::keep_readable(connection, schema.readable_from)?;
        check::foreign_keys(connection)
    })
}

/// One transaction around `f`, with foreign keys off: rebuilding a table drops it first, which
/// would empty its children (<https://sqlite.org/lang_altertable.html>, "Making Other Kinds Of
/// Table Schema Changes"). The pragma does nothing inside a transaction, so it comes before.
///
/// Plain statements rather than diesel's transactions: when SQLite has ended the transaction by
/// itself, the error that counts is the first one, not the one of rolling back.
fn in_unit<T>(
    connection: &mut SqliteConnection,
    f: impl FnOnce(&mut SqliteConnection) -> Result<T, MigrateError>,
) -> Result<T, MigrateError> {
    connection.batch_execute("PRAGMA foreign_keys = OFF")?;
    connection.batch_execute("BEGIN IMMEDIATE")?;
    let done = f(connection).and_then(|done| {
        connection.batch_execute("COMMIT")?;
        Ok(done)
    });
    if done.is_err()
        && let Err(error) = connection.batch_execute("ROLLBACK")
    {
        tracing::debug!(%error, "no transaction was left to roll back");
    }
    connection.batch_execute("PRAGMA foreign_keys = ON")?;
    done
}

/// What diesel's harness failed with, in our words.
fn failed(step: &Step, error: Box<dyn std::error::Error + Send + Sync>) -> MigrateError {
    let source = match error.downcast::<diesel::result::Error>() {
        Ok(error) => DatabaseError::from(*error),
        Err(other) => DatabaseError::Io(other.to_string()),
    };
    MigrateError::Failed {
        version: step.version().to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use diesel_migrations::{
        EmbeddedMigration, EmbeddedMigrations, EmbeddedName, TomlMetadataWrapper,
    };

    use super::super::{Schema, step};
    use super::*;
    use crate::database::{DatabaseOptions, open_writer};

    const MIGRATIONS: &[EmbeddedMigration] = &[EmbeddedMigration::new(
        "CREATE TABLE made (a);",
        None,
        EmbeddedName::new("0001_made"),
        TomlMetadataWrapper::new(true),
    )];

    #[test]
    fn nothing_is_done_when_another_program_wrote_after_the_backup() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sqlite");
        let open = || open_writer(&path, &DatabaseOptions::default()).unwrap();
        let (mut connection, mut other) = (open(), open());
        let schema = Schema {
            database: "a",
            migrations: EmbeddedMigrations::new(MIGRATIONS),
            readable_from: "0001",
            program: "a 1",
            adoption: None,
        };
        let steps = step::steps(&schema).unwrap();
        let steps: Vec<&Step> = steps.iter().collect();
        let now = DateTime::UNIX_EPOCH;

        let seen = bookkeeping::data_version(&mut connection).unwrap();
        other.batch_execute("CREATE TABLE theirs (a)").unwrap();
        let refused = apply(&mut connection, &schema, &steps, None, seen, now);
        assert!(matches!(
            refused,
            Err(MigrateError::Database(DatabaseError::Busy))
        ));
        assert_eq!(bookkeeping::tables(&mut connection).unwrap(), ["theirs"]);

        let seen = bookkeeping::data_version(&mut connection).unwrap();
        apply(&mut connection, &schema, &steps, None, seen, now).unwrap();
        assert!(
            bookkeeping::names(&mut connection)
                .unwrap()
                .contains(&"made".to_owned())
        );
    }
}
