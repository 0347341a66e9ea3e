//! What the log tells of one generation. How it comes about is `generate`, how it is kept `log`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::stage::Stage;

/// How a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

/// What became of the answer of a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// Nothing is answered yet, or ever.
    Open,
    /// Handed to the connection.
    Answered,
    /// The client had left; the result is thrown away.
    ClientGone,
    /// A scripted fault cuts it.
    Cut,
}

/// Which endpoint asked for a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// How far it is, or was when it ended.
    pub stage: Stage,
    /// The checkpoint asked for by override.
    pub asked_checkpoint: Option<String>,
    /// True SHA-256 of the checkpoint really used, once it is known.
    pub sha256: Option<String>,
    /// Sequence numbers of the interrupts and skips that met it, effective or not.
    pub interrupts: Vec<u64>,
    /// Class and text of its exception.
    pub error: Option<String>,
    /// What became of its answer.
    pub delivery: Delivery,
}
