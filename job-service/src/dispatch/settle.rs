//! Ends attempts: decides what follows for the job and writes both in one.
//! What the attempt found out is its own business.

use std::{future::Future, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use serde_json::json;
use service_kit::database::DatabaseError;

mod next;

use next::{Waits, after_failure, again, failed};

use crate::{
    core::Core,
    error::Error,
    images::ImagePin,
    job::{Attempt, AttemptOutcome, Image, Job, Verification},
    metrics::OutcomeLabel,
    outcome::Failure,
    store::attempts::{self, AttemptEnd, Next},
};

/// Before a write that the database refused is tried again.
const WRITE_RETRY: Duration = Duration::from_secs(1);

/// What an attempt came to.
#[derive(Clone, Debug)]
pub enum Ending {
    /// It has all images, checked.
    Completed(Harvest),
    /// It was told to end, with the images that there are: cancelled, or its
    /// time was up; which of the two is in its row.
    Cancelled(Option<Harvest>),
    /// It failed.
    Failed(Failure),
    /// Nothing was sent and the service stops.
    HandedBack,
}

impl Ending {
    /// What keeps the files of its images.
    fn pins(&self) -> Vec<Arc<ImagePin>> {
        match self {
            Self::Completed(harvest) | Self::Cancelled(Some(harvest)) => harvest.pins.clone(),
            Self::Cancelled(None) | Self::Failed(_) | Self::HandedBack => Vec::new(),
        }
    }
}

/// The images of an attempt, on disk, and what the server said of them.
#[derive(Clone, Debug)]
pub struct Harvest {
    /// The images in order.
    pub images: Vec<Image>,
    /// How sure the model is.
    pub verification: Verification,
    /// What the server calls the checkpoint.
    pub checkpoint: String,
    /// The short hash that the server reported.
    pub checkpoint_hash: Option<String>,
    /// What the server said it did.
    pub generation_info: serde_json::Value,
    /// Whether the generation was stopped before its end.
    pub partial: bool,
    /// Keep the files from being removed until rows name them.
    pub pins: Vec<Arc<ImagePin>>,
}

/// What is known of other servers when an attempt fails.
#[derive(Clone, Copy, Debug)]
pub struct Elsewhere {
    /// A server that has not refused this run might still take the job.
    pub others_left: bool,
    /// Another server failed in the same words.
    pub failed_alike: bool,
}

/// Ends an attempt. Tries until it is written, however long the database
/// refuses; `false` when the service stopped first.
pub async fn settle(
    core: &Core,
    job: &Job,
    attempt: &Attempt,
    ending: Ending,
    elsewhere: Elsewhere,
) -> bool {
    let now = core.clock.now();
    // Held until the rows of the images are on disk.
    let _pins = ending.pins();
    let waits = Waits {
        backoff: job.policy.backoff(core.pace.backoff()),
        unspent_before: unspent_before(core, attempt).await,
        jitter: rand::random::<f64>(),
    };
    let end = end_of(job, attempt, ending, elsewhere, now, waits);
    let images = match &end.next {
        Next::Completed { images, .. }
        | Next::Cancelled { images, .. }
        | Next::Failed { images, .. } => images.clone(),
        Next::Pending { .. } => Vec::new(),
    };
    match write_end(core, attempt, &end, now).await {
        Some(Ok(outcome)) => {
            let label = OutcomeLabel {
                outcome: outcome.as_str().to_owned(),
            };
            core.metrics.attempts.get_or_create(&label).inc();
            core.metrics.images.inc_by(images.len() as u64);
            let bytes = images.iter().map(|image| image.size_bytes.unsigned_abs());
            core.metrics.image_bytes.inc_by(bytes.sum());
            core.hints.job_changed(&attempt.job_id);
            if outcome == AttemptOutcome::Completed {
                core.model_uses.note(job, attempt, now);
            }
            tracing::info!(
                job.id = %attempt.job_id, attempt.number = attempt.number,
                server.alias = %attempt.server, outcome = %outcome,
                code = end.error_code.as_deref().unwrap_or(""), "the attempt ended"
            );
            true
        }
        Some(Err(error)) => {
            late(core, attempt, &error);
            true
        }
        None => false,
    }
}

/// Ends an attempt that cannot be read, or whose job cannot, so that it does not
/// hold its server for ever: without its row nothing can be told of what it would
/// be.
pub async fn unreadable(core: &Core, attempt: &Attempt, error: &Error) {
    let failure = Failure::new(
        AttemptOutcome::PermanentError,
        "JOB_UNREADABLE",
        &error.to_string(),
    );
    let end = AttemptEnd {
        loading_ms: attempt.loading_ms,
        generating_ms: attempt.generating_ms,
        outcome: failure.outcome,
        spent: failure.is_spent(),
        error_code: Some(failure.code.to_owned()),
        http_status: None,
        message: Some(failure.message.clone()),
        next: failed(attempt, &failure, failure.message.clone()),
    };
    match write_end(core, attempt, &end, core.clock.now()).await {
        Some(Ok(_)) => core.hints.job_changed(&attempt.job_id),
        Some(Err(error)) => late(core, attempt, &error),
        None => {}
    }
}

/// Writes the end of an attempt, however long the database refuses; `None` when
/// the service stopped first.
async fn write_end(
    core: &Core,
    attempt: &Attempt,
    end: &AttemptEnd,
    now: DateTime<Utc>,
) -> Option<Result<AttemptOutcome, Error>> {
    until_written(core, "end_attempt", || {
        let (fence, end) = (attempt.fence(), end.clone());
        core.database.write("end_attempt", move |conn| {
            attempts::end(conn, &fence, &end, now)
        })
    })
    .await
}

/// A write of an attempt that is over: it changed nothing, and that is told.
pub fn late(core: &Core, attempt: &Attempt, error: &Error) {
    core.metrics.late_writes.inc();
    tracing::warn!(
        job.id = %attempt.job_id, attempt.number = attempt.number, %error,
        "a write of an attempt changed nothing"
    );
}

/// Repeats a write until the database takes it or refuses it for good. `None`
/// when the service stopped first.
pub async fn until_written<T, F>(
    core: &Core,
    name: &'static str,
    write: impl Fn() -> F,
) -> Option<Result<T, Error>>
where
    F: Future<Output = Result<T, Error>>,
{
    loop {
        match write().await {
            Err(Error::Database(DatabaseError::Closed)) => return None,
            Err(Error::Database(error)) => {
                tracing::error!(%error, write = name, "the database refuses; trying again");
                tokio::select! {
                    () = core.clock.sleep(WRITE_RETRY) => {}
                    () = core.shutdown.requested() => return None,
                }
            }
            done => return Some(done),
        }
    }
}

/// How many attempts in a row did not count before this one. In doubt none:
/// then it is tried again at once.
async fn unspent_before(core: &Core, attempt: &Attempt) -> u32 {
    let (id, run) = (attempt.job_id.clone(), attempt.run);
    let read = core
        .database
        .read("unspent_in_a_row", move |conn| {
            attempts::unspent_in_a_row(conn, &id, run)
        })
        .await;
    read.ok()
        .and_then(|count| u32::try_from(count).ok())
        .unwrap_or(0)
}

/// What is written at the end of an attempt. Pure.
fn end_of(
    job: &Job,
    attempt: &Attempt,
    ending: Ending,
    elsewhere: Elsewhere,
    now: DateTime<Utc>,
    waits: Waits,
) -> AttemptEnd {
    let clean = |outcome: AttemptOutcome, next| AttemptEnd {
        loading_ms: attempt.loading_ms,
        generating_ms: attempt.generating_ms,
        outcome,
        spent: outcome.is_spent(),
        error_code: None,
        http_status: None,
        message: None,
        next,
    };
    match ending {
        Ending::Completed(harvest) => clean(
            AttemptOutcome::Completed,
            Next::Completed {
                result_json: result_json(job, attempt, &harvest, "Images generated."),
                images: harvest.images,
            },
        ),
        Ending::Cancelled(harvest) => clean(
            AttemptOutcome::Cancelled,
            Next::Cancelled {
                result_json: match &harvest {
                    Some(harvest) => result_json(job, attempt, harvest, "Cancelled."),
                    None => json!({"cancelled": true, "message": "Cancelled."}).to_string(),
                },
                images: harvest.map(|harvest| harvest.images).unwrap_or_default(),
            },
        ),
        Ending::HandedBack => clean(
            AttemptOutcome::HandedBack,
            again(waits.after_unspent(), "it was handed back", now),
        ),
        Ending::Failed(failure) => AttemptEnd {
            loading_ms: attempt.loading_ms,
            generating_ms: attempt.generating_ms,
            outcome: failure.outcome,
            spent: failure.is_spent(),
            error_code: Some(failure.code.to_owned()),
            http_status: Some(i32::from(failure.http_status)).filter(|status| *status != 0),
            message: Some(failure.message.clone()),
            next: after_failure(job, attempt, &failure, elsewhere, now, waits),
        },
    }
}

/// The documented result object, with the keys of the earlier application and
/// ours beside them.
fn result_json(job: &Job, attempt: &Attempt, harvest: &Harvest, message: &str) -> String {
    let names: Vec<String> = harvest
        .images
        .iter()
        .map(|image| {
            let extension = match image.media_type.as_str() {
                "image/jpeg" => "jpg",
                "image/webp" => "webp",
                _ => "png",
            };
            format!(
                "{}/{}.{extension}",
                &image.sha256[..2.min(image.sha256.len())],
                image.sha256
            )
        })
        .collect();
    let prompt = |key: &str| harvest.generation_info[key].as_str().unwrap_or_default();
    json!({
        "message": message,
        "cancelled": job.cancel_requested_at.is_some() || message == "Cancelled.",
        "generation_info": harvest.generation_info,
        "saved_filenames": names,
        "images": names,
        "positive_prompt": prompt("prompt"),
        "negative_prompt": prompt("negative_prompt"),
        "server": attempt.server,
        "attempt": attempt.number,
        "verification": harvest.verification.as_str(),
        "checkpoint": harvest.checkpoint,
        "checkpoint_hash": harvest.checkpoint_hash,
        "partial": harvest.partial,
    })
    .to_string()
}

#[cfg(test)]
#[path = "settle/tests.rs"]
mod tests;
