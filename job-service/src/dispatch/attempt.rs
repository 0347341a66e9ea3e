//! Runs one attempt: sends the request, follows it, takes what comes back.
//! When the outcome is not known it goes to `reconcile`; what follows for the
//! job is decided in `settle`, and who watches over all that is `supervise`.

use std::{
    collections::HashSet,
    path::Path,
    sync::{Arc, atomic::AtomicU64},
};

use tokio_util::sync::CancellationToken;

use super::{
    clearing,
    context::{Context, Entered, Unready},
    follow::{Follower, Signal},
    forge::{GenerateAnswer, api_login_remedy},
    harvest::{self, Barren},
    heal, lessons, observe, prevalidate, reconcile,
    room::{self, Full, with_room},
    settle::{self, Elsewhere, Ending},
};
use crate::{
    board::ServerState,
    core::Core,
    job::{Attempt, AttemptOutcome, AttemptPhase, Job},
    outcome::{self, Failure, TransportFault, Verdict},
    server::Health,
    stop_point,
    store::attempts,
};

/// Runs a claimed attempt to its end.
pub async fn run(
    core: Arc<Core>,
    attempt: Attempt,
    state: Option<ServerState>,
    wish: CancellationToken,
) {
    stop_point::reach(stop_point::AFTER_CLAIM).await;
    let Some(state) = state else {
        // It was taken off the board in that very moment.
        return super::resume::hand_back(&core, &attempt).await;
    };
    match Context::load(&core, attempt.clone(), &state, wish).await {
        Ok(context) => {
            let ending = drive(&context).await;
            end(context, ending).await;
        }
        Err(unready) => end_unready(&core, &attempt, unready).await,
    }
}

/// Writes the end of an attempt, and looks after what it may leave behind.
pub(super) async fn end(context: Context, ending: Option<Ending>) {
    let mut attempt = context.attempt.clone();
    context.traces.seen(None, context.core.clock.monotonic());
    (attempt.loading_ms, attempt.generating_ms) = context.traces.times_ms();
    finish(&context.core, &context.job, &attempt, ending).await;
    clearing::begin(context);
}

/// The end of an attempt that has nothing to work with.
pub(super) async fn end_unready(core: &Arc<Core>, attempt: &Attempt, unready: Unready) {
    match unready {
        Unready::Failed(job, failure) => {
            finish(core, &job, attempt, Some(Ending::Failed(failure))).await;
        }
        Unready::Unreadable(error) => settle::unreadable(core, attempt, &error).await,
        Unready::Stopped => {}
    }
}

