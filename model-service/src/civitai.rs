//! Owns the questions to Civitai: which are asked, how often they are repeated, and the limits of
//! their answers. What an answer means is `civitai/answer.rs`; who asks, and what becomes of the
//! answers, is the library's.
//!
//! Only the two configured addresses are ever asked, the key goes nowhere else, and no redirect is
//! followed.

pub mod answer;
mod client;
mod figures;
mod limiter;
mod storage;
#[cfg(test)]
mod tests;
pub mod version;

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Client, RequestBuilder};
use secrecy::ExposeSecret as _;
use serde_json::Value;
use service_kit::clock::Clock;
use tokio::sync::MutexGuard;
use url::Url;

use crate::config::CivitaiConfig;
use crate::model::Sha256;
pub use answer::{Answer, FinalReason, RETRY_AFTER_MAX, Trouble};
pub use client::ClientFault;
pub use figures::CivitaiFigures;
use limiter::Limiter;
pub use storage::Denied;
use storage::Storage;
pub use version::{KnownHash, MatchedBy, Version};

/// How long the look-up of one version may take, its body included.
pub const LOOKUP_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a look-up in bulk may take; Civitai's own edge gives up after 100 s.
pub const BULK_TIMEOUT: Duration = Duration::from_secs(100);
/// Bytes that the answer about one version may have.
pub const LOOKUP_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes that an answer in bulk may have.
pub const BULK_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Most hashes that one look-up of versions takes; Civitai refuses more.
pub const HASHES_AT_ONCE_MAX: usize = 100;
/// Most hashes that one look-up of ids takes; Civitai refuses more.
pub const IDS_AT_ONCE_MAX: usize = 10_000;
/// Tries of one request, the first included.
pub const TRIES_MAX: u32 = 7;
/// The wait before the second try where Civitai does not say when; it doubles.
pub const BACK_OFF_FIRST: Duration = Duration::from_secs(1);
/// The longest such wait.
pub const BACK_OFF_MAX: Duration = Duration::from_secs(30);

/// What a request may cost.
#[derive(Clone, Copy)]
struct Limits {
    timeout: Duration,
    bytes: usize,
}

const LOOKUP: Limits = Limits {
    timeout: LOOKUP_TIMEOUT,
    bytes: LOOKUP_BYTES_MAX,
};
const BULK: Limits = Limits {
    timeout: BULK_TIMEOUT,
    bytes: BULK_BYTES_MAX,
};

/// Civitai. Clones share connections and limits. Every question may be dropped at any time; it
/// changes nothing there.
#[derive(Debug, Clone)]
pub struct Civitai(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: CivitaiConfig,
    client: Client,
    storage: Storage,
    limiter: Limiter,
    clock: Clock,
    figures: CivitaiFigures,
    /// Who asks about many models, asks alone.
    turn: tokio::sync::Mutex<()>,
}

impl Civitai {
    /// Civitai as configured. Opens no connection.
    ///
    /// # Errors
    /// When this machine's certificates cannot be read, for an `https` address.
    pub fn new(
        config: CivitaiConfig,
        clock: Clock,
        figures: CivitaiFigures,
    ) -> Result<Self, ClientFault> {
        let client = client::client(&config)?;
        let storage = Storage::new(&config)?;
        let limiter = Limiter::new(clock.clone(), config.requests_per_minute);
        Ok(Self(Arc::new(Inner {
            config,
            client,
            storage,
            limiter,
            clock,
            figures,
            turn: tokio::sync::Mutex::default(),
        })))
    }

    /// How it is configured.
    pub fn config(&self) -> &CivitaiConfig {
        &self.0.config
    }

    /// Whether it is never to be asked; who asks looks at this before.
    pub fn offline(&self) -> bool {
        self.0.config.offline
    }

    /// Which of at most [`IDS_AT_ONCE_MAX`] hashes are of a file of which version; a hash may be of
    /// many. What is not named is not known.
    pub async fn ids(&self, hashes: &[Sha256]) -> Answer<Vec<KnownHash>> {
        let url = self.api("api/v1/model-versions/by-hash/ids");
        let ask = || self.post(url.clone(), hashes);
        self.ask(ask, BULK, version::known_hashes).await
    }

    /// The versions that have a file with one of at most [`HASHES_AT_ONCE_MAX`] hashes, in no
    /// order, each once. Those without a usable file are missing.
    pub async fn by_hashes(&self, hashes: &[Sha256]) -> Answer<Vec<Version>> {
        let url = self.api("api/v1/model-versions/by-hash");
        let ask = || self.post(url.clone(), hashes);
        self.ask(ask, BULK, version::versions).await
    }

    /// The version that has a file with this hash of any kind, in hexadecimal digits.
    pub async fn by_hash(&self, digits: &str) -> Answer<Version> {
        let digits = digits.to_ascii_uppercase();
        let url = self.api(&format!("api/v1/model-versions/by-hash/{digits}"));
        self.ask(|| self.get(url.clone()), LOOKUP, Version::read)
            .await
    }

    /// The same, tried once: for whoever asks again later and must not wait long now.
    pub async fn by_hash_once(&self, digits: &str) -> Answer<Version> {
        let digits = digits.to_ascii_uppercase();
        let url = self.api(&format!("api/v1/model-versions/by-hash/{digits}"));
        self.place().await;
        let answer = self.once(self.get(url), LOOKUP, Version::read).await;
        self.heard(&answer);
        answer
    }

    /// The version with this id, a decimal number.
    pub async fn version(&self, id: &str) -> Answer<Version> {
        let url = self.api(&format!("api/v1/model-versions/{id}"));
        self.ask(|| self.get(url.clone()), LOOKUP, Version::read)
            .await
    }

