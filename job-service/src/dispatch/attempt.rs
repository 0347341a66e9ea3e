//! Runs one attempt: sends the request, follows it, takes what comes back.
//! When the outcome is not known it goes to `reconcile`; what follows for the
//! job is decided in `settle`.

use std::{
    collections::HashSet,
    path::Path,
    sync::{Arc, atomic::AtomicU64},
};

use tokio_util::sync::CancellationToken;

use super::{
    context::{self, Context, Entered, Unready},
    follow::{Follower, Signal},
    forge::{GenerateAnswer, api_login_remedy},
    harvest::{self, Barren},
    heal, reconcile,
    settle::{self, Elsewhere, Ending},
};
use crate::{
    board::ServerState,
    core::Core,
    hints::Attended,
    job::{Attempt, AttemptOutcome, AttemptPhase, Job},
    outcome::{self, Failure, TransportFault, Verdict},
    server::Health,
    stop_point,
    store::attempts,
};

/// The place that an attempt takes on its server; given back when dropped,
/// whatever happens.
struct Seat {
    core: Arc<Core>,
    server: String,
    job_id: String,
}

impl Seat {
    fn take(core: &Arc<Core>, attempt: &Attempt) -> Self {
        core.board.occupy(&attempt.server, &attempt.job_id);
        Self {
            core: Arc::clone(core),
            server: attempt.server.clone(),
            job_id: attempt.job_id.clone(),
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.core.board.vacate(&self.server, &self.job_id);
        self.core.hints.wake_dispatcher();
    }
}

/// Runs a claimed attempt to its end.
pub async fn run(
    core: Arc<Core>,
    attempt: Attempt,
    state: Option<ServerState>,
    attended: Attended,
) {
    let _seat = Seat::take(&core, &attempt);
    stop_point::reach(stop_point::AFTER_CLAIM).await;
    match Context::load(&core, attempt.clone(), state).await {
        Ok(context) => {
            let wish = wish_of(&context.job, &attended);
            let ending = drive(&context, wish).await;
            finish(&core, &context.job, &attempt, ending).await;
        }
        Err(Unready::Failed(job, failure)) => {
            finish(&core, &job, &attempt, Some(Ending::Failed(failure))).await;
        }
        Err(Unready::Unreadable(error)) => settle::unreadable(&core, &attempt, &error).await,
        Err(Unready::Stopped) => {}
    }
}

/// Takes up an attempt that an earlier process began.
pub async fn resume(core: Arc<Core>, attempt: Attempt, attended: Attended) {
    let _seat = Seat::take(&core, &attempt);
    if attempt.phase == AttemptPhase::Claimed {
        // The phase is written before anything is sent: nothing was.
        match context::load_job(&core, &attempt).await {
            Ok(loaded) => {
                finish(&core, &loaded.job, &attempt, Some(Ending::HandedBack)).await;
            }
            Err(Unready::Unreadable(error)) => settle::unreadable(&core, &attempt, &error).await,
            Err(Unready::Failed(..) | Unready::Stopped) => {}
        }
        return;
    }
    let Some(loaded) = load_or_give_up(&core, &attempt, &attended).await else {
        return;
    };
    match loaded {
        Ok(context) => {
            let wish = wish_of(&context.job, &attended);
            let lost = Failure::new(
                AttemptOutcome::Lost,
                "ANSWER_LOST",
                "the service was restarted while the server worked, and nothing came of it",
            );
            let ending = reconcile::run(&context, &wish, lost).await;
            finish(&core, &context.job, &attempt, ending).await;
        }
        Err(Unready::Failed(job, failure)) => {
            finish(&core, &job, &attempt, Some(Ending::Failed(failure))).await;
        }
        Err(Unready::Unreadable(error)) => settle::unreadable(&core, &attempt, &error).await,
        Err(Unready::Stopped) => {}
    }
}

/// Loads what an attempt works with, which takes until its server answers. In
/// the meantime its outcome is unknown, and a wish to cancel ends it: `None`.
async fn load_or_give_up(
    core: &Arc<Core>,
    attempt: &Attempt,
    attended: &Attended,
) -> Option<Result<Context, Unready>> {
    let mut load = std::pin::pin!(Context::load(core, attempt.clone(), None));
    tokio::select! {
        loaded = &mut load => return Some(loaded),
        () = core.clock.sleep(core.pace.unknown_grace) => {}
    }
    let Ok(found) = context::load_job(core, attempt).await else {
        return Some(load.await);
    };
    if context::enter(core, attempt, AttemptPhase::OutcomeUnknown).await == Entered::No {
        return None;
    }
    let wish = wish_of(&found.job, attended);
    tokio::select! {
        biased;
        loaded = &mut load => Some(loaded),
        () = wish.cancelled() => {
            finish(core, &found.job, attempt, Some(Ending::Cancelled(None))).await;
            None
        }
    }
}

/// The wish to cancel, which may be in the row already.
fn wish_of(job: &Job, attended: &Attended) -> CancellationToken {
    let wish = attended.wish();
    if job.cancel_requested_at.is_some() {
        wish.cancel();
    }
    wish
}

async fn finish(core: &Arc<Core>, job: &Job, attempt: &Attempt, ending: Option<Ending>) {
    // Stopped: whoever starts next takes it up.
    let Some(ending) = ending else { return };
    if let Ending::Failed(failure) = &ending
        && failure.outcome == AttemptOutcome::Refused
    {
        close_server(core, attempt, failure);
    }
    let elsewhere = Elsewhere {
        others_left: others_left(core, job, attempt).await,
        failed_alike: failed_alike(core, attempt, &ending).await,
    };
    settle::settle(core, job, attempt, ending, elsewhere).await;
}

/// Whether this run failed on another server in the same words: then it is
/// the job, not the server.
async fn failed_alike(core: &Core, attempt: &Attempt, ending: &Ending) -> bool {
    let Ending::Failed(failure) = ending else {
        return false;
    };
    if failure.code != outcome::OTHER_ERROR {
        return false;
    }
    let (attempt, failure) = (attempt.clone(), failure.clone());
    let read = core
        .database
        .read("failed_alike", move |conn| {
            attempts::failed_alike(conn, &attempt, failure.code, &failure.message)
        })
        .await;
    // In doubt the job is tried again rather than failed.
    read.unwrap_or(false)
}

/// A server that refused gets no jobs until its monitor finds it well again.
fn close_server(core: &Core, attempt: &Attempt, failure: &Failure) {
    let health = match failure.code {
        "FORGE_UNAUTHENTICATED" => Health::Unauthenticated,
        "FORGE_API_MISSING" => Health::ApiMissing,
        _ => Health::Unreachable,
    };
    let state = core.board.get(&attempt.server);
    let has_login = state.is_some_and(|state| state.server.api_login.is_some());
    core.board.update_status(&attempt.server, |status| {
        status.health = health;
        status.failures = status.failures.saturating_add(1);
        status.message.clone_from(&failure.message);
        if health == Health::Unauthenticated {
            let remedy = api_login_remedy(has_login);
            status.message = format!("{}; {remedy}", failure.message);
        }
    });
}

/// Whether a server that has not refused this run might still take the job.
async fn others_left(core: &Core, job: &Job, attempt: &Attempt) -> bool {
    let (id, run) = (job.id.clone(), attempt.run);
    let refused = core
        .database
        .read("servers_lacking", move |conn| {
            attempts::servers_lacking(conn, &id, run)
        })
        .await;
    let mut refused: HashSet<String> = match refused {
        Ok(refused) => refused.into_iter().collect(),
        // In doubt the job waits rather than fails.
        Err(_) => return true,
    };
    refused.insert(attempt.server.clone());
    core.board.snapshot().values().any(|state| {
        let alias = &state.server.alias;
        state.server.enabled
            && (job.target_server.is_empty() || job.target_server == *alias)
            && !refused.contains(alias)
    })
}

/// Sends the request and takes what comes. `None` when the service stopped
/// first and the attempt goes on without us.
async fn drive(context: &Context, wish: CancellationToken) -> Option<Ending> {
    if context.core.shutdown.is_requested() {
        return Some(Ending::HandedBack);
    }
    if wish.is_cancelled() {
        return Some(Ending::Cancelled(None));
    }
    if context.enter(AttemptPhase::Sending).await == Entered::No {
        return None;
    }
    stop_point::reach(stop_point::AFTER_SENDING).await;
    let spool = context.core.images.staging_path("answer");
    let ending = send(context, &wish, &spool).await;
    // What could not be removed is swept at the next start.
    let _ = tokio::fs::remove_file(&spool).await;
    ending
}

async fn send(context: &Context, wish: &CancellationToken, spool: &Path) -> Option<Ending> {
    let received = AtomicU64::new(0);
    let generate = context
        .client
        .generate(context.job.endpoint, &context.body, spool, &received);
    let mut generate = std::pin::pin!(generate);
    let mut follower = Follower::new(context, wish.clone(), &received);
    let answer = loop {
        // The follower's calls run to their end inside a branch, so that an
        // interrupt is never under way when the server gets its next job.
        tokio::select! {
            answer = &mut generate => break answer,
            () = follower.due() => match follower.look().await {
                Signal::GoOn => {}
                Signal::Gone(why) => {
                    let lost = Failure::new(AttemptOutcome::Lost, "ANSWER_LOST", &why);
                    return reconcile::run(context, wish, lost).await;
                }
                Signal::Stopped => return None,
            },
        }
    };
    follower.calm().await;
    stop_point::reach(stop_point::AFTER_ANSWER).await;
    take(context, wish, spool, answer).await
}

/// What the answer means.
async fn take(
    context: &Context,
    wish: &CancellationToken,
    spool: &Path,
    answer: GenerateAnswer,
) -> Option<Ending> {
    let verdict = match answer {
        GenerateAnswer::Answered { .. } => return take_answer(context, wish, spool).await,
        GenerateAnswer::NotSent { message } => {
            outcome::classify_transport(TransportFault::NotSent, &message)
        }
        GenerateAnswer::Lost { message } => {
            outcome::classify_transport(TransportFault::Lost, &message)
        }
        GenerateAnswer::Refused { status, body } => outcome::classify_status(status, &body),
        GenerateAnswer::TooLarge => Verdict::Failed(Failure::new(
            AttemptOutcome::PermanentError,
            "ANSWER_TOO_LARGE",
            "the answer is larger than the limit; ask for fewer or smaller images",
        )),
        // The server may work or not; its files tell once there is room.
        GenerateAnswer::SpoolFailed(error) => Verdict::Unknown {
            http_status: 0,
            message: format!("the answer could not be written: {error}"),
        },
    };
    if let Verdict::Failed(failure) = &verdict
        && heal::is_needed(failure.code)
    {
        heal::run(context).await;
    }
    match verdict {
        Verdict::Failed(_) if wish.is_cancelled() => Some(Ending::Cancelled(None)),
        Verdict::Failed(failure) => Some(Ending::Failed(failure)),
        Verdict::Unknown {
            http_status,
            message,
        } => {
            let mut lost = Failure::new(AttemptOutcome::Lost, "ANSWER_LOST", &message);
            lost.http_status = http_status;
            reconcile::run(context, wish, lost).await
        }
    }
}

async fn take_answer(context: &Context, wish: &CancellationToken, spool: &Path) -> Option<Ending> {
    let kept = keep(context, wish, spool).await;
    match kept {
        Ok(ending) => {
            stop_point::reach(stop_point::AFTER_IMAGES).await;
            Some(ending)
        }
        Err(Barren::Stopped) => None,
        Err(Barren::Failure(failure)) if failure.outcome == AttemptOutcome::BrokenAnswer => {
            reconcile::run(context, wish, failure).await
        }
        Err(Barren::Failure(failure)) => Some(Ending::Failed(failure)),
        Err(Barren::Unreachable(error)) => {
            let lost = Failure::new(AttemptOutcome::Lost, "ANSWER_LOST", &error.to_string());
            reconcile::run(context, wish, lost).await
        }
    }
}

async fn keep(context: &Context, wish: &CancellationToken, spool: &Path) -> Result<Ending, Barren> {
    harvest::enter_saving(context).await?;
    let answer = harvest::read_answer(context, spool.to_owned()).await?;
    let interrupted = was_interrupted(context, answer.info.job_timestamp.as_deref()).await;
    if wish.is_cancelled() {
        let harvest = harvest::keep_partial(context, answer, interrupted).await?;
        return Ok(Ending::Cancelled(Some(harvest)));
    }
    let harvest = harvest::keep_answer(context, answer, interrupted).await?;
    Ok(Ending::Completed(harvest))
}

/// Whether the server says that the generation which began then was
/// interrupted; its answer does not say so itself (exchange 05/01). A server
/// that cannot be asked counts as no: the number of images still speaks.
async fn was_interrupted(context: &Context, job_timestamp: Option<&str>) -> bool {
    match context.client.progress().await {
        Ok(progress) => {
            progress.interrupted && job_timestamp == Some(progress.job_timestamp.as_str())
        }
        Err(_) => false,
    }
}
