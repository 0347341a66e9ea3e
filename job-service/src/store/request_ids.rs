//! The `request_ids` table: which calls had their effect already, and what
//! came of them. Read and written in the transaction of the effect, so that a
//! call and its repetition cannot both have it.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use service_kit::clock::to_text;

use super::schema::request_ids;
use crate::{error::Error, request_id::Once};

/// What came of this call when it was made before. `RequestIdReused` when the
/// id belongs to a call that asked for something else.
pub fn find(conn: &mut SqliteConnection, once: &Once) -> Result<Option<String>, Error> {
    let found: Option<(String, String)> = request_ids::table
        .find((&once.request_id.key_id, once.method, &once.request_id.id))
        .select((request_ids::fingerprint, request_ids::resource))
        .first(conn)
        .optional()?;
    match found {
        None => Ok(None),
        Some((fingerprint, resource)) if fingerprint == once.fingerprint => Ok(Some(resource)),
        Some(_) => Err(Error::RequestIdReused(once.request_id.id.clone())),
    }
}

/// Keeps what came of a call that [`find`] did not know.
pub fn insert(
    conn: &mut SqliteConnection,
    once: &Once,
    resource: &str,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    diesel::insert_into(request_ids::table)
        .values((
            request_ids::key_id.eq(&once.request_id.key_id),
            request_ids::method.eq(once.method),
            request_ids::request_id.eq(&once.request_id.id),
            request_ids::fingerprint.eq(&once.fingerprint),
            request_ids::resource.eq(resource),
            request_ids::created_at.eq(to_text(now)),
        ))
        .execute(conn)?;
    Ok(())
}

/// Removes calls older than `before`, at most `limit` of them, oldest first,
/// and answers how many went.
pub fn prune(
    conn: &mut SqliteConnection,
    before: DateTime<Utc>,
    limit: i64,
) -> Result<usize, Error> {
    let old: Vec<(String, String, String)> = request_ids::table
        .filter(request_ids::created_at.lt(to_text(before)))
        .order(request_ids::created_at)
        .limit(limit)
        .select((
            request_ids::key_id,
            request_ids::method,
            request_ids::request_id,
        ))
        .load(conn)?;
    for (key_id, method, request_id) in &old {
        diesel::delete(request_ids::table.find((key_id, method, request_id))).execute(conn)?;
    }
    Ok(old.len())
}
