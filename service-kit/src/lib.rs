//! What both StableQueue services need and that knows no job and no model.
//!
//! | module | duty |
//! |---|---|
//! | [`admin`] | the service itself over gRPC: what it is, its database, backups |
//! | [`audit`] | who did what as an administrator, and who was denied |
//! | [`auth`] | keys, credentials, scopes, and who may call what |
//! | [`clock`] | the one door of time, and how instants are written |
//! | [`commands`] | the commands that both programs have for their databases |
//! | [`database`] | the lock, the one writer and the readers of an SQLite file |
//! | [`exit`] | the exit codes of the programs |
//! | [`health`] | asks a service whether it takes calls, for probes of containers |
//! | [`layers`] | what happens around every RPC: request id, span, figures, panics, deadline |
//! | [`metrics_http`] | the Prometheus and liveness port |
//! | [`migrate`] | check, back up, migrate and restore a database |
//! | [`operations`] | long work that is not a job: its rows, its progress, its end |
//! | [`page`], [`resume`] | opaque tokens of lists and of watch streams |
//! | [`server`] | the gRPC port: early bind, health, reflection, bounded end |
//! | [`settings`] | shows every setting of a program, secrets masked |
//! | [`shutdown`] | the stop signal and the tasks that must end with it |
//! | [`status`] | failures in the words of `google.rpc` |
//! | [`telemetry`] | logs |
//! | [`wait`] | how long a call may wait |

pub mod admin;
pub mod audit;
pub mod auth;
pub mod clock;
pub mod commands;
pub mod database;
pub mod exit;
pub mod health;
pub mod layers;
pub mod metrics_http;
pub mod migrate;
pub mod operations;
pub mod page;
pub mod resume;
pub mod server;
pub mod settings;
pub mod shutdown;
pub mod status;
pub mod telemetry;
pub mod wait;