pub(super) async fn finish(core: &Arc<Core>, job: &Job, attempt: &Attempt, ending: Option<Ending>) {
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
    lessons::learn(core, job, attempt, &ending).await;
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
async fn drive(context: &Context) -> Option<Ending> {
    if context.core.shutdown.is_requested() {
        return Some(Ending::HandedBack);
    }
    if context.wish.is_cancelled() {
        return Some(Ending::Cancelled(None));
    }
    let spool = context.core.images.staging_path("answer");
    match room_for_answer(context, &spool).await {
        Ok(()) => {}
        Err(Barren::ToldToEnd) => return Some(Ending::Cancelled(None)),
        Err(_) => return Some(Ending::HandedBack),
    }
    if let Some(failure) = prevalidate::check(context).await {
        return Some(Ending::Failed(failure));
    }
    let sending = context.enter(AttemptPhase::Sending);
    let (entered, ()) = tokio::join!(sending, observe::before_sending(context));
    if entered == Entered::No {
        return None;
    }
    stop_point::reach(stop_point::AFTER_SENDING).await;
    // The last moment in which nothing was sent.
    let ending = if context.wish.is_cancelled() {
        Some(Ending::Cancelled(None))
    } else {
        send(context, &spool).await
    };
    // What could not be removed is swept at the next start.
    let _ = tokio::fs::remove_file(&spool).await;
    ending
}

/// Makes the spool file before anything is sent whose answer would have no
/// place.
async fn room_for_answer(context: &Context, spool: &Path) -> Result<(), Barren> {
    let spool = spool.to_owned();
    with_room(context, AttemptPhase::Claimed, move |_| {
        let made = std::fs::File::create(&spool);
        made.map(drop)
            .map_err(|error| Full::Wait(error.to_string()))
    })
    .await
}

/// What came of the request that was sent.
enum Came {
    Answer(GenerateAnswer),
    /// Nothing will come, for this reason.
    Nothing(String),
    Stopped,
}

async fn send(context: &Context, spool: &Path) -> Option<Ending> {
    match await_answer(context, spool).await {
        Came::Answer(answer) => {
            stop_point::reach(stop_point::AFTER_ANSWER).await;
            take(context, spool, answer).await
        }
        Came::Nothing(why) => {
            let lost = Failure::new(AttemptOutcome::Lost, "ANSWER_LOST", &why);
            reconcile::run(context, lost).await
        }
        Came::Stopped => None,
    }
}

/// Waits for the answer while the attempt is followed.
async fn await_answer(context: &Context, spool: &Path) -> Came {
    let received = AtomicU64::new(0);
    let generate = context
        .client
        .generate(context.job.endpoint, &context.body, spool, &received);
    let mut generate = std::pin::pin!(generate);
    let mut follower = Follower::new(context, &received);
    loop {
        tokio::select! {
            answer = &mut generate => return Came::Answer(answer),
            () = follower.due() => {}
        }
        let mut look = std::pin::pin!(follower.look());
        let signal = tokio::select! {
            signal = &mut look => signal,
            answer = &mut generate => {
                // An interrupt that is under way is waited for, so that it
                // never meets the server's next job.
                look.await;
                return Came::Answer(answer);
            }
        };
        match signal {
            Signal::GoOn => {}
            Signal::Gone(why) => return Came::Nothing(why),
            Signal::Stopped => return Came::Stopped,
        }
    }
}

/// What the answer means.
async fn take(context: &Context, spool: &Path, answer: GenerateAnswer) -> Option<Ending> {
    let verdict = match answer {
        GenerateAnswer::Answered { .. } => return take_answer(context, spool).await,
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
        GenerateAnswer::SpoolFailed(error) => {
            let why = format!("the answer could not be written: {error}");
            let lost = Failure::new(AttemptOutcome::Lost, room::DISK_FULL, &why);
            return reconcile::run(context, lost).await;
        }
    };
    if let Verdict::Failed(failure) = &verdict
        && heal::is_needed(failure.code)
    {
        heal::run(context).await;
    }
    match verdict {
        Verdict::Failed(_) if context.wish.is_cancelled() => Some(Ending::Cancelled(None)),
        Verdict::Failed(failure) => Some(Ending::Failed(failure)),
        Verdict::Unknown {
            http_status,
            message,
        } => {
            let mut lost = Failure::new(AttemptOutcome::Lost, "ANSWER_LOST", &message);
            lost.http_status = http_status;
            reconcile::run(context, lost).await
        }
    }
}

async fn take_answer(context: &Context, spool: &Path) -> Option<Ending> {
    match keep(context, spool).await {
        Ok(ending) => {
            stop_point::reach(stop_point::AFTER_IMAGES).await;
            Some(ending)
        }
        Err(Barren::Stopped) => None,
        Err(Barren::ToldToEnd) => Some(Ending::Cancelled(None)),
        Err(Barren::Failure(failure)) if failure.outcome == AttemptOutcome::BrokenAnswer => {
            reconcile::run(context, failure).await
        }
        Err(Barren::Failure(failure)) => Some(Ending::Failed(failure)),
        Err(Barren::Unreachable(error)) => {
            let lost = Failure::new(AttemptOutcome::Lost, "ANSWER_LOST", &error.to_string());
            reconcile::run(context, lost).await
        }
    }
}

async fn keep(context: &Context, spool: &Path) -> Result<Ending, Barren> {
    harvest::enter_saving(context).await?;
    let answer = harvest::read_answer(context, spool.to_owned()).await?;
    let interrupted = was_interrupted(context, answer.info.job_timestamp.as_deref()).await;
    if !context.wish.is_cancelled() {
        let harvest = harvest::keep_answer(context, answer, interrupted).await?;
        return Ok(Ending::Completed(harvest));
    }
    // An interrupt that came too late leaves the same mark on the server, but
    // a file is only saved for a generation that was not interrupted.
    if interrupted && let Ok(Some(whole)) = harvest::fetch_soon(context).await {
        return Ok(Ending::Cancelled(Some(whole)));
    }
    let harvest = harvest::keep_partial(context, answer, interrupted).await?;
    Ok(Ending::Cancelled(Some(harvest)))
}

/// Whether the server says that the generation which began then was
/// interrupted; its answer does not say so itself (exchange 05/01). For a
/// server that cannot be asked, our own interrupts count; without any, the
/// number of images still speaks.
async fn was_interrupted(context: &Context, job_timestamp: Option<&str>) -> bool {
    match context.client.progress().await {
        Ok(progress) => {
            progress.interrupted && job_timestamp == Some(progress.job_timestamp.as_str())
        }
        Err(_) => context.traces.was_interrupted(),
    }
}
