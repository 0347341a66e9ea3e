//! The event log: what happened in the simulated server, in one sequence, kept for tests and written line by line
//! as it happens. What a checker makes of it is `history`.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Write},
    path::Path,
};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::{
    generation::{Delivery, Endpoint, Outcome},
    log::{next_order, unix_us},
    stage::Stage,
};

/// The event log in memory keeps this many events; older ones are dropped. The file keeps all.
pub const EVENT_LOG_LIMIT: usize = 200_000;

/// What stops a generation from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopKind {
    /// `POST /sdapi/v1/interrupt`.
    Interrupt,
    /// `POST /sdapi/v1/skip`.
    Skip,
}

/// The generation that an interrupt met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hit {
    /// Its number in the generation log.
    pub generation: u64,
    /// Its `force_task_id`.
    pub task_id: String,
    /// How far it was.
    pub stage: Stage,
}

/// An interrupt or a skip, and whom it met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interruption {
    /// Interrupt or skip.
    pub kind: StopKind,
    /// Address it came from.
    pub peer: String,
    /// `User-Agent` it came with.
    pub user_agent: Option<String>,
    /// The generation that had the queue lock then; `None` if there was none.
    pub hit: Option<Hit>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum What {
    /// A process started. Generations of an earlier process that did not end died with it.
    Booted {
        /// Process id of the program.
        pid: u32,
    },
    /// A generation request got into Forge's queue.
    Queued {
        /// Its `force_task_id`.
        task_id: String,
    },
    /// A generation got the queue lock.
    Started {
        /// Its number, counted from 0 by each start of the program.
        generation: u64,
        /// Its `force_task_id`.
        task_id: String,
        /// Where it was asked for.
        endpoint: Endpoint,
        /// The prompt as sent.
        prompt: Option<String>,
        /// The checkpoint asked for by override.
        asked_checkpoint: Option<String>,
    },
    /// A generation entered a stage; decoding and sampling come once per batch.
    Entered {
        /// Its number.
        generation: u64,
        /// The stage.
        stage: Stage,
    },
    /// The checkpoint that a generation really runs with.
    Model {
        /// Its number.
        generation: u64,
        /// Title of the checkpoint as listed.
        checkpoint: String,
        /// True SHA-256 of the file, 64 hex digits.
        sha256: String,
        /// True if it had to be loaded.
        loaded: bool,
    },
    /// An interrupt or a skip took effect on the process.
    Interrupted(Interruption),
    /// A file was written.
    Saved {
        /// Number of the generation.
        generation: u64,
        /// Its path relative to the data folder.
        file: String,
    },
    /// A generation gave the queue lock back.
    Ended {
        /// Its number.
        generation: u64,
        /// Its `force_task_id`.
        task_id: String,
        /// How it ended.
        outcome: Outcome,
        /// Sampling steps done.
        steps_done: u64,
        /// Sequence numbers of the interrupts and skips that met it, effective or not.
        interrupts: Vec<u64>,
        /// Class and text of the exception.
        error: Option<String>,
    },
    /// What became of the answer.
    Delivered {
        /// Number of the generation.
        generation: u64,
        /// Its `force_task_id`.
        task_id: String,
        /// What became of it.
        delivery: Delivery,
    },
    /// A scripted fault met a request.
    Faulted {
        /// Path of the request.
        path: String,
        /// Its `force_task_id` or the id asked for, if the rule looked at the request.
        task_id: Option<String>,
        /// The fault as it was scripted.
        fault: String,
    },
    /// The process was stopped as by SIGSTOP.
    Frozen,
    /// It goes on.
    Thawed,
    /// The process died with what it was doing.
    Died,
}

/// One entry of the event log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Counts the events of one server from 0; in a file it goes on over restarts of the program.
    pub seq: u64,
    /// Order number, comparable between servers of one test process and with those of generations.
    pub order: u64,
    /// Wall clock, microseconds since 1970.
    pub unix_us: u64,
    /// `/app_id` of the process it happened in.
    pub app_id: u64,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

/// The events of one server.
pub(crate) struct EventLog {
    inner: watch::Sender<Inner>,
}

#[derive(Default)]
struct Inner {
    next_seq: u64,
    all: Vec<Event>,
    file: Option<File>,
}

impl EventLog {
    /// Goes on with the file where an earlier program, killed perhaps, left it.
    pub(crate) fn open(file: Option<&Path>) -> anyhow::Result<Self> {
        let mut inner = Inner::default();
        if let Some(path) = file {
            let (opened, next_seq) = continued(path)
                .with_context(|| format!("cannot open the event log {}", path.display()))?;
            inner.next_seq = next_seq;
            inner.file = Some(opened);
        }
        Ok(Self {
            inner: watch::Sender::new(inner),
        })
    }

    /// Adds an event and writes its line; gives its sequence number.
    pub(crate) fn push(&self, app_id: u64, what: What) -> u64 {
        let mut seq = 0;
        self.inner.send_modify(|inner| {
            seq = inner.next_seq;
            inner.next_seq += 1;
            let event = Event {
                seq,
                order: next_order(),
                unix_us: unix_us(),
                app_id,
                what,
            };
            if let Some(file) = &mut inner.file
                && let Err(error) = write_line(file, &event)
            {
                tracing::error!(%error, "cannot write the event log");
            }
            crate::log::keep(&mut inner.all, event, EVENT_LOG_LIMIT);
        });
        seq
    }

    pub(crate) fn all(&self) -> Vec<Event> {
        self.inner.borrow().all.clone()
    }

    /// Waits until `what` holds for the events so far.
    pub(crate) async fn wait(
        &self,
        what: impl Fn(&[Event]) -> bool,
        bound: std::time::Duration,
    ) -> anyhow::Result<()> {
        let mut changes = self.inner.subscribe();
        let seen = changes.wait_for(|inner| what(&inner.all));
        let seen = tokio::time::timeout(bound, seen).await;
        anyhow::ensure!(
            seen.is_ok(),
            "the event log does not show it within {bound:?}; the last: {:#?}",
            self.inner.borrow().all.last_chunk::<10>()
        );
        Ok(())
    }
}

/// One write per line, so that a killed program leaves whole lines.
fn write_line(file: &mut File, event: &Event) -> anyhow::Result<()> {
    let mut line = serde_json::to_vec(event)?;
    line.push(b'\n');
    file.write_all(&line)?;
    Ok(())
}

/// Opens the file behind its last whole line and tells the next sequence number.
fn continued(path: &Path) -> anyhow::Result<(File, u64)> {
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .read(true)
        .open(path)?;
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    let whole = text
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |end| end + 1);
    file.set_len(u64::try_from(whole)?)?;
    let last = text[..whole]
        .split(|byte| *byte == b'\n')
        .rfind(|line| !line.is_empty());
    let next_seq = match last {
        Some(line) => serde_json::from_slice::<Event>(line)?.seq + 1,
        None => 0,
    };
    Ok((file, next_seq))
}

/// Reads an event file, also while it is written: a last line that is not whole yet is left out.
///
/// # Errors
/// If the file cannot be read or a line is no event.
pub fn read_events(path: &Path) -> anyhow::Result<Vec<Event>> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the event log {}", path.display()))?;
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole
        .lines()
        .enumerate()
        .map(|(index, line)| {
            serde_json::from_str(line)
                .with_context(|| format!("{}, line {}", path.display(), index + 1))
        })
        .collect()
}
