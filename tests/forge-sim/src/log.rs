//! What the simulated server was asked and what it generated, kept for tests and written as JSON lines.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio::sync::watch;

use crate::state::hold;

/// The log keeps this many generations; older ones are dropped.
pub const GENERATION_LOG_LIMIT: usize = 100_000;
/// The log keeps this many requests; older ones are dropped.
pub const REQUEST_LOG_LIMIT: usize = 10_000;

/// Orders events of all simulated servers of this process.
static ORDER: AtomicU64 = AtomicU64::new(0);

/// How a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Still at work.
    Running,
    /// All images are done.
    Completed,
    /// Ended early by an interrupt; answered 200 all the same.
    Interrupted,
    /// Ended with an error answer.
    Failed,
    /// The process died meanwhile.
    Killed,
}

/// Which endpoint asked for a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// `POST /sdapi/v1/txt2img`.
    Txt2img,
    /// `POST /sdapi/v1/img2img`.
    Img2img,
}

/// One generation that started (it had the queue lock).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Generation {
    /// Counts generations of this server from 0, over restarts.
    pub number: u64,
    /// `/app_id` of the process that ran it.
    pub app_id: u64,
    /// Where it was asked for.
    pub endpoint: Endpoint,
    /// The `force_task_id`, or the id Forge made up.
    pub task_id: String,
    /// The request body as it came, pictures replaced by their length.
    pub request: Value,
    /// Seed of the first image, once drawn.
    pub seed: Option<i128>,
    /// Steps asked for.
    pub steps: i64,
    /// CFG scale asked for.
    pub cfg: f64,
    /// Title of the checkpoint really used, once it is known.
    pub checkpoint: Option<String>,
    /// True if a checkpoint had to be loaded for it.
    pub loaded_checkpoint: bool,
    /// Options in effect that differ from the defaults, while it ran.
    pub options: Map<String, Value>,
    /// Order number of the start, comparable between servers of one test process.
    pub started: u64,
    /// Order number of the end.
    pub ended: Option<u64>,
    /// Wall clock of the start, milliseconds since 1970.
    pub started_unix_ms: u64,
    /// Wall clock of the end, milliseconds since 1970.
    pub ended_unix_ms: Option<u64>,
    /// How it ended.
    pub outcome: Outcome,
    /// Sampling steps done so far, over all batches.
    pub steps_done: u64,
    /// Files written, relative to the data folder.
    pub files: Vec<String>,
}

/// One request as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedRequest {
    /// HTTP method.
    pub method: String,
    /// Path with query.
    pub path: String,
    /// Order number, comparable with those of generations.
    pub order: u64,
}

/// Both logs of one server; they outlive its restarts.
pub(crate) struct Log {
    generations: watch::Sender<Vec<Generation>>,
    requests: watch::Sender<Vec<LoggedRequest>>,
    next_number: AtomicU64,
    file: Option<Mutex<File>>,
}

/// The next order number.
pub(crate) fn next_order() -> u64 {
    ORDER.fetch_add(1, Ordering::Relaxed)
}

/// Milliseconds since 1970.
pub(crate) fn unix_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
}

impl Log {
    pub(crate) fn open(file: Option<&Path>) -> anyhow::Result<Self> {
        let file = match file {
            None => None,
            Some(path) => {
                let opened = OpenOptions::new().create(true).append(true).open(path);
                Some(Mutex::new(opened.with_context(|| {
                    format!("cannot open the log {}", path.display())
                })?))
            }
        };
        Ok(Self {
            generations: watch::Sender::new(Vec::new()),
            requests: watch::Sender::new(Vec::new()),
            next_number: AtomicU64::new(0),
            file,
        })
    }

    pub(crate) fn generations(&self) -> Vec<Generation> {
        self.generations.borrow().clone()
    }

    pub(crate) fn requests(&self) -> Vec<LoggedRequest> {
        self.requests.borrow().clone()
    }

    pub(crate) fn request(&self, method: &str, path: &str) {
        let entry = LoggedRequest {
            method: method.to_owned(),
            path: path.to_owned(),
            order: next_order(),
        };
        self.requests
            .send_modify(|requests| keep(requests, entry, REQUEST_LOG_LIMIT));
    }

    /// Records a start; returns the number to name it by.
    pub(crate) fn started(&self, mut generation: Generation) -> u64 {
        generation.number = self.next_number.fetch_add(1, Ordering::Relaxed);
        let number = generation.number;
        self.write("started", &generation);
        self.generations
            .send_modify(|all| keep(all, generation, GENERATION_LOG_LIMIT));
        number
    }

    /// Changes a running generation without an event line.
    pub(crate) fn update(&self, number: u64, change: impl FnOnce(&mut Generation)) {
        self.generations.send_modify(|all| {
            if let Some(generation) = all
                .iter_mut()
                .rev()
                .find(|generation| generation.number == number)
            {
                change(generation);
            }
        });
    }

    /// Records the end of a generation.
    pub(crate) fn ended(&self, number: u64, outcome: Outcome) {
        let mut written = None;
        self.update(number, |generation| {
            close(generation, outcome);
            written = Some(generation.clone());
        });
        if let Some(generation) = written {
            self.write("ended", &generation);
        }
    }

    /// The process `app_id` died: what still ran was killed.
    pub(crate) fn killed(&self, app_id: u64) {
        let mut written = Vec::new();
        self.generations.send_modify(|all| {
            let lost = all
                .iter_mut()
                .filter(|it| it.app_id == app_id && it.outcome == Outcome::Running);
            for generation in lost {
                close(generation, Outcome::Killed);
                written.push(generation.clone());
            }
        });
        for generation in &written {
            self.write("ended", generation);
        }
    }

    pub(crate) async fn wait_for_generations(
        &self,
        what: impl Fn(&[Generation]) -> bool,
        bound: Duration,
    ) -> anyhow::Result<()> {
        wait(&self.generations, what, bound).await
    }

    pub(crate) async fn wait_for_requests(
        &self,
        what: impl Fn(&[LoggedRequest]) -> bool,
        bound: Duration,
    ) -> anyhow::Result<()> {
        wait(&self.requests, what, bound).await
    }

    fn write(&self, event: &str, generation: &Generation) {
        let Some(file) = &self.file else { return };
        let mut line = json!({ "event": event, "generation": generation }).to_string();
        line.push('\n');
        if let Err(error) = hold(file).write_all(line.as_bytes()) {
            tracing::error!(%error, "cannot write the generation log");
        }
    }
}

fn close(generation: &mut Generation, outcome: Outcome) {
    generation.outcome = outcome;
    generation.ended = Some(next_order());
    generation.ended_unix_ms = Some(unix_ms());
}

fn keep<T>(all: &mut Vec<T>, entry: T, limit: usize) {
    if all.len() >= limit {
        // Dropping a tenth at once keeps the cost per entry constant.
        all.drain(..limit / 10);
    }
    all.push(entry);
}

async fn wait<T: std::fmt::Debug>(
    log: &watch::Sender<Vec<T>>,
    what: impl Fn(&[T]) -> bool,
    bound: Duration,
) -> anyhow::Result<()> {
    let mut changes = log.subscribe();
    match tokio::time::timeout(bound, changes.wait_for(|all| what(all))).await {
        Ok(_) => Ok(()),
        Err(_) => {
            let all = log.borrow();
            let last = &all[all.len().saturating_sub(20)..];
            anyhow::bail!(
                "not seen within {bound:?}; {} entries, the last: {last:#?}",
                all.len()
            )
        }
    }
}
