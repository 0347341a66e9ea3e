//! A stand-in for a Stable Diffusion Forge server (UI and API, or API alone) over real HTTP, for tests, demos and benches.
//!
//! It follows `forge/forge-api.md`: one queue lock, blocking generation, Forge's memory of tasks, its silent
//! substitutions, its option leak and its error bodies. It paints PNG files with infotext instead of denoising.
//! [`ForgeSim`] is the handle; time passes by the clock or by permits of a [`Gate`]; a [`Fault`] makes one thing
//! go wrong, for the requests its [`Rule`] names; [`ForgeSim::events`] tells what really happened. Owns nothing of
//! the services under test and knows nothing of them.
//!
//! Not simulated: the Gradio queue, compressed answers, samples formats other than PNG, styles, extensions,
//! pictures by URL, range requests, and the model swap that a checkpoint change by `POST options` does between the
//! batches of a running job.

mod answer;
mod auth;
mod commands;
mod config;
mod connection;
mod door;
mod errors;
mod events;
mod faults;
mod fields;
mod filename;
mod gate;
mod generate;
mod generation;
mod hash_cache;
mod history;
mod infotext;
mod listings;
mod loading;
mod log;
mod models;
mod options;
mod paint;
mod picture;
mod plan;
mod pnginfo;
mod progress;
mod rules;
mod samplers;
mod sampling;
mod saving;
mod scripting;
mod server;
mod sim;
mod size;
mod stage;
mod state;
mod tasks;

pub use auth::Users;
pub use commands::{Command, serve_commands};
pub use config::{SimConfig, SimModel};
pub use door::Flap;
pub use events::{EVENT_LOG_LIMIT, Event, Hit, Interruption, StopKind, What, read_events};
pub use faults::Fault;
pub use gate::Gate;
pub use generation::{Delivery, Endpoint, Generation, Outcome};
pub use history::{Run, RunEnd, overlapping, runs};
pub use log::{GENERATION_LOG_LIMIT, LoggedRequest, REQUEST_LOG_LIMIT};
pub use rules::{Rule, Target, Times, When};
pub use sim::ForgeSim;
pub use stage::{Device, Stage};
