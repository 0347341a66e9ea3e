//! The routes of the simulated server and the handlers with effects: generation, progress, interrupt, options.
//! Connections and faults are `connection`; what a job does is `generate`.

use std::sync::Arc;

use axum::{
    Extension, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, RawQuery, State},
    middleware::from_fn_with_state,
    response::{IntoResponse, Response},
    routing::{MethodRouter, get, post},
};
use http::{HeaderMap, StatusCode, header};
use rand::seq::IndexedRandom;
use serde_json::{Map, Value, json};
use tokio::sync::oneshot;

use crate::{
    auth,
    errors::{Failure, ok, raw_reply},
    events::{Hit, Interruption, StopKind, What},
    faults::Played,
    fields::{Fields, entry, json_body},
    generate::{Job, Thread},
    generation::Endpoint,
    listings,
    options::Options,
    picture, pnginfo,
    state::{Engine, Memory, Queued},
};

/// What the connection layer hands to a generation handler.
#[derive(Clone, Default)]
pub(crate) struct Arrival {
    pub(crate) faults: Played,
    pub(crate) thread: Thread,
}

/// Address a connection came from.
#[derive(Clone, Debug)]
pub(crate) struct Peer(pub(crate) String);

/// All routes over one process.
pub(crate) fn routes(engine: Arc<Engine>) -> Router {
    let mut router = api_routes(&engine)
        // Those of an extension, which `--api-auth` does not cover.
        .route("/sdapi/v1/loras", get(listings::loras))
        .route("/sdapi/v1/refresh-loras", post(listings::refresh_loras));
    if engine.world.config.ui {
        router = router.merge(ui_routes());
    }
    router
        .fallback(listings::other)
        .method_not_allowed_fallback(listings::wrong_method)
        .layer(DefaultBodyLimit::disable())
        .with_state(engine)
}

/// What `--api-auth` covers.
fn api_routes(engine: &Arc<Engine>) -> Router<Arc<Engine>> {
    let routes: [(&str, MethodRouter<Arc<Engine>>); 16] = [
        ("txt2img", post(txt2img)),
        ("img2img", post(img2img)),
        ("progress", get(progress)),
        ("interrupt", post(interrupt)),
        ("skip", post(skip)),
        ("options", get(options).post(set_options)),
        ("sd-models", get(listings::sd_models)),
        ("sd-modules", get(listings::sd_modules)),
        ("cmd-flags", get(listings::cmd_flags)),
        ("memory", get(listings::memory)),
        ("refresh-checkpoints", post(listings::refresh_checkpoints)),
        ("refresh-vae", post(listings::refresh_modules)),
        ("refresh-embeddings", post(listings::refresh_embeddings)),
        ("unload-checkpoint", post(unload)),
        ("reload-checkpoint", post(|| async { ok(&json!({})) })),
        ("png-info", post(png_info)),
    ];
    // On the routes and not around them: a wrong method is told before who asks.
    let guarded = |route: MethodRouter<Arc<Engine>>| {
        route.route_layer(from_fn_with_state(Arc::clone(engine), auth::guard))
    };
    let mut router = Router::new();
    for (name, route) in routes {
        router = router.route(&format!("/sdapi/v1/{name}"), guarded(route));
    }
    for (path, body) in listings::FIXED {
        router = router.route(path, guarded(fixed(body)));
    }
    router
}

/// What `--nowebui` leaves out, files aside.
fn ui_routes() -> Router<Arc<Engine>> {
    let mut router = Router::new()
        .route("/internal/progress", post(task_progress))
        .route("/internal/pending-tasks", get(pending_tasks))
        .route("/app_id", get(listings::app_id))
        .route("/login", post(auth::login));
    for (path, body) in listings::FIXED_OF_THE_UI {
        router = router.route(path, fixed(body));
    }
    router
}

fn fixed(body: &'static str) -> MethodRouter<Arc<Engine>> {
    get(move || async move { raw_reply(StatusCode::OK, body) })
}

async fn txt2img(
    State(engine): State<Arc<Engine>>,
    Extension(arrival): Extension<Arrival>,
    body: Bytes,
) -> Response {
    generate(&engine, Endpoint::Txt2img, arrival, &body).await
}

