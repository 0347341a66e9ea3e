//! Takes the images of an attempt into the image store, from the answer or
//! from the files that the server saved. Decides nothing about the job.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use super::{
    answer::{self, Answer, AnswerError},
    context::{Context, Entered},
    forge::{CallFailure, FetchFailure, Fetched},
    room::{self, Full, Told, with_room},
    settle::Harvest,
};
use crate::{
    generation_info::GenerationInfo,
    images::{ImageError, StagedImage, StoredImage},
    job::{AttemptOutcome, AttemptPhase, Image, ImageKind, Verification},
    outcome::Failure,
    verify::{self, Verified},
};

/// How long a server that may not answer at all may take to give its files.
const SILENT_FETCH_MAX: Duration = Duration::from_secs(10);

/// Why there is no harvest.
#[derive(Debug)]
pub enum Barren {
    /// The images are not what was asked for, or not all there.
    Failure(Failure),
    /// The server could not be asked.
    Unreachable(CallFailure),
    /// It was told to end while it waited for room on our disk.
    ToldToEnd,
    /// The service stops.
    Stopped,
}

/// Reads the spooled answer.
pub async fn read_answer(context: &Context, spool: PathBuf) -> Result<Answer, Barren> {
    with_room(context, AttemptPhase::Saving, move |core| {
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
    // The last one first: without it the others are not worth the way.
    for path in context.files.iter().rev() {
        let Some(sink) = fetch_file(context, path).await? else {
            return Ok(None);
        };
        images.push(stage_file(context, sink).await?);
    }
    images.reverse();
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

/// The same from a server that may not answer at all: it is not waited for as
/// long as for one that does.
pub async fn fetch_soon(context: &Context) -> Result<Option<Harvest>, Barren> {
    let fetch = fetch(context);
    let fetched = context.core.clock.timeout(SILENT_FETCH_MAX, fetch).await;
    fetched.unwrap_or_else(|_| {
        let silent = CallFailure::TimedOut("it gives no files".to_owned());
        Err(Barren::Unreachable(silent))
    })
}

/// A file that was fetched and is still to be taken into the image store.
/// Removed when dropped, whatever happened.
struct FetchedFile(PathBuf);

impl Drop for FetchedFile {
    fn drop(&mut self) {
        // It may never have been made; what could not be removed is swept at
        // the next start.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Fetches one file, waiting for room on our disk. `None` when the server does
/// not give it.
async fn fetch_file(context: &Context, path: &str) -> Result<Option<FetchedFile>, Barren> {
    let mut told = Told::default();
    loop {
        let sink = FetchedFile(context.core.images.staging_path("fetched"));
        let error = match context.client.file(path, &sink.0).await {
            Ok(Fetched::Found { .. }) => {
                told.over(context, AttemptPhase::Saving).await;
                return Ok(Some(sink));
            }
            Ok(Fetched::Missing) => return Ok(None),
            // It answers, but gives no files, as behind a login of its own.
            Err(FetchFailure::Call(CallFailure::Status {
                status: 400..=499, ..
            })) => {
                return Ok(None);
            }
            Err(FetchFailure::Call(error)) => return Err(Barren::Unreachable(error)),
            Err(FetchFailure::Sink(error)) => error,
        };
        // A part of it takes no room while there is none.
        drop(sink);
        room::wait(context, AttemptPhase::Saving, &mut told, &error.to_string()).await?;
    }
}

async fn stage_file(context: &Context, file: FetchedFile) -> Result<StagedImage, Barren> {
    with_room(context, AttemptPhase::Saving, move |core| {
        core.images.stage_file(&file.0).map_err(full_or_failed)
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
        let stored = with_room(context, AttemptPhase::Saving, move |core| {
            core.images.put(&staged).map_err(full_or_failed)
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

fn full_or_failed(error: ImageError) -> Full {
    match error {
        ImageError::Broken(why) => Full::Failed(broken(&why)),
        ImageError::DiskFull(error) | ImageError::Io(error) => Full::Wait(error.to_string()),
        ImageError::Missing(name) => Full::Failed(broken(&format!("{name} is gone"))),
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
