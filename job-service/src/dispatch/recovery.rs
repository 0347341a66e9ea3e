//! Takes up the attempts that an earlier process left under way: hands back
//! those that were never sent, and finds out what became of the others.

use std::{sync::Arc, time::Duration};

use super::{attempt, settle};
use crate::{
    core::Core,
    error::Error,
    job::Attempt,
    store::{attempts, queue},
};

/// Between two looks at whether recovery is done.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Begins to recover every attempt under way, and waits for their ends as long
/// as the pace allows; the rest goes on in the background.
pub async fn run(core: &Arc<Core>) -> Result<(), Error> {
    let open = open_attempts(core).await?;
    if open.is_empty() {
        return Ok(());
    }
    tracing::info!(jobs = open.len(), "taking up what was under way");
    let ids: Vec<String> = open.iter().map(|open| open.job_id.clone()).collect();
    for attempt in open {
        begin(core, attempt);
    }
    let until = core.clock.monotonic() + core.pace.recovery;
    while core.clock.monotonic() < until && ids.iter().any(|id| core.hints.is_attended(id)) {
        tokio::select! {
            () = core.clock.sleep(LOOK_EVERY) => {}
            () = core.shutdown.requested() => return Ok(()),
        }
    }
    Ok(())
}

/// Takes up one attempt.
pub fn begin(core: &Arc<Core>, attempt: Attempt) {
    let attended = core.hints.attend(&attempt.job_id);
    core.shutdown.spawn(
        "recovery",
        attempt::resume(Arc::clone(core), attempt, attended),
    );
}

/// Every attempt under way, as the database says.
pub async fn open_attempts(core: &Core) -> Result<Vec<Attempt>, Error> {
    let read = settle::until_written(core, "open_attempts", || {
        core.database.read("open_attempts", |conn| {
            let mut open = Vec::new();
            for id in queue::processing(conn)? {
                match attempts::current(conn, &id) {
                    Ok(Some(attempt)) => open.push(attempt),
                    Ok(None) => {
                        tracing::error!(job.id = %id, "a processing job has no attempt under way")
                    }
                    // One row must not keep the others from being taken up.
                    Err(error @ Error::BrokenRow { .. }) => {
                        tracing::error!(job.id = %id, %error, "an attempt cannot be read");
                    }
                    Err(error) => return Err(error),
                }
            }
            Ok::<_, Error>(open)
        })
    })
    .await;
    read.unwrap_or(Err(Error::Stopping))
}
