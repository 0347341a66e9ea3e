//! Servers without their UI: no task is known by its id there and no file can
//! be fetched, so what was lost is made again, but never twice at once.

use anyhow::Result;
use forge_sim::{Fault, Generation, Outcome};
use stablequeue_proto::jobs::v1::{AttemptOutcome, JobState, SubmitJobRequest};
use system_tests::{Pair, PairOptions, Sim, pair::txt2img};

async fn api_only(gated: bool) -> Result<Sim> {
    Sim::with(|config| {
        config.ui = false;
        config.gated = gated;
    })
    .await
}

/// Each ended before the next began.
fn in_turn(log: &[Generation]) -> bool {
    log.windows(2)
        .all(|two| two[0].ended.is_some_and(|ended| ended < two[1].started))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_made_again_after_the_first_has_ended() -> Result<()> {
    for fault in [Fault::CutBeforeAnswer, Fault::CutMidBody, Fault::Garbage] {
        let pair = Pair::start(PairOptions::default()).await?;
        let sim = api_only(false).await?;
        pair.add("gpu", &sim).await?;
        sim.sim.script(fault.clone());
        let id = pair.submit(txt2img("again")).await?;
        let job = pair.completed(&id).await?;
        assert_eq!(job.attempts.len(), 2, "{fault:?}: {job:#?}");
        let log = sim.log();
        assert!(log.len() == 2 && in_turn(&log), "{fault:?}: {log:#?}");
        assert_eq!(log[0].seed, log[1].seed, "the same request goes out again");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_job_service_waits_for_what_still_runs() -> Result<()> {
    let mut pair = Pair::start(PairOptions::default()).await?;
    let sim = api_only(true).await?;
    pair.add("gpu", &sim).await?;
    let id = pair.submit(txt2img("under way")).await?;
    sim.until(|log| log.len() == 1).await?;
    pair.stop_jobs().await?;
    pair.start_jobs().await?;
    let asked = sim.asked("/sdapi/v1/progress");
    sim.until_asked("/sdapi/v1/progress", asked + 20).await?;
    assert_eq!(sim.log().len(), 1, "the first still runs");
    sim.sim.gate().open();
    pair.completed(&id).await?;
    let log = sim.log();
    assert!(log.len() == 2 && in_turn(&log), "{log:#?}");
    assert_eq!(sim.asked("/sdapi/v1/interrupt"), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_of_a_killed_server_is_made_again_by_its_next_process() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let mut sim = api_only(true).await?;
    pair.add("gpu", &sim).await?;
    let id = pair.submit(txt2img("survivor")).await?;
    sim.until(|log| log.len() == 1).await?;
    sim.sim.kill().await;
    sim.sim.gate().open();
    sim.sim.restart().await?;
    let job = pair.completed(&id).await?;
    assert_eq!(job.attempts[0].outcome(), AttemptOutcome::Lost);
    let log = sim.log();
    let ended: Vec<Outcome> = log.iter().map(|one| one.outcome).collect();
    assert_eq!(ended, [Outcome::Killed, Outcome::Completed]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_generation_ends_by_itself_and_no_other_is_hit() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = api_only(true).await?;
    pair.add("gpu", &sim).await?;
    let first = pair.submit(txt2img("first")).await?;
    let second = pair.submit(txt2img("second")).await?;
    sim.until(|log| log.len() == 1).await?;
    pair.cancel(&first).await?;
    sim.sim.gate().open();
    let job = pair.ended(&first).await?;
    assert_eq!(job.state(), JobState::Cancelled);
    assert!(!job.result.unwrap_or_default().partial);
    pair.completed(&second).await?;
    assert_eq!(sim.asked("/sdapi/v1/interrupt"), 0);
    let ended: Vec<Outcome> = sim.log().iter().map(|one| one.outcome).collect();
    assert_eq!(ended, [Outcome::Completed, Outcome::Completed]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swapped_model_is_noticed_without_the_ui_too() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = api_only(false).await?;
    pair.add("gpu", &sim).await?;
    sim.sim.script(Fault::WrongModel);
    let id = pair
        .submit(SubmitJobRequest {
            max_attempts: Some(1),
            ..txt2img("the right one")
        })
        .await?;
    let job = pair.ended(&id).await?;
    assert_eq!(job.state(), JobState::Failed);
    assert_eq!(job.attempts[0].outcome(), AttemptOutcome::WrongModel);
    assert_eq!(pair.images(&id).await?, []);
    Ok(())
}
