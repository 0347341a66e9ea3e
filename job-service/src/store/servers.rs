//! The `forge_servers` table. How a server is at the moment is the monitor's,
//! in memory.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use serde_json::{Map, Value};
use service_kit::clock::to_text;

use super::{
    json,
    schema::{forge_servers, job_attempts},
    time, to_json, word,
};
use crate::{
    error::Error,
    server::{Server, Usage},
};

const TABLE: &str = "forge_servers";

/// A server to insert.
#[derive(Clone, Debug)]
pub struct NewServer {
    /// Its name.
    pub alias: String,
    /// Where its API is.
    pub base_url: String,
    /// Who else uses it.
    pub usage: Usage,
    /// The caller's labels.
    pub labels: BTreeMap<String, String>,
    /// Whether it is used at all.
    pub enabled: bool,
}

/// What to change of a server; `None` stays.
#[derive(Clone, Debug, Default)]
pub struct ServerChange {
    /// Where its API is; another one drops the baseline.
    pub base_url: Option<String>,
    /// Who else uses it.
    pub usage: Option<Usage>,
    /// The caller's labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// Whether it is used at all.
    pub enabled: Option<bool>,
    /// Whether it is kept from taking jobs, and why.
    pub cordon: Option<(bool, String)>,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = forge_servers)]
struct Row {
    alias: String,
    base_url: String,
    usage: String,
    labels_json: String,
    enabled: bool,
    cordoned: bool,
    cordon_reason: String,
    baseline_options_json: Option<String>,
    created_at: String,
    updated_at: String,
    revision: i32,
}

/// Inserts a server; `most` is how many there may be in all.
pub fn insert(
    conn: &mut SqliteConnection,
    server: &NewServer,
    most: usize,
    now: DateTime<Utc>,
) -> Result<Server, Error> {
    let count: i64 = forge_servers::table.count().get_result(conn)?;
    if usize::try_from(count).is_ok_and(|count| count >= most) {
        return Err(Error::TooManyServers(most));
    }
    let at = to_text(now);
    let added = diesel::insert_into(forge_servers::table)
        .values((
            forge_servers::alias.eq(&server.alias),
            forge_servers::base_url.eq(&server.base_url),
            forge_servers::usage.eq(server.usage.as_str()),
            forge_servers::labels_json.eq(to_json(&server.labels)?),
            forge_servers::enabled.eq(server.enabled),
            forge_servers::created_at.eq(&at),
            forge_servers::updated_at.eq(&at),
        ))
        .on_conflict_do_nothing()
        .execute(conn)?;
    if added == 0 {
        return Err(Error::ServerExists(server.alias.clone()));
    }
    get(conn, &server.alias)
}

/// The server with this alias.
pub fn get(conn: &mut SqliteConnection, alias: &str) -> Result<Server, Error> {
    forge_servers::table
        .find(alias)
        .select(Row::as_select())
        .first(conn)
        .optional()?
        .map(from_row)
        .transpose()?
        .ok_or_else(|| Error::ServerNotFound(alias.to_owned()))
}

/// A page of servers by alias, after one.
pub fn list(conn: &mut SqliteConnection, after: &str, limit: i64) -> Result<Vec<Server>, Error> {
    forge_servers::table
        .filter(forge_servers::alias.gt(after))
        .order(forge_servers::alias)
        .limit(limit)
        .select(Row::as_select())
        .load(conn)?
        .into_iter()
        .map(from_row)
        .collect()
}

