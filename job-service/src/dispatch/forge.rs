//! The HTTP client of one Forge server: its connections, its logins, limits and
//! the kinds of failure a control call can have. What an answer means for a job is
//! decided in `outcome` and `verify`, when to call in the dispatcher.

mod control;
mod file;
mod generate;
mod inventory;
mod probe;
mod session;

use std::error::Error as _;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use reqwest::{Client, RequestBuilder, Response, StatusCode, redirect};
use secrecy::ExposeSecret as _;
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, SemaphorePermit};
use url::Url;

use crate::server::{Logins, ServerLogin};
use session::Session;

pub use control::{GlobalProgress, TaskState};
pub use file::{FILE_BYTES_MAX, FetchFailure, Fetched};
pub use generate::{ANSWER_BYTES_MAX, ERROR_BODY_BYTES_MAX, GenerateAnswer};
pub use inventory::{LISTED_ITEMS_MAX, ListedCheckpoint, ListedLora, ListedModule, Listing};
pub use probe::{ProbeFacts, ProbeFailure, ProbeFailureKind, api_login_remedy};

/// How long a connection to a server may take to come about.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a control call may take: these answer in milliseconds, also under
/// load (`forge/forge-api.md` §3), or not at all.
pub const CONTROL_TIMEOUT: Duration = Duration::from_secs(3);
/// How long an interrupt may take.
pub const INTERRUPT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a listing may take; it reads folders.
pub const LISTING_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a refresh of the lists may take. It waits for a running job
/// (exchange 13/17), so only an idle server should be asked.
pub const REFRESH_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes that the answer to a control call may have.
pub const CONTROL_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes that a listing may have; LoRA metadata makes them long.
pub const LISTING_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Letters of the text of a refused control call that are kept.
const CONTROL_MESSAGE_CHARS_MAX: usize = 160;
/// How long an idle connection is kept for the next control call: less than
/// the five seconds after which Forge closes it.
const IDLE_TIMEOUT: Duration = Duration::from_secs(2);
/// Idle connections kept for control calls.
const IDLE_CONNECTIONS_MAX: usize = 2;
/// Control calls that may be under way to one server: of its monitor, of the
/// attempt there, and what callers ask for. Further ones wait, so that none
/// pile up on a server that does not answer.
pub const CONTROL_CALLS_MAX: usize = 4;
/// How often the kernel asks a silent peer whether it is still there, so that
/// a machine that lost power does not hold an attempt for ever.
const TCP_KEEPALIVE: Duration = Duration::from_secs(15);

/// Why a control call failed. None of these says anything about a job.
#[derive(Debug, thiserror::Error)]
pub enum CallFailure {
    /// No connection came about, or it broke.
    #[error("the server cannot be reached: {0}")]
    Unreachable(String),
    /// It took longer than it may.
    #[error("the server did not answer in time: {0}")]
    TimedOut(String),
    /// The server answered with another status than 200.
    #[error("the server answered {status}: {message}")]
    Status {
        /// The HTTP status.
        status: u16,
        /// The beginning of the body.
        message: String,
    },
    /// The answer is longer than it may be.
    #[error("the answer is longer than {0} bytes")]
    TooLarge(usize),
    /// The answer is not what Forge answers.
    #[error("the answer is not Forge's: {0}")]
    Malformed(String),
}

/// Why no client could be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientFault {
    /// The base URL cannot be parsed.
    #[error("the base URL {0:?} cannot be used")]
    BaseUrl(String),
    /// The TLS roots of this machine cannot be read.
    #[error("no HTTP client can be made: {0}")]
    Client(String),
}

