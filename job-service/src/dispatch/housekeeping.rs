//! Tidies up now and then: counts jobs for the figures, drops old events and
//! request ids and files of deleted jobs, and takes up attempts that nobody
//! attends to.

use std::{collections::HashSet, sync::Arc, time::Duration};

use super::{lessons, recovery};
use crate::{
    core::Core,
    error::Error,
    jobs::remove_unneeded,
    metrics::StateLabel,
    store::{events, jobs, request_ids},
};

/// Between two rounds.
const ROUND: Duration = Duration::from_secs(15);
/// Events that go in one write.
const PRUNE_AT_ONCE: i64 = 1_000;
/// Request ids that go in one round, in writes of `PRUNE_AT_ONCE`: more than
/// come between two rounds.
const REQUEST_IDS_AT_MOST: usize = 50_000;

/// Tidies up until the service stops.
pub async fn run(core: Arc<Core>) {
    let mut unattended = HashSet::new();
    loop {
        // At once too: a crash may have left some.
        if let Err(error) = remove_unneeded(&core).await {
            tracing::error!(%error, "files of deleted jobs could not be removed");
        }
        tokio::select! {
            () = core.clock.sleep(ROUND) => {}
            () = core.shutdown.requested() => return,
        }
        if let Err(error) = round(&core, &mut unattended).await {
            tracing::error!(%error, "housekeeping failed; it will be tried again");
        }
    }
}

async fn round(core: &Arc<Core>, unattended: &mut HashSet<String>) -> Result<(), Error> {
    let counts = core
        .database
        .read("count_jobs", jobs::count_by_state)
        .await?;
    for (state, count) in counts {
        let label = StateLabel {
            state: state.as_str().to_owned(),
        };
        core.metrics.jobs.get_or_create(&label).set(count);
    }
    prune(core).await?;
    lessons::forget_old(core).await?;
    take_up(core, unattended).await
}

/// Drops what has been kept long enough.
async fn prune(core: &Arc<Core>) -> Result<(), Error> {
    let now = core.clock.now();
    let until = |kept| {
        let kept = chrono::Duration::from_std(kept).unwrap_or(chrono::Duration::MAX);
        now.checked_sub_signed(kept)
    };
    if let Some(before) = until(core.pace.event_retention) {
        core.database
            .write("prune_events", move |conn| {
                events::prune(conn, before, PRUNE_AT_ONCE)
            })
            .await?;
    }
    let Some(before) = until(core.pace.request_id_retention) else {
        return Ok(());
    };
    let mut gone = 0;
    while gone < REQUEST_IDS_AT_MOST {
        let some = core
            .database
            .write("prune_request_ids", move |conn| {
                request_ids::prune(conn, before, PRUNE_AT_ONCE)
            })
            .await?;
        if some == 0 {
            break;
        }
        gone += some;
    }
    Ok(())
}

/// An attempt whose task panicked would hold its server for ever: one that
/// nobody attends to in two rounds is taken up.
async fn take_up(core: &Arc<Core>, unattended: &mut HashSet<String>) -> Result<(), Error> {
    let mut now = HashSet::new();
    for attempt in recovery::open_attempts(core).await? {
        if core.hints.is_attended(&attempt.job_id) {
            continue;
        }
        if unattended.contains(&attempt.token) {
            tracing::error!(job.id = %attempt.job_id, attempt.number = attempt.number, "nobody attends to an attempt; taking it up");
            recovery::begin(core, attempt);
        } else {
            now.insert(attempt.token);
        }
    }
    *unattended = now;
    Ok(())
}
