//! The `api_keys` table, and the mark in `authentication` that outlives it:
//! since when calls need a key. Only digests of keys and secrets come here.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use service_kit::{
    auth::{Digest, KeyHashes, Scopes},
    clock::to_text,
};

use super::{
    broken, optional_time,
    schema::{api_keys, authentication},
    time,
};
use crate::{
    api_key::{ApiKeyRecord, KeyLimits, NewKey, SCOPES_OF_OLDER_KEYS, StoredProof},
    error::Error,
};

const TABLE: &str = "api_keys";
/// The one row of `authentication`.
const MARK: i32 = 1;
/// What stands for the digest of a key of which only a token was given: no
/// digest, so that nothing ever matches it.
const NO_KEY: &str = "";

/// A key and what proves it.
#[derive(Clone, Debug)]
pub struct StoredKey {
    /// Everything that may be shown.
    pub record: ApiKeyRecord,
    /// `None` where the row holds no digests of our form: it proves nothing.
    pub proof: Option<StoredProof>,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = api_keys)]
struct Row {
    id: String,
    name: String,
    key_prefix: String,
    key_hash: String,
    secret_hash: String,
    created_at: String,
    last_used: Option<String>,
    is_active: Option<bool>,
    permissions: Option<String>,
    description: Option<String>,
    revision: i32,
    expires_at: Option<String>,
    queued_jobs_max: Option<i32>,
    watches_max: Option<i32>,
    old_secret_hash: Option<String>,
    old_secret_expires_at: Option<String>,
}

/// Every key. One that cannot be read is told in the log and left out: it
/// proves nothing, and the others go on.
pub fn all(conn: &mut SqliteConnection) -> Result<Vec<StoredKey>, Error> {
    let rows: Vec<Row> = api_keys::table.select(Row::as_select()).load(conn)?;
    let read = |row: Row| match from_row(row) {
        Ok(key) => Some(key),
        Err(error) => {
            tracing::error!(%error, "a key cannot be read and is not accepted");
            None
        }
    };
    Ok(rows.into_iter().filter_map(read).collect())
}

/// The key with this id.
pub fn get(conn: &mut SqliteConnection, id: &str) -> Result<StoredKey, Error> {
    api_keys::table
        .find(id)
        .select(Row::as_select())
        .first(conn)
        .optional()?
        .map(from_row)
        .transpose()?
        .ok_or_else(|| Error::ApiKeyNotFound(id.to_owned()))
}

/// The keys with these digits; there is hardly ever more than one.
pub fn with_prefix(conn: &mut SqliteConnection, prefix: &str) -> Result<Vec<StoredKey>, Error> {
    let rows: Vec<Row> = api_keys::table
        .filter(api_keys::key_prefix.eq(prefix))
        .select(Row::as_select())
        .load(conn)?;
    rows.into_iter().map(from_row).collect()
}

/// Inserts a key and notes that calls need one from now on; `most` is how many
/// there may be in all.
pub fn insert(
    conn: &mut SqliteConnection,
    id: &str,
    new: &NewKey,
    prefix: &str,
    hashes: &KeyHashes,
    most: usize,
    now: DateTime<Utc>,
) -> Result<StoredKey, Error> {
    let count: i64 = api_keys::table.count().get_result(conn)?;
    if usize::try_from(count).is_ok_and(|count| count >= most) {
        return Err(Error::TooManyApiKeys(most));
    }
    let key_hash = hashes.key.map_or(NO_KEY.to_owned(), |key| key.to_hex());
    diesel::insert_into(api_keys::table)
        .values((
            api_keys::id.eq(id),
            api_keys::name.eq(&new.name),
            api_keys::key_prefix.eq(prefix),
            api_keys::key_hash.eq(key_hash),
            api_keys::secret_hash.eq(hashes.secret.to_hex()),
            api_keys::created_at.eq(to_text(now)),
            api_keys::is_active.eq(new.active),
            api_keys::permissions.eq(new.scopes.to_json()),
            api_keys::description.eq(&new.description),
            api_keys::expires_at.eq(new.expires_at.map(to_text)),
            api_keys::queued_jobs_max.eq(column(new.limits.queued_jobs_max)),
            api_keys::watches_max.eq(column(new.limits.watches_max)),
        ))
        .execute(conn)?;
    diesel::insert_into(authentication::table)
        .values((
            authentication::id.eq(MARK),
            authentication::required_since.eq(to_text(now)),
        ))
        .on_conflict_do_nothing()
        .execute(conn)?;
    get(conn, id)
}

