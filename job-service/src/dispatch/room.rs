//! Waits for room on our own disk: work that finds none is done again until
//! there is, and callers see meanwhile why the attempt waits. What the work is
//! belongs to others.

use std::{fs, io::Write as _, sync::Arc};

use super::{context::Context, harvest::Barren, settle};
use crate::{
    core::Core,
    job::{AttemptOutcome, AttemptPhase},
    outcome::Failure,
    store::attempts,
};

/// Why an attempt waits for our own disk.
pub const DISK_FULL: &str = "DISK_FULL";
/// Bytes that must fit before something that was lost for want of room is made
/// again: those of a large answer.
const PROBE_BYTES: usize = 16 * 1024 * 1024;

/// Why work on the disk did not succeed.
pub enum Full {
    /// There may be room later.
    Wait(String),
    /// It never will.
    Failed(Failure),
}

/// Does blocking work on the disk, again and again while there is no room.
/// Whoever wants the attempt to end does not wait for room.
pub async fn with_room<T: Send + 'static>(
    context: &Context,
    phase: AttemptPhase,
    work: impl FnMut(&Core) -> Result<T, Full> + Send + 'static,
) -> Result<T, Barren> {
    let mut work = Some(work);
    let mut told = Told::default();
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
            return Err(Barren::Failure(Failure::new(
                AttemptOutcome::BrokenAnswer,
                "FORGE_BROKEN_ANSWER",
                "reading the images failed unexpectedly",
            )));
        };
        let why = match done {
            Ok(done) => {
                told.over(context, phase).await;
                return Ok(done);
            }
            Err(Full::Failed(failure)) => return Err(Barren::Failure(failure)),
            Err(Full::Wait(why)) => why,
        };
        work = Some(again);
        wait(context, phase, &mut told, &why).await?;
    }
}

/// What callers were told last.
#[derive(Default)]
pub struct Told(Option<String>);

impl Told {
    /// There is room again.
    pub async fn over(&mut self, context: &Context, phase: AttemptPhase) {
        if self.0.take().is_some() {
            tell(context, phase, None).await;
        }
    }
}

/// Says why it waits, and waits until it is worth another try.
pub async fn wait(
    context: &Context,
    phase: AttemptPhase,
    told: &mut Told,
    why: &str,
) -> Result<(), Barren> {
    if context.wish.is_cancelled() {
        return Err(Barren::ToldToEnd);
    }
    if told.0.as_deref() != Some(why) {
        tracing::error!(job.id = %context.job.id, why, "there is no room on the disk; trying again");
        tell(context, phase, Some(why)).await;
        told.0 = Some(why.to_owned());
    }
    tokio::select! {
        () = context.core.clock.sleep(context.core.pace.room) => Ok(()),
        () = context.wish.cancelled() => Ok(()),
        () = context.core.shutdown.requested() => Err(Barren::Stopped),
    }
}

/// Writes for callers why the attempt waits, or that it does no more. That it
/// waits matters more than that somebody knows.
async fn tell(context: &Context, phase: AttemptPhase, why: Option<&str>) {
    let (fence, now) = (context.attempt.fence(), context.core.clock.now());
    let trouble =
        why.map(|why| format!("our own disk: {why}; make room, and it goes on by itself"));
    let written = context
        .core
        .database
        .write("note_trouble", move |conn| {
            let trouble = trouble.as_deref().map(|why| (DISK_FULL, why));
            attempts::note_trouble(conn, &fence, phase, trouble, now)
        })
        .await;
    match written {
        Ok(()) => context.core.hints.job_changed(&context.attempt.job_id),
        Err(error @ crate::error::Error::AttemptOver { .. }) => {
            settle::late(&context.core, &context.attempt, &error);
        }
        // The disk may be the database's too.
        Err(error) => tracing::warn!(%error, "that an attempt waits for room could not be written"),
    }
}

/// Waits until there is room for an answer.
pub async fn there_is(context: &Context) -> Result<(), Barren> {
    with_room(context, AttemptPhase::Saving, |core| {
        let path = core.images.staging_path("room");
        let written = fs::File::create_new(&path).and_then(|mut file| {
            file.write_all(&vec![0; PROBE_BYTES])
                .and_then(|()| file.sync_all())
        });
        // What could not be removed is swept at the next start.
        let _ = fs::remove_file(&path);
        written.map_err(|error| Full::Wait(error.to_string()))
    })
    .await
}
