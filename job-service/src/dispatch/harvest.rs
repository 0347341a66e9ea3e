//! Takes the images of an attempt into the image store, from the answer or
//! from the files that the server saved. Waits for room on the disk; decides
//! nothing about the job.

use std::{io, sync::Arc, time::Duration};

use super::{
    answer::{self, Answer, AnswerError},
    context::{Context, Entered},
    forge::{CallFailure, FetchFailure, Fetched},
    settle::Harvest,
};
use crate::{
    core::Core,
    generation_info::GenerationInfo,
    images::{ImageError, StagedImage, StoredImage},
    job::{AttemptOutcome, AttemptPhase, Image, ImageKind, Verification},
    outcome::Failure,
    verify::{self, Verified},
};

/// Before a write that found no room is tried again.
const ROOM_RETRY: Duration = Duration::from_secs(5);

/// Why there is no harvest.
#[derive(Debug)]
pub enum Barren {
    /// The images are not what was asked for, or not all there.
    Failure(Failure),
    /// The server could not be asked.
    Unreachable(CallFailure),
    /// The service stops.
    Stopped,
}

/// Reads the spooled answer.
pub async fn read_answer(context: &Context, spool: std::path::PathBuf) -> Result<Answer, Barren> {
    with_room(context, move |core| {
        answer::read_answer(&spool, &core.images).map_err(|error| match error {
            AnswerError::DiskFull(error) => Full::Wait(error.to_string()),
            // No room brings it back; the server's files may.
            AnswerError::Io(error) if error.kind() == io::ErrorKind::NotFound => {
                Full::Failed(broken("the answer is gone from the disk"))
            }
            AnswerError::Io(error) => Full::Wait(error.to_string()),
            AnswerError::Broken(why) => Full::Failed(broken(&why)),
        })
    })
    .await
}

/// Checks a whole answer and keeps its images.
pub async fn keep_answer(
    context: &Context,
    answer: Answer,
    interrupted: bool,
) -> Result<Harvest, Barren> {
    let Answer { images, info } = answer;
    let verified = verify::verify(
        &context.request,
        &context.body,
        &context.expected,
        &info,
        images.len(),
        interrupted,
    )
    .map_err(Barren::Failure)?;
    keep(context, images, &info, &verified, false).await
}

/// Keeps the images of a generation that was stopped on our wish: whatever
/// there is, marked as partial unless it is whole.
pub async fn keep_partial(
    context: &Context,
    answer: Answer,
    interrupted: bool,
) -> Result<Harvest, Barren> {
    let Answer { images, info } = answer;
    let whole = verify::verify(
        &context.request,
        &context.body,
        &context.expected,
        &info,
        images.len(),
        interrupted,
    );
    match whole {
        Ok(verified) => keep(context, images, &info, &verified, false).await,
        Err(_) => {
            let first = info.index_of_first_image.min(images.len());
            let verified = Verified {
                verification: Verification::Unverified,
                checkpoint: context.expected.title.clone(),
                checkpoint_hash: info.sd_model_hash.clone(),
                samples: first..images.len(),
            };
            keep(context, images, &info, &verified, true).await
        }
    }
}

/// Fetches the files that the server saved for the attempt. `None` when they
/// are not all there.
pub async fn fetch(context: &Context) -> Result<Option<Harvest>, Barren> {
    if context.files.is_empty() {
        return Ok(None);
    }
    let mut images = Vec::new();
    for path in &context.files {
        let sink = context.core.images.staging_path("fetched");
        match context.client.file(path, &sink).await {
            Ok(Fetched::Found { .. }) => {}
            Ok(Fetched::Missing) => return Ok(None),
            // It answers, but gives no files, as behind a login of its own.
            Err(FetchFailure::Call(CallFailure::Status {
                status: 400..=499, ..
            })) => {
                return Ok(None);
            }
            Err(FetchFailure::Call(error)) => return Err(Barren::Unreachable(error)),
            Err(FetchFailure::Sink(error)) => {
                tracing::error!(%error, "a fetched file cannot be written");
                return Err(Barren::Unreachable(CallFailure::Malformed(
                    error.to_string(),
                )));
            }
        }
        images.push(stage_file(context, sink).await?);
    }
    let texts = images
        .iter()
        .map(|image| image.infotext.clone().unwrap_or_default())
        .collect();
    let (verified, info) =
        verify::verify_infotexts(&context.request, &context.body, &context.expected, texts)
            .map_err(Barren::Failure)?;
    keep(context, images, &info, &verified, false)
        .await
        .map(Some)
}

