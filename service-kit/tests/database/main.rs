//! The database and its migrations on real files.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod administering;
mod administering_backups;
mod adopting;
mod adopting_property;
mod adopting_safety;
mod adopting_shapes;
mod backing_up;
mod children;
mod classifying;
mod disk_full;
mod locking;
mod migrating;
mod migrating_backups;
mod migrating_refusals;
mod migrating_rolled_back;
mod reading;
mod support;
mod writing;
