//! job-service from outside: its Forge client against a Forge stand-in over
//! real HTTP, and the service itself over real gRPC.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod admin;
mod adopting;
mod api_keys;
mod authentication;
mod forge_attempt;
mod forge_calls;
mod forge_client;
mod forge_logins;
mod harness;
