//! A restart of job-service loses nothing and repeats nothing.

use anyhow::Result;
use forge_sim::{Fault, Outcome};
use stablequeue_proto::jobs::v1::{AttemptOutcome, HoldReason, JobState, SubmitJobRequest};
use system_tests::{Pair, PairOptions, Sim, pair::txt2img};

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_runs_during_a_restart_is_taken_up_and_not_repeated() -> Result<()> {
    let mut pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::gated().await?;
    pair.add("gpu", &sim).await?;
    let id = pair.submit(txt2img("goes on")).await?;
    sim.until(|log| log.len() == 1).await?;
    pair.stop_jobs().await?;
    pair.start_jobs().await?;
    let job = pair.job(&id).await?;
    assert_eq!(job.state(), JobState::Processing);
    sim.sim.gate().open();
    let job = pair.completed(&id).await?;
    assert_eq!((job.attempts.len(), job.attempts_spent), (1, 1));
    assert_eq!(sim.log().len(), 1);
    assert_eq!(sim.asked("/sdapi/v1/txt2img"), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_ends_while_the_service_is_down_is_fetched() -> Result<()> {
    let mut pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::gated().await?;
    pair.add("gpu", &sim).await?;
    let id = pair.submit(txt2img("done meanwhile")).await?;
    sim.until(|log| log.len() == 1).await?;
    pair.stop_jobs().await?;
    sim.sim.gate().open();
    sim.until(|log| log[0].ended.is_some()).await?;
    pair.start_jobs().await?;
    let job = pair.completed(&id).await?;
    assert_eq!(job.attempts.len(), 1);
    assert_eq!(sim.log().len(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_server_dies_while_the_service_is_down_is_made_again() -> Result<()> {
    let mut pair = Pair::start(PairOptions::default()).await?;
    let mut sim = Sim::gated().await?;
    pair.add("gpu", &sim).await?;
    let id = pair.submit(txt2img("made again")).await?;
    sim.until(|log| log.len() == 1).await?;
    pair.stop_jobs().await?;
    sim.sim.gate().open();
    sim.sim.restart().await?;
    pair.start_jobs().await?;
    let job = pair.completed(&id).await?;
    let outcomes: Vec<_> = job.attempts.iter().map(|one| one.outcome()).collect();
    assert_eq!(outcomes, [AttemptOutcome::Lost, AttemptOutcome::Completed]);
    assert_eq!(sim.log().len(), 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_server_has_forgotten_it_is_never_taken_for_done() -> Result<()> {
    let mut pair = Pair::start(PairOptions::default()).await?;
    let mut sim = Sim::gated().await?;
    pair.add("gpu", &sim).await?;
    sim.sim.script(Fault::FileMissing);
    let id = pair.submit(txt2img("forgotten")).await?;
    sim.until(|log| log.len() == 1).await?;
    pair.stop_jobs().await?;
    sim.sim.gate().open();
    sim.until(|log| log[0].ended.is_some()).await?;
    // It was done, but its next process knows nothing of that and has no file.
    sim.sim.restart().await?;
    pair.start_jobs().await?;
    let job = pair.completed(&id).await?;
    let outcomes: Vec<_> = job.attempts.iter().map(|one| one.outcome()).collect();
    assert_eq!(outcomes, [AttemptOutcome::Lost, AttemptOutcome::Completed]);
    let images = pair.images(&id).await?;
    assert_eq!((images.len(), images[0].attempt), (1, 2));
    let ended: Vec<Outcome> = sim.log().iter().map(|one| one.outcome).collect();
    assert_eq!(ended, [Outcome::Completed; 2]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_keeps_its_place_and_its_reason_over_a_restart() -> Result<()> {
    let mut pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::instant().await?;
    pair.add("gpu", &sim).await?;
    let missing = SubmitJobRequest {
        input: Some(
            stablequeue_proto::jobs::v1::submit_job_request::Input::Params(
                stablequeue_proto::jobs::v1::GenerationParams {
                    prompt: "x".to_owned(),
                    checkpoint: "not-there".to_owned(),
                    ..Default::default()
                },
            ),
        ),
        ..SubmitJobRequest::default()
    };
    let missing = pair.submit(missing).await?;
    pair.held(&missing, HoldReason::ModelMissing).await?;
    pair.cordon("gpu").await?;
    let mut ids = Vec::new();
    for prompt in ["one", "two", "three"] {
        ids.push(pair.submit(txt2img(prompt)).await?);
    }
    pair.stop_jobs().await?;
    pair.start_jobs().await?;
    for id in &ids {
        pair.held(id, HoldReason::ServerCordoned).await?;
    }
    pair.uncordon("gpu").await?;
    for id in &ids {
        pair.completed(id).await?;
    }
    pair.held(&missing, HoldReason::ModelMissing).await?;
    let prompts: Vec<_> = sim
        .log()
        .iter()
        .map(|one| one.request["prompt"].clone())
        .collect();
    assert_eq!(prompts, ["one", "two", "three"]);
    Ok(())
}