    /// Where a version's file is, or one of its files. Never taken from an answer: those name no
    /// host in bulk, and follow the asked one otherwise.
    pub fn download_url(&self, version_id: &str, file_id: Option<&str>) -> Url {
        let mut url = beneath(
            &self.0.config.download_url,
            &format!("api/download/models/{version_id}"),
        );
        if let Some(file_id) = file_id {
            url.query_pairs_mut().append_pair("fileId", file_id);
        }
        url
    }

    /// A GET, with the key where that address may have it.
    pub(crate) fn get(&self, url: Url) -> RequestBuilder {
        self.signed(&url, self.0.client.get(url.clone()))
    }

    /// A GET without the key, to where an answer leads.
    ///
    /// # Errors
    /// [`Denied`] for an address that answers must not name.
    pub(crate) fn get_storage(&self, url: Url) -> Result<RequestBuilder, Denied> {
        self.0.storage.get(url)
    }

    /// What an error of a request means, without its address, which may hold a signature.
    pub(crate) fn broken(error: reqwest::Error) -> Trouble {
        client::unreachable(error)
    }

    fn post(&self, url: Url, hashes: &[Sha256]) -> RequestBuilder {
        let hashes: Vec<String> = hashes
            .iter()
            .map(|hash| hash.as_str().to_ascii_uppercase())
            .collect();
        self.signed(&url, self.0.client.post(url.clone()))
            .json(&hashes)
    }

    /// Adds the key, only beneath the configured addresses.
    fn signed(&self, url: &Url, request: RequestBuilder) -> RequestBuilder {
        let config = &self.0.config;
        let ours = [&config.url, &config.download_url]
            .into_iter()
            .any(|base| url.origin() == base.origin() && url.path().starts_with(base.path()));
        let Some(key) = config.key.as_ref().filter(|_| ours) else {
            return request;
        };
        // The configuration lets only printable ASCII through.
        match HeaderValue::from_str(&format!("Bearer {}", key.expose_secret())) {
            Ok(mut value) => {
                value.set_sensitive(true);
                request.header(AUTHORIZATION, value)
            }
            Err(_) => request,
        }
    }

    fn api(&self, path: &str) -> Url {
        beneath(&self.0.config.url, path)
    }

    /// Waits until nobody else asks about many models, who might ask about the same ones.
    pub(crate) async fn turn(&self) -> MutexGuard<'_, ()> {
        self.0.turn.lock().await
    }

    /// Waits until a request may go. Dropping the future gives that up.
    pub(crate) async fn place(&self) {
        self.0.limiter.place().await;
    }

    /// Counts an answer, and holds everybody back for as long as it asks for.
    pub(crate) fn heard<T>(&self, answer: &Answer<T>) {
        self.0.figures.count(answer);
        if let Answer::Trouble(trouble) = answer
            && let Some(after) = trouble.after()
        {
            self.0.limiter.pause(after);
        }
    }

    /// Asks until there is an answer, the trouble is of a kind that does not pass, or it was tried
    /// [`TRIES_MAX`] times.
    async fn ask<T>(
        &self,
        request: impl Fn() -> RequestBuilder,
        limits: Limits,
        read: fn(Value) -> Option<T>,
    ) -> Answer<T> {
        let mut tries = 0;
        loop {
            self.place().await;
            let answer = self.once(request(), limits, read).await;
            self.heard(&answer);
            tries += 1;
            let Answer::Trouble(trouble) = &answer else {
                return answer;
            };
            tracing::debug!(%trouble, tries, "Civitai did not answer");
            match wait(trouble, tries) {
                None => return answer,
                Some(wait) => self.0.clock.sleep(wait).await,
            }
        }
    }

    async fn once<T>(
        &self,
        request: RequestBuilder,
        limits: Limits,
        read: fn(Value) -> Option<T>,
    ) -> Answer<T> {
        let exchange = client::exchange(request, limits.bytes);
        let heard = match self.0.clock.timeout(limits.timeout, exchange).await {
            Ok(Ok(heard)) => heard,
            Ok(Err(trouble)) => return Answer::Trouble(trouble),
            Err(_) => {
                let words = format!(
                    "Civitai did not answer within {} s",
                    limits.timeout.as_secs()
                );
                return Answer::Trouble(Trouble::Unreachable { words });
            }
        };
        let now = self.0.clock.now();
        match answer::classify(heard.status, &heard.headers, &heard.body, now) {
            Answer::Found(value) => read(value).map_or_else(
                || {
                    let words = "Civitai answered JSON of another shape".to_owned();
                    Answer::Trouble(Trouble::Later { after: None, words })
                },
                Answer::Found,
            ),
            Answer::NotFound => Answer::NotFound,
            Answer::NoFile => Answer::NoFile,
            Answer::Trouble(trouble) => Answer::Trouble(trouble),
        }
    }
}

/// How long to wait before the next try after so many; `None` when there is none.
fn wait(trouble: &Trouble, tries: u32) -> Option<Duration> {
    if !trouble.may_pass() || tries >= TRIES_MAX {
        return None;
    }
    let doubled = BACK_OFF_FIRST.saturating_mul(1 << (tries - 1).min(16));
    match trouble.after() {
        // It is told to the caller, who knows what to say.
        Some(after) if after > RETRY_AFTER_MAX => None,
        Some(after) => Some(after.max(BACK_OFF_FIRST)),
        None => Some(doubled.min(BACK_OFF_MAX)),
    }
}

/// A path beneath a base address, which ends with a slash.
fn beneath(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    let path = format!("{}{path}", base.path());
    url.set_path(&path);
    url
}
