//! Watches over an attempt while it is worked on: it keeps its place on the
//! server until its end is written, a panic in it is caught and it is taken up
//! again, and one that ends the process or panics again and again is given up.
//! What is done for the attempt is `attempt`'s and `resume`'s.

use std::{sync::Arc, time::Duration};

use super::{
    attempt,
    context::Turn,
    lasting::whole,
    resume,
    seat::Seat,
    settle::{self, Elsewhere, Ending},
};
use crate::{
    board::ServerState,
    core::Core,
    hints::Attended,
    job::{Attempt, AttemptOutcome},
    outcome::Failure,
    store::{attempts, jobs},
};

/// How often an attempt is taken up without getting any further before it is
/// given up: what ends the process each time must not do so for ever.
pub const RECOVERIES_MAX: i32 = 10;
/// The longest wait before an attempt that panicked is taken up again.
const BACKOFF_MOST: Duration = Duration::from_secs(60);

/// Runs a claimed attempt to its end.
pub async fn run(
    core: Arc<Core>,
    attempt: Attempt,
    state: Option<ServerState>,
    attended: Attended,
) {
    let seat = Seat::take(&core, &attempt);
    let first = attempt::run(Arc::clone(&core), attempt.clone(), state, attended.wish());
    if !whole(&core.shutdown, "attempt", first).await && back_off(&core, 0).await {
        take_up(core, attempt, attended, seat, Turn::default()).await;
    }
}

/// Takes up an attempt that an earlier process began, or one that panicked.
pub async fn take_up(
    core: Arc<Core>,
    mut attempt: Attempt,
    attended: Attended,
    seat: Seat,
    turn: Turn,
) {
    // Whoever waits goes on, whatever happens here.
    let _turn = turn.guard();
    for panics in 0.. {
        // On disk before anything is done, so that a crash counts.
        match counted(&core, &attempt).await {
            Some(current) => attempt = current,
            None => return,
        }
        if attempt.recoveries > RECOVERIES_MAX || panics > RECOVERIES_MAX.unsigned_abs() {
            give_up(&core, &attempt).await;
            return;
        }
        let part = resume::run(
            Arc::clone(&core),
            attempt.clone(),
            attended.wish(),
            turn.clone(),
        );
        if whole(&core.shutdown, "attempt", part).await {
            stopped_in_order(&core, &attempt).await;
            break;
        }
        if !back_off(&core, panics).await {
            break;
        }
    }
    drop(seat);
}

/// Counts one more take-up and answers the attempt as it stands then; `None`
/// when it is over or the service stops.
async fn counted(core: &Arc<Core>, attempt: &Attempt) -> Option<Attempt> {
    let written = settle::until_written(core, "take_up", || {
        let fence = attempt.fence();
        core.database
            .write("take_up", move |conn| attempts::take_up(conn, &fence))
    })
    .await;
    match written? {
        Ok(attempt) => Some(attempt),
        Err(error) => {
            settle::late(core, attempt, &error);
            None
        }
    }
}

/// A stop in order says nothing against the attempt: the next start counts
/// from zero.
async fn stopped_in_order(core: &Arc<Core>, attempt: &Attempt) {
    if !core.shutdown.is_requested() {
        return;
    }
    let fence = attempt.fence();
    let written = core
        .database
        .write("looked", move |conn| attempts::looked(conn, &fence))
        .await;
    // It may be over by now, and a count that is too high by one does no harm.
    if let Err(error) = written {
        tracing::debug!(job.id = %attempt.job_id, %error, "the count of take-ups stays");
    }
}

/// Waits before an attempt that panicked is taken up; `false` when the service
/// stops.
async fn back_off(core: &Arc<Core>, panics: u32) -> bool {
    let wait = core.pace.retry_first.saturating_mul(1 << panics.min(16));
    tokio::select! {
        () = core.clock.sleep(wait.min(core.pace.retry_most).min(BACKOFF_MOST)) => true,
        () = core.shutdown.requested() => false,
    }
}

/// How an attempt ends that ended the service again and again.
#[must_use]
pub fn crashed() -> Failure {
    Failure::new(
        AttemptOutcome::Crashed,
        "CRASHED_REPEATEDLY",
        "the service failed each time it worked on this job; its log says how. Change the job \
         or the version of the service before it is retried",
    )
}

/// Ends an attempt and its job without looking any closer at either.
async fn give_up(core: &Arc<Core>, attempt: &Attempt) {
    tracing::error!(job.id = %attempt.job_id, attempt.number = attempt.number, "the service failed each time it worked on this job; the job is given up");
    let read = settle::until_written(core, "load_attempt", || {
        let id = attempt.job_id.clone();
        core.database
            .read("load_attempt", move |conn| jobs::get(conn, &id))
    })
    .await;
    match read {
        Some(Ok(job)) => {
            let elsewhere = Elsewhere {
                others_left: false,
                failed_alike: false,
            };
            let ending = Ending::Failed(crashed());
            settle::settle(core, &job, attempt, ending, elsewhere).await;
        }
        Some(Err(error)) => settle::unreadable(core, attempt, &error).await,
        None => {}
    }
}
