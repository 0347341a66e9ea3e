//! Which models there are, and which Forge server has them.
//!
//! | module | duty |
//! |---|---|
//! | [`model`], [`names`], [`mod@reference`] | pure: what a model is, how names compare, how references match |
//! | [`model_change`], [`request_id`] | pure: what a change does to a model, how a repeated request is recognised |
//! | [`availability`], [`inventory`], [`events`] | pure: who has what, what a listing changes, what is told |
//! | [`file_header`], [`sidecar`], [`infotext`] | pure: what model files, the files beside them and pictures say of models |
//! | [`findings`] | pure: what was found out of a model, and what of it is written |
//! | [`models`], [`inventories`], [`watch`] | use cases: what callers can ask |
//! | [`civitai`] | what is asked of Civitai, how often, and what its answers mean |
//! | [`library`] | the files that this service reads itself: scans, hashes, what is known elsewhere |
//! | [`ledger`] | the one door to the database: changes with their events |
//! | `store` | all SQL |
//! | [`api`] | gRPC |
//! | [`tokens`] | who may call |
//! | [`config`], [`error`], [`metrics`] | knobs, failures, figures |
//! | [`run`], [`program`] | start and stop of the service, and of the process |

pub mod api;
pub mod availability;
pub mod civitai;
pub mod config;
pub mod error;
pub mod events;
pub mod explanation;
pub mod file_header;
pub mod findings;
pub mod infotext;
pub mod inventories;
pub mod inventory;
pub mod ledger;
pub mod library;
pub mod metrics;
pub mod model;
pub mod model_change;
pub mod models;
pub mod names;
pub mod program;
pub mod reference;
pub mod request_id;
pub mod run;
pub mod sidecar;
mod store;
pub mod tokens;
pub mod watch;

pub use config::Config;
pub use run::{Running, StartError, start, start_until};
