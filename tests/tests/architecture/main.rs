//! Which crate and which module may know which: the arrows of the design, held
//! by a test. What a module knows is read from its text, written out or through
//! `use`. And which calls may be repeated unasked, and which test keeps which
//! promise.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod crates;
mod modules;
mod names;
mod service_config;
mod stories;