async fn img2img(
    State(engine): State<Arc<Engine>>,
    Extension(arrival): Extension<Arrival>,
    body: Bytes,
) -> Response {
    generate(&engine, Endpoint::Img2img, arrival, &body).await
}

async fn generate(engine: &Engine, endpoint: Endpoint, arrival: Arrival, body: &[u8]) -> Response {
    match enqueue(engine, endpoint, arrival, body) {
        Err(failure) => failure.into_response(),
        Ok(answer) => match answer.await {
            Ok(Ok(body)) => ok(&body),
            Ok(Err(failure)) => failure.into_response(),
            // The worker is gone because the process died: nobody answers any more.
            Err(_) => std::future::pending().await,
        },
    }
}

type Reply = oneshot::Receiver<Result<Value, Failure>>;

fn enqueue(
    engine: &Engine,
    endpoint: Endpoint,
    arrival: Arrival,
    body: &[u8],
) -> Result<Reply, Failure> {
    let (fields, sent) = Fields::parse(endpoint, body)?;
    check_request(endpoint, &fields)?;
    let task_id = fields
        .text("force_task_id")
        .map_or_else(|| made_up_id(endpoint), str::to_owned);
    let (reply, answer) = oneshot::channel();
    let job = Job {
        endpoint,
        task_id,
        fields,
        sent,
        faults: arrival.faults,
        reply,
        thread: arrival.thread,
    };
    // Under one lock, so that the order of ids and the order of work are the same.
    let mut memory = engine.memory();
    memory.tasks.add_to_queue(&job.task_id);
    let task_id = job.task_id.clone();
    let events = &engine.world.log.events;
    events.push(engine.app_id, What::Queued { task_id });
    let queued = engine.queue.try_send(Queued::Generate(Box::new(job)));
    queued.map_err(|error| Failure::exception("RuntimeError", error.to_string()))?;
    Ok(answer)
}

/// What Forge refuses before a request gets into its queue.
fn check_request(endpoint: Endpoint, fields: &Fields) -> Result<(), Failure> {
    if endpoint == Endpoint::Img2img && fields.get("init_images").is_null() {
        return Err(Failure::http(404, "Init image not found"));
    }
    if fields.text("infotext").is_some_and(|text| !text.is_empty()) {
        let message = "isinstance() argument 2 cannot be a parameterized generic";
        return Err(Failure::exception("TypeError", message));
    }
    let tab = tab(endpoint);
    let always_on = fields.object("alwayson_scripts");
    let chosen = fields.text("script_name").filter(|name| !name.is_empty());
    let mut names = chosen
        .into_iter()
        .chain(always_on.keys().map(String::as_str));
    match names.find(|name| !listings::has_script(tab, name)) {
        Some(name) => Err(Failure::http(422, format!("Script '{name}' not found"))),
        None => Ok(()),
    }
}

fn tab(endpoint: Endpoint) -> &'static str {
    match endpoint {
        Endpoint::Txt2img => "txt2img",
        Endpoint::Img2img => "img2img",
    }
}

fn made_up_id(endpoint: Endpoint) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    let mut rng = rand::rng();
    let random: String = (0..7)
        .filter_map(|_| LETTERS.choose(&mut rng).copied().map(char::from))
        .collect();
    format!("task({}-{random})", tab(endpoint))
}

async fn progress(State(engine): State<Arc<Engine>>, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let skip = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .any(|(key, value)| {
            key == "skip_current_image"
                && matches!(
                    value.to_lowercase().as_str(),
                    "true" | "1" | "yes" | "on" | "t" | "y"
                )
        });
    ok(&engine.memory().progress.global(skip))
}

async fn task_progress(State(engine): State<Arc<Engine>>, body: Bytes) -> Response {
    answer_task_progress(&engine, &body).map_or_else(IntoResponse::into_response, |body| ok(&body))
}

