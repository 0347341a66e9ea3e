//! Cancelling ends exactly the job that is meant.

use anyhow::Result;
use diesel::{Connection as _, RunQueryDsl as _, sql_types::Text, sqlite::SqliteConnection};
use forge_sim::Outcome;
use stablequeue_proto::jobs::v1::{
    self as jobs, GenerationParams, ImageKind, JobState, ServerUsage, SubmitJobRequest,
};
use system_tests::{
    Pair, PairOptions, Sim,
    pair::{params, txt2img},
};

fn ten_steps(prompt: &str) -> SubmitJobRequest {
    params(GenerationParams {
        prompt: prompt.to_owned(),
        steps: Some(10),
        width: Some(64),
        height: Some(64),
        ..GenerationParams::default()
    })
}

/// A gated server that has done three steps of the first job, and a second
/// job behind it.
async fn in_the_middle(usage: ServerUsage) -> Result<(Pair, Sim, String, String)> {
    in_the_middle_of(PairOptions::default(), usage).await
}

async fn in_the_middle_of(
    options: PairOptions,
    usage: ServerUsage,
) -> Result<(Pair, Sim, String, String)> {
    let pair = Pair::start(options).await?;
    let sim = Sim::gated().await?;
    pair.add_as("gpu", &sim, usage).await?;
    let first = pair.submit(ten_steps("first")).await?;
    let second = pair.submit(ten_steps("second")).await?;
    sim.sim.gate().load(1);
    sim.sim.gate().step(3);
    sim.until(|log| log.first().is_some_and(|one| one.steps_done == 3))
        .await?;
    Ok((pair, sim, first, second))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_pending_job_is_never_dispatched() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let id = pair.submit(txt2img("never")).await?;
    let job = pair.cancel(&id).await?;
    assert_eq!(job.state(), JobState::Cancelled);
    assert!(job.cancel_requested_time.is_some() && job.complete_time.is_some());
    assert_eq!((job.hold, job.result), (None, None));
    let sim = Sim::instant().await?;
    pair.add("gpu", &sim).await?;
    let next = pair.submit(txt2img("instead")).await?;
    pair.completed(&next).await?;
    assert_eq!(sim.log().len(), 1);
    assert_eq!(pair.job(&id).await?.attempts, []);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_job_is_interrupted_and_the_next_one_is_not() -> Result<()> {
    let (pair, sim, first, second) = in_the_middle(ServerUsage::Dedicated).await?;
    let job = pair.cancel(&first).await?;
    assert!(job.cancel_requested_time.is_some());
    let job = pair.ended(&first).await?;
    assert_eq!(job.state(), JobState::Cancelled);
    let result = job.result.unwrap_or_default();
    assert!(result.partial);
    let images = pair.images(&first).await?;
    assert_eq!((images.len(), result.image_count), (1, 1));
    assert_eq!(images[0].kind(), ImageKind::Partial);
    assert!(pair.image_path(&images[0].sha256).is_file());
    sim.sim.gate().open();
    let job = pair.completed(&second).await?;
    assert!(!job.result.unwrap_or_default().partial);
    let ended: Vec<Outcome> = sim.log().iter().map(|one| one.outcome).collect();
    assert_eq!(ended, [Outcome::Interrupted, Outcome::Completed]);
    assert_eq!(sim.log()[1].steps_done, 10);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_a_job_that_waits_leaves_the_one_at_work_alone() -> Result<()> {
    let (pair, sim, first, second) = in_the_middle(ServerUsage::Dedicated).await?;
    assert_eq!(pair.cancel(&second).await?.state(), JobState::Cancelled);
    let asked = sim.asked("/sdapi/v1/progress");
    sim.until_asked("/sdapi/v1/progress", asked + 5).await?;
    sim.sim.gate().open();
    let job = pair.completed(&first).await?;
    assert_eq!(job.attempts.len(), 1);
    assert!(!job.result.unwrap_or_default().partial);
    let ended: Vec<Outcome> = sim.log().iter().map(|one| one.outcome).collect();
    assert_eq!(ended, [Outcome::Completed]);
    assert_eq!(sim.asked("/sdapi/v1/interrupt"), 0);
    assert_eq!(pair.job(&second).await?.attempts, []);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_again_and_again_is_harmless() -> Result<()> {
    let (pair, sim, first, second) = in_the_middle(ServerUsage::Dedicated).await?;
    for _ in 0..5 {
        pair.cancel(&first).await?;
    }
    let job = pair.ended(&first).await?;
    let again = pair.cancel(&first).await?;
    assert_eq!(
        (again.state(), &again.etag),
        (JobState::Cancelled, &job.etag)
    );
    sim.sim.gate().open();
    pair.completed(&second).await?;
    let asked = sim.asked("/sdapi/v1/interrupt");
    let done = pair.completed(&second).await?;
    let after = pair.cancel(&second).await?;
    assert_eq!(
        (after.state(), &after.etag),
        (JobState::Completed, &done.etag)
    );
    assert_eq!(after.cancel_requested_time, None);
    assert_eq!(pair.images(&second).await?[0].kind(), ImageKind::Sample);
    let next = pair.submit(txt2img("unharmed")).await?;
    pair.completed(&next).await?;
    assert_eq!(sim.asked("/sdapi/v1/interrupt"), asked);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_shared_server_a_cancelled_generation_ends_by_itself() -> Result<()> {
    let (pair, sim, first, second) = in_the_middle(ServerUsage::Shared).await?;
    let job = pair.cancel(&first).await?;
    assert_eq!(job.state(), JobState::Processing);
    let asked = sim.asked("/sdapi/v1/progress");
    sim.until_asked("/sdapi/v1/progress", asked + 5).await?;
    assert_eq!(pair.job(&first).await?.state(), JobState::Processing);
    sim.sim.gate().open();
    let job = pair.ended(&first).await?;
    assert_eq!(job.state(), JobState::Cancelled);
    assert!(
        !job.result.unwrap_or_default().partial,
        "it came whole and is kept"
    );
    pair.completed(&second).await?;
    assert_eq!(sim.asked("/sdapi/v1/interrupt"), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_waits_for_its_retry_is_cancelled_at_once() -> Result<()> {
    let mut options = PairOptions::default();
    options.pace.retry_first = std::time::Duration::from_secs(600);
    options.pace.retry_most = std::time::Duration::from_secs(600);
    let pair = Pair::start(options).await?;
    let sim = Sim::instant().await?;
    pair.add("gpu", &sim).await?;
    sim.sim.script(forge_sim::Fault::Error500 {
        error: "RuntimeError".to_owned(),
        message: "not now".to_owned(),
    });
    let id = pair.submit(txt2img("retried")).await?;
    let hold = pair.held(&id, jobs::HoldReason::RetryBackoff).await?;
    assert!(hold.retry_time.is_some() && hold.message.contains("not now"));
    assert_eq!(pair.cancel(&id).await?.state(), JobState::Cancelled);
    assert_eq!(sim.log().len(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wish_that_is_only_in_the_row_is_found_by_the_next_start() -> Result<()> {
    let mut options = PairOptions::default();
    // A server that is not heard of for so long would be left alone with it.
    options.pace.unknown_grace = std::time::Duration::from_secs(3);
    let (mut pair, sim, first, second) = in_the_middle_of(options, ServerUsage::Dedicated).await?;
    pair.stop_jobs().await?;
    let mut conn = SqliteConnection::establish(&pair.jobs_database().to_string_lossy())?;
    let marked = diesel::sql_query(
        "UPDATE jobs SET cancel_requested_at = last_updated_timestamp WHERE mobilesd_job_id = ?",
    )
    .bind::<Text, _>(&first)
    .execute(&mut conn)?;
    assert_eq!(marked, 1);
    drop(conn);
    pair.start_jobs().await?;
    let job = pair.ended(&first).await?;
    assert_eq!(job.state(), JobState::Cancelled);
    sim.sim.gate().open();
    pair.completed(&second).await?;
    let ended: Vec<Outcome> = sim.log().iter().map(|one| one.outcome).collect();
    assert_eq!(ended, [Outcome::Interrupted, Outcome::Completed]);
    Ok(())
}
