//! Holds the stand-in to the recorded exchanges in `tests/fixtures/forge` (named in each test) and to the facts
//! of Forge that a dispatcher builds on.

#![expect(
    clippy::unwrap_used,
    reason = "these are tests, their helpers included"
)]

mod auth;
mod behaviour;
mod errors;
mod exchange;
mod faults;
mod files;
mod generation;
mod listings;
mod options;
mod process;
mod progress;
mod server;
