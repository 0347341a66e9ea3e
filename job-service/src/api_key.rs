//! What an API key is besides what proves it: its words, their limits, and who
//! may change which. Pure; keys are kept by [`crate::keys`] and the store.

use chrono::{DateTime, Duration, Utc};
use service_kit::auth::{Caller, Digest, KeyHashes, Scope, Scopes};

use crate::request::Violation;

/// Characters that a name may have.
pub const NAME_CHARS_MAX: usize = 128;
/// Bytes that a description may have.
pub const DESCRIPTION_BYTES_MAX: usize = 1024;
/// The largest limit of waiting jobs that a key can be given.
pub const QUEUED_JOBS_LIMIT_MAX: u32 = 10_000_000;
/// The largest limit of open watches that a key can be given.
pub const WATCHES_LIMIT_MAX: u32 = 100_000;
/// How long the old secret stays good when a rotation does not say.
pub const OVERLAP_DEFAULT: Duration = Duration::hours(24);
/// How long it may stay good at most.
pub const OVERLAP_MAX: Duration = Duration::days(30);
/// What a key of an older database may do, which kept no scopes.
pub const SCOPES_OF_OLDER_KEYS: [Scope; 2] = [Scope::JobsRead, Scope::JobsWrite];

/// What one key may have at once; `None` is what the service is set to for
/// each key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyLimits {
    /// Jobs of it that may wait.
    pub queued_jobs_max: Option<u32>,
    /// Its calls of WatchJob and WaitJob that may be open.
    pub watches_max: Option<u32>,
}

/// A key, without what proves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKeyRecord {
    /// Its id, a UUID.
    pub id: String,
    /// For people.
    pub name: String,
    /// For people too.
    pub description: String,
    /// What it may do.
    pub scopes: Scopes,
    /// Whether it is good at all.
    pub active: bool,
    /// Until when; `None` is for good.
    pub expires_at: Option<DateTime<Utc>>,
    /// What it may have at once.
    pub limits: KeyLimits,
    /// The digits by which it is found.
    pub prefix: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it last proved a call, to the minute.
    pub last_used: Option<DateTime<Utc>>,
    /// Until when the secret before the last rotation is good.
    pub old_secret_expires_at: Option<DateTime<Utc>>,
    /// Changes whenever the key does.
    pub revision: i32,
}

impl ApiKeyRecord {
    /// Whether it proves a call at this moment.
    #[must_use]
    pub fn is_good(&self, now: DateTime<Utc>) -> bool {
        self.active && self.expires_at.is_none_or(|until| now < until)
    }

    /// Whether keys can be managed with it at this moment.
    #[must_use]
    pub fn manages_keys(&self, now: DateTime<Utc>) -> bool {
        self.is_good(now) && self.scopes.allow(Scope::KeysAdmin)
    }

    /// Who a call with it is from.
    #[must_use]
    pub fn caller(&self) -> Caller {
        Caller {
            key_id: Some(self.id.clone()),
            name: self.name.clone(),
            scopes: self.scopes,
            servers: None,
        }
    }
}

/// What is kept of a key to know it again: digests only.
#[derive(Clone, Copy, Debug)]
pub struct StoredProof {
    /// Of key and secret.
    pub current: KeyHashes,
    /// Of the secret before the last rotation.
    pub old_secret: Option<Digest>,
}

/// A key to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKey {
    /// For people.
    pub name: String,
    /// For people too.
    pub description: String,
    /// What it may do; not empty.
    pub scopes: Scopes,
    /// Whether it is good at all.
    pub active: bool,
    /// Until when; `None` is for good.
    pub expires_at: Option<DateTime<Utc>>,
    /// What it may have at once.
    pub limits: KeyLimits,
}

