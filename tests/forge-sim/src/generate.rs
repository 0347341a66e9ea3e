//! Runs one job that has the queue lock: begin and end of the task, overrides and their restore, the answer.
//! Sampling itself is `sampling`, the wording of the answer `answer`.

use std::sync::Arc;

use image::RgbImage;
use serde_json::{Map, Value};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::{
    answer,
    errors::Failure,
    faults::{Fault, Played},
    fields::Fields,
    generation::{Delivery, Endpoint, Generation, Outcome},
    loading,
    log::{next_order, unix_ms},
    picture,
    plan::Plan,
    sampling,
    saving::Folders,
    stage::Stage,
    state::{Engine, Memory, Running},
};

/// A generation request in the queue.
pub(crate) struct Job {
    pub(crate) endpoint: Endpoint,
    pub(crate) task_id: String,
    pub(crate) fields: Fields,
    /// The body as it was sent.
    pub(crate) sent: Value,
    pub(crate) faults: Played,
    pub(crate) reply: oneshot::Sender<Result<Value, Failure>>,
    /// The worker thread the request holds until it is answered, listener or not.
    pub(crate) thread: Thread,
}

/// A worker thread that a request holds.
pub(crate) type Thread = Option<Arc<OwnedSemaphorePermit>>;

/// What a generation made.
#[derive(Debug, Default)]
pub(crate) struct Made {
    /// PNG files in the order of the answer.
    pub(crate) images: Vec<Vec<u8>>,
    pub(crate) infotexts: Vec<String>,
    pub(crate) index_of_first_image: usize,
    /// Cut short by an interrupt.
    pub(crate) interrupted: bool,
}

/// The model a generation runs with, hash known.
#[derive(Clone, Debug)]
pub(crate) struct Used {
    pub(crate) title: String,
    pub(crate) stem: String,
    pub(crate) sha256: String,
}

/// Runs the job to its end, answers whoever still listens, and gives back its worker thread.
///
/// `previous` is the thread of the job before: on the real server the next job has the queue lock before the thread
/// of the last one is free for another request (so that a starved interrupt meets the next job).
pub(crate) async fn run(engine: &Arc<Engine>, mut job: Job, previous: Thread) -> Thread {
    let thread = job.thread.take();
    if job.faults.has(&Fault::DieAt {
        stage: Stage::Queued,
    }) {
        engine.die().await;
    }
    let (started, result) = match init_images(&job) {
        Err(failure) => (None, Err(failure)),
        Ok(init) => {
            let number = begin(engine, &job);
            drop(previous);
            (Some(number), perform(engine, &mut job, number, init).await)
        }
    };
    let cut = job.faults.has(&Fault::CutBeforeAnswer) || job.faults.has(&Fault::CutMidBody);
    // A client that left has dropped the receiver; Forge throws the result away then.
    let gone = job.reply.is_closed();
    if let Some(number) = started {
        let delivery = match (gone, cut) {
            (true, _) => Delivery::ClientGone,
            (false, true) => Delivery::Cut,
            (false, false) => Delivery::Answered,
        };
        let log = &engine.world.log;
        log.delivered(engine.app_id, number, &job.task_id, delivery);
    }
    let _ = job.reply.send(result);
    thread
}

async fn perform(
    engine: &Arc<Engine>,
    job: &mut Job,
    number: u64,
    init: Option<RgbImage>,
) -> Result<Value, Failure> {
    let mut result = with_overrides(engine, job, number, init).await;
    if result.is_ok()
        && let Err(failure) = sampling::enter(engine, job, number, Stage::Finishing).await
    {
        result = Err(failure);
    }
    let outcome = match &result {
        Ok((_, made)) if made.interrupted => Outcome::Interrupted,
        Ok(_) => Outcome::Completed,
        Err(_) => Outcome::Failed,
    };
    {
        let mut memory = engine.memory();
        // A failed task is never finished: it stays "active" until another one starts.
        if result.is_ok() {
            memory.tasks.finish(&job.task_id);
        }
        memory.progress.end();
        memory.running = None;
    }
    if let Err(failure) = &result {
        let error = failure.to_string();
        engine
            .world
            .log
            .update(number, |generation| generation.error = Some(error));
    }
    engine.world.log.ended(number, outcome);
    let (info, made) = result?;
    Ok(answer::body(job, &info, &made))
}

/// Decoding happens with the lock held but before the task starts, so a bad picture leaves it queued for ever.
fn init_images(job: &Job) -> Result<Option<RgbImage>, Failure> {
    let scripted = job.faults.find(|fault| match fault {
        Fault::FailBeforeStart { error, message } => Some(Failure::Scripted {
            error: error.clone(),
            message: message.clone(),
        }),
        _ => None,
    });
    if let Some(failure) = scripted {
        return Err(failure);
    }
    if job.endpoint == Endpoint::Txt2img {
        return Ok(None);
    }
    let mut first = None;
    for item in job
        .fields
        .get("init_images")
        .as_array()
        .into_iter()
        .flatten()
    {
        let picture = item.as_str().and_then(picture::decode_base64);
        let Some(picture) = picture else {
            return Err(Failure::http(500, "Invalid encoded image"));
        };
        first.get_or_insert(picture);
    }
    Ok(first)
}

