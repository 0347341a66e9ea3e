//! The gRPC port and the monitoring port over real sockets.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod administration;
mod administration_audit;
mod administration_upkeep;
mod around_calls;
mod auditing;
mod authentication;
mod authentication_keys;
mod deadline;
mod ending;
mod harness;
mod health;
mod limits;
mod monitoring;
mod operations;
mod operations_begun;
mod operations_disturbed;
mod operations_library;
mod operations_requests;
mod operations_taken_up;
mod probe;
mod reflection;
