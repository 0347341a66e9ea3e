//! No room for images on our own disk: the job waits, says so, and goes on by
//! itself when there is room, also after a restart.

use std::{fs, path::PathBuf};

use anyhow::Result;
use stablequeue_proto::jobs::v1::{Attempt, AttemptPhase, JobState, ServerUsage};
use system_tests::{Pair, PairOptions, Sim, pair::txt2img};

/// The folder in which images are made ready, out of the way: what is written
/// there fails as on a full disk.
struct NoRoom {
    folder: PathBuf,
    aside: PathBuf,
}

impl NoRoom {
    fn begin(pair: &Pair) -> Result<Self> {
        let images = pair.folder.path().join("images");
        let (folder, aside) = (images.join(".staging"), images.join("aside"));
        fs::rename(&folder, &aside)?;
        fs::write(&folder, "")?;
        Ok(Self { folder, aside })
    }

    fn end(self) -> Result<()> {
        fs::remove_file(&self.folder)?;
        fs::rename(&self.aside, &self.folder)?;
        Ok(())
    }
}

/// A job whose answer finds no room, and its attempt as callers see it.
async fn waiting(usage: ServerUsage) -> Result<(Pair, Sim, String, NoRoom, Attempt)> {
    let mut options = PairOptions::default();
    options.pace.room = std::time::Duration::from_millis(50);
    let pair = Pair::start(options).await?;
    let sim = Sim::gated().await?;
    pair.add_as("gpu", &sim, usage).await?;
    let id = pair.submit(txt2img("large")).await?;
    sim.until(|log| log.len() == 1).await?;
    let no_room = NoRoom::begin(&pair)?;
    sim.sim.gate().open();
    let job = pair
        .job_when(&id, "it says that the disk is full", |job| {
            let attempt = job.current_attempt.clone().unwrap_or_default();
            attempt.error_code == "DISK_FULL"
        })
        .await?;
    assert_eq!(job.state(), JobState::Processing);
    let attempt = job.current_attempt.unwrap_or_default();
    Ok((pair, sim, id, no_room, attempt))
}

fn fetched(sim: &Sim) -> usize {
    let requests = sim.sim.requests();
    let files = requests.iter().filter(|one| one.path.starts_with("/file="));
    files.count()
}

#[tokio::test(flavor = "multi_thread")]
async fn images_that_find_no_room_are_kept_when_there_is_room() -> Result<()> {
    for usage in [ServerUsage::Dedicated, ServerUsage::Shared] {
        let (pair, sim, id, no_room, attempt) = waiting(usage).await?;
        assert_eq!(attempt.phase(), AttemptPhase::Saving);
        assert!(attempt.message.contains("make room"), "{}", attempt.message);
        no_room.end()?;
        let job = pair.completed(&id).await?;
        assert_eq!(job.attempts.len(), 1);
        assert_eq!(job.attempts[0].error_code, "");
        assert_eq!((sim.log().len(), fetched(&sim)), (1, 0), "from the spool");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_they_are_fetched_where_the_server_saved_them() -> Result<()> {
    let (mut pair, sim, id, no_room, _) = waiting(ServerUsage::Dedicated).await?;
    pair.stop_jobs().await?;
    no_room.end()?;
    pair.start_jobs().await?;
    let job = pair.completed(&id).await?;
    assert_eq!((job.attempts.len(), sim.log().len()), (1, 1));
    assert!(fetched(&sim) > 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_job_does_not_wait_for_room() -> Result<()> {
    let (pair, sim, id, no_room, _) = waiting(ServerUsage::Dedicated).await?;
    pair.cancel(&id).await?;
    let job = pair.ended(&id).await?;
    assert_eq!(job.state(), JobState::Cancelled);
    assert_eq!(pair.images(&id).await?, []);
    no_room.end()?;
    let next = pair.submit(txt2img("next")).await?;
    pair.completed(&next).await?;
    assert_eq!(sim.log().len(), 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_finds_no_room_for_its_name_is_not_lost() -> Result<()> {
    let mut options = PairOptions::default();
    options.pace.room = std::time::Duration::from_millis(50);
    let pair = Pair::start(options).await?;
    let sim = Sim::instant().await?;
    // Nothing is saved there, so what is lost here would have to be made again.
    pair.add_as("gpu", &sim, ServerUsage::Shared).await?;
    let images = pair.folder.path().join("images");
    // Where the folders of images would be made, whatever their digests are.
    let in_the_way: Vec<PathBuf> = (0..=u8::MAX)
        .map(|first| images.join(format!("{first:02x}")))
        .collect();
    for path in &in_the_way {
        fs::write(path, "")?;
    }
    let id = pair.submit(txt2img("no folder")).await?;
    pair.job_when(&id, "it says that the disk is full", |job| {
        let attempt = job.current_attempt.clone().unwrap_or_default();
        attempt.error_code == "DISK_FULL"
    })
    .await?;
    for path in &in_the_way {
        fs::remove_file(path)?;
    }
    let job = pair.completed(&id).await?;
    assert_eq!((job.attempts.len(), sim.log().len()), (1, 1));
    Ok(())
}
