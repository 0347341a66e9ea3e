//! The keys in memory: found by the digits that credentials begin with, and by
//! id. It knows no database and asks no clock.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use chrono::{DateTime, Utc};
use service_kit::auth::{Caller, Credentials, KeyHashes, KeyPrefix};

use crate::{api_key::ApiKeyRecord, store::api_keys::StoredKey};

/// Seconds of what last uses are counted in.
const MINUTE_S: i64 = 60;
/// A use that never was.
const NEVER: i64 = i64::MIN;

/// All keys.
#[derive(Default)]
pub(super) struct Ring {
    by_id: BTreeMap<String, Arc<Held>>,
    by_prefix: HashMap<KeyPrefix, Vec<Proof>>,
}

/// One key. Its last use is shared by all versions of it.
struct Held {
    record: ApiKeyRecord,
    last_use: Arc<LastUse>,
}

/// When a key was last used, in minutes since 1970: now, and on disk.
struct LastUse {
    minute: AtomicI64,
    kept: AtomicI64,
}

/// One pair of digests that proves a key.
struct Proof {
    hashes: KeyHashes,
    /// `None`: as long as the key is good.
    until: Option<DateTime<Utc>>,
    key: Arc<Held>,
}

impl Ring {
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Every key as it is on disk.
    pub(super) fn records(&self) -> impl Iterator<Item = &ApiKeyRecord> {
        self.by_id.values().map(|held| &held.record)
    }

    /// A key as it is on disk, but for its last use.
    pub(super) fn record(&self, id: &str) -> Option<&ApiKeyRecord> {
        self.by_id.get(id).map(|held| &held.record)
    }

    /// A key as it is now.
    pub(super) fn shown(&self, id: &str) -> Option<ApiKeyRecord> {
        self.by_id.get(id).map(|held| held.shown())
    }

    /// Keys by age after one, at most `limit`, as they are now.
    pub(super) fn page(
        &self,
        after: Option<&(DateTime<Utc>, String)>,
        limit: usize,
    ) -> Vec<ApiKeyRecord> {
        let age = |held: &&Arc<Held>| (held.record.created_at, held.record.id.clone());
        let mut found: Vec<_> = self
            .by_id
            .values()
            .filter(|held| after.is_none_or(|after| age(held) > *after))
            .collect();
        found.sort_by_cached_key(age);
        found.iter().take(limit).map(|held| held.shown()).collect()
    }

    /// Puts all keys in the place of what is held. Uses that are not on disk
    /// yet are kept.
    pub(super) fn replace(&mut self, all: Vec<StoredKey>) {
        let before = std::mem::take(self);
        for stored in all {
            let known = before.by_id.get(&stored.record.id);
            let last_use = known.map(|held| Arc::clone(&held.last_use));
            self.insert(stored, last_use);
        }
    }

    /// Puts one key in the place of what is held of it.
    pub(super) fn put(&mut self, stored: StoredKey) {
        let before = self.remove(&stored.record.id);
        self.insert(stored, before.map(|held| Arc::clone(&held.last_use)));
    }

    /// Forgets a key.
    pub(super) fn forget(&mut self, id: &str) {
        self.remove(id);
    }

    fn remove(&mut self, id: &str) -> Option<Arc<Held>> {
        let held = self.by_id.remove(id)?;
        self.by_prefix.retain(|_, proofs| {
            proofs.retain(|proof| proof.key.record.id != id);
            !proofs.is_empty()
        });
        Some(held)
    }

    fn insert(&mut self, stored: StoredKey, last_use: Option<Arc<LastUse>>) {
        let StoredKey { record, proof } = stored;
        let last_use = last_use.unwrap_or_else(|| Arc::new(LastUse::of(&record)));
        let prefix = KeyPrefix::parse(&record.prefix).ok();
        let id = record.id.clone();
        let old_until = record.old_secret_expires_at;
        let held = Arc::new(Held { record, last_use });
        if let (Some(prefix), Some(proof)) = (prefix, proof) {
            let proofs = self.by_prefix.entry(prefix).or_default();
            let old = proof.old_secret.zip(old_until).map(|(secret, until)| {
                let key = proof.current.key;
                (KeyHashes { key, secret }, Some(until))
            });
            for (hashes, until) in [(proof.current, None)].into_iter().chain(old) {
                let key = Arc::clone(&held);
                proofs.push(Proof { hashes, until, key });
            }
        }
        self.by_id.insert(id, held);
    }

    /// Who presents these credentials, and notes that use. Secrets are compared
    /// first, so that credentials of keys that are not good take as long.
    pub(super) fn prove(&self, credentials: &Credentials, now: DateTime<Utc>) -> Option<Caller> {
        let proofs = self.by_prefix.get(&credentials.prefix());
        let proofs = proofs.map_or(&[][..], Vec::as_slice);
        let proof = credentials.pick(proofs, |proof| &proof.hashes)?;
        let current = proof.until.is_none_or(|until| now < until);
        if !current || !proof.key.record.is_good(now) {
            return None;
        }
        proof.key.last_use.note(now);
        Some(proof.key.record.caller())
    }

    /// Uses that are not on disk.
    pub(super) fn unkept_uses(&self) -> Vec<(String, DateTime<Utc>)> {
        let unkept = |(id, held): (&String, &Arc<Held>)| {
            let minute = held.last_use.minute.load(Ordering::Relaxed);
            let is_new = minute > held.last_use.kept.load(Ordering::Relaxed);
            is_new.then(|| Some((id.clone(), time_of(minute)?)))?
        };
        self.by_id.iter().filter_map(unkept).collect()
    }

    /// Notes that these uses are on disk.
    pub(super) fn uses_kept(&self, uses: &[(String, DateTime<Utc>)]) {
        for (id, at) in uses {
            if let Some(held) = self.by_id.get(id) {
                let kept = &held.last_use.kept;
                kept.fetch_max(minute_of(*at), Ordering::Relaxed);
            }
        }
    }
}

impl Held {
    fn shown(&self) -> ApiKeyRecord {
        let mut record = self.record.clone();
        record.last_used = time_of(self.last_use.minute.load(Ordering::Relaxed));
        record
    }
}

impl LastUse {
    fn of(record: &ApiKeyRecord) -> Self {
        let minute = record.last_used.map_or(NEVER, minute_of);
        Self {
            minute: AtomicI64::new(minute),
            kept: AtomicI64::new(minute),
        }
    }

    fn note(&self, now: DateTime<Utc>) {
        self.minute.fetch_max(minute_of(now), Ordering::Relaxed);
    }
}

fn minute_of(time: DateTime<Utc>) -> i64 {
    time.timestamp().div_euclid(MINUTE_S)
}

/// `None` for [`NEVER`].
fn time_of(minute: i64) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(minute.checked_mul(MINUTE_S)?, 0)
}
