//! What the end of an attempt teaches of its server: whether it goes on
//! getting jobs (breaker), what it is not given for a while (cooldowns), and
//! what it turned out not to have. What follows for the job is `settle`'s.

use std::sync::Arc;

use chrono::DateTime;

use super::{room::DISK_FULL, settle::Ending};
use crate::{
    availability::Reference,
    breaker::{Breaker, BreakerState, Moment, OpenTimes, Suspect},
    cooldowns::{CooldownTimes, Subject},
    core::Core,
    error::Error,
    job::{Attempt, AttemptOutcome, Job},
    metrics::ServerLabel,
    outcome::{self, Failure},
    request::GenerationRequest,
    store::{cooldowns, jobs},
};

/// What an attempt turned out to have failed with.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Blame {
    /// A model, by its title on the server.
    Model(String),
    /// So many pixels.
    Size,
}

/// Learns from an attempt that is over, before its job may go on: what is
/// learned is on the board when the next server is chosen for it.
pub async fn learn(core: &Arc<Core>, job: &Job, attempt: &Attempt, ending: &Ending) {
    match ending {
        Ending::Completed(_) => succeeded(core, job, attempt).await,
        Ending::Failed(failure) => failed(core, job, attempt, failure).await,
        // Neither says anything of the server.
        Ending::Cancelled(_) | Ending::HandedBack => {}
    }
}

/// Gives a server no jobs for a while, whatever failed there before.
pub fn open_breaker(core: &Core, alias: &str, why: &str) {
    let (now, times) = (moment(core), open_times(core));
    let opened = core
        .board
        .update_breaker(alias, |breaker| breaker.open(why, now, times));
    if let Some(((), breaker)) = opened {
        told(core, alias, &breaker, why);
    }
}

/// The time, as breakers need it, as exact as the database keeps it.
#[must_use]
pub fn moment(core: &Core) -> Moment {
    let now = core.clock.now();
    Moment {
        monotonic: core.clock.monotonic(),
        wall: DateTime::from_timestamp_millis(now.timestamp_millis()).unwrap_or(now),
    }
}

/// Shows the breaker of a server in the figures.
pub fn show_breaker(core: &Core, alias: &str, state: BreakerState) {
    let value = match state {
        BreakerState::Closed => 0,
        BreakerState::HalfOpen => 1,
        BreakerState::Open { .. } => 2,
    };
    let label = ServerLabel {
        server: alias.to_owned(),
    };
    let gauge = core.metrics.server_breaker.get_or_create(&label);
    gauge.set(value);
}

fn open_times(core: &Core) -> OpenTimes {
    OpenTimes {
        first: core.pace.breaker_first,
        most: core.pace.breaker_most,
    }
}

fn told(core: &Core, alias: &str, breaker: &Breaker, why: &str) {
    show_breaker(core, alias, breaker.state());
    tracing::warn!(server.alias = alias, why, state = ?breaker.state(), "the server gets no jobs for a while");
    // It also has to be woken when the time is over.
    core.hints.wake_dispatcher();
}

async fn succeeded(core: &Core, job: &Job, attempt: &Attempt) {
    let alias = attempt.server.as_str();
    let closed = core.board.update_breaker(alias, |breaker| {
        let was_closed = breaker.state() == BreakerState::Closed;
        breaker.close();
        !was_closed
    });
    if let Some((true, breaker)) = closed {
        show_breaker(core, alias, breaker.state());
        tracing::info!(server.alias = alias, "the server gets jobs again");
    }
    let any = core
        .board
        .get(alias)
        .map(|state| !state.cooldowns.is_empty());
    if any != Some(true) {
        return;
    }
    let pixels = pixels_of(core, job).await;
    let titles: Vec<&str> = attempt
        .models
        .iter()
        .map(|one| one.title.as_str())
        .collect();
    let over = core
        .board
        .update_cooldowns(alias, |cooldowns| cooldowns.succeeded(&titles, pixels))
        .unwrap_or_default();
    if !over.is_empty() {
        let server = alias.to_owned();
        let written = core
            .database
            .write("end_cooldowns", move |conn| {
                cooldowns::change(conn, &server, &over, None)
            })
            .await;
        kept(alias, written);
    }
}

async fn failed(core: &Arc<Core>, job: &Job, attempt: &Attempt, failure: &Failure) {
    let alias = attempt.server.as_str();
    if let Some(suspect) = suspect(failure, &job.id) {
        let (now, times) = (moment(core), open_times(core));
        let why = format!("{}: {}", failure.code, failure.message);
        let after = core
            .board
            .update_breaker(alias, |breaker| breaker.failed(suspect, &why, now, times));
        if let Some((true, breaker)) = after {
            told(core, alias, &breaker, &why);
        }
    }
    let Some(blame) = blame(failure, attempt) else {
        return;
    };
    cool_down(core, job, alias, &blame, failure).await;
    if let (true, Blame::Model(title)) = (is_not_there(failure), &blame) {
        let is_lora = failure.code == outcome::LORA_NOT_APPLIED;
        correct(core, attempt, title, is_lora);
    }
}

