//! Takes up the attempts that an earlier process left under way. Those that
//! were taken up before without getting any further come one after another and
//! last, so that one which ends the process takes no other with it. What is
//! done for each is `resume`'s.

use std::{sync::Arc, time::Duration};

use tokio::sync::Semaphore;

use super::{clearing, context::Turn, seat::Seat, settle, supervise};
use crate::{
    core::Core,
    error::Error,
    hints::Attended,
    job::Attempt,
    store::{attempts, queue},
};

/// Between two looks at whether recovery is done.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Attempts that are taken up at once, up to the first look at their servers.
const AT_ONCE_MAX: usize = 16;
/// From so many fruitless take-ups on, an attempt is suspected to be what ends
/// the process, and taken up alone.
const SUSPECT_FROM: i32 = 2;
/// How long the others wait for the first look of one that is taken up.
const TURN_MAX: Duration = Duration::from_secs(5);

/// Begins to recover every attempt under way, and waits for their ends as long
/// as the pace allows; the rest goes on in the background.
pub async fn run(core: &Arc<Core>) -> Result<(), Error> {
    let open = open_attempts(core).await?;
    if open.is_empty() {
        return Ok(());
    }
    tracing::info!(jobs = open.len(), "taking up what was under way");
    let ids: Vec<String> = open.iter().map(|open| open.job_id.clone()).collect();
    // All have their places and their listeners before the first is worked on.
    let (mut suspects, others): (Vec<Taken>, Vec<Taken>) = open
        .into_iter()
        .map(|attempt| Taken::new(core, attempt))
        .partition(|taken| taken.attempt.recoveries >= SUSPECT_FROM);
    suspects.sort_by_key(|taken| taken.attempt.recoveries);
    let all = Arc::clone(core);
    core.shutdown.spawn("recovery", async move {
        in_turn(&all, others, AT_ONCE_MAX).await;
        in_turn(&all, suspects, 1).await;
    });
    let until = core.clock.monotonic() + core.pace.recovery;
    while core.clock.monotonic() < until && ids.iter().any(|id| core.hints.is_attended(id)) {
        tokio::select! {
            () = core.clock.sleep(LOOK_EVERY) => {}
            () = core.shutdown.requested() => return Ok(()),
        }
    }
    Ok(())
}

/// An attempt to take up, with its place on its server.
struct Taken {
    attempt: Attempt,
    attended: Attended,
    seat: Seat,
}

impl Taken {
    fn new(core: &Arc<Core>, attempt: Attempt) -> Self {
        Self {
            attended: core.hints.attend(&attempt.job_id, attempt.number),
            seat: Seat::take(core, &attempt),
            attempt,
        }
    }

    /// Works on it in the background.
    fn begin(self, core: &Arc<Core>) -> Turn {
        let Self {
            attempt,
            attended,
            seat,
        } = self;
        let turn = Turn::default();
        let work = supervise::take_up(Arc::clone(core), attempt, attended, seat, turn.clone());
        core.shutdown.spawn("take_up", work);
        turn
    }
}

/// Takes attempts up, so many at once until each has had its turn.
async fn in_turn(core: &Arc<Core>, taken: Vec<Taken>, at_once: usize) {
    let places = Arc::new(Semaphore::new(at_once));
    for taken in taken {
        // It is never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        if core.shutdown.is_requested() {
            return;
        }
        let turn = taken.begin(core);
        let core_of_turn = Arc::clone(core);
        core.shutdown.spawn("recovery_turn", async move {
            tokio::select! {
                () = turn.over() => {}
                () = core_of_turn.clock.sleep(TURN_MAX) => {}
                () = core_of_turn.shutdown.requested() => {}
            }
            drop(place);
        });
    }
    // The last ones have their turn too before anything follows.
    let all = u32::try_from(at_once).unwrap_or(u32::MAX);
    let _all = places.acquire_many(all).await;
}

/// Takes up one attempt that nobody attends to.
pub fn begin(core: &Arc<Core>, attempt: Attempt) {
    Taken::new(core, attempt).begin(core);
}

/// Every attempt under way, as the database says. One whose row cannot be read
/// is ended, unless somebody attends to it: nobody could take it up, and it
/// would hold its server for ever.
pub async fn open_attempts(core: &Arc<Core>) -> Result<Vec<Attempt>, Error> {
    let read = settle::until_written(core, "open_attempts", || {
        core.database.read("open_attempts", |conn| {
            let (mut open, mut broken) = (Vec::new(), Vec::new());
            for id in queue::processing(conn)? {
                match attempts::current(conn, &id) {
                    Ok(Some(attempt)) => open.push(attempt),
                    Ok(None) => {
                        tracing::error!(job.id = %id, "a processing job has no attempt under way")
                    }
                    // One row must not keep the others from being taken up.
                    Err(error @ Error::BrokenRow { .. }) => {
                        let known = attempts::known_by(conn, &id)?;
                        broken.extend(known.map(|attempt| (attempt, error)));
                    }
                    Err(error) => return Err(error),
                }
            }
            Ok::<_, Error>((open, broken))
        })
    })
    .await;
    let (open, broken) = read.unwrap_or(Err(Error::Stopping))?;
    for (attempt, error) in broken {
        tracing::error!(job.id = %attempt.job_id, %error, "an attempt cannot be read");
        if !core.hints.is_attended(&attempt.job_id) {
            // It may still run there.
            clearing::begin_unseen(core, &attempt);
            settle::unreadable(core, &attempt, &error).await;
        }
    }
    Ok(open)
}
