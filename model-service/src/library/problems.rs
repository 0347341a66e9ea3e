//! Owns what a scan could not do, gathered from all its threads.

use std::borrow::Cow;
use std::sync::{Mutex, MutexGuard, PoisonError};

use service_kit::operations::LibraryReport;

/// What goes wrong at a file or folder of a root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    RootUnreadable,
    RootEmpty,
    FolderEmpty,
    FolderUnreadable,
    FileUnreadable,
    OutsideRoot,
    TooDeep,
    TooManyEntries,
    NotAFile,
    HeaderInvalid,
    SidecarInvalid,
    SidecarOfAnotherFile,
}

impl Reason {
    const fn as_str(self) -> &'static str {
        match self {
            Self::RootUnreadable => "ROOT_UNREADABLE",
            Self::RootEmpty => "ROOT_EMPTY",
            Self::FolderEmpty => "FOLDER_EMPTY",
            Self::FolderUnreadable => "FOLDER_UNREADABLE",
            Self::FileUnreadable => "FILE_UNREADABLE",
            Self::OutsideRoot => "OUTSIDE_ROOT",
            Self::TooDeep => "TOO_DEEP",
            Self::TooManyEntries => "TOO_MANY_ENTRIES",
            Self::NotAFile => "NOT_A_FILE",
            Self::HeaderInvalid => "HEADER_INVALID",
            Self::SidecarInvalid => "SIDECAR_INVALID",
            Self::SidecarOfAnotherFile => "SIDECAR_OF_ANOTHER_FILE",
        }
    }
}

/// A path beneath a root as it is shown: with the name of the root, and with
/// U+FFFD for what is not UTF-8.
pub(super) fn shown(root: &str, path: &[u8]) -> String {
    let path: Cow<'_, str> = String::from_utf8_lossy(path);
    match path.is_empty() {
        true => root.to_owned(),
        false => format!("{root}/{path}"),
    }
}

/// The problems of one root.
#[derive(Debug)]
pub(super) struct Problems<'a> {
    root: &'a str,
    report: Mutex<LibraryReport>,
}

impl<'a> Problems<'a> {
    /// None yet. `report` has those of the roots before.
    pub(super) fn new(root: &'a str, report: LibraryReport) -> Self {
        Self {
            root,
            report: Mutex::new(report),
        }
    }

    /// Notes one at a path beneath the root.
    pub(super) fn add(&self, path: &[u8], reason: Reason, message: &str) {
        let path = shown(self.root, path);
        self.lock().problem(&path, reason.as_str(), message);
    }

    /// How many there are, those of the roots before included.
    pub(super) fn count(&self) -> u64 {
        self.lock().problem_count()
    }

    /// The report with all of them.
    pub(super) fn into_report(self) -> LibraryReport {
        let report = self.report.into_inner();
        report.unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, LibraryReport> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
