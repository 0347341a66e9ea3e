//! What model-service promises, through real gRPC on a port of its own. One
//! module per part of the surface, one test per promise.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod admin;
mod adoption;
mod adoption_kills;
mod assets;
mod availability;
mod backup_commands;
mod bad_input;
mod changes;
mod commands;
mod details;
mod doubted;
mod downloading;
mod duplicates;
mod enriching;
mod explaining;
mod harness;
mod hashing;
mod hashing_commands;
mod hashing_decides;
mod hashing_shelf;
mod inventories;
mod models;
mod previews;
mod process;
mod references;
mod refusals;
mod repeats;
mod scanning;
mod scanning_again;
mod scanning_hostile;
mod searching;
mod secrets;
mod shelf;
mod tokens;
mod uses;
mod watching;
