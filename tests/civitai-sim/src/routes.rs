//! The endpoints with their checks, statuses and bodies. Downloads are `downloads`, faults `plays`.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Path, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use crate::downloads;
use crate::recorded::Recorded;
use crate::samples;
use crate::version::SimVersion;
use crate::world::{BODY_BYTES_MAX, World};

/// Most hashes in a look-up in bulk.
pub const HASHES_MAX: usize = 100;
/// Most hashes in a look-up of ids.
pub const IDS_MAX: usize = 10_000;
/// Digits of a hash in a look-up in bulk; nothing else of it is checked.
const HASH_DIGITS: usize = 64;
/// The greatest id of a model.
const MODEL_ID_MAX: u64 = 2_147_483_647;

/// All routes over one world.
pub(crate) fn app(world: &Arc<World>) -> Router {
    Router::new()
        .route("/api/v1/model-versions/by-hash", post(bulk))
        .route("/api/v1/model-versions/by-hash/ids", post(ids))
        .route("/api/v1/model-versions/by-hash/{hash}", get(by_hash))
        .route("/api/v1/model-versions/{id}", get(version))
        .route("/api/v1/models/{id}", get(model))
        .merge(downloads::routes())
        .fallback(async || samples::http("404-no-such-route"))
        .layer(from_fn_with_state(Arc::clone(world), record))
        .with_state(Arc::clone(world))
}

/// The routes of the host to which downloads lead, over the same world.
pub(crate) fn storage(world: &Arc<World>) -> Router {
    downloads::storage_routes()
        .fallback(async || samples::http("404-no-such-route"))
        .layer(from_fn_with_state(Arc::clone(world), record))
        .with_state(Arc::clone(world))
}

/// Notes a request, then answers it or plays what is scripted for it.
async fn record(State(world): State<Arc<World>>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_BYTES_MAX).await else {
        return samples::http("413-bulk-body-over-1mb");
    };
    let recorded = Recorded {
        method: parts.method.clone(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts.headers.clone(),
        body: body.clone(),
    };
    let play = world.rules.take(&recorded);
    world.requests.push(recorded);
    let right = next.run(Request::from_parts(parts, Body::from(body)));
    match play {
        None => right.await,
        Some(play) => play.perform(right).await,
    }
}

/// A JSON answer with the cache header of its endpoint, in seconds.
fn answer(status: StatusCode, body: &Value, cached_s: u32) -> Response {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    let cache = format!(
        "public, s-maxage={cached_s}, stale-while-revalidate={}",
        cached_s / 2
    );
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static("application/json; charset=utf-8");
    headers.insert(header::CONTENT_TYPE, kind);
    if let Ok(cache) = HeaderValue::from_str(&cache) {
        headers.insert(header::CACHE_CONTROL, cache);
    }
    response
}

fn refused(status: StatusCode, text: &str, cached_s: u32) -> Response {
    answer(status, &json!({ "error": text }), cached_s)
}

/// One version, or one of the two kinds of 404.
fn one(version: Option<&SimVersion>, cached_s: u32) -> Response {
    match version {
        None => refused(StatusCode::NOT_FOUND, "Model not found", cached_s),
        Some(version) if version.without_file => {
            refused(StatusCode::NOT_FOUND, "Missing model file", cached_s)
        }
        Some(version) => answer(StatusCode::OK, &version.json(), cached_s),
    }
}

async fn by_hash(State(world): State<Arc<World>>, Path(hash): Path<String>) -> Response {
    one(world.catalog().by_hash(&hash), 3_600)
}

async fn version(State(world): State<Arc<World>>, Path(id): Path<String>) -> Response {
    match id.parse::<u64>() {
        Err(_) => samples::http("400-version-id-not-a-number"),
        Ok(0) => refused(StatusCode::BAD_REQUEST, "Missing modelVersionId", 300),
        Ok(id) => one(world.catalog().version(id), 300),
    }
}

async fn model(State(world): State<Arc<World>>, Path(id): Path<String>) -> Response {
    let id = match id.parse::<u64>() {
        Ok(id) if (1..=MODEL_ID_MAX).contains(&id) => id,
        _ => return samples::http("400-model-id-too-big"),
    };
    let catalog = world.catalog();
    let versions = catalog.of_model(id);
    let Some(first) = versions.first() else {
        let text = format!("No model with id {id}");
        return refused(StatusCode::NOT_FOUND, &text, 300);
    };
    let versions = versions.iter().map(|version| {
        let mut object = version.object.clone();
        object.shift_remove("modelId");
        object.shift_remove("usageControl");
        object.shift_remove("model");
        Value::Object(object)
    });
    let of_model = first.object.get("model").cloned().unwrap_or_default();
    let body = json!({
        "id": id,
        "name": of_model["name"],
        "description": null,
        "type": of_model["type"],
        "nsfw": of_model["nsfw"],
        "tags": [],
        "modelVersions": versions.collect::<Vec<_>>(),
    });
    answer(StatusCode::OK, &body, 300)
}

/// The hashes of a look-up in bulk, or why it is refused.
fn hashes(body: &Bytes, most: usize) -> Result<Vec<String>, Box<Response>> {
    let refuse = |sample: &str| Err(Box::new(samples::http(sample)));
    let Ok(Value::Array(list)) = serde_json::from_slice(body) else {
        return refuse("400-bulk-not-an-array");
    };
    if list.len() > most {
        return refuse("400-bulk-more-than-100");
    }
    let hash = |value: &Value| {
        let hash = value.as_str()?;
        (hash.len() == HASH_DIGITS).then(|| hash.to_ascii_uppercase())
    };
    let hashes: Option<Vec<String>> = list.iter().map(hash).collect();
    hashes.map_or_else(|| refuse("400-bulk-hash-not-64"), Ok)
}

/// One element for each matching file, in no order that anybody could rely on.
async fn bulk(State(world): State<Arc<World>>, body: Bytes) -> Response {
    let hashes = match hashes(&body, HASHES_MAX) {
        Ok(hashes) => hashes,
        Err(response) => return *response,
    };
    let catalog = world.catalog();
    let found = hashes.iter().rev().flat_map(|hash| catalog.by_sha256(hash));
    let elements = found.map(|version| match version.without_file {
        true => Value::Null,
        false => without_host(version.json()),
    });
    answer(StatusCode::OK, &Value::Array(elements.collect()), 300)
}

/// The addresses of bulk answers have no host.
fn without_host(mut version: Value) -> Value {
    let undefined = |object: &mut Value| {
        let url = object.get("downloadUrl").and_then(Value::as_str);
        if let Some(url) = url.map(|url| url.replace("https://civitai.com", "https://undefined")) {
            object["downloadUrl"] = url.into();
        }
    };
    undefined(&mut version);
    let files = version.get_mut("files").and_then(Value::as_array_mut);
    files.into_iter().flatten().for_each(undefined);
    version
}

async fn ids(State(world): State<Arc<World>>, body: Bytes) -> Response {
    let hashes = match hashes(&body, IDS_MAX) {
        Ok(hashes) => hashes,
        Err(response) => return *response,
    };
    let catalog = world.catalog();
    let mut rows = Vec::new();
    for hash in hashes.iter().rev() {
        for version in catalog.by_sha256(hash) {
            rows.push(json!({
                "modelVersionId": version.id(),
                "modelId": version.object.get("modelId"),
                "hash": hash,
            }));
        }
    }
    answer(StatusCode::OK, &Value::Array(rows), 300)
}