fn answer_task_progress(engine: &Engine, body: &[u8]) -> Result<Value, Failure> {
    let request = object(body)?;
    let id = match request.get("id_task") {
        None | Some(Value::Null) => None,
        Some(Value::String(id)) => Some(id.as_str()),
        Some(other) => {
            let wrong = entry(
                "string_type",
                &[Value::from("id_task")],
                "Input should be a valid string",
                other,
            );
            return Err(Failure::Validation(vec![wrong]));
        }
    };
    let live_preview = request
        .get("live_preview")
        .and_then(Value::as_bool)
        .unwrap_or(true);
    let preview_id = request
        .get("id_live_preview")
        .and_then(Value::as_i64)
        .unwrap_or(-1);
    let memory = engine.memory();
    memory
        .progress
        .of_task(memory.tasks.track(id), live_preview, preview_id)
}

async fn pending_tasks(State(engine): State<Arc<Engine>>) -> Response {
    let memory = engine.memory();
    let tasks = memory.tasks.pending();
    ok(&json!({ "size": tasks.len(), "tasks": tasks }))
}

/// Hits whatever runs now; harmless when idle.
async fn interrupt(
    State(engine): State<Arc<Engine>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Response {
    stop(&engine, StopKind::Interrupt, peer, &headers);
    ok(&json!({}))
}

async fn skip(
    State(engine): State<Arc<Engine>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Response {
    stop(&engine, StopKind::Skip, peer, &headers);
    ok(&Value::Null)
}

fn stop(engine: &Engine, kind: StopKind, peer: Peer, headers: &HeaderMap) {
    {
        // Under one lock, so that the log tells whom the flag really met.
        let mut memory = engine.memory();
        match kind {
            StopKind::Interrupt => memory.progress.interrupted = true,
            StopKind::Skip => memory.progress.skipped = true,
        }
        let hit = memory.running.as_ref().map(|running| Hit {
            generation: running.number,
            task_id: running.task_id.clone(),
            stage: running.stage,
        });
        let agent = headers.get(header::USER_AGENT);
        let interruption = Interruption {
            kind,
            peer: peer.0,
            user_agent: agent.and_then(|agent| Some(agent.to_str().ok()?.to_owned())),
            hit,
        };
        engine.world.log.interrupted(engine.app_id, interruption);
    }
    engine.stop_signal.notify_waiters();
}

async fn options(State(engine): State<Arc<Engine>>) -> Response {
    ok(&engine.memory().options.listing())
}

async fn set_options(State(engine): State<Arc<Engine>>, body: Bytes) -> Response {
    match store_options(&engine, &body) {
        Ok(()) => ok(&Value::Null),
        Err(failure) => failure.into_response(),
    }
}

/// Not under the queue lock: a running job sees the change.
fn store_options(engine: &Engine, body: &[u8]) -> Result<(), Failure> {
    let values = match json_body(body)? {
        Value::Object(values) => values,
        other => {
            let wrong = entry(
                "dict_type",
                &[],
                "Input should be a valid dictionary",
                &other,
            );
            return Err(Failure::Validation(vec![wrong]));
        }
    };
    let mut memory = engine.memory();
    let Memory {
        options, models, ..
    } = &mut *memory;
    Options::check_post(models, &values)?;
    options.set_all(models, &values)?;
    let saved = options.save(&engine.world.config_file());
    saved.map_err(|error| Failure::exception("OSError", error.to_string()))
}

async fn unload(State(engine): State<Arc<Engine>>) -> Response {
    engine.memory().models.slot = crate::models::Slot::default();
    ok(&json!({}))
}

async fn png_info(body: Bytes) -> Response {
    let answer = object(&body).and_then(|request| {
        let image = request
            .get("image")
            .and_then(Value::as_str)
            .unwrap_or_default();
        picture::decode_base64(image).ok_or_else(|| Failure::http(500, "Invalid encoded image"))?;
        let text = picture::text_of(image).unwrap_or_default();
        Ok(json!({ "info": text, "items": {}, "parameters": pnginfo::parameters(&text) }))
    });
    answer.map_or_else(IntoResponse::into_response, |body| ok(&body))
}

fn object(body: &[u8]) -> Result<Map<String, Value>, Failure> {
    match json_body(body)? {
        Value::Object(object) => Ok(object),
        other => {
            let msg = "Input should be a valid dictionary or object to extract fields from";
            Err(Failure::Validation(vec![entry(
                "model_attributes_type",
                &[],
                msg,
                &other,
            )]))
        }
    }
}
