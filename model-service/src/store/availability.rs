//! Owns the rows of `model_server_availability`.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::result::QueryResult;

use super::tables::{model_server_availability, models, server_model_files};
use super::{BIND_MAX, files, from_second_text, second_text};
use crate::availability::{Availability, AvailabilityFilter};
use crate::model::ModelKind;

type Joined = (
    i64,
    String,
    i64,
    String,
    Option<String>,
    Option<String>,
    Option<String>,
    String,
);

fn availability(row: Joined) -> Availability {
    let (id, server, model_id, kind, title, last_seen, forge_format, filename) = row;
    Availability {
        id,
        server,
        model_id,
        // The check of the table allows no other word.
        kind: ModelKind::from_word(&kind).unwrap_or(ModelKind::Checkpoint),
        title: title.or(forge_format).unwrap_or(filename),
        seen_at: last_seen.as_deref().and_then(from_second_text),
    }
}

/// Facts after the row `after`, in the order of rows.
pub(crate) fn list(
    connection: &mut SqliteConnection,
    filter: &AvailabilityFilter,
    after: i64,
    limit: usize,
) -> QueryResult<Vec<Availability>> {
    let AvailabilityFilter { server, model_id } = filter;
    let mut query = model_server_availability::table
        .inner_join(models::table)
        .filter(model_server_availability::id.gt(after))
        .order(model_server_availability::id)
        .limit(i64::try_from(limit).unwrap_or(i64::MAX))
        .select((
            model_server_availability::id,
            model_server_availability::server_id,
            model_server_availability::model_id,
            models::kind,
            model_server_availability::title,
            model_server_availability::last_seen,
            models::forge_format,
            models::filename,
        ))
        .into_boxed();
    if let Some(server) = server {
        query = query.filter(model_server_availability::server_id.eq(server));
    }
    if let Some(model_id) = model_id {
        query = query.filter(model_server_availability::model_id.eq(model_id));
    }
    let rows: Vec<Joined> = query.load(connection)?;
    Ok(rows.into_iter().map(availability).collect())
}

/// One fact.
pub(crate) fn get(
    connection: &mut SqliteConnection,
    server: &str,
    model_id: i64,
) -> QueryResult<Option<Availability>> {
    let filter = AvailabilityFilter {
        server: Some(server.to_owned()),
        model_id: Some(model_id),
    };
    Ok(list(connection, &filter, 0, 1)?.pop())
}

/// The models on a server, with their titles there.
pub(crate) fn of_server(
    connection: &mut SqliteConnection,
    server: &str,
) -> QueryResult<BTreeMap<i64, Option<String>>> {
    let rows: Vec<(i64, Option<String>)> = model_server_availability::table
        .filter(model_server_availability::server_id.eq(server))
        .select((
            model_server_availability::model_id,
            model_server_availability::title,
        ))
        .load(connection)?;
    Ok(rows.into_iter().collect())
}

/// The servers that some models are on: model and server.
pub(crate) fn servers_of(
    connection: &mut SqliteConnection,
    model_ids: &[i64],
) -> QueryResult<Vec<(i64, String)>> {
    let mut found = Vec::new();
    for chunk in model_ids.chunks(BIND_MAX) {
        let rows: Vec<(i64, String)> = model_server_availability::table
            .filter(model_server_availability::model_id.eq_any(chunk))
            .order((
                model_server_availability::model_id,
                model_server_availability::server_id,
            ))
            .select((
                model_server_availability::model_id,
                model_server_availability::server_id,
            ))
            .load(connection)?;
        found.extend(rows);
    }
    Ok(found)
}

/// Notes that a model was seen on a server now; a title that is given replaces
/// the one before.
pub(crate) fn put(
    connection: &mut SqliteConnection,
    server: &str,
    model_id: i64,
    title: Option<&str>,
    now: DateTime<Utc>,
) -> QueryResult<()> {
    let seen = second_text(now);
    let there = model_server_availability::table
        .filter(model_server_availability::model_id.eq(model_id))
        .filter(model_server_availability::server_id.eq(server));
    let known = diesel::update(there)
        .set((
            model_server_availability::last_seen.eq(&seen),
            title.map(|title| model_server_availability::title.eq(title)),
        ))
        .execute(connection)?;
    if known == 0 {
        insert(connection, server, model_id, title, &seen)?;
    }
    Ok(())
}

/// Adds the fact that a model was seen on a server now, of which there is none.
pub(crate) fn insert(
    connection: &mut SqliteConnection,
    server: &str,
    model_id: i64,
    title: Option<&str>,
    seen: &str,
) -> QueryResult<()> {
    diesel::insert_into(model_server_availability::table)
        .values((
            model_server_availability::model_id.eq(model_id),
            model_server_availability::server_id.eq(server),
            model_server_availability::last_seen.eq(seen),
            model_server_availability::title.eq(title),
        ))
        .execute(connection)?;
    Ok(())
}

/// Notes that every model that the inventory lists was seen again. Those that it
/// lacks, and that are kept in doubt, age.
pub(crate) fn touch_listed(
    connection: &mut SqliteConnection,
    server: &str,
    now: DateTime<Utc>,
) -> QueryResult<()> {
    let listed = server_model_files::table
        .filter(server_model_files::server_id.eq(server))
        .filter(server_model_files::source.eq(files::LISTED))
        .filter(server_model_files::doubted_since.is_null())
        .select(server_model_files::model_id);
    let seen = second_text(now);
    let there = model_server_availability::table
        .filter(model_server_availability::server_id.eq(server))
        .filter(model_server_availability::last_seen.is_not(&seen))
        .filter(model_server_availability::model_id.eq_any(listed));
    diesel::update(there)
        .set(model_server_availability::last_seen.eq(&seen))
        .execute(connection)?;
    Ok(())
}

/// Removes the fact; its files are removed with [`files::delete_of`].
pub(crate) fn delete(
    connection: &mut SqliteConnection,
    server: &str,
    model_id: i64,
) -> QueryResult<bool> {
    let there = model_server_availability::table
        .filter(model_server_availability::model_id.eq(model_id))
        .filter(model_server_availability::server_id.eq(server));
    Ok(diesel::delete(there).execute(connection)? > 0)
}
