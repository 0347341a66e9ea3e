//! Servers without their UI: no task is known by its id there and no file can
//! be fetched, so what was lost is made again, but never twice at once.

use anyhow::Result;
use forge_sim::{Event, Fault, Generation, Outcome, What};
use job_service::dispatch::forge::GenerateAnswer;
use stablequeue_proto::jobs::v1::{
    self as jobs, AttemptOutcome, AttemptPhase, JobState, SubmitJobRequest,
};
use system_tests::{Pair, PairOptions, Sim, pair::txt2img, wait};

use crate::left_behind::next_second;

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

/// Waits until somebody else's request is behind what runs.
async fn queued(sim: &Sim, count: usize) -> Result<()> {
    let queued = |events: &[Event]| {
        let queued = events.iter();
        let queued = queued.filter(|one| matches!(one.what, What::Queued { .. }));
        queued.count() == count
    };
    sim.sim.wait_for_events(queued, wait::BOUND).await
}

/// Lets a cancel interrupt what runs there.
async fn allow_interrupts(pair: &Pair) -> Result<()> {
    let request = jobs::UpdateServerRequest {
        server: Some(jobs::Server {
            alias: "gpu".to_owned(),
            interrupts_allowed: Some(true),
            ..jobs::Server::default()
        }),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["interrupts_allowed".to_owned()],
        }),
    };
    pair.servers().await?.update_server(request).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_made_again_although_its_owner_keeps_the_server_busy() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = api_only(true).await?;
    pair.add("gpu", &sim).await?;
    sim.sim.script(Fault::CutBeforeAnswer);
    let id = pair.submit(txt2img("lost")).await?;
    sim.sim.gate().load(1);
    pair.job_when(&id, "it generates", |job| {
        let attempt = job.current_attempt.clone().unwrap_or_default();
        attempt.phase() == AttemptPhase::Generating
    })
    .await?;
    let other = sim.foreign()?;
    queued(&sim, 2).await?;
    next_second().await?;
    sim.sim.gate().step(2);
    // The other one is at work until the gate opens.
    let job = pair
        .job_when(&id, "its second attempt begins", |job| {
            job.current_attempt
                .as_ref()
                .is_some_and(|it| it.number == 2)
        })
        .await?;
    assert_eq!(job.attempts[0].outcome(), AttemptOutcome::Lost);
    sim.sim.gate().open();
    assert!(matches!(other.await?, GenerateAnswer::Answered { .. }));
    pair.completed(&id).await?;
    let log = sim.log();
    assert!(log.len() == 3 && in_turn(&log), "{log:#?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_does_not_interrupt_what_its_owner_began_before() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = api_only(true).await?;
    pair.add("gpu", &sim).await?;
    allow_interrupts(&pair).await?;
    let other = sim.foreign()?;
    sim.until(|log| log.len() == 1).await?;
    let id = pair.submit(txt2img("behind it")).await?;
    queued(&sim, 2).await?;
    pair.cancel(&id).await?;
    let asked = sim.asked("/sdapi/v1/progress");
    sim.until_asked("/sdapi/v1/progress", asked + 5).await?;
    assert_eq!(sim.asked("/sdapi/v1/interrupt"), 0);
    next_second().await?;
    // The other one ends, and what is ours is interrupted.
    sim.sim.gate().load(1);
    sim.sim.gate().step(2);
    assert!(matches!(other.await?, GenerateAnswer::Answered { .. }));
    let job = pair.ended(&id).await?;
    assert_eq!(job.state(), JobState::Cancelled);
    let ended: Vec<Outcome> = sim.log().iter().map(|one| one.outcome).collect();
    assert_eq!(ended, [Outcome::Completed, Outcome::Interrupted]);
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
