//! What an administrator can ask about keys: one method each.

use std::sync::Arc;

use chrono::{DateTime, Duration, Utc};
use serde_json::json;
use service_kit::{
    auth::{ApiKey, KeyPrefix, Scopes, Token},
    clock::to_text,
};
use uuid::Uuid;

use super::{API_KEYS_MAX, Keys, Proof, Ring, Shown, hold};
use crate::{
    api_key::{ApiKeyRecord, KeyChange, KeysAdmin, NewKey},
    error::Error,
    request_id::{Once, RequestId, fingerprint},
    store::{
        Connection,
        api_keys::{self, StoredKey},
        request_ids,
    },
};

/// The call that creates one by its name among request ids.
const CREATE: &str = "CreateApiKey";

impl Keys {
    /// Makes a key; calls need one from then on. With a request id that came
    /// with the same key before, answers that one as it is now, without proof.
    pub async fn create(
        self: &Arc<Self>,
        new: NewKey,
        admin: KeysAdmin,
        request_id: Option<RequestId>,
    ) -> Result<Shown, Error> {
        permitted(admin, new.scopes)?;
        let once = request_id.map(|request_id| Once {
            request_id,
            method: CREATE,
            fingerprint: fingerprint(&asked(&new)),
        });
        let proof = ApiKey::generate()?;
        let (prefix, hashes) = (proof.prefix(), proof.hashes());
        let (id, now) = (new_id(), self.clock.now());
        let write = move |conn: &mut Connection| {
            if let Some(once) = &once
                && let Some(id) = request_ids::find(conn, once)?
            {
                return Ok((api_keys::get(conn, &id)?, false));
            }
            let stored =
                api_keys::insert(conn, &id, &new, prefix.as_str(), &hashes, API_KEYS_MAX, now)?;
            if let Some(once) = &once {
                request_ids::insert(conn, once, &id, now)?;
            }
            Ok((stored, true))
        };
        let keys = Arc::clone(self);
        let take = move |ring: &mut Ring, (stored, _): &(StoredKey, bool)| {
            hold(ring, stored);
            keys.now_required();
        };
        let (stored, is_new) = self.change("create_api_key", write, take).await?;
        Ok(Shown {
            record: self.get(&stored.record.id).unwrap_or(stored.record),
            proof: is_new.then_some(Proof::Whole(proof)),
        })
    }

    /// One key.
    pub fn get(&self, id: &str) -> Result<ApiKeyRecord, Error> {
        let found = self.ring().shown(id);
        found.ok_or_else(|| Error::ApiKeyNotFound(id.to_owned()))
    }

    /// Keys by age after one, at most `limit`, oldest first.
    #[must_use]
    pub fn list(&self, after: Option<&(DateTime<Utc>, String)>, limit: usize) -> Vec<ApiKeyRecord> {
        self.ring().page(after, limit)
    }

    /// Changes a key; takes effect with the next call. `revision` is the one
    /// that the caller knows, if any.
    pub async fn update(
        self: &Arc<Self>,
        id: &str,
        change: KeyChange,
        revision: Option<i32>,
        admin: KeysAdmin,
    ) -> Result<ApiKeyRecord, Error> {
        let (id, now) = (id.to_owned(), self.clock.now());
        let write = move |conn: &mut Connection| {
            let before = api_keys::get(conn, &id)?.record;
            permitted(admin, before.scopes)?;
            if revision.is_some_and(|revision| revision != before.revision) {
                return Err(Error::EtagMismatch(format!("key {id}")));
            }
            let after = change.applied_to(&before);
            permitted(admin, after.scopes)?;
            if before.manages_keys(now) && !after.manages_keys(now) {
                not_the_last(conn, &id, admin, now)?;
            }
            api_keys::update(conn, &after)
        };
        let stored = self.change("update_api_key", write, hold).await?;
        self.get(&stored.record.id)
    }

    /// Gives a key a new secret; the old one is good for `overlap` more.
    pub async fn rotate(
        self: &Arc<Self>,
        id: &str,
        overlap: Duration,
        admin: KeysAdmin,
    ) -> Result<Shown, Error> {
        let (id, now) = (id.to_owned(), self.clock.now());
        let prefix = KeyPrefix::parse(&self.get(&id)?.prefix)
            .map_err(|_| Error::ApiKeyUnknownForm(id.clone()))?;
        let token = Token::generate(prefix)?;
        let secret = token.hashes().secret;
        let old_until = (overlap > Duration::zero()).then(|| now + overlap);
        let write = move |conn: &mut Connection| {
            permitted(admin, api_keys::get(conn, &id)?.record.scopes)?;
            api_keys::rotate(conn, &id, &secret, old_until)
        };
        let stored = self.change("rotate_api_key", write, hold).await?;
        Ok(Shown {
            record: self.get(&stored.record.id)?,
            proof: Some(Proof::Secret(token)),
        })
    }

    /// Removes a key. Calls go on to need one, even when it was the last.
    pub async fn delete(self: &Arc<Self>, id: &str, admin: KeysAdmin) -> Result<(), Error> {
        let (id, now) = (id.to_owned(), self.clock.now());
        let write = move |conn: &mut Connection| {
            let key = api_keys::get(conn, &id)?.record;
            permitted(admin, key.scopes)?;
            if key.manages_keys(now) {
                not_the_last(conn, &id, admin, now)?;
            }
            api_keys::delete(conn, &id)?;
            Ok(id.clone())
        };
        let forget = |ring: &mut Ring, id: &String| ring.forget(id);
        self.change("delete_api_key", write, forget).await?;
        Ok(())
    }
}

/// Whether this caller may give these scopes, or change a key that has them.
fn permitted(admin: KeysAdmin, scopes: Scopes) -> Result<(), Error> {
    admin
        .lacks(scopes)
        .map_or(Ok(()), |scope| Err(Error::ScopeMissing(scope)))
}

/// Refuses to take the last key that manages keys, unless on the machine
/// itself, where another can be made.
fn not_the_last(
    conn: &mut Connection,
    id: &str,
    admin: KeysAdmin,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let all = api_keys::all(conn)?;
    let another = |key: &StoredKey| key.record.id != id && key.record.manages_keys(now);
    if admin.local || all.iter().any(another) {
        return Ok(());
    }
    Err(Error::LastKeysAdmin(id.to_owned()))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place where keys get their ids"
)]
pub(super) fn new_id() -> String {
    Uuid::now_v7().to_string()
}

/// Everything that the creation of a key asks for.
fn asked(new: &NewKey) -> serde_json::Value {
    let NewKey {
        name,
        description,
        scopes,
        active,
        expires_at,
        limits,
    } = new;
    json!({
        "name": name,
        "description": description,
        "scopes": scopes.to_json(),
        "active": active,
        "expires_at": expires_at.map(to_text),
        "queued_jobs_max": limits.queued_jobs_max,
        "watches_max": limits.watches_max,
    })
}