/// Changes a server; `revision` is the one that the caller knows, if any.
pub fn update(
    conn: &mut SqliteConnection,
    alias: &str,
    change: &ServerChange,
    revision: Option<i32>,
    now: DateTime<Utc>,
) -> Result<Server, Error> {
    let mut server = get(conn, alias)?;
    if revision.is_some_and(|revision| revision != server.revision) {
        return Err(Error::EtagMismatch(format!("server {alias}")));
    }
    let moved = change
        .base_url
        .as_ref()
        .is_some_and(|base_url| *base_url != server.base_url);
    let used_otherwise = change.usage.is_some_and(|usage| usage != server.usage);
    if (moved || used_otherwise) && runs_attempt(conn, alias)? {
        // The attempt would be looked for where it is not, and repeated.
        return Err(Error::ServerInUse {
            alias: alias.to_owned(),
            why: "a job runs on it, so its base_url and usage cannot change; wait for the job, \
                  or cancel it"
                .to_owned(),
        });
    }
    if let Some(base_url) = &change.base_url {
        if moved {
            // Another process: what was read from the old one says nothing.
            server.baseline = None;
        }
        server.base_url.clone_from(base_url);
    }
    server.usage = change.usage.unwrap_or(server.usage);
    if let Some(labels) = &change.labels {
        server.labels.clone_from(labels);
    }
    server.enabled = change.enabled.unwrap_or(server.enabled);
    if let Some((cordoned, reason)) = &change.cordon {
        server.cordoned = *cordoned;
        server.cordon_reason.clone_from(reason);
    }
    diesel::update(forge_servers::table.find(alias))
        .set((
            forge_servers::base_url.eq(&server.base_url),
            forge_servers::usage.eq(server.usage.as_str()),
            forge_servers::labels_json.eq(to_json(&server.labels)?),
            forge_servers::enabled.eq(server.enabled),
            forge_servers::cordoned.eq(server.cordoned),
            forge_servers::cordon_reason.eq(&server.cordon_reason),
            forge_servers::baseline_options_json.eq(server
                .baseline
                .as_ref()
                .map(to_json)
                .transpose()?),
            forge_servers::updated_at.eq(to_text(now)),
            forge_servers::revision.eq(server.revision + 1),
        ))
        .execute(conn)?;
    get(conn, alias)
}

/// Keeps the options that were read from a server before our first job there;
/// later ones change nothing.
pub fn keep_baseline(
    conn: &mut SqliteConnection,
    alias: &str,
    base_url: &str,
    baseline: &Map<String, Value>,
) -> Result<Server, Error> {
    diesel::update(
        forge_servers::table
            .find(alias)
            .filter(forge_servers::base_url.eq(base_url))
            .filter(forge_servers::baseline_options_json.is_null()),
    )
    .set(forge_servers::baseline_options_json.eq(to_json(baseline)?))
    .execute(conn)?;
    get(conn, alias)
}

/// Removes a server that runs no attempt.
pub fn delete(conn: &mut SqliteConnection, alias: &str) -> Result<(), Error> {
    get(conn, alias)?;
    if runs_attempt(conn, alias)? {
        return Err(Error::ServerInUse {
            alias: alias.to_owned(),
            why: "a job runs on it; cordon it and wait, or cancel the job".to_owned(),
        });
    }
    if super::jobs::any_open_with_target(conn, alias)? {
        return Err(Error::ServerInUse {
            alias: alias.to_owned(),
            why: "jobs that wait name it; cancel them first".to_owned(),
        });
    }
    diesel::delete(forge_servers::table.find(alias)).execute(conn)?;
    Ok(())
}

/// Whether an attempt is under way on a server.
fn runs_attempt(conn: &mut SqliteConnection, alias: &str) -> Result<bool, Error> {
    Ok(diesel::select(diesel::dsl::exists(
        job_attempts::table
            .filter(job_attempts::server_alias.eq(alias))
            .filter(job_attempts::ended_at.is_null()),
    ))
    .get_result(conn)?)
}

fn from_row(row: Row) -> Result<Server, Error> {
    let id = row.alias;
    Ok(Server {
        base_url: row.base_url,
        usage: word(TABLE, &id, &row.usage, Usage::parse)?,
        labels: json(TABLE, &id, &row.labels_json)?,
        enabled: row.enabled,
        cordoned: row.cordoned,
        cordon_reason: row.cordon_reason,
        baseline: row
            .baseline_options_json
            .map(|text| json(TABLE, &id, &text))
            .transpose()?,
        created_at: time(TABLE, &id, &row.created_at)?,
        updated_at: time(TABLE, &id, &row.updated_at)?,
        revision: row.revision,
        alias: id,
    })
}
