//! Listings and control endpoints that only read or refresh: models, samplers, options, memory, images by path.
//! Recorded lists are given out word for word.

use std::{path::Path, sync::Arc};

use axum::{
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    auth,
    errors::{Failure, ok, raw_reply},
    samplers::{SAMPLERS, SCHEDULERS},
    state::{Engine, Queued},
};

const UPSCALERS: &str = include_str!("recorded/upscalers.json");
const LATENT_MODES: &str = include_str!("recorded/latent-upscale-modes.json");
const FACE_RESTORERS: &str = include_str!("recorded/face-restorers.json");
const SCRIPTS: &str = include_str!("recorded/scripts.json");
const CMD_FLAGS: &str = include_str!("recorded/cmd-flags.json");

/// Paths of the API with an answer that never changes.
pub(crate) const FIXED: [(&str, &str); 10] = [
    ("/sdapi/v1/samplers", SAMPLERS),
    ("/sdapi/v1/schedulers", SCHEDULERS),
    ("/sdapi/v1/upscalers", UPSCALERS),
    ("/sdapi/v1/latent-upscale-modes", LATENT_MODES),
    ("/sdapi/v1/face-restorers", FACE_RESTORERS),
    ("/sdapi/v1/scripts", SCRIPTS),
    ("/sdapi/v1/embeddings", r#"{"loaded":{},"skipped":{}}"#),
    ("/sdapi/v1/extensions", "[]"),
    ("/sdapi/v1/hypernetworks", "[]"),
    ("/sdapi/v1/prompt-styles", "[]"),
];

/// The same where the UI is served.
pub(crate) const FIXED_OF_THE_UI: [(&str, &str); 2] =
    [("/internal/ping", "{}"), ("/startup-events", "false")];

pub(crate) async fn sd_models(State(engine): State<Arc<Engine>>) -> Response {
    let memory = engine.memory();
    let models = &memory.models;
    let items = models.checkpoints.iter().map(|model| {
        let sha256 = models.known_hashes.get(&model.relative_path);
        json!({
            "title": models.title(model),
            "model_name": model.model_name(),
            "hash": sha256.map(|sha256| &sha256[..10]),
            "sha256": sha256,
            "filename": models.checkpoint_file(model),
            "config": null,
        })
    });
    ok(&Value::Array(items.collect()))
}

pub(crate) async fn loras(State(engine): State<Arc<Engine>>) -> Response {
    let memory = engine.memory();
    let models = &memory.models;
    let items = models.loras.iter().enumerate().filter(|(place, lora)| {
        // Equal stems collide; the last one wins.
        !models.loras[place + 1..]
            .iter()
            .any(|later| later.stem() == lora.stem())
    });
    let shown = items.map(|(_, lora)| {
        let metadata = match &lora.output_name {
            Some(name) => json!({ "ss_output_name": name, "ss_base_model_version": "sd_v1" }),
            None => json!({}),
        };
        json!({
            "name": lora.stem(),
            "alias": lora.output_name.as_deref().unwrap_or_else(|| lora.stem()),
            "path": models.lora_file(lora),
            "metadata": metadata,
        })
    });
    ok(&Value::Array(shown.collect()))
}

pub(crate) async fn sd_modules(State(engine): State<Arc<Engine>>) -> Response {
    let memory = engine.memory();
    let models = &memory.models;
    let items = models.modules.iter().map(|module| {
        json!({ "model_name": module.file_name(), "filename": models.module_file(module) })
    });
    ok(&Value::Array(items.collect()))
}

/// The server was started with a port, so this listing always fails (exchange 01/cmd-flags).
pub(crate) async fn cmd_flags() -> Response {
    raw_reply(StatusCode::INTERNAL_SERVER_ERROR, CMD_FLAGS)
}

pub(crate) async fn memory() -> Response {
    const TOTAL_BYTES: f64 = 17_179_869_184.0;
    const USED_BYTES: u64 = 2_147_483_648;
    let free = TOTAL_BYTES - 2_147_483_648.0;
    ok(&json!({
        "ram": { "free": free, "used": USED_BYTES, "total": TOTAL_BYTES },
        "cuda": { "error": "unavailable" },
    }))
}

/// Waits for the queue lock, as the recorded one did behind a running job (exchange 13/17).
pub(crate) async fn refresh_checkpoints(State(engine): State<Arc<Engine>>) -> Response {
    let (done, refreshed) = tokio::sync::oneshot::channel();
    let sent = engine.queue.send(Queued::RefreshCheckpoints(done)).await;
    if sent.is_err() || refreshed.await.is_err() {
        // The worker only ends with the process, and then nobody answers.
        std::future::pending::<()>().await;
    }
    ok(&Value::Null)
}

pub(crate) async fn refresh_loras(State(engine): State<Arc<Engine>>) -> Response {
    engine.refresh_loras();
    ok(&Value::Null)
}

pub(crate) async fn refresh_modules(State(engine): State<Arc<Engine>>) -> Response {
    engine.refresh_modules();
    ok(&Value::Null)
}

pub(crate) async fn refresh_embeddings() -> Response {
    ok(&Value::Null)
}

pub(crate) async fn app_id(State(engine): State<Arc<Engine>>) -> Response {
    ok(&json!({ "app_id": engine.app_id }))
}

/// True if Forge has a script of this name for the endpoint; names are compared in lower case.
pub(crate) fn has_script(endpoint: &str, name: &str) -> bool {
    let scripts: Value = serde_json::from_str(SCRIPTS).unwrap_or_default();
    let names = scripts[endpoint].as_array();
    names.is_some_and(|names| names.iter().any(|known| *known == name.to_lowercase()))
}

/// Everything no route knows: `/file=…`, or Forge's 404.
pub(crate) async fn other(State(engine): State<Arc<Engine>>, request: Request) -> Response {
    let path = request.uri().path();
    if !engine.world.config.ui {
        return Failure::http(404, "Not Found").into_response();
    }
    if auth::is_of_the_ui(path)
        && let Some(refusal) = auth::refused_by_the_ui(&engine, request.headers())
    {
        return refusal.into_response();
    }
    match path.strip_prefix("/file=") {
        Some(path) if request.method() == http::Method::GET => {
            file(&engine, &percent_decoded(path)).await
        }
        Some(_) => Failure::http(405, "Method Not Allowed").into_response(),
        None => Failure::http(404, "Not Found").into_response(),
    }
}

pub(crate) async fn wrong_method() -> Response {
    Failure::http(405, "Method Not Allowed").into_response()
}

/// Serves files below the data folder only.
async fn file(engine: &Engine, path: &str) -> Response {
    let root = &engine.world.config.data_dir;
    let wanted = root.join(Path::new(path));
    let (Ok(root), Ok(found)) = (root.canonicalize(), wanted.canonicalize()) else {
        return Failure::http(404, format!("File not found: {path}.")).into_response();
    };
    if !found.starts_with(&root) || found.is_dir() {
        return Failure::http(403, format!("File not allowed: {path}.")).into_response();
    }
    match tokio::fs::read(&found).await {
        Ok(bytes) => {
            let etag = hex::encode(&Sha256::digest(&bytes)[..16]);
            let kind = match found.extension().and_then(|extension| extension.to_str()) {
                Some("png") => "image/png",
                Some("json") => "application/json",
                Some("txt") => "text/plain; charset=utf-8",
                _ => "application/octet-stream",
            };
            let mut response = Response::new(Body::from(bytes));
            response
                .headers_mut()
                .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
            if let Ok(etag) = HeaderValue::from_str(&etag) {
                response.headers_mut().insert(header::ETAG, etag);
            }
            response
        }
        Err(error) => Failure::exception("RuntimeError", error.to_string()).into_response(),
    }
}

pub(crate) fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let escaped = tail
            .get(..2)
            .filter(|_| *first == b'%')
            .and_then(|digits| hex::decode(digits).ok());
        match escaped {
            Some(byte) => {
                bytes.extend(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
