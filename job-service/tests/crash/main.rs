//! The real program, ended at named points, at random ones and by signals,
//! then started again: what it had promised still holds.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod adopting;
mod adopting_steps;
mod at_points;
mod at_random;
mod backup_commands;
mod commands;
mod key_commands;
mod legacy;
mod program;
mod refusals;
mod secrets;
mod signals;
mod watching;
mod world;
