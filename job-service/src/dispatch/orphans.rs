//! Image files that no row names: left when the process ended between a commit
//! and what follows it on disk. Looks at a bounded number in each round, and
//! begins again at the end.

use std::sync::Arc;

use crate::{core::Core, error::Error, images::ImageError, jobs::remove_unused};

/// Files that one round looks at.
const FILES_AT_ONCE: usize = 1_000;

/// Where the search is.
#[derive(Debug, Default)]
pub(super) struct Orphans {
    after: String,
}

impl Orphans {
    /// Looks at the next files and removes those that nobody needs.
    pub(super) async fn round(&mut self, core: &Arc<Core>) -> Result<(), Error> {
        let (shared, after) = (Arc::clone(core), self.after.clone());
        let listed =
            tokio::task::spawn_blocking(move || shared.images.files_after(&after, FILES_AT_ONCE));
        let files = listed
            .await
            .map_err(|error| ImageError::Io(std::io::Error::other(error)))??;
        self.after = match files.last() {
            Some(last) if files.len() == FILES_AT_ONCE => last.sha256.clone(),
            _ => String::new(),
        };
        let gone = remove_unused(core, files).await?;
        if gone > 0 {
            tracing::info!(files = gone, "removed image files that no job has");
        }
        Ok(())
    }
}
