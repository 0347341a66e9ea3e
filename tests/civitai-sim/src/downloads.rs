//! The routes of downloads, and the storage that they lead to: a second host that knows no keys, refuses those
//! that come along, and takes only addresses with a signature that has not expired. Versions and hashes are
//! `routes`.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::response::Response;
use axum::routing::get;
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::Value;
use tokio::sync::watch;

use crate::samples;
use crate::version::digest_of_bytes;
use crate::world::World;

/// Seconds that a signature says that it lasts.
const EXPIRES_S: u32 = 86_400;

/// What is stored, and how it is given.
#[derive(Debug, Default)]
pub(crate) struct Storage {
    /// `http://127.0.0.1:port` of the second host.
    host: Mutex<String>,
    files: Mutex<BTreeMap<u64, Stored>>,
    pictures: Mutex<HashMap<String, Bytes>>,
    /// Signatures with a lower number have expired.
    signature: AtomicU64,
    key: Mutex<Option<String>>,
    gate: Mutex<Option<Gate>>,
}

#[derive(Debug, Clone)]
struct Stored {
    name: String,
    content: Bytes,
}

/// After so many bytes of an answer the rest waits until it is open.
#[derive(Debug)]
struct Gate {
    after: usize,
    open: watch::Sender<bool>,
}

impl Storage {
    pub(crate) fn serve_at(&self, host: String) {
        *lock(&self.host) = host;
    }

    pub(crate) fn hold(&self, file_id: u64, name: &str, content: Bytes) {
        let name = name.to_owned();
        lock(&self.files).insert(file_id, Stored { name, content });
    }

    pub(crate) fn picture(&self, name: &str, content: Bytes) -> String {
        lock(&self.pictures).insert(name.to_owned(), content);
        format!("{}/pictures/{name}", lock(&self.host))
    }

