//! Owns the exit codes of the programs. It does not decide when a program ends.

use std::process::ExitCode;

/// How a program ended, as scripts and process supervisors see it.
///
/// The numbers 64, 65 and 75 follow `sysexits.h` (EX_USAGE, EX_DATAERR, EX_TEMPFAIL).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Exit {
    /// A clean stop.
    #[default]
    Clean,
    /// Something that has no code of its own went wrong.
    Failure,
    /// The configuration is wrong; nothing was started.
    BadConfiguration,
    /// A database is corrupt, changed, or newer than this program.
    BadData,
    /// Another process holds the database.
    Locked,
}

impl Exit {
    /// The number that the process ends with.
    pub const fn code(self) -> u8 {
        match self {
            Self::Clean => 0,
            Self::Failure => 1,
            Self::BadConfiguration => 64,
            Self::BadData => 65,
            Self::Locked => 75,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
