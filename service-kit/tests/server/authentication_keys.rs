//! An authenticator over a list of keys, and the ways to present a key.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use service_kit::auth::{
    ApiKey, Authenticator, Caller, Credentials, KeyHashes, KeyPrefix, Scope, Scopes, Verdict,
};
use service_kit::status::Failure;
use tonic::Request;

/// Reason of the failure of a list that is busy.
pub(crate) const BUSY: &str = "BUSY";

#[derive(Debug, Clone)]
struct Row {
    id: &'static str,
    prefix: KeyPrefix,
    hashes: KeyHashes,
    scopes: Scopes,
    revoked: bool,
}

/// Keys in memory; authentication is off while there is none.
#[derive(Debug, Default)]
pub(crate) struct KeyList {
    rows: Mutex<Vec<Row>>,
    /// How often it was asked about credentials.
    pub(crate) asked: AtomicUsize,
    pub(crate) busy: AtomicBool,
}

impl KeyList {
    /// Adds a new key.
    pub(crate) fn issue(&self, id: &'static str, scopes: &[Scope]) -> ApiKey {
        let key = ApiKey::generate().unwrap();
        self.rows.lock().unwrap().push(Row {
            id,
            prefix: key.prefix(),
            hashes: key.hashes(),
            scopes: scopes.iter().copied().collect(),
            revoked: false,
        });
        key
    }

    pub(crate) fn revoke(&self, id: &str) {
        let mut rows = self.rows.lock().unwrap();
        rows.iter_mut().find(|row| row.id == id).unwrap().revoked = true;
    }
}

#[tonic::async_trait]
impl Authenticator for KeyList {
    async fn authenticate(&self, credentials: Option<&Credentials>) -> Result<Verdict, Failure> {
        if self.busy.load(Ordering::SeqCst) {
            return Err(Failure::unavailable(BUSY, "busy", Duration::from_secs(1)));
        }
        let rows = self.rows.lock().unwrap().clone();
        if rows.is_empty() {
            return Ok(Verdict::Off);
        }
        let Some(credentials) = credentials else {
            return Ok(Verdict::Unknown);
        };
        self.asked.fetch_add(1, Ordering::SeqCst);
        let prefix = credentials.prefix();
        let candidates: Vec<_> = rows
            .into_iter()
            .filter(|row| row.prefix == prefix)
            .collect();
        let found = credentials.pick(&candidates, |row| &row.hashes);
        Ok(match found.filter(|row| !row.revoked) {
            None => Verdict::Unknown,
            Some(row) => Verdict::Known(Caller {
                key_id: Some(row.id.to_owned()),
                name: format!("key {}", row.id),
                scopes: row.scopes,
                servers: None,
            }),
        })
    }
}

/// An empty request with these headers.
pub(crate) fn with(headers: &[(&'static str, &str)]) -> Request<()> {
    let mut request = Request::new(());
    for (name, value) in headers {
        request.metadata_mut().append(*name, value.parse().unwrap());
    }
    request
}

pub(crate) fn pair(key: &str, secret: &str) -> Request<()> {
    with(&[("x-api-key", key), ("x-api-secret", secret)])
}

pub(crate) fn base64(key: &str, secret: &str) -> Request<()> {
    let value = format!("Bearer {}", STANDARD.encode(format!("{key}:{secret}")));
    with(&[("authorization", &value)])
}

pub(crate) fn token(key: &ApiKey) -> Request<()> {
    let mut request = Request::new(());
    let value = key.token().authorization();
    request.metadata_mut().insert("authorization", value);
    request
}
