//! Owns the connections to Civitai and how one answer is read within limits. It does not know what
//! answers mean.

use std::error::Error as _;
use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Certificate, Client, ClientBuilder, RequestBuilder, redirect};

use super::answer::{Trouble, bounded};
use crate::config::CivitaiConfig;

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an idle connection is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Idle connections that are kept.
const IDLE_CONNECTIONS_MAX: usize = 2;
/// How often the kernel asks a silent peer whether it is still there.
const TCP_KEEPALIVE: Duration = Duration::from_secs(15);
/// Who asks. Default names of HTTP libraries are blocked at Civitai's edge.
pub(super) const USER_AGENT: &str = concat!("stablequeue/", env!("CARGO_PKG_VERSION"));

/// Why no client could be made.
#[derive(Debug, thiserror::Error)]
#[error("no HTTP client for Civitai can be made: {0}")]
pub struct ClientFault(String);

/// The client for the configured addresses.
pub(super) fn client(config: &CivitaiConfig) -> Result<Client, ClientFault> {
    built(builder(config))
}

/// A client that follows nothing, repeats nothing and sends no more than it is told.
pub(super) fn builder(config: &CivitaiConfig) -> ClientBuilder {
    // An error means that a provider is installed already, which is enough.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = Client::builder()
        .user_agent(USER_AGENT)
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .http1_only()
        .tcp_keepalive(TCP_KEEPALIVE)
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
        // The environment, which names proxies, is read by `config.rs` only.
        .no_proxy();
    let secured = [&config.url, &config.download_url]
        .into_iter()
        .any(|url| url.scheme() == "https");
    if secured && !config.offline {
        return with_roots(builder);
    }
    // Without TLS the machine's root certificates are not needed, and a bare container that has
    // none can still start.
    let roots = rustls::RootCertStore::empty();
    builder.tls_backend_preconfigured(
        rustls::ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth(),
    )
}

/// With the root certificates of the machine, or, where it has none, as a bare container, those of
/// Mozilla that came with this program.
fn with_roots(builder: ClientBuilder) -> ClientBuilder {
    let Err(error) = Client::builder().build() else {
        return builder;
    };
    tracing::info!(%error, "this machine has no root certificates; those of this program are used");
    let bundled = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter();
    builder.tls_certs_only(bundled.filter_map(|root| Certificate::from_der(root).ok()))
}

pub(super) fn built(builder: ClientBuilder) -> Result<Client, ClientFault> {
    builder.build().map_err(|error| ClientFault(chain(&error)))
}

/// What was heard of one request.
pub(super) struct Heard {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

/// Sends a request and reads the whole answer, at most `bytes` of body.
pub(super) async fn exchange(request: RequestBuilder, bytes: usize) -> Result<Heard, Trouble> {
    let mut response = request.send().await.map_err(unreachable)?;
    let status = response.status().as_u16();
    let headers = response.headers().clone();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        if body.len() + chunk.len() > bytes {
            return Err(Trouble::TooLarge { limit: bytes });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Heard {
        status,
        headers,
        body,
    })
}

pub(super) fn unreachable(error: reqwest::Error) -> Trouble {
    let words = format!("Civitai cannot be reached: {}", chain(&error.without_url()));
    Trouble::Unreachable { words }
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
    bounded(&text)
}
