//! Owns the question which files of the library have the same content, and what
//! each copy costs. It removes nothing.

use super::Library;
use crate::error::ModelError;
use crate::model::{LibraryFile, Sha256};
use crate::store;

/// Most files of a group that are shown.
pub const FILES_SHOWN_MAX: usize = 100;

/// Files with the same content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DuplicateGroup {
    /// Their SHA-256.
    pub sha256: String,
    /// The size of each.
    pub size_bytes: i64,
    /// The first [`FILES_SHOWN_MAX`] of them, the oldest first.
    pub files: Vec<DuplicateFile>,
    /// How many there are.
    pub file_count: i64,
    /// What the copies beyond the first take; links to one file count once.
    pub wasted_bytes: i64,
}

/// One of several files with the same content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DuplicateFile {
    /// The file.
    pub file: LibraryFile,
    /// The model that it is of; `None` when that was removed.
    pub model_id: Option<i64>,
    /// Its size, or 0 for a further link to a file of the group.
    pub cost_bytes: i64,
}

/// What there is in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DuplicateTotals {
    /// What the copies beyond the first take, of all groups.
    pub wasted_bytes: i64,
    /// Files that were not hashed yet as they are.
    pub unhashed_count: i64,
}

impl Library {
    /// At most `limit` groups behind the SHA-256 `after`, by SHA-256, only of
    /// files in `root` if that is given. Fewer when their paths are very long;
    /// then they are more than fits into one message. The totals come with the
    /// first page.
    ///
    /// # Errors
    /// [`ModelError::RootNotFound`] or those of the database.
    pub async fn duplicates(
        &self,
        root: Option<String>,
        after: Option<Sha256>,
        limit: usize,
    ) -> Result<(Vec<DuplicateGroup>, Option<DuplicateTotals>), ModelError> {
        if let Some(root) = &root {
            self.chosen(std::slice::from_ref(root))?;
        }
        let read = self.ledger().read("find_duplicates", move |connection| {
            let root = root.as_deref();
            let totals = match after {
                None => Some(store::duplicates::totals(connection, root)?),
                Some(_) => None,
            };
            let after = after.as_ref().map_or("", Sha256::as_str);
            let groups = store::duplicates::groups(connection, root, after, limit)?;
            Ok((groups, totals))
        });
        read.await
    }
}
