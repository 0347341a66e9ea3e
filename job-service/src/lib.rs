//! A durable queue of jobs and the dispatcher that runs them on Forge servers.
//!
//! | module | duty |
//! |---|---|
//! | [`job`], [`server`], [`api_key`], [`seal`], [`request`], [`request_id`], [`payload`], [`outcome`], [`verify`], [`generation_info`], [`infotext`], [`stealth`], [`viewer`], [`older_jobs`] | pure: what a job and a server are, what is asked of Forge, what its answers mean, who sees what, what the earlier application wrote |
//! | [`jobs`], [`servers`], [`keys`] | use cases: what callers can ask; `keys` also says who a caller is |
//! | [`image_check`], [`older_images`] | use cases of whoever looks after the images: are they all there, where are those of the earlier application |
//! | [`dispatch`] | what happens without being asked: choosing, attempts, reconciling, monitors |
//! | [`availability`], [`downloads`], [`model_uses`], [`model_channel`] | what model-service says, is asked for and is told |
//! | [`board`], [`hints`], [`watches`] | what is known at this moment, wake-ups, who watches |
//! | [`store`], [`images`], [`vault`] | all SQL, the files of images, the key of stored logins |
//! | [`api`], [`admin_socket`] | gRPC: for callers, and for whoever is on the machine itself |
//! | [`config`], [`core`](mod@core), [`error`], [`metrics`] | knobs, what everything shares, failures, figures |
//! | [`run`], [`program`] | start and stop of the service, and of the process |

pub mod admin_socket;
pub mod api;
pub mod api_key;
pub mod availability;
pub mod board;
pub mod breaker;
pub mod config;
pub mod cooldowns;
pub mod core;
pub mod dispatch;
pub mod downloads;
pub mod error;
pub mod generation_info;
pub mod hints;
pub mod image_check;
pub mod images;
pub mod infotext;
pub mod job;
pub mod jobs;
pub mod keys;
pub mod metrics;
pub mod model_channel;
pub mod model_uses;
pub mod older_images;
pub mod older_jobs;
pub mod outcome;
pub mod payload;
pub mod policy;
pub mod program;
pub mod request;
pub mod request_id;
pub mod run;
pub mod seal;
pub mod server;
pub mod servers;
pub mod stealth;
pub mod stop_point;
pub mod store;
pub mod vault;
pub mod verify;
pub mod viewer;
pub mod watches;

pub use config::Config;
pub use run::{Running, StartError, start};
