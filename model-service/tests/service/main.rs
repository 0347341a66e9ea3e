//! What model-service promises, through real gRPC on a port of its own. One
//! module per part of the surface, one test per promise.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod admin;
mod adoption;
mod adoption_kills;
mod availability;
mod backup_commands;
mod bad_input;
mod changes;
mod commands;
mod harness;
mod inventories;
mod models;
mod process;
mod references;
mod refusals;
mod repeats;
mod secrets;
mod tokens;
mod uses;
mod watching;
