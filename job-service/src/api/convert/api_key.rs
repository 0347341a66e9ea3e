//! Keys between the words of the domain and those of the wire.

use chrono::{DateTime, Utc};
use prost_types::Timestamp;
use service_kit::{
    auth::Scope,
    clock::{from_text, from_timestamp, to_text, to_timestamp},
};
use stablequeue_proto::jobs::v1 as proto;

use crate::{
    api::parse::mask_paths,
    api_key::{
        ApiKeyRecord, KeyChange, KeyLimits, NewKey, QUEUED_JOBS_LIMIT_MAX, WATCHES_LIMIT_MAX,
        description_fault, expiry_fault, name_fault, parse_limit, parse_scopes,
    },
    keys::Proof,
    request::Violation,
};

/// A key as it is shown.
pub(crate) fn api_key(record: ApiKeyRecord, now: DateTime<Utc>) -> proto::ApiKey {
    let ApiKeyRecord {
        id,
        name,
        description,
        scopes,
        active,
        expires_at,
        limits,
        prefix,
        created_at,
        last_used,
        old_secret_expires_at,
        revision,
    } = record;
    let limit = |limit: Option<u32>| limit.map(|limit| i32::try_from(limit).unwrap_or(i32::MAX));
    proto::ApiKey {
        key_id: id,
        name,
        description,
        scopes: scopes
            .iter()
            .map(Scope::as_str)
            .map(str::to_owned)
            .collect(),
        active: Some(active),
        expire_time: expires_at.map(to_timestamp),
        queued_jobs_max: limit(limits.queued_jobs_max),
        watches_max: limit(limits.watches_max),
        prefix,
        create_time: Some(to_timestamp(created_at)),
        last_use_time: last_used.map(to_timestamp),
        old_secret_expire_time: old_secret_expires_at
            .filter(|until| now < *until)
            .map(to_timestamp),
        etag: revision.to_string(),
    }
}

/// What proves a key, as it is shown once.
pub(crate) fn proof(proof: &Proof) -> proto::ApiKeyProof {
    let (key, token) = match proof {
        Proof::Whole(key) => (key.expose_key().to_owned(), &key.token()),
        Proof::Secret(token) => (String::new(), token),
    };
    proto::ApiKeyProof {
        key,
        secret: token.expose_secret().to_owned(),
        token: token.expose().to_owned(),
    }
}

/// A key to make; everything that is wrong with it goes to `violations`.
pub(crate) fn new_key(
    key: Option<proto::ApiKey>,
    now: DateTime<Utc>,
    violations: &mut Vec<Violation>,
) -> Option<NewKey> {
    let Some(key) = key else {
        violations.push(Violation::new("api_key", "is required"));
        return None;
    };
    Some(NewKey {
        scopes: parse_scopes("api_key.scopes", &key.scopes, violations),
        active: key.active.unwrap_or(true),
        expires_at: expiry(key.expire_time.as_ref(), now, violations),
        limits: KeyLimits {
            queued_jobs_max: queued_jobs_max(&key, violations),
            watches_max: watches_max(&key, violations),
        },
        name: checked("api_key.name", key.name, name_fault, violations),
        description: checked(
            "api_key.description",
            key.description,
            description_fault,
            violations,
        ),
    })
}

/// What an update asks for: the fields of the mask, or those that are set.
pub(crate) fn change(
    key: proto::ApiKey,
    mask: Option<prost_types::FieldMask>,
    now: DateTime<Utc>,
    violations: &mut Vec<Violation>,
) -> (KeyChange, Option<i32>) {
    let paths = match mask {
        Some(mask) => mask_paths(mask, violations),
        None => set_fields(&key),
    };
    let mut change = KeyChange::default();
    for path in paths {
        match path.as_str() {
            "name" => {
                let name = key.name.clone();
                change.name = Some(checked("api_key.name", name, name_fault, violations));
            }
            "description" => {
                let text = key.description.clone();
                let path = "api_key.description";
                change.description = Some(checked(path, text, description_fault, violations));
            }
            "scopes" => {
                let scopes = parse_scopes("api_key.scopes", &key.scopes, violations);
                change.scopes = Some(scopes);
            }
            "active" => change.active = Some(key.active.unwrap_or(true)),
            "expire_time" => {
                change.expires_at = Some(expiry(key.expire_time.as_ref(), now, violations));
            }
            "queued_jobs_max" => change.queued_jobs_max = Some(queued_jobs_max(&key, violations)),
            "watches_max" => change.watches_max = Some(watches_max(&key, violations)),
            other => violations.push(Violation::new(
                "update_mask.paths",
                format!(
                    "{other:?} cannot be changed; name, description, scopes, active, \
                     expire_time, queued_jobs_max and watches_max can"
                ),
            )),
        }
    }
    let revision = match key.etag.as_str() {
        "" => None,
        etag => {
            let revision = etag.parse().ok();
            if revision.is_none() {
                let words = "is not an etag of this service";
                violations.push(Violation::new("api_key.etag", words));
            }
            revision
        }
    };
    (change, revision)
}

fn set_fields(key: &proto::ApiKey) -> Vec<String> {
    let set = [
        ("name", !key.name.is_empty()),
        ("description", !key.description.is_empty()),
        ("scopes", !key.scopes.is_empty()),
        ("active", key.active.is_some()),
        ("expire_time", key.expire_time.is_some()),
        ("queued_jobs_max", key.queued_jobs_max.is_some()),
        ("watches_max", key.watches_max.is_some()),
    ];
    set.into_iter()
        .filter(|(_, is_set)| *is_set)
        .map(|(name, _)| name.to_owned())
        .collect()
}

fn checked(
    path: &str,
    text: String,
    fault_of: fn(&str) -> Option<String>,
    violations: &mut Vec<Violation>,
) -> String {
    violations.extend(fault_of(&text).map(|fault| Violation::new(path, fault)));
    text
}

/// An end, to the millisecond, as it is kept.
fn expiry(
    time: Option<&Timestamp>,
    now: DateTime<Utc>,
    violations: &mut Vec<Violation>,
) -> Option<DateTime<Utc>> {
    let time = time?;
    let parsed = from_timestamp(time).and_then(|time| from_text(&to_text(time)));
    let fault = match parsed {
        None => Some("is not a time".to_owned()),
        Some(time) => expiry_fault(time, now),
    };
    violations.extend(fault.map(|fault| Violation::new("api_key.expire_time", fault)));
    parsed
}

fn queued_jobs_max(key: &proto::ApiKey, violations: &mut Vec<Violation>) -> Option<u32> {
    let path = "api_key.queued_jobs_max";
    parse_limit(
        path,
        key.queued_jobs_max?,
        QUEUED_JOBS_LIMIT_MAX,
        violations,
    )
}

fn watches_max(key: &proto::ApiKey, violations: &mut Vec<Violation>) -> Option<u32> {
    let path = "api_key.watches_max";
    parse_limit(path, key.watches_max?, WATCHES_LIMIT_MAX, violations)
}