/// What to change of a key; `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyChange {
    /// Its name.
    pub name: Option<String>,
    /// Its description.
    pub description: Option<String>,
    /// What it may do; not empty.
    pub scopes: Option<Scopes>,
    /// Whether it is good at all.
    pub active: Option<bool>,
    /// Until when; `Some(None)` is for good.
    pub expires_at: Option<Option<DateTime<Utc>>>,
    /// How many of its jobs may wait; `Some(None)` takes the limit away.
    pub queued_jobs_max: Option<Option<u32>>,
    /// How many watches it may have open; `Some(None)` takes the limit away.
    pub watches_max: Option<Option<u32>>,
}

impl KeyChange {
    /// The key as it is after the change; its revision is not counted on here.
    #[must_use]
    pub fn applied_to(&self, key: &ApiKeyRecord) -> ApiKeyRecord {
        let mut key = key.clone();
        if let Some(name) = &self.name {
            key.name.clone_from(name);
        }
        if let Some(description) = &self.description {
            key.description.clone_from(description);
        }
        key.scopes = self.scopes.unwrap_or(key.scopes);
        key.active = self.active.unwrap_or(key.active);
        key.expires_at = self.expires_at.unwrap_or(key.expires_at);
        key.limits.queued_jobs_max = self.queued_jobs_max.unwrap_or(key.limits.queued_jobs_max);
        key.limits.watches_max = self.watches_max.unwrap_or(key.limits.watches_max);
        key
    }
}

/// Who manages keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeysAdmin {
    /// What that caller may do itself.
    pub scopes: Scopes,
    /// Whether it acts on the machine itself, where it can always make another
    /// key: it may take the last one that manages keys.
    pub local: bool,
}

impl KeysAdmin {
    /// Whoever may open the data folder.
    pub const LOCAL: Self = Self {
        scopes: Scopes::ALL,
        local: true,
    };

    /// The first of these scopes that this caller lacks, and so can neither
    /// give nor change a key that has it.
    #[must_use]
    pub fn lacks(&self, scopes: Scopes) -> Option<Scope> {
        scopes.iter().find(|scope| !self.scopes.allow(*scope))
    }
}

/// What is wrong with a name; `None` when nothing is.
#[must_use]
pub fn name_fault(name: &str) -> Option<String> {
    let fits = (1..=NAME_CHARS_MAX).contains(&name.chars().count());
    let plain = !name.chars().any(char::is_control) && !name.trim().is_empty();
    (!fits || !plain).then(|| {
        format!(
            "must have 1 to {NAME_CHARS_MAX} characters, not only spaces and no control characters"
        )
    })
}

/// What is wrong with a description; `None` when nothing is.
#[must_use]
pub fn description_fault(description: &str) -> Option<String> {
    (description.len() > DESCRIPTION_BYTES_MAX)
        .then(|| format!("must have at most {DESCRIPTION_BYTES_MAX} bytes"))
}

/// The scopes that words name; everything that is wrong with them goes to
/// `violations`, under `path`.
pub fn parse_scopes(path: &str, words: &[String], violations: &mut Vec<Violation>) -> Scopes {
    if words.is_empty() || words.len() > Scope::ALL.len() {
        let most = Scope::ALL.len();
        violations.push(Violation::new(path, format!("must name 1 to {most}")));
        return Scopes::NONE;
    }
    let scopes = words.iter().enumerate().filter_map(|(at, word)| {
        let scope = Scope::parse(word);
        if let Err(fault) = scope {
            violations.push(Violation::new(format!("{path}[{at}]"), fault.to_string()));
        }
        scope.ok()
    });
    scopes.collect()
}

/// What is wrong with an end; `None` when nothing is.
#[must_use]
pub fn expiry_fault(expires_at: DateTime<Utc>, now: DateTime<Utc>) -> Option<String> {
    (expires_at <= now).then(|| "must be in the future".to_owned())
}

/// A limit within its bounds; what is wrong with it goes to `violations`.
pub fn parse_limit(
    path: &str,
    value: i32,
    most: u32,
    violations: &mut Vec<Violation>,
) -> Option<u32> {
    let limit = u32::try_from(value).ok().filter(|limit| *limit <= most);
    if limit.is_none() {
        violations.push(Violation::new(path, format!("must be 0 to {most}")));
    }
    limit
}

#[cfg(test)]
mod tests;
