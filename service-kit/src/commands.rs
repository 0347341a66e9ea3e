//! Owns the commands that both programs have for their databases: `migrate`, `backup` and
//! `backups`. It does not own the command line around them, and does not print: what there is to
//! say is answered, so that a test can read it.

mod backups;
mod error;
mod migration;
mod progress;
mod report;

use std::path::Path;

use crate::clock::Clock;
use crate::database::DatabaseLock;
use crate::exit::Exit;
use crate::migrate::Schema;

pub use backups::{
    BackupsCommand, PruneArgs, PruneRule, RestoreArgs, VerifyArgs, back_up, backups, make,
};
pub use error::CommandError;
pub use migration::{MigrationArgs, migrate, migrate_locked, told, write_report};
pub use progress::{Counted, Progress};

/// The database that a command is about.
pub struct Subject<'a> {
    /// The main file.
    pub path: &'a Path,
    /// What it is to be.
    pub schema: &'a Schema,
    /// The service that it is of; whoever finds the lock taken is told this name.
    pub service: &'static str,
    /// Where time comes from.
    pub clock: &'a Clock,
}

impl Subject<'_> {
    fn lock(&self) -> Result<DatabaseLock, CommandError> {
        Ok(DatabaseLock::acquire(self.path, self.service)?)
    }
}

/// What a command has to say, and how the program ends.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcome {
    /// For the terminal, without a line break at the end.
    pub text: String,
    /// 0 unless what was asked about is not in order.
    pub exit: Exit,
}

impl Outcome {
    fn clean(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            exit: Exit::Clean,
        }
    }
}
