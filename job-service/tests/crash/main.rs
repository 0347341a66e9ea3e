//! The real program, ended at named points, at random ones and by signals,
//! then started again: what it had promised still holds.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod adopting;
mod adopting_steps;
mod at_points;
mod at_random;
mod backup_commands;
mod commands;
mod image_commands;
mod import_commands;
mod import_retries;
mod importing;
mod key_commands;
mod left_alone;
mod legacy;
mod operations;
mod poison;
mod program;
mod refusals;
mod refusals_damaged;
mod refusals_disk;
mod refusals_taken;
mod secrets;
mod signals;
mod soak;
mod stepping;
mod upgrading_rows;
mod upgrading_steps;
mod watching;
mod world;
