//! Deletes jobs: the row and everything below it in one write, then the files
//! that nobody else has.

use std::{sync::Arc, time::Duration};

use super::{Jobs, ownership};
use crate::{
    core::Core,
    error::Error,
    store::{images, jobs, unneeded_files},
};

/// How long a deletion waits for the end of a job that it cancelled.
const CANCEL_WAIT: Duration = Duration::from_secs(30);
/// Files that are looked at together; no attempt can store one meanwhile.
const FILES_AT_ONCE: i64 = 64;

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
        let (viewer, job_id) = (Arc::clone(&self.viewer), id.to_owned());
        self.core
            .database
            .write("delete_job", move |conn| {
                ownership::changed(conn, &viewer, &job_id)?;
                jobs::delete(conn, &job_id, now)
            })
            .await?;
        self.core.hints.job_changed(id);
        if let Err(error) = remove_unneeded(&self.core).await {
            // The job is gone; its files are noted, and housekeeping goes on.
            tracing::warn!(job.id = %id, %error, "files of a deleted job are left for now");
        }
        Ok(())
    }
}

/// Removes the files of deleted jobs that no other job has and no attempt is
/// about to have.
///
/// The rows are read as they are committed: a deletion that is still to be
/// committed may yet fail, and an attempt that is to commit holds its pins.
pub async fn remove_unneeded(core: &Arc<Core>) -> Result<(), Error> {
    loop {
        let files = core
            .database
            .read("unneeded_files", |conn| {
                unneeded_files::first(conn, FILES_AT_ONCE)
            })
            .await?;
        if files.is_empty() {
            return Ok(());
        }
        let shared = Arc::clone(core);
        let looked_at = files.clone();
        core.database
            // The read sees what was committed when it first looks, which is
            // after the store has let nobody pin any more.
            .read("remove_unneeded_files", move |conn| {
                shared
                    .images
                    .remove_unused(&files, |sha256| images::is_used(conn, sha256))
            })
            .await?;
        core.database
            .write("files_looked_at", move |conn| {
                unneeded_files::take_off(conn, &looked_at)
            })
            .await?;
    }
}