/// Makes rustls use ring, once per process; repeating it is harmless.
pub fn tls() {
    // An error means that a provider is installed already, which is enough.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// A Forge server's HTTP client. Clones share its connections and its logins.
#[derive(Clone, Debug)]
pub struct ForgeClient {
    base: Url,
    control: Client,
    generation: Client,
    control_places: Arc<Semaphore>,
    /// What every call to this server carries.
    api_login: Arc<RwLock<Option<ServerLogin>>>,
    session: Arc<Session>,
}

impl ForgeClient {
    /// A client of the server at `base_url`. Opens no connection.
    pub fn new(base_url: &str) -> Result<Self, ClientFault> {
        tls();
        let base = Url::parse(base_url).map_err(|_| ClientFault::BaseUrl(base_url.to_owned()))?;
        if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none() {
            return Err(ClientFault::BaseUrl(base_url.to_owned()));
        }
        let control = builder(&base)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build();
        // No pool: each generation has a connection of its own, so that no
        // closed keep-alive connection can make its fate uncertain.
        let generation = builder(&base).pool_max_idle_per_host(0).build();
        Ok(Self {
            control: control.map_err(|error| ClientFault::Client(chain(&error)))?,
            generation: generation.map_err(|error| ClientFault::Client(chain(&error)))?,
            base,
            control_places: Arc::new(Semaphore::new(CONTROL_CALLS_MAX)),
            api_login: Arc::default(),
            session: Arc::default(),
        })
    }

    /// Uses other logins from now on, in every clone.
    pub fn set_logins(&self, logins: Logins) {
        let Logins { api, ui } = logins;
        let mut held = self
            .api_login
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *held = api;
        drop(held);
        self.session.set_login(ui);
    }

    fn has_api_login(&self) -> bool {
        let held = self.api_login.read();
        held.unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// A request with the login of the API, where there is one. It goes with
    /// every path, since a proxy before the server may ask on every path; it
    /// never goes anywhere else, since no redirect is followed.
    fn signed(&self, request: RequestBuilder) -> RequestBuilder {
        let held = self.api_login.read();
        match held.unwrap_or_else(PoisonError::into_inner).as_ref() {
            None => request,
            Some(login) => request.basic_auth(login.user(), Some(login.password().expose_secret())),
        }
    }

    /// The URL of a path on this server, percent-encoded where needed.
    fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        let prefix = self.base.path().trim_end_matches('/');
        url.set_path(&format!("{prefix}{path}"));
        url
    }

    /// A GET whose answer is JSON.
    async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &str,
        limits: Limits,
    ) -> Result<T, CallFailure> {
        let _place = self.place().await?;
        let mut url = self.url(path);
        url.set_query((!query.is_empty()).then_some(query));
        let request = self.signed(self.control.get(url));
        json(request.timeout(limits.timeout).send().await, limits).await
    }

    /// A POST whose answer is JSON.
    async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &serde_json::Value,
        limits: Limits,
    ) -> Result<T, CallFailure> {
        let _place = self.place().await?;
        self.post_at_once(path, body, limits).await
    }

    /// Waits until no more than [`CONTROL_CALLS_MAX`] calls are under way;
    /// each of them has an end, so this has too.
    async fn place(&self) -> Result<SemaphorePermit<'_>, CallFailure> {
        let place = self.control_places.acquire().await;
        // It is never closed.
        place.map_err(|closed| CallFailure::Unreachable(closed.to_string()))
    }

    /// The same for a call that must wait behind no other.
    async fn post_at_once<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &serde_json::Value,
        limits: Limits,
    ) -> Result<T, CallFailure> {
        let request = self.signed(self.control.post(self.url(path))).json(body);
        json(request.timeout(limits.timeout).send().await, limits).await
    }
}

/// What a call may cost.
#[derive(Clone, Copy)]
struct Limits {
    timeout: Duration,
    bytes: usize,
}

/// Those of a control call.
const CONTROL: Limits = Limits {
    timeout: CONTROL_TIMEOUT,
    bytes: CONTROL_BYTES_MAX,
};

/// What both kinds of connection have in common.
fn builder(base: &Url) -> reqwest::ClientBuilder {
    let builder = Client::builder()
        .no_proxy()
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .http1_only()
        .tcp_nodelay(true)
        .tcp_keepalive(TCP_KEEPALIVE)
        .connect_timeout(CONNECT_TIMEOUT);
    if base.scheme() == "https" {
        return builder;
    }
    // Without TLS the machine's root certificates are not needed, and a bare
    // container that has none can still use a plain server.
    let roots = rustls::RootCertStore::empty();
    builder.tls_backend_preconfigured(
        rustls::ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth(),
    )
}

/// Reads the JSON of an answer, within limits.
async fn json<T: DeserializeOwned>(
    sent: reqwest::Result<Response>,
    limits: Limits,
) -> Result<T, CallFailure> {
    let response = sent.map_err(|error| failure(&error))?;
    let status = response.status();
    if status != StatusCode::OK {
        let body = body_start(response, ERROR_BODY_BYTES_MAX).await;
        return Err(CallFailure::Status {
            status: status.as_u16(),
            message: short(&crate::outcome::message_of(&body)),
        });
    }
    let body = body_within(response, limits.bytes).await?;
    serde_json::from_slice(&body).map_err(|error| CallFailure::Malformed(error.to_string()))
}

/// The whole body, or a failure when it is longer than `limit` bytes.
async fn body_within(mut response: Response, limit: usize) -> Result<Vec<u8>, CallFailure> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| failure(&error))? {
        if body.len() + chunk.len() > limit {
            return Err(CallFailure::TooLarge(limit));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// At most the first `limit` bytes of a body; a cut body ends where it ends.
async fn body_start(mut response: Response, limit: usize) -> Vec<u8> {
    let mut body = Vec::new();
    while body.len() < limit {
        match response.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) | Err(_) => break,
        }
    }
    body.truncate(limit);
    body
}

/// A message that can stand in a line: some servers answer with whole pages.
fn short(message: &str) -> String {
    match message.char_indices().nth(CONTROL_MESSAGE_CHARS_MAX) {
        Some((at, _)) => format!("{}…", &message[..at]),
        None => message.to_owned(),
    }
}

/// A transport error in our words.
fn failure(error: &reqwest::Error) -> CallFailure {
    let text = chain(error);
    if error.is_timeout() {
        CallFailure::TimedOut(text)
    } else {
        CallFailure::Unreachable(text)
    }
}

/// An error with all its causes, since reqwest's own text names none.
fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    crate::outcome::bounded(&text)
}
