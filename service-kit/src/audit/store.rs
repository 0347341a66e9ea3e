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

/// Which calls are to be read.
#[derive(Debug, Clone, Default)]
pub(crate) struct AuditFilter {
    pub(crate) key_id: Option<String>,
    /// The full name of a method.
    pub(crate) method: Option<String>,
    /// The first instant, as the column holds it.
    pub(crate) from: Option<String>,
    /// The first instant after the last.
    pub(crate) until: Option<String>,
    /// Only rows before this one.
    pub(crate) before_id: Option<i64>,
}

/// A row as it is read.
#[derive(Debug, Clone, Queryable)]
pub(crate) struct NotedCall {
    pub(crate) id: i64,
    pub(crate) created_at: String,
    pub(crate) key_id: Option<String>,
    pub(crate) caller: String,
    pub(crate) peer: String,
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) code: String,
    pub(crate) request_id: String,
}

/// The newest calls that fit, at most `limit`. All rows are looked at when few
/// fit; there are never more than the audit keeps.
pub(crate) fn page(
    connection: &mut SqliteConnection,
    filter: &AuditFilter,
    limit: usize,
) -> Result<Vec<NotedCall>, DatabaseError> {
    let mut query = audit_events::table
        .order(audit_events::id.desc())
        .limit(i64::try_from(limit).unwrap_or(i64::MAX))
        .into_boxed();
    if let Some(key_id) = &filter.key_id {
        query = query.filter(audit_events::key_id.eq(key_id));
    }
    if let Some(method) = &filter.method {
        query = query.filter(audit_events::method.eq(method));
    }
    if let Some(from) = &filter.from {
        query = query.filter(audit_events::created_at.ge(from));
    }
    if let Some(until) = &filter.until {
        query = query.filter(audit_events::created_at.lt(until));
    }
    if let Some(before_id) = filter.before_id {
        query = query.filter(audit_events::id.lt(before_id));
    }
    Ok(query.load(connection)?)
}