/// Whether there was ever a key, and so calls need one.
pub fn is_required(conn: &mut SqliteConnection) -> Result<bool, Error> {
    let marked: i64 = authentication::table.count().get_result(conn)?;
    let keys: i64 = api_keys::table.count().get_result(conn)?;
    Ok(marked > 0 || keys > 0)
}

/// Writes everything of a key that can be changed.
pub fn update(conn: &mut SqliteConnection, key: &ApiKeyRecord) -> Result<StoredKey, Error> {
    diesel::update(api_keys::table.find(&key.id))
        .set((
            api_keys::name.eq(&key.name),
            api_keys::description.eq(&key.description),
            api_keys::permissions.eq(key.scopes.to_json()),
            api_keys::is_active.eq(key.active),
            api_keys::expires_at.eq(key.expires_at.map(to_text)),
            api_keys::queued_jobs_max.eq(column(key.limits.queued_jobs_max)),
            api_keys::watches_max.eq(column(key.limits.watches_max)),
            api_keys::revision.eq(api_keys::revision + 1),
        ))
        .execute(conn)?;
    get(conn, &key.id)
}

/// Gives a key another secret. The one before is good until `old_until`, or no
/// more.
pub fn rotate(
    conn: &mut SqliteConnection,
    id: &str,
    secret: &Digest,
    old_until: Option<DateTime<Utc>>,
) -> Result<StoredKey, Error> {
    let before: String = api_keys::table
        .find(id)
        .select(api_keys::secret_hash)
        .first(conn)?;
    diesel::update(api_keys::table.find(id))
        .set((
            api_keys::secret_hash.eq(secret.to_hex()),
            api_keys::old_secret_hash.eq(old_until.map(|_| before)),
            api_keys::old_secret_expires_at.eq(old_until.map(to_text)),
            api_keys::revision.eq(api_keys::revision + 1),
        ))
        .execute(conn)?;
    get(conn, id)
}

/// Removes a key. The mark that calls need one stays.
pub fn delete(conn: &mut SqliteConnection, id: &str) -> Result<(), Error> {
    diesel::delete(api_keys::table.find(id)).execute(conn)?;
    Ok(())
}

/// Notes when keys were last used. That is no change of theirs.
pub fn note_uses(
    conn: &mut SqliteConnection,
    uses: &[(String, DateTime<Utc>)],
) -> Result<(), Error> {
    for (id, at) in uses {
        diesel::update(api_keys::table.find(id))
            .set(api_keys::last_used.eq(to_text(*at)))
            .execute(conn)?;
    }
    Ok(())
}

fn column(limit: Option<u32>) -> Option<i32> {
    limit.map(|limit| i32::try_from(limit).unwrap_or(i32::MAX))
}

fn from_row(row: Row) -> Result<StoredKey, Error> {
    let id = row.id;
    let proof = proof(
        &row.key_hash,
        &row.secret_hash,
        row.old_secret_hash.as_deref(),
    );
    if proof.is_none() {
        tracing::warn!(
            key.id = id,
            "a key has no digests of our form and proves nothing"
        );
    }
    let scopes = match row.permissions.as_deref() {
        None => Scopes::from_iter(SCOPES_OF_OLDER_KEYS),
        Some(text) => {
            Scopes::from_json(text).map_err(|error| broken(TABLE, &id, error.to_string()))?
        }
    };
    let record = ApiKeyRecord {
        name: row.name,
        description: row.description.unwrap_or_default(),
        scopes,
        active: row.is_active.unwrap_or(false),
        expires_at: optional_time(TABLE, &id, row.expires_at.as_deref())?,
        limits: KeyLimits {
            queued_jobs_max: row.queued_jobs_max.map(limit),
            watches_max: row.watches_max.map(limit),
        },
        prefix: row.key_prefix,
        created_at: time(TABLE, &id, &row.created_at)?,
        last_used: optional_time(TABLE, &id, row.last_used.as_deref())?,
        old_secret_expires_at: optional_time(TABLE, &id, row.old_secret_expires_at.as_deref())?,
        revision: row.revision,
        id,
    };
    Ok(StoredKey { record, proof })
}

fn limit(value: i32) -> u32 {
    u32::try_from(value).unwrap_or(0)
}

fn proof(key: &str, secret: &str, old: Option<&str>) -> Option<StoredProof> {
    let key = match key {
        NO_KEY => None,
        text => Some(Digest::parse(text)?),
    };
    Some(StoredProof {
        current: KeyHashes {
            key,
            secret: Digest::parse(secret)?,
        },
        old_secret: old.and_then(Digest::parse),
    })
}