    pub(crate) fn expire(&self) {
        self.signature.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn require(&self, key: &str) {
        *lock(&self.key) = Some(key.to_owned());
    }

    pub(crate) fn shut(&self, after: usize) {
        *lock(&self.gate) = Some(Gate {
            after,
            open: watch::Sender::new(false),
        });
    }

    pub(crate) fn open(&self) {
        if let Some(gate) = lock(&self.gate).take() {
            gate.open.send_replace(true);
        }
    }

    /// Gives the first bytes at once and the rest when the gate is open.
    fn through_gate(&self, content: Bytes) -> Body {
        let gate = lock(&self.gate);
        let Some(gate) = gate.as_ref().filter(|gate| gate.after < content.len()) else {
            return Body::from(content);
        };
        let (first, rest) = (content.slice(..gate.after), content.slice(gate.after..));
        let mut open = gate.open.subscribe();
        let rest = stream::once(async move {
            // A gate that is gone is open.
            let _ = open.wait_for(|open| *open).await;
            rest
        });
        let pieces = stream::iter([first]).chain(rest);
        Body::from_stream(pieces.map(Ok::<_, std::convert::Infallible>))
    }
}

/// The routes on Civitai's own host.
pub(crate) fn routes() -> Router<Arc<World>> {
    Router::new().route("/api/download/models/{version}", get(download))
}

/// The routes on the host of the storage.
pub(crate) fn storage_routes() -> Router<Arc<World>> {
    Router::new()
        .route("/storage/{file}", get(stored))
        .route("/pictures/{name}", get(picture))
}

async fn download(
    State(world): State<Arc<World>>,
    Path(version): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let id = version.parse().unwrap_or_default();
    let Some(version) = world.catalog().version(id).cloned() else {
        return samples::http("404-download-file");
    };
    let given = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let key = lock(&world.storage.key)
        .as_ref()
        .map(|key| format!("Bearer {key}"));
    if key.is_some() && given != key.as_deref() {
        return samples::http("401-download-login-required");
    }
    let asked = query.get("fileId").and_then(|id| id.parse::<u64>().ok());
    let files = version.object.get("files").and_then(Value::as_array);
    let file = files.into_iter().flatten().find(|file| match asked {
        Some(id) => file["id"] == id,
        None => file["primary"] == true,
    });
    let Some(id) = file.and_then(|file| file["id"].as_u64()) else {
        return samples::http("404-download-file");
    };
    if !lock(&world.storage.files).contains_key(&id) {
        return samples::http("404-download-storage-trouble");
    }
    let host = lock(&world.storage.host).clone();
    let signature = world.storage.signature.load(Ordering::SeqCst);
    redirect(&format!(
        "{host}/storage/{id}?X-Amz-Expires={EXPIRES_S}&X-Amz-Signature={signature}"
    ))
}

fn redirect(to: &str) -> Response {
    let mut response = Response::new(Body::from(to.to_owned()));
    *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    if let Ok(to) = HeaderValue::from_str(to) {
        response.headers_mut().insert(header::LOCATION, to);
    }
    response
}

async fn stored(
    State(world): State<Arc<World>>,
    Path(file): Path<u64>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let storage = &world.storage;
    if headers.contains_key(header::AUTHORIZATION) {
        return fault(StatusCode::BAD_REQUEST, "Missing x-amz-content-sha256");
    }
    let signature = query
        .get("X-Amz-Signature")
        .and_then(|text| text.parse::<u64>().ok());
    if signature != Some(storage.signature.load(Ordering::SeqCst)) {
        return fault(StatusCode::FORBIDDEN, "Request has expired");
    }
    let Some(Stored { name, content }) = lock(&storage.files).get(&file).cloned() else {
        return fault(StatusCode::NOT_FOUND, "NoSuchKey");
    };
    let etag = format!("\"{}\"", &digest_of_bytes(&content)[..32]);
    let from = headers
        .get(header::RANGE)
        .and_then(|range| range.to_str().ok());
    let from = from.and_then(|range| {
        range
            .strip_prefix("bytes=")?
            .strip_suffix('-')?
            .parse::<usize>()
            .ok()
    });
    let same = headers
        .get(header::IF_RANGE)
        .is_none_or(|given| given.as_bytes() == etag.as_bytes());
    let length = content.len();
    let (status, range, content) = match from.filter(|_| same) {
        Some(from) if from >= length => (
            StatusCode::RANGE_NOT_SATISFIABLE,
            Some(format!("bytes */{length}")),
            Bytes::new(),
        ),
        Some(from) => {
            let range = format!("bytes {from}-{}/{length}", length - 1);
            (
                StatusCode::PARTIAL_CONTENT,
                Some(range),
                content.slice(from..),
            )
        }
        None => (StatusCode::OK, None, content),
    };
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    let disposition = format!("attachment; filename=\"{name}\"");
    for (header, value) in [
        (
            header::CONTENT_TYPE,
            Some("application/octet-stream".to_owned()),
        ),
        (header::CONTENT_LENGTH, Some(content.len().to_string())),
        (header::CONTENT_DISPOSITION, Some(disposition)),
        (header::ETAG, Some(etag)),
        (header::CONTENT_RANGE, range),
    ] {
        let value = value.and_then(|value| HeaderValue::from_bytes(value.as_bytes()).ok());
        if let Some(value) = value {
            response.headers_mut().insert(header, value);
        }
    }
    *response.body_mut() = storage.through_gate(content);
    response
}

/// An error as storage of this kind gives it.
fn fault(status: StatusCode, text: &str) -> Response {
    let body = format!("<?xml version=\"1.0\"?><Error><Message>{text}</Message></Error>");
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("application/xml");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

async fn picture(State(world): State<Arc<World>>, Path(name): Path<String>) -> Response {
    let content = lock(&world.storage.pictures).get(&name).cloned();
    content.map_or_else(
        || fault(StatusCode::NOT_FOUND, "NoSuchKey"),
        |content| Response::new(Body::from(content)),
    )
}

fn lock<T>(place: &Mutex<T>) -> MutexGuard<'_, T> {
    place.lock().unwrap_or_else(PoisonError::into_inner)
}
