//! Owns the rows of `availability_events` and how many of them are kept.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::result::QueryResult;
use diesel::sql_types::BigInt;
use diesel::sqlite::Sqlite;
use service_kit::clock;

use super::tables::availability_events;
use crate::events::{Event, EventKind, NewEvent};

#[derive(Queryable, Selectable)]
#[diesel(table_name = availability_events, check_for_backend(Sqlite))]
struct Row {
    sequence: i64,
    kind: String,
    server_id: String,
    model_id: Option<i64>,
    created_at: String,
}

impl From<Row> for Event {
    fn from(row: Row) -> Self {
        Self {
            sequence: row.sequence,
            what: NewEvent {
                // The check of the table allows no other word.
                kind: EventKind::from_word(&row.kind).unwrap_or(EventKind::InventoryChanged),
                server: row.server_id,
                model_id: row.model_id,
            },
            created_at: clock::from_text(&row.created_at).unwrap_or(DateTime::UNIX_EPOCH),
        }
    }
}

/// How far history reaches: events after `forgotten` up to `last` are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct History {
    /// The last number that is not kept any more.
    pub(crate) forgotten: i64,
    /// The last number given.
    pub(crate) last: i64,
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

/// Notes changes and forgets all but the last `keep` of them.
pub(crate) fn append(
    connection: &mut SqliteConnection,
    events: &[NewEvent],
    keep: u32,
    now: DateTime<Utc>,
) -> QueryResult<()> {
    let created_at = clock::to_text(now);
    for NewEvent {
        kind,
        server,
        model_id,
    } in events
    {
        diesel::insert_into(availability_events::table)
            .values((
                availability_events::kind.eq(kind.as_str()),
                availability_events::server_id.eq(server),
                availability_events::model_id.eq(model_id),
                availability_events::created_at.eq(&created_at),
            ))
            .execute(connection)?;
    }
    if !events.is_empty() {
        let forgotten = last(connection)? - i64::from(keep);
        diesel::delete(
            availability_events::table.filter(availability_events::sequence.le(forgotten)),
        )
        .execute(connection)?;
    }
    Ok(())
}

/// How far history reaches.
pub(crate) fn history(connection: &mut SqliteConnection) -> QueryResult<History> {
    let last = last(connection)?;
    let first: Option<i64> = availability_events::table
        .select(diesel::dsl::min(availability_events::sequence))
        .get_result(connection)?;
    Ok(History {
        forgotten: first.map_or(last, |first| first - 1),
        last,
    })
}

/// Events after `after`, by number.
pub(crate) fn after(
    connection: &mut SqliteConnection,
    after: i64,
    limit: usize,
) -> QueryResult<Vec<Event>> {
    let rows: Vec<Row> = availability_events::table
        .filter(availability_events::sequence.gt(after))
        .order(availability_events::sequence)
        .limit(i64::try_from(limit).unwrap_or(i64::MAX))
        .select(Row::as_select())
        .load(connection)?;
    Ok(rows.into_iter().map(Event::from).collect())
}

/// The last number given, kept by AUTOINCREMENT even when its row is gone.
fn last(connection: &mut SqliteConnection) -> QueryResult<i64> {
    let number: Option<Number> = diesel::sql_query(
        "SELECT seq AS number FROM sqlite_sequence WHERE name = 'availability_events'",
    )
    .get_result(connection)
    .optional()?;
    Ok(number.map_or(0, |number| number.number))
}