async fn cool_down(core: &Core, job: &Job, alias: &str, blame: &Blame, failure: &Failure) {
    let subject = match blame {
        Blame::Model(title) => Subject::model(title),
        Blame::Size => match pixels_of(core, job).await {
            Some(pixels) => Subject::Pixels(pixels),
            None => return,
        },
    };
    let times = CooldownTimes {
        first: core.pace.cooldown_first,
        most: core.pace.cooldown_most,
    };
    let now = moment(core).wall;
    let began = core.board.update_cooldowns(alias, |cooldowns| {
        cooldowns.failed(subject, &failure.message, now, times)
    });
    let Some((began, over)) = began else { return };
    tracing::warn!(
        server.alias = alias, subject = ?began.subject, until = %began.until,
        failures = began.failures, "the server is not given this for a while"
    );
    let server = alias.to_owned();
    let written = core
        .database
        .write("begin_cooldown", move |conn| {
            cooldowns::change(conn, &server, &over, Some(&began))
        })
        .await;
    kept(alias, written);
}

/// A cooldown that is not on disk holds all the same, until the service stops.
fn kept(alias: &str, written: Result<(), Error>) {
    if let Err(error) = written {
        tracing::error!(server.alias = alias, %error, "a cooldown could not be kept");
    }
}

/// Pixels of the job's largest pass; `None` when it cannot be read.
async fn pixels_of(core: &Core, job: &Job) -> Option<i64> {
    let id = job.id.clone();
    let read = core
        .database
        .read("request_size", move |conn| jobs::request_json(conn, &id));
    let text = read.await.ok()?;
    let request = GenerationRequest::from_json(job.endpoint, &text).ok()?;
    Some(request.pixels())
}

/// Tells model-service that a server does not have a model after all, and has
/// the server listed again: what a listing of after that says counts. As well
/// as can be: the cooldown keeps such jobs away meanwhile.
fn correct(core: &Arc<Core>, attempt: &Attempt, title: &str, is_lora: bool) {
    let Some(model) = attempt.models.iter().find(|one| one.title == title) else {
        return;
    };
    let names = [model.sha256.as_deref(), Some(&model.reference), Some(title)];
    let text = names.into_iter().flatten().find(|name| !name.is_empty());
    let reference = Reference {
        is_lora,
        text: text.unwrap_or(title).to_owned(),
    };
    let (core, alias) = (Arc::clone(core), attempt.server.clone());
    let shutdown = core.shutdown.clone();
    shutdown.spawn("correct_availability", async move {
        match core.availability.not_there(&alias, &reference).await {
            Ok(known) => {
                tracing::info!(server.alias = %alias, reference = %reference.text, known, "the server does not have it");
            }
            Err(error) => {
                tracing::warn!(server.alias = %alias, reference = %reference.text, %error, "model-service could not be told that the server does not have it");
            }
        }
        core.monitors.list_and_push(&alias);
    });
}

/// Who may be to blame; `None` when the request is, or when something says
/// more of the server than its breaker could.
fn suspect<'a>(failure: &Failure, job_id: &'a str) -> Option<Suspect<'a>> {
    use AttemptOutcome::{Abandoned, BrokenAnswer, Lost, Refused, RetryableError, WrongModel};
    match (failure.outcome, failure.code) {
        // Ours.
        (_, DISK_FULL) => None,
        // The pair cools down; other jobs do well there.
        (_, outcome::MODEL_UNREADABLE | outcome::OUT_OF_MEMORY) => None,
        // Its health says so too, but a monitor may find it well whose probes
        // pass where a generation is refused.
        (_, outcome::POISONED) | (Refused, _) => Some(Suspect::Server),
        (RetryableError | BrokenAnswer | Lost | WrongModel | Abandoned, _) => {
            Some(Suspect::Job(job_id))
        }
        _ => None,
    }
}

/// What an attempt failed with, where that can be told.
fn blame(failure: &Failure, attempt: &Attempt) -> Option<Blame> {
    let checkpoint = || attempt.models.first().map(|one| one.title.clone());
    match failure.code {
        outcome::OUT_OF_MEMORY => Some(Blame::Size),
        outcome::MODEL_UNREADABLE | outcome::WRONG_MODEL => checkpoint().map(Blame::Model),
        outcome::LORA_NOT_APPLIED | outcome::CHECKPOINT_MISSING => {
            failure.model.clone().map(Blame::Model)
        }
        _ => None,
    }
}

/// Whether the server turned out not to have the model at all.
fn is_not_there(failure: &Failure) -> bool {
    matches!(
        failure.code,
        outcome::WRONG_MODEL | outcome::LORA_NOT_APPLIED | outcome::CHECKPOINT_MISSING
    )
}

/// Lets servers try again whose time is over, and shows it.
pub fn advance(core: &Core, now: Moment) {
    for alias in core.board.advance_breakers(now.monotonic) {
        tracing::info!(server.alias = %alias, "the server gets one job on trial");
        show_breaker(core, &alias, BreakerState::HalfOpen);
    }
}

/// Puts up what an earlier process learned; what is long over is removed.
pub async fn recall(core: &Core) -> Result<(), Error> {
    let all = core.database.read("cooldowns", cooldowns::all).await?;
    for (alias, cooldown) in all {
        core.board.put_back(&alias, cooldown);
    }
    forget_old(core).await
}

/// Removes cooldowns that are long over.
pub async fn forget_old(core: &Core) -> Result<(), Error> {
    for (alias, gone) in core.board.prune_cooldowns(core.clock.now()) {
        core.database
            .write("prune_cooldowns", move |conn| {
                cooldowns::change(conn, &alias, &gone, None)
            })
            .await?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "lessons/tests.rs"]
mod tests;
