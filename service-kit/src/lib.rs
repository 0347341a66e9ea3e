//! What both StableQueue services need and that knows no job and no model.
//!
//! | module | duty |
//! |---|---|
//! | [`auth`] | keys, credentials, scopes, and who may call what |
//! | [`clock`] | the one door of time, and how instants are written |
//! | [`database`] | the lock, the one writer and the readers of an SQLite file |
//! | [`exit`] | the exit codes of the programs |
//! | [`layers`] | what happens around every RPC: request id, span, figures, panics, deadline |
//! | [`metrics_http`] | the Prometheus and liveness port |
//! | [`migrate`] | check, back up and migrate a database |
//! | [`page`], [`resume`] | opaque tokens of lists and of watch streams |
//! | [`server`] | the gRPC port: early bind, health, reflection, bounded end |
//! | [`shutdown`] | the stop signal and the tasks that must end with it |
//! | [`status`] | failures in the words of `google.rpc` |
//! | [`telemetry`] | logs |

pub mod auth;
pub mod clock;
pub mod database;
pub mod exit;
pub mod layers;
pub mod metrics_http;
pub mod migrate;
pub mod page;
pub mod resume;
pub mod server;
pub mod shutdown;
pub mod status;
pub mod telemetry;
