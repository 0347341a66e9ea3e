//! Owns the rows of `request_ids`, and that they are forgotten in time.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::result::QueryResult;
use diesel::sql_types::{BigInt, Text};
use service_kit::clock;

use super::tables::request_ids;
use crate::request_id::{KnownRequest, Method, REQUEST_IDS_KEPT};

/// Most rows that are forgotten with each one that is written. More than one,
/// so that the table shrinks while it is used.
pub(crate) const FORGOTTEN_PER_WRITE_MAX: usize = 100;

/// What an earlier request with the id said and made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Earlier {
    /// Its fingerprint.
    pub(crate) fingerprint: String,
    /// The id of what it made; `None` when that is gone.
    pub(crate) made: Option<i64>,
}

/// The earlier request with the id of this one, if it is kept still.
pub(crate) fn find(
    connection: &mut SqliteConnection,
    request: &KnownRequest,
    now: DateTime<Utc>,
) -> QueryResult<Option<Earlier>> {
    type Row = (String, Option<i64>, Option<i64>);
    let key = (
        request.api_key,
        request.method.as_str(),
        request.id.as_str(),
    );
    let row: Option<Row> = request_ids::table
        .find(key)
        .filter(request_ids::created_at.gt(oldest(now)))
        .select((
            request_ids::fingerprint,
            request_ids::model_id,
            request_ids::alias_id,
        ))
        .first(connection)
        .optional()?;
    Ok(row.map(|(fingerprint, model_id, alias_id)| Earlier {
        fingerprint,
        made: match request.method {
            Method::CreateModel => model_id,
            Method::AddModelAlias => alias_id,
        },
    }))
}

/// Notes what a request made, and forgets some of what is too old.
pub(crate) fn put(
    connection: &mut SqliteConnection,
    request: &KnownRequest,
    made: i64,
    now: DateTime<Utc>,
) -> QueryResult<()> {
    forget_old(connection, now)?;
    let (model_id, alias_id) = match request.method {
        Method::CreateModel => (Some(made), None),
        Method::AddModelAlias => (None, Some(made)),
    };
    // Replaces one that is too old and not forgotten yet.
    diesel::replace_into(request_ids::table)
        .values((
            request_ids::api_key.eq(request.api_key),
            request_ids::method.eq(request.method.as_str()),
            request_ids::request_id.eq(request.id.as_str()),
            request_ids::fingerprint.eq(&request.fingerprint),
            request_ids::model_id.eq(model_id),
            request_ids::alias_id.eq(alias_id),
            request_ids::created_at.eq(clock::to_text(now)),
        ))
        .execute(connection)?;
    Ok(())
}

fn forget_old(connection: &mut SqliteConnection, now: DateTime<Utc>) -> QueryResult<()> {
    let most = i64::try_from(FORGOTTEN_PER_WRITE_MAX).unwrap_or(i64::MAX);
    diesel::sql_query(
        "DELETE FROM request_ids WHERE (api_key, method, request_id) IN
             (SELECT api_key, method, request_id FROM request_ids
              WHERE created_at <= ? ORDER BY created_at LIMIT ?)",
    )
    .bind::<Text, _>(oldest(now))
    .bind::<BigInt, _>(most)
    .execute(connection)?;
    Ok(())
}

/// The last instant that is not kept any more.
fn oldest(now: DateTime<Utc>) -> String {
    clock::to_text(now - REQUEST_IDS_KEPT)
}
