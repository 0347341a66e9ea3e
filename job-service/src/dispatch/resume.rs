//! Takes an attempt up again: hands it back when nothing of it was sent, and
//! otherwise waits for its server and finds out what became of it. How often
//! that may be tried is `supervise`'s to know.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{
    attempt, clearing,
    context::{self, Context, Entered, Turn},
    reconcile,
    settle::Ending,
    supervise,
};
use crate::{
    board::ServerState,
    core::Core,
    job::{Attempt, AttemptOutcome, AttemptPhase, Job},
    outcome::Failure,
    stop_point,
    store::attempts,
};

/// Between two looks at a server that does not answer.
const SERVER_RETRY: Duration = Duration::from_millis(500);

/// Takes up an attempt that an earlier process, or an earlier try of this one,
/// began.
pub async fn run(core: Arc<Core>, attempt: Attempt, wish: CancellationToken, turn: Turn) {
    stop_point::reach_on(stop_point::IN_RECOVERY, &attempt.server).await;
    if attempt.phase == AttemptPhase::Claimed {
        // The phase is written before anything is sent: nothing was.
        return hand_back(&core, &attempt).await;
    }
    let loaded = match context::load_job(&core, &attempt).await {
        Ok(loaded) => loaded,
        Err(unready) => return attempt::end_unready(&core, &attempt, unready).await,
    };
    if context::is_to_end(&core, &loaded.job) {
        wish.cancel();
    }
    let state = match server(&core, &loaded.job, &attempt, &wish).await {
        Ok(state) => state,
        Err(ending) => {
            let given_up = ending.is_some();
            attempt::finish(&core, &loaded.job, &attempt, ending).await;
            if given_up {
                clearing::begin_unseen(&core, &attempt);
            }
            return;
        }
    };
    match Context::of(&core, attempt.clone(), loaded, &state, wish) {
        Ok(mut context) => {
            context.turn = turn;
            let lost = Failure::new(
                AttemptOutcome::Lost,
                "ANSWER_LOST",
                "the service was restarted while the server worked, and nothing came of it",
            );
            let ending = reconcile::run(&context, lost).await;
            attempt::end(context, ending).await;
        }
        Err(unready) => attempt::end_unready(&core, &attempt, unready).await,
    }
}

/// Hands a job back of which nothing was sent, unless that was done so often
/// after a crash that the job must be what ends the process.
pub(super) async fn hand_back(core: &Arc<Core>, attempt: &Attempt) {
    let loaded = match context::load_job(core, attempt).await {
        Ok(loaded) => loaded,
        Err(unready) => return attempt::end_unready(core, attempt, unready).await,
    };
    let (id, run) = (attempt.job_id.clone(), attempt.run);
    let crashed = core
        .database
        .read("crashed_claims", move |conn| {
            attempts::crashed_claims(conn, &id, run)
        })
        .await;
    let ending = match crashed {
        Ok(crashed) if crashed >= i64::from(supervise::RECOVERIES_MAX) => {
            Ending::Failed(supervise::crashed())
        }
        // In doubt it is tried again: the next start counts it too.
        _ => Ending::HandedBack,
    };
    attempt::finish(core, &loaded.job, attempt, Some(ending)).await;
}

/// Waits until the server's monitor knows it. In the meantime the outcome of
/// the attempt is unknown, and the wish to end it or the job's own policy ends
/// the waiting: with how the attempt ends, or `None` when the service stops.
async fn server(
    core: &Arc<Core>,
    job: &Job,
    attempt: &Attempt,
    wish: &CancellationToken,
) -> Result<ServerState, Option<Ending>> {
    let began = core.clock.monotonic();
    let mut told = false;
    loop {
        if let Some(state) = context::server_state(core, &attempt.server) {
            return Ok(state);
        }
        let silent = core.clock.monotonic().saturating_sub(began);
        let graced = silent >= core.pace.unknown_grace;
        let too_long = reconcile::is_too_long(job, silent);
        // Before it may end here: the row says then that it may still run.
        if (graced || too_long) && !told {
            if context::enter(core, attempt, AttemptPhase::OutcomeUnknown).await == Entered::No {
                return Err(None);
            }
            told = true;
        }
        if graced && wish.is_cancelled() {
            return Err(Some(Ending::Cancelled(None)));
        }
        if too_long {
            return Err(Some(reconcile::given_up(&attempt.server, silent)));
        }
        tokio::select! {
            () = core.clock.sleep(SERVER_RETRY) => {}
            () = core.shutdown.requested() => return Err(None),
        }
    }
}
