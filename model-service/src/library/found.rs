//! Owns what a scan knows of files, before, now and in the end. Pure: it finds
//! and stores nothing.

use chrono::{DateTime, Utc};

use super::stamp::FileStamp;

/// What the last scan of a root found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScannedRoot {
    /// When it ended.
    pub scanned_at: DateTime<Utc>,
    /// Model files.
    pub file_count: i32,
    /// Files and folders that could not be read.
    pub problem_count: i32,
}

/// A file as earlier scans left it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KnownFile {
    pub(crate) id: i64,
    pub(crate) root: String,
    /// Beneath the root, in the bytes of the file system.
    pub(crate) path: Vec<u8>,
    pub(crate) stamp: FileStamp,
    pub(crate) beside_stamp: String,
    pub(crate) model_id: Option<i64>,
    pub(crate) missing: bool,
    /// Of its content when it had this stamp.
    pub(crate) sha256: Option<String>,
}

/// A file as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileNow {
    pub(crate) root: String,
    /// Beneath the root, in the bytes of the file system.
    pub(crate) path: Vec<u8>,
    pub(crate) stamp: FileStamp,
    pub(crate) beside_stamp: String,
    /// Beneath the root.
    pub(crate) preview_path: Option<Vec<u8>>,
    /// Why its header cannot be read.
    pub(crate) header_problem: Option<String>,
}
