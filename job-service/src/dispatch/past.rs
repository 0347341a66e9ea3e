//! Reads what became of a job so far, as far as it matters for where it goes
//! next.

use super::choose::Past;
use crate::{
    core::Core,
    error::Error,
    job::AttemptOutcome,
    store::{
        attempts::{self, Abandoned},
        queue::QueuedJob,
    },
};

/// What became of a job so far.
pub(super) async fn of(core: &Core, job: &QueuedJob) -> Result<Past, Error> {
    let mut past = Past::default();
    if job.attempt_number == 0 {
        return Ok(past);
    }
    let (id, run) = (job.id.clone(), job.run);
    let (ended, abandoned) = core
        .database
        .read("job_past", move |conn| {
            let ended = attempts::spent_on(conn, &id, run)?;
            Ok::<_, Error>((ended, attempts::abandoned(conn, &id)?))
        })
        .await?;
    for (server, outcome) in ended {
        if outcome == AttemptOutcome::ServerLacksFeature {
            past.refused_by.insert(server);
        } else {
            *past.failed_on.entry(server).or_default() += 1;
        }
    }
    for given_up in abandoned {
        if is_over(core, &given_up) {
            continue;
        }
        past.may_repeat = true;
        // Who asks for another run has decided that it may go there again.
        if given_up.run == job.run {
            past.barred.insert(given_up.server);
        }
    }
    Ok(past)
}

/// Whether an attempt that was given up is known not to run any more: only
/// another process than the one that it was sent to shows that. A server that
/// answers again may have been cut off while it worked, and asking it about one
/// task says nothing of work that it has yet to report; one that has no names
/// for its processes never shows it. Read from what is on disk, so that it holds
/// over a restart of the service.
fn is_over(core: &Core, given_up: &Abandoned) -> bool {
    let state = core.board.get(&given_up.server);
    match (
        state.and_then(|state| state.status.process),
        &given_up.server_process,
    ) {
        (Some(now), Some(then)) => now != *then,
        _ => false,
    }
}
