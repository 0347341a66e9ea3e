//! All SQL of `audit_events`. It does not decide what is noted.

use diesel::dsl::max;
use diesel::prelude::*;

use crate::database::DatabaseError;

diesel::table! {
    audit_events (id) {
        id -> BigInt,
        created_at -> Text,
        key_id -> Nullable<Text>,
        caller -> Text,
        peer -> Text,
        method -> Text,
        target -> Text,
        code -> Text,
        request_id -> Text,
    }
}

/// A call as it is noted; the columns of its row.
#[derive(Debug, Clone, Default, Insertable)]
#[diesel(table_name = audit_events)]
pub(super) struct Event {
    pub(super) created_at: String,
    pub(super) key_id: Option<String>,
    pub(super) caller: String,
    pub(super) peer: String,
    pub(super) method: String,
    pub(super) target: String,
    /// The name of a gRPC code.
    pub(super) code: &'static str,
    pub(super) request_id: String,
}

impl Event {
    /// Says it to the log as well.
    pub(super) fn log(&self, what: &'static str) {
        tracing::info!(
            target: "audit",
            {
                caller.id = self.key_id,
                caller.name = self.caller,
                peer = self.peer,
                method = self.method,
                audit.target = self.target,
                rpc.code = self.code,
                request.id = self.request_id,
            },
            "{what}"
        );
    }
}

/// Appends the events and removes the oldest rows beyond `rows_max`. Ids are
/// given in order and no row is removed from the middle, so the newest id says
/// which are the oldest.
pub(super) fn append(
    connection: &mut SqliteConnection,
    events: &[Event],
    rows_max: u32,
) -> Result<(), DatabaseError> {
    for event in events {
        diesel::insert_into(audit_events::table)
            .values(event)
            .execute(connection)?;
    }
    let newest: Option<i64> = audit_events::table
        .select(max(audit_events::id))
        .first(connection)?;
    let gone = newest.unwrap_or(0) - i64::from(rows_max);
    diesel::delete(audit_events::table.filter(audit_events::id.le(gone))).execute(connection)?;
    Ok(())
}
