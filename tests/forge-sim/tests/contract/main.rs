//! Holds the stand-in to the recorded exchanges in `tests/fixtures/forge` (named in each test) and to the facts
//! of Forge that a dispatcher builds on.

#![expect(
    clippy::unwrap_used,
    reason = "these are tests, their helpers included"
)]

mod auth;
mod behaviour;
mod disk_lies;
mod doors;
mod errors;
mod event_log;
mod exchange;
mod faults;
mod files;
mod generation;
mod listings;
mod models_gone_wrong;
mod options;
mod process;
mod program;
mod progress;
mod rules;
mod server;
mod silence;
mod stopping;
