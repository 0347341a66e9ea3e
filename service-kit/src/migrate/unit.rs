//! Runs migrations as one unit: all of them and their bookkeeping, or nothing.
//!
//! Does not decide which ones.

use chrono::{DateTime, Utc};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel_migrations::MigrationHarness;

use crate::database::DatabaseError;

use super::step::Step;
use super::{MigrateError, bookkeeping, check};

/// Applies `steps` in their order.
pub(super) fn apply(
    connection: &mut SqliteConnection,
    steps: &[&Step],
    program: &str,
    now: DateTime<Utc>,
) -> Result<(), MigrateError> {
    if steps.is_empty() {
        return Ok(());
    }
    in_unit(connection, |connection| {
        let before = check::row_counts(connection)?;
        bookkeeping::create(connection, program)?;
        for step in steps {
            tracing::info!(migration = step.full_name(), "applying a migration");
            MigrationHarness::run_migration(connection, *step).map_err(|e| failed(step, e))?;
            bookkeeping::record(connection, step, now)?;
        }
        check::foreign_keys(connection)?;
        check::no_row_lost(&before, &check::row_counts(connection)?)
    })
}

/// Reverts `steps` in their order.
pub(super) fn revert(
    connection: &mut SqliteConnection,
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
        check::foreign_keys(connection)
    })
}

/// One transaction around `f`, with foreign keys off: rebuilding a table drops it first, which
/// would empty its children (<https://sqlite.org/lang_altertable.html>, "Making Other Kinds Of
/// Table Schema Changes"). The pragma does nothing inside a transaction, so it comes before.
///
/// Plain statements rather than diesel's transactions: when SQLite has ended the transaction by
/// itself, the error that counts is the first one, not the one of rolling back.
fn in_unit(
    connection: &mut SqliteConnection,
    f: impl FnOnce(&mut SqliteConnection) -> Result<(), MigrateError>,
) -> Result<(), MigrateError> {
    connection.batch_execute("PRAGMA foreign_keys = OFF")?;
    connection.batch_execute("BEGIN IMMEDIATE")?;
    let done = f(connection).and_then(|()| Ok(connection.batch_execute("COMMIT")?));
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
