//! Deletes jobs: the row and everything below it in one write, then the files
//! that nobody else has.

use std::{sync::Arc, time::Duration};

use super::Jobs;
use crate::{
    core::Core,
    error::Error,
    images::ImageFile,
    store::{images, jobs},
};

/// How long a deletion waits for the end of a job that it cancelled.
const CANCEL_WAIT: Duration = Duration::from_secs(30);
/// Files that are looked at together; no attempt can store one meanwhile.
const FILES_AT_ONCE: usize = 64;

impl Jobs {
    /// Deletes a job that has ended, with its images; one that has not is
    /// cancelled before that when `cancel_first`.
    pub async fn delete(&self, id: &str, cancel_first: bool) -> Result<(), Error> {
        if cancel_first {
            let cancelled = self.cancel(id).await?;
            if !cancelled.job.state.is_terminal()
                && !self.wait(id, CANCEL_WAIT).await?.job.state.is_terminal()
            {
                return Err(Error::StillCancelling(id.to_owned()));
            }
        }
        let now = self.core.clock.now();
        let job_id = id.to_owned();
        let files = self
            .core
            .database
            .write("delete_job", move |conn| jobs::delete(conn, &job_id, now))
            .await?;
        self.core.hints.job_changed(id);
        let files = files
            .into_iter()
            .map(|image| ImageFile {
                sha256: image.sha256,
                media_type: image.media_type,
            })
            .collect();
        if let Err(error) = remove_unused(&self.core, files).await {
            // The job is gone; its files are found by housekeeping.
            tracing::warn!(job.id = %id, %error, "files of a deleted job are left");
        }
        Ok(())
    }
}

/// Removes those of these files that no job has and no attempt is about to
/// have; answers how many went.
///
/// The rows are read as they are committed: a deletion that is still to be
/// committed may yet fail, and an attempt that is to commit holds its pins.
pub async fn remove_unused(core: &Arc<Core>, mut files: Vec<ImageFile>) -> Result<usize, Error> {
    let mut gone = 0;
    while !files.is_empty() {
        let some = files.split_off(files.len().saturating_sub(FILES_AT_ONCE));
        let shared = Arc::clone(core);
        gone += core
            .database
            // The read sees what was committed when it first looks, which is
            // after the store has let nobody pin any more.
            .read("remove_unused_images", move |conn| {
                shared
                    .images
                    .remove_unused(&some, |sha256| images::is_used(conn, sha256))
            })
            .await?;
    }
    Ok(gone)
}
