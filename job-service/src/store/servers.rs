//! The `forge_servers` table, in which logins are only ever encrypted. How a
//! server is at the moment is the monitor's, in memory.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use serde_json::{Map, Value};
use service_kit::clock::to_text;

use super::{
    cooldowns, json,
    schema::{forge_servers, job_attempts},
    time, to_json, word,
};
use crate::{
    error::Error,
    seal::Sealed,
    server::{LoginKind, Server, ServerLogin, Usage},
    vault::Vault,
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
    /// Whether a cancel may stop what runs there although the server cannot
    /// say whose it is.
    pub interrupts_allowed: bool,
    /// What its API asks for.
    pub api_login: Option<ServerLogin>,
    /// What its UI asks for.
    pub ui_login: Option<ServerLogin>,
}

/// What to change of a server; `None` stays.
#[derive(Clone, Debug, Default)]
pub struct ServerChange {
    /// Where its API is; another one drops the baseline, and the logins that
    /// are not changed with it: they are for where it was.
    pub base_url: Option<String>,
    /// Who else uses it.
    pub usage: Option<Usage>,
    /// The caller's labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// Whether it is used at all.
    pub enabled: Option<bool>,
    /// Whether a cancel may stop what runs there although the server cannot
    /// say whose it is.
    pub interrupts_allowed: Option<bool>,
    /// Whether it is kept from taking jobs, and why.
    pub cordon: Option<(bool, String)>,
    /// What its API asks for; an inner `None` removes it.
    pub api_login: Option<Option<ServerLogin>>,
    /// What its UI asks for; an inner `None` removes it.
    pub ui_login: Option<Option<ServerLogin>>,
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
    api_login_sealed: Option<Vec<u8>>,
    ui_login_sealed: Option<Vec<u8>>,
    interrupts_allowed: bool,
}

/// Inserts a server, its logins sealed by the vault; `most` is how many there
/// may be in all.
pub fn insert(
    conn: &mut SqliteConnection,
    vault: &Vault,
    server: &NewServer,
    most: usize,
    now: DateTime<Utc>,
) -> Result<Server, Error> {
    let count: i64 = forge_servers::table.count().get_result(conn)?;
    if usize::try_from(count).is_ok_and(|count| count >= most) {
        return Err(Error::TooManyServers(most));
    }
    let sealed = |kind, login: &Option<ServerLogin>| {
        sealed(vault, kind, &server.alias, &server.base_url, login.as_ref())
    };
    let api_login = sealed(LoginKind::Api, &server.api_login)?;
    let ui_login = sealed(LoginKind::Ui, &server.ui_login)?;
    let at = to_text(now);
    let added = diesel::insert_into(forge_servers::table)
        .values((
            forge_servers::alias.eq(&server.alias),
            forge_servers::base_url.eq(&server.base_url),
            forge_servers::usage.eq(server.usage.as_str()),
            forge_servers::labels_json.eq(to_json(&server.labels)?),
            forge_servers::enabled.eq(server.enabled),
            forge_servers::interrupts_allowed.eq(server.interrupts_allowed),
            forge_servers::created_at.eq(&at),
            forge_servers::updated_at.eq(&at),
            forge_servers::api_login_sealed.eq(bytes_of(&api_login)),
            forge_servers::ui_login_sealed.eq(bytes_of(&ui_login)),
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

/// Changes a server, its logins sealed by the vault; `revision` is the one that
/// the caller knows, if any.
pub fn update(
    conn: &mut SqliteConnection,
    vault: &Vault,
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
            cooldowns::clear(conn, alias)?;
            // Another process: what was read from the old one says nothing.
            server.baseline = None;
            server.api_login = None;
            server.ui_login = None;
        }
        server.base_url.clone_from(base_url);
    }
    server.usage = change.usage.unwrap_or(server.usage);
    if let Some(labels) = &change.labels {
        server.labels.clone_from(labels);
    }
    server.enabled = change.enabled.unwrap_or(server.enabled);
    server.interrupts_allowed = change
        .interrupts_allowed
        .unwrap_or(server.interrupts_allowed);
    if let Some((cordoned, reason)) = &change.cordon {
        server.cordoned = *cordoned;
        server.cordon_reason.clone_from(reason);
    }
    let url = &server.base_url;
    if let Some(login) = &change.api_login {
        server.api_login = sealed(vault, LoginKind::Api, alias, url, login.as_ref())?;
    }
    if let Some(login) = &change.ui_login {
        server.ui_login = sealed(vault, LoginKind::Ui, alias, url, login.as_ref())?;
    }
    diesel::update(forge_servers::table.find(alias))
        .set((
            forge_servers::base_url.eq(&server.base_url),
            forge_servers::usage.eq(server.usage.as_str()),
            forge_servers::labels_json.eq(to_json(&server.labels)?),
            forge_servers::enabled.eq(server.enabled),
            forge_servers::interrupts_allowed.eq(server.interrupts_allowed),
            forge_servers::cordoned.eq(server.cordoned),
            forge_servers::cordon_reason.eq(&server.cordon_reason),
            forge_servers::baseline_options_json.eq(server
                .baseline
                .as_ref()
                .map(to_json)
                .transpose()?),
            forge_servers::updated_at.eq(to_text(now)),
            forge_servers::revision.eq(server.revision + 1),
            forge_servers::api_login_sealed.eq(bytes_of(&server.api_login)),
            forge_servers::ui_login_sealed.eq(bytes_of(&server.ui_login)),
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
            why: "a job runs on it; wait for it with DrainServer, or cancel the job".to_owned(),
        });
    }
    if super::jobs::any_open_with_target(conn, alias)? {
        return Err(Error::ServerInUse {
            alias: alias.to_owned(),
            why: "jobs that wait name it; give them another target_server with UpdateJob, or \
                  cancel them first"
                .to_owned(),
        });
    }
    cooldowns::clear(conn, alias)?;
    diesel::delete(forge_servers::table.find(alias)).execute(conn)?;
    Ok(())
}

/// A login as it is stored.
fn sealed(
    vault: &Vault,
    kind: LoginKind,
    alias: &str,
    base_url: &str,
    login: Option<&ServerLogin>,
) -> Result<Option<Sealed>, Error> {
    let sealed = login.map(|login| vault.seal(kind, alias, base_url, login));
    Ok(sealed.transpose()?)
}

fn bytes_of(sealed: &Option<Sealed>) -> Option<&[u8]> {
    sealed.as_ref().map(Sealed::as_bytes)
}

/// Whether an attempt is under way on a server.
pub fn runs_attempt(conn: &mut SqliteConnection, alias: &str) -> Result<bool, Error> {
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
        interrupts_allowed: row.interrupts_allowed,
        cordoned: row.cordoned,
        cordon_reason: row.cordon_reason,
        baseline: row
            .baseline_options_json
            .map(|text| json(TABLE, &id, &text))
            .transpose()?,
        created_at: time(TABLE, &id, &row.created_at)?,
        updated_at: time(TABLE, &id, &row.updated_at)?,
        revision: row.revision,
        api_login: row.api_login_sealed.map(Sealed::from_stored),
        ui_login: row.ui_login_sealed.map(Sealed::from_stored),
        alias: id,
    })
}
