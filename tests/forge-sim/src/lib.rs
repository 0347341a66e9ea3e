//! A stand-in for a Stable Diffusion Forge server (UI and API, or API alone) over real HTTP, for tests, demos and benches.
//!
//! It follows `forge/forge-api.md`: one queue lock, blocking generation, Forge's memory of tasks, its silent
//! substitutions, its option leak and its error bodies. It paints PNG files with infotext instead of denoising.
//! [`ForgeSim`] is the handle; time passes by the clock or by permits of a [`Gate`]; a [`Fault`] makes one thing
//! go wrong. Owns nothing of the services under test and knows nothing of them.
//!
//! Not simulated: the Gradio queue, compressed answers, samples formats other than PNG, styles, extensions,
//! pictures by URL, range requests, and the model swap that a checkpoint change by `POST options` does between the
//! batches of a running job.

mod answer;
mod auth;
mod config;
mod connection;
mod errors;
mod faults;
mod fields;
mod filename;
mod gate;
mod generate;
mod infotext;
mod listings;
mod log;
mod models;
mod options;
mod paint;
mod picture;
mod plan;
mod pnginfo;
mod progress;
mod samplers;
mod sampling;
mod saving;
mod server;
mod sim;
mod state;
mod tasks;

pub use auth::Users;
pub use config::{SimConfig, SimModel};
pub use faults::{Fault, Target};
pub use gate::Gate;
pub use log::{
    Endpoint, GENERATION_LOG_LIMIT, Generation, LoggedRequest, Outcome, REQUEST_LOG_LIMIT,
};
pub use sim::ForgeSim;
