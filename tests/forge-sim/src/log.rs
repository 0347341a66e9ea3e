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
use serde_json::json;
use tokio::sync::watch;

use crate::{
    events::{EventLog, Interruption, What},
    generation::{Delivery, Generation, Outcome},
    stage::Stage,
    state::hold,
};

/// The log keeps this many generations; older ones are dropped.
pub const GENERATION_LOG_LIMIT: usize = 100_000;
/// The log keeps this many requests; older ones are dropped.
pub const REQUEST_LOG_LIMIT: usize = 10_000;

/// Orders events of all simulated servers of this process.
static ORDER: AtomicU64 = AtomicU64::new(0);

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

/// The logs of one server; they outlive its restarts.
pub(crate) struct Log {
    pub(crate) events: EventLog,
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

/// Microseconds since 1970.
pub(crate) fn unix_us() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
        })
}

impl Log {
    /// # Errors
    /// If a file cannot be opened, or the event file holds something else.
    pub(crate) fn open(file: Option<&Path>, event_file: Option<&Path>) -> anyhow::Result<Self> {
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
            events: EventLog::open(event_file)?,
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
        self.events.push(
            generation.app_id,
            What::Started {
                generation: number,
                task_id: generation.task_id.clone(),
                endpoint: generation.endpoint,
                prompt: generation.request["prompt"].as_str().map(str::to_owned),
                asked_checkpoint: generation.asked_checkpoint.clone(),
            },
        );
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
            self.write_end(&generation);
        }
    }

    fn write_end(&self, generation: &Generation) {
        self.write("ended", generation);
        self.events.push(
            generation.app_id,
            What::Ended {
                generation: generation.number,
                task_id: generation.task_id.clone(),
                outcome: generation.outcome,
                steps_done: generation.steps_done,
                interrupts: generation.interrupts.clone(),
                error: generation.error.clone(),
            },
        );
    }

    /// Records that a generation entered a stage.
    pub(crate) fn entered(&self, app_id: u64, number: u64, stage: Stage) {
        let generation = number;
        self.events
            .push(app_id, What::Entered { generation, stage });
        self.update(number, |generation| generation.stage = stage);
    }

    /// Records the checkpoint that a generation really runs with.
    pub(crate) fn runs_with(
        &self,
        app_id: u64,
        number: u64,
        title: &str,
        sha256: String,
        loaded: bool,
    ) {
        self.events.push(
            app_id,
            What::Model {
                generation: number,
                checkpoint: title.to_owned(),
                sha256: sha256.clone(),
                loaded,
            },
        );
        self.update(number, |generation| {
            generation.checkpoint = Some(title.to_owned());
            generation.sha256 = Some(sha256);
        });
    }

    /// Records a file that was written.
    pub(crate) fn saved(&self, app_id: u64, number: u64, file: String) {
        let saved = What::Saved {
            generation: number,
            file: file.clone(),
        };
        self.events.push(app_id, saved);
        self.update(number, |generation| generation.files.push(file));
    }

    /// Records an interrupt or skip with the generation it met.
    pub(crate) fn interrupted(&self, app_id: u64, interruption: Interruption) {
        let hit = interruption.hit.as_ref().map(|hit| hit.generation);
        let seq = self.events.push(app_id, What::Interrupted(interruption));
        if let Some(number) = hit {
            self.update(number, |generation| generation.interrupts.push(seq));
        }
    }

    /// Records what became of the answer.
    pub(crate) fn delivered(&self, app_id: u64, number: u64, task_id: &str, delivery: Delivery) {
        self.events.push(
            app_id,
            What::Delivered {
                generation: number,
                task_id: task_id.to_owned(),
                delivery,
            },
        );
        self.update(number, |generation| generation.delivery = delivery);
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
            self.write_end(generation);
        }
        self.events.push(app_id, What::Died);
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

pub(crate) fn keep<T>(all: &mut Vec<T>, entry: T, limit: usize) {
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
