//! Removes what was deleted from the file itself: free pages and the write-ahead log.
//!
//! VACUUM cannot join the transaction of the adoption, so a mark is committed with it and the
//! scrub is repeated at every start until it is through.

use diesel::connection::SimpleConnection;
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::Integer;

use super::super::{MigrateError, bookkeeping};

/// The mark that a scrub is still to be done.
pub(super) const PENDING: &str = "scrub_pending";

/// Whether a scrub was begun and not finished.
pub(in super::super) fn scrub_is_pending(connection: &mut SqliteConnection) -> QueryResult<bool> {
    Ok(bookkeeping::meta(connection, PENDING)?.is_some())
}

/// Rewrites the file without what was deleted and empties the write-ahead log
/// (<https://sqlite.org/lang_vacuum.html>, <https://sqlite.org/pragma.html#pragma_wal_checkpoint>).
///
/// # Errors
/// [`MigrateError::ScrubWaits`] while another program reads the database; the mark stays.
pub(in super::super) fn scrub(connection: &mut SqliteConnection) -> Result<(), MigrateError> {
    // The copy that VACUUM makes is as large as the database: not in memory.
    connection.batch_execute("PRAGMA temp_store = FILE; VACUUM;")?;
    truncate_log(connection)?;
    bookkeeping::remove_meta(connection, PENDING)?;
    truncate_log(connection)
}

fn truncate_log(connection: &mut SqliteConnection) -> Result<(), MigrateError> {
    // A checkpoint that a reader stops is no error, but a column that says so.
    let busy: i32 = sql::<Integer>("PRAGMA wal_checkpoint(TRUNCATE)").get_result(connection)?;
    if busy == 0 {
        Ok(())
    } else {
        Err(MigrateError::ScrubWaits)
    }
}