fn begin(engine: &Engine, job: &Job) -> u64 {
    let mut memory = engine.memory();
    memory.progress.begin(match job.endpoint {
        Endpoint::Txt2img => "scripts_txt2img",
        Endpoint::Img2img => "scripts_img2img",
    });
    memory.tasks.start(&job.task_id);
    let overrides = job.fields.object("override_settings");
    let asked = overrides.get("sd_model_checkpoint").and_then(Value::as_str);
    let number = engine.world.log.started(Generation {
        number: 0,
        app_id: engine.app_id,
        endpoint: job.endpoint,
        task_id: job.task_id.clone(),
        request: without_pictures(&job.sent),
        seed: None,
        steps: job.fields.int("steps"),
        cfg: job.fields.float("cfg_scale").unwrap_or_default(),
        checkpoint: None,
        loaded_checkpoint: false,
        options: Map::new(),
        started: next_order(),
        ended: None,
        started_unix_ms: unix_ms(),
        ended_unix_ms: None,
        outcome: Outcome::Running,
        steps_done: 0,
        files: Vec::new(),
        stage: Stage::Loading,
        asked_checkpoint: asked.map(str::to_owned),
        sha256: None,
        interrupts: Vec::new(),
        error: None,
        delivery: Delivery::Open,
    });
    memory.running = Some(Running {
        number,
        task_id: job.task_id.clone(),
        stage: Stage::Loading,
    });
    number
}

/// Pictures would fill the log; their length is enough there.
fn without_pictures(sent: &Value) -> Value {
    let shorten = |value: &Value| match value.as_str() {
        Some(text) => Value::from(format!("{} characters", text.len())),
        None => value.clone(),
    };
    let mut kept = sent.clone();
    if let Some(Value::Array(items)) = kept.get_mut("init_images") {
        *items = items.iter().map(shorten).collect();
    }
    if let Some(mask) = kept.get_mut("mask") {
        *mask = shorten(mask);
    }
    kept
}

/// Applies the overrides around the work. Restored are only keys that were stored before (the leak).
async fn with_overrides(
    engine: &Arc<Engine>,
    job: &mut Job,
    number: u64,
    init: Option<RgbImage>,
) -> Result<(Value, Made), Failure> {
    let folders = Folders::before_overrides(engine, job.endpoint);
    let (stored, applied) = {
        let mut memory = engine.memory();
        let Memory {
            options, models, ..
        } = &mut *memory;
        let mut overrides = job.fields.object("override_settings");
        let checkpoint = overrides.get("sd_model_checkpoint");
        let drops = job.faults.has(&Fault::DropsCheckpoint);
        if checkpoint.is_some_and(|name| {
            drops
                || name
                    .as_str()
                    .and_then(|name| models.by_alias(name))
                    .is_none()
        }) {
            // Forge drops an unknown checkpoint without a word, from the echo too.
            overrides.shift_remove("sd_model_checkpoint");
            job.fields.0["override_settings"] = Value::Object(overrides.clone());
        }
        (
            options.restorable(&overrides),
            options.set_all(models, &overrides),
        )
    };
    let result = match applied {
        Ok(()) => work(engine, job, number, init, folders).await,
        Err(failure) => Err(failure),
    };
    if job.fields.flag("override_settings_restore_afterwards") {
        let mut memory = engine.memory();
        let Memory {
            options, models, ..
        } = &mut *memory;
        if let Err(failure) = options.set_all(models, &stored) {
            tracing::error!(?failure, "stored options cannot be restored");
        }
    }
    result
}

async fn work(
    engine: &Arc<Engine>,
    job: &Job,
    number: u64,
    init: Option<RgbImage>,
    folders: Folders,
) -> Result<(Value, Made), Failure> {
    let used = loading::ensure_loaded(engine, job, number).await?;
    let scripted = job.faults.find(|fault| match fault {
        Fault::Error500 { error, message } => Some(Failure::Scripted {
            error: error.clone(),
            message: message.clone(),
        }),
        _ => None,
    });
    if let Some(failure) = scripted {
        return Err(failure);
    }
    let plan = {
        let memory = engine.memory();
        Plan::new(job, &memory, used, &engine.world.config)?
    };
    // Taken first: the log must never be held while the memory is locked.
    let options = engine.memory().options.changed();
    engine.world.log.update(number, |generation| {
        generation.seed = plan.seeds.first().copied();
        generation.options = options;
    });
    let made = sampling::run(engine, job, number, &plan, init, folders).await?;
    Ok((answer::info(engine, job, &plan, &made), made))
}
