//! A durable queue of jobs and the dispatcher that runs them on Forge servers.
//!
//! | module | duty |
//! |---|---|
//! | [`job`], [`server`], [`request`], [`request_id`], [`payload`], [`outcome`], [`verify`], [`generation_info`], [`infotext`], [`stealth`] | pure: what a job and a server are, what is asked of Forge, what its answers mean |
//! | [`jobs`], [`servers`] | use cases: what callers can ask |
//! | [`dispatch`] | what happens without being asked: choosing, attempts, reconciling, monitors |
//! | [`availability`] | what model-service says |
//! | [`board`], [`hints`] | what is known at this moment, and wake-ups |
//! | [`store`], [`images`] | all SQL, and the files of images |
//! | [`api`] | gRPC |
//! | [`config`], [`core`](mod@core), [`error`], [`metrics`] | knobs, what everything shares, failures, figures |
//! | [`run`], [`program`] | start and stop of the service, and of the process |

pub mod api;
pub mod availability;
pub mod board;
pub mod config;
pub mod core;
pub mod dispatch;
pub mod error;
pub mod generation_info;
pub mod hints;
pub mod images;
pub mod infotext;
pub mod job;
pub mod jobs;
pub mod metrics;
pub mod outcome;
pub mod payload;
pub mod program;
pub mod request;
pub mod request_id;
pub mod run;
pub mod server;
pub mod servers;
pub mod stealth;
pub mod stop_point;
pub mod store;
pub mod verify;

pub use config::Config;
pub use run::{Running, StartError, migrate, start};
