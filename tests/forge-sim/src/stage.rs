//! The stages of a generation: where it can be held, killed, run out of memory, and what an interrupt found it at.
//! What happens in them is `generate` and `sampling`.

use serde::{Deserialize, Serialize};

/// How far a generation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Waits for the queue lock; the task is pending.
    Queued,
    /// Has the lock; the checkpoint is loaded, or found to be in memory.
    Loading,
    /// Runs the sampling steps of a batch.
    Sampling,
    /// Runs the VAE decode of a batch; all its steps are done or cut short.
    Decoding,
    /// Files are saved; the task is not finished and nothing is answered yet.
    Finishing,
}

/// What the models run on; decides how running out of memory is worded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Device {
    /// As recorded (exchange 03/29): a `RuntimeError` of the default allocator.
    #[default]
    Cpu,
    /// As torch words it: an `OutOfMemoryError`, "CUDA out of memory. Tried to allocate …" (from its source).
    Cuda,
}
