//! Tidies up now and then: counts jobs for the figures, drops old events, and
//! takes up attempts that nobody attends to.

use std::{collections::HashSet, sync::Arc, time::Duration};

use super::recovery;
use crate::{
    core::Core,
    error::Error,
    metrics::StateLabel,
    store::{events, jobs},
};

/// Between two rounds.
const ROUND: Duration = Duration::from_secs(15);
/// Events that go in one write.
const PRUNE_AT_ONCE: i64 = 1_000;

/// Tidies up until the service stops.
pub async fn run(core: Arc<Core>) {
    let mut unattended = HashSet::new();
    loop {
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
    let retention =
        chrono::Duration::from_std(core.pace.event_retention).unwrap_or(chrono::Duration::MAX);
    if let Some(before) = core.clock.now().checked_sub_signed(retention) {
        core.database
            .write("prune_events", move |conn| {
                events::prune(conn, before, PRUNE_AT_ONCE)
            })
            .await?;
    }
    take_up(core, unattended).await
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