async fn stage_file(context: &Context, path: std::path::PathBuf) -> Result<StagedImage, Barren> {
    with_room(context, move |core| {
        let staged = core.images.stage_file(&path).map_err(full_or_failed)?;
        // What could not be removed is swept at the next start.
        let _ = std::fs::remove_file(&path);
        Ok(staged)
    })
    .await
}

/// Gives images their lasting names and describes them.
async fn keep(
    context: &Context,
    staged: Vec<StagedImage>,
    info: &GenerationInfo,
    verified: &Verified,
    partial: bool,
) -> Result<Harvest, Barren> {
    let mut images = Vec::new();
    let mut pins = Vec::new();
    for (at, staged) in staged.into_iter().enumerate() {
        let Some(kind) = verified.kind_of(at) else {
            continue;
        };
        let infotext = staged
            .infotext
            .clone()
            .or_else(|| info.infotexts.get(at).cloned())
            .unwrap_or_default();
        let sample = at.saturating_sub(verified.samples.start);
        let seed = info.seeds.get(sample).copied().unwrap_or(context.job.seed);
        let mut staged = Some(staged);
        let stored = with_room(context, move |core| match staged.take() {
            Some(image) => core.images.put(image).map_err(full_or_failed),
            None => Err(Full::Failed(broken("an image was lost while it was kept"))),
        })
        .await?;
        pins.push(Arc::clone(&stored.pin));
        images.push(describe(
            context,
            images.len(),
            stored,
            Described {
                kind: if partial { ImageKind::Partial } else { kind },
                seed,
                infotext,
                verification: verified.verification,
            },
        ));
    }
    Ok(Harvest {
        images,
        verification: verified.verification,
        checkpoint: verified.checkpoint.clone(),
        checkpoint_hash: verified.checkpoint_hash.clone(),
        generation_info: info.raw.clone(),
        partial,
        pins,
    })
}

struct Described {
    kind: ImageKind,
    seed: i64,
    infotext: String,
    verification: Verification,
}

fn describe(context: &Context, position: usize, stored: StoredImage, of: Described) -> Image {
    let Described {
        kind,
        seed,
        infotext,
        verification,
    } = of;
    // Sizes and counts are limited far below these types.
    let small = |value: u32| i32::try_from(value).unwrap_or(i32::MAX);
    Image {
        position: i32::try_from(position).unwrap_or(i32::MAX),
        sha256: stored.sha256,
        kind,
        size_bytes: i64::try_from(stored.size_bytes).unwrap_or(i64::MAX),
        width: small(stored.width),
        height: small(stored.height),
        seed,
        infotext,
        verification,
        media_type: stored.media_type.to_owned(),
        attempt: context.attempt.number,
    }
}

/// Why work on the disk did not succeed.
enum Full {
    /// There may be room later.
    Wait(String),
    /// It never will.
    Failed(Failure),
}

fn full_or_failed(error: ImageError) -> Full {
    match error {
        ImageError::Broken(why) => Full::Failed(broken(&why)),
        ImageError::DiskFull(error) | ImageError::Io(error) => Full::Wait(error.to_string()),
        ImageError::Missing(name) => Full::Failed(broken(&format!("{name} is gone"))),
    }
}

/// Does blocking work on the disk, again and again while there is no room.
async fn with_room<T: Send + 'static>(
    context: &Context,
    work: impl FnMut(&Core) -> Result<T, Full> + Send + 'static,
) -> Result<T, Barren> {
    let mut work = Some(work);
    loop {
        let Some(mut attempt) = work.take() else {
            return Err(Barren::Stopped);
        };
        let core = Arc::clone(&context.core);
        let done = tokio::task::spawn_blocking(move || {
            let done = attempt(&core);
            (attempt, done)
        })
        .await;
        let Ok((again, done)) = done else {
            return Err(Barren::Failure(broken(
                "reading the images failed unexpectedly",
            )));
        };
        match done {
            Ok(done) => return Ok(done),
            Err(Full::Failed(failure)) => return Err(Barren::Failure(failure)),
            Err(Full::Wait(why)) => {
                tracing::error!(job.id = %context.job.id, %why, "images cannot be written; trying again");
                work = Some(again);
                tokio::select! {
                    () = context.core.clock.sleep(ROOM_RETRY) => {}
                    () = context.core.shutdown.requested() => return Err(Barren::Stopped),
                }
            }
        }
    }
}

fn broken(why: &str) -> Failure {
    Failure::new(AttemptOutcome::BrokenAnswer, "FORGE_BROKEN_ANSWER", why)
}

/// Enters the phase in which images are checked and written.
pub async fn enter_saving(context: &Context) -> Result<(), Barren> {
    match context.enter(AttemptPhase::Saving).await {
        Entered::Yes => Ok(()),
        Entered::No => Err(Barren::Stopped),
    }
}
