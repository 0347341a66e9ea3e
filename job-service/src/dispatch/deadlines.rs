//! Ends what has taken longer than its policy allows: jobs that wait are
//! failed, attempts at work are told to end. Decides nothing about servers, so
//! that it works without any.

use std::{sync::Arc, time::Duration};

use crate::{
    core::Core,
    error::Error,
    job::{Hold, JobState},
    store::jobs::{self, Due},
};

/// Jobs of each kind that are ended in one pass.
const AT_ONCE: i64 = 100;

/// One look at the deadlines. Answers after how long the next one is due.
pub async fn pass(core: &Arc<Core>) -> Result<Option<Duration>, Error> {
    let now = core.clock.now();
    let due = core
        .database
        .read("jobs_due", move |conn| jobs::due(conn, now, AT_ONCE))
        .await?;
    let Due {
        pending,
        processing,
    } = due;
    for (id, attempt) in &processing {
        // It reads from the row that its job was not cancelled.
        core.hints.wish_to_cancel(id, *attempt);
    }
    let full = usize::try_from(AT_ONCE).is_ok_and(|most| pending.len() >= most);
    for id in pending {
        expire(core, id).await?;
    }
    if full {
        return Ok(Some(Duration::ZERO));
    }
    // After the moment of the look, so that none falls between two.
    let next = core
        .database
        .read("next_deadline", move |conn| jobs::next_deadline(conn, now))
        .await?;
    Ok(next.map(|next| (next - core.clock.now()).to_std().unwrap_or_default()))
}

/// Fails a pending job, with why it waited.
async fn expire(core: &Arc<Core>, id: String) -> Result<(), Error> {
    let (job_id, shared) = (id.clone(), Arc::clone(core));
    let now = core.clock.now();
    let failed = core
        .database
        .write("expire_job", move |conn| {
            let why = match jobs::get(conn, &job_id) {
                Ok(job) if job.state != JobState::Pending => return Ok(false),
                Ok(job) => waited_for(shared.board.hold_of(&job)),
                Err(Error::JobNotFound(_)) => return Ok(false),
                // A row that cannot be read does not wait for ever either.
                Err(error @ Error::BrokenRow { .. }) => error.to_string(),
                Err(error) => return Err(error),
            };
            jobs::expire(conn, &job_id, &why, now)
        })
        .await?;
    if failed {
        tracing::info!(job.id = %id, "its time was up while it waited");
        core.hints.job_changed(&id);
    }
    Ok(())
}

fn waited_for(hold: Option<Hold>) -> String {
    match hold {
        Some(hold) => format!("it waited as {}: {}", hold.reason, hold.message),
        None => "it waited for its turn".to_owned(),
    }
}
