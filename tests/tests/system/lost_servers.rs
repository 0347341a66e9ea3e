//! Servers that die, freeze or restart in the middle of a job.

use anyhow::Result;
use forge_sim::{Outcome, Target};
use stablequeue_proto::jobs::v1::{AttemptOutcome, AttemptPhase, Job, JobState, SubmitJobRequest};
use system_tests::{Pair, PairOptions, Sim, pair::txt2img};

fn on(server: &str, prompt: &str) -> SubmitJobRequest {
    SubmitJobRequest {
        target_server: server.to_owned(),
        ..txt2img(prompt)
    }
}

/// Waits until nobody knows what became of the job's attempt.
async fn until_unknown(pair: &Pair, id: &str) -> Result<Job> {
    pair.job_when(id, "the outcome is unknown", |job| {
        let attempt = job.current_attempt.clone().unwrap_or_default();
        attempt.phase() == AttemptPhase::OutcomeUnknown
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_of_a_killed_server_is_made_again_once_the_old_process_is_gone() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let (mut doomed, healthy) = (Sim::gated().await?, Sim::instant().await?);
    pair.add("a", &doomed).await?;
    let id = pair.submit(txt2img("survivor")).await?;
    doomed.until(|log| log.len() == 1).await?;
    pair.add("b", &healthy).await?;
    doomed.sim.kill().await;
    until_unknown(&pair, &id).await?;
    // The other server works and gets other jobs, not this one.
    for prompt in ["one", "two", "three"] {
        let other = pair.submit(on("b", prompt)).await?;
        pair.completed(&other).await?;
    }
    let job = pair.job(&id).await?;
    assert_eq!(job.state(), JobState::Processing);
    assert_eq!(job.attempts.len(), 1);
    let known_gone = healthy.log().last().and_then(|last| last.ended);
    doomed.sim.gate().open();
    doomed.sim.restart().await?;
    let job = pair.completed(&id).await?;
    assert_eq!(job.attempts[0].outcome(), AttemptOutcome::Lost);
    let mut generations = doomed.log();
    generations.extend(healthy.log());
    generations.retain(|one| one.request["prompt"] == "survivor");
    let [first, second] = &generations[..] else {
        panic!("{generations:#?}");
    };
    assert_eq!(first.outcome, Outcome::Killed);
    assert_ne!(first.app_id, second.app_id);
    assert!(known_gone.is_some_and(|order| order < second.started));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_makes_its_job_again_itself_when_the_job_names_it() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let (mut doomed, healthy) = (Sim::gated().await?, Sim::instant().await?);
    pair.add("a", &doomed).await?;
    pair.add("b", &healthy).await?;
    let id = pair.submit(on("a", "mine")).await?;
    doomed.until(|log| log.len() == 1).await?;
    doomed.sim.kill().await;
    doomed.sim.gate().open();
    doomed.sim.restart().await?;
    let job = pair.completed(&id).await?;
    assert_eq!(job.result.unwrap_or_default().server, "a");
    let log = doomed.log();
    assert_eq!(log.len(), 2);
    assert_ne!(log[0].app_id, log[1].app_id);
    assert!(healthy.log().is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_server_keeps_its_job_and_finishes_it() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let (sim, other) = (Sim::gated().await?, Sim::instant().await?);
    pair.add("a", &sim).await?;
    let id = pair.submit(txt2img("patience")).await?;
    sim.until(|log| log.len() == 1).await?;
    pair.add("b", &other).await?;
    sim.sim.freeze();
    // A second server works meanwhile, and leaves this job alone.
    for _ in 0..3 {
        let id = pair.submit(on("b", "meanwhile")).await?;
        pair.completed(&id).await?;
    }
    assert_eq!(pair.job(&id).await?.state(), JobState::Processing);
    sim.sim.thaw();
    sim.sim.gate().open();
    pair.completed(&id).await?;
    assert_eq!(sim.log().len(), 1);
    assert_eq!(other.log().len(), 3);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_that_no_probe_has_seen_does_not_make_a_job_run_twice() -> Result<()> {
    let pair = Pair::start(PairOptions::with_quiet_monitors()).await?;
    let mut sim = Sim::gated().await?;
    pair.add("gpu", &sim).await?;
    sim.sim.restart().await?;
    let id = pair.submit(txt2img("sent to the new process")).await?;
    sim.until(|log| log.len() == 1).await?;
    // The follower compares processes now and then.
    let asked = sim.asked("/app_id");
    sim.until_asked("/app_id", asked + 3).await?;
    sim.sim.gate().open();
    let job = pair.completed(&id).await?;
    assert_eq!(sim.log().len(), 1, "{:#?}", sim.log());
    assert_eq!(job.attempts.len(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_job_does_not_wait_for_a_server_that_is_gone_for_good() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let mut sim = Sim::gated().await?;
    pair.add("gpu", &sim).await?;
    let id = pair.submit(txt2img("lost")).await?;
    sim.until(|log| log.len() == 1).await?;
    sim.sim.kill().await;
    until_unknown(&pair, &id).await?;
    assert_eq!(pair.cancel(&id).await?.state(), JobState::Processing);
    let job = pair.ended(&id).await?;
    assert_eq!(job.state(), JobState::Cancelled);
    let status = pair.server("gpu").await?.status.unwrap_or_default();
    assert_eq!(status.running_job_id, "");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_server_is_gone_after_a_restart_says_so_and_can_be_cancelled() -> Result<()> {
    let mut pair = Pair::start(PairOptions::default()).await?;
    let mut sim = Sim::gated().await?;
    pair.add("gpu", &sim).await?;
    let id = pair.submit(txt2img("lost")).await?;
    sim.until(|log| log.len() == 1).await?;
    pair.stop_jobs().await?;
    sim.sim.kill().await;
    pair.start_jobs().await?;
    until_unknown(&pair, &id).await?;
    pair.cancel(&id).await?;
    assert_eq!(pair.ended(&id).await?.state(), JobState::Cancelled);
    Ok(())
}

/// A job of a gated server that has begun to generate.
async fn generating() -> Result<(Pair, Sim, String)> {
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::gated().await?;
    pair.add("gpu", &sim).await?;
    let id = pair.submit(txt2img("first")).await?;
    sim.sim.gate().load(1);
    pair.job_when(&id, "it generates", |job| {
        let attempt = job.current_attempt.clone().unwrap_or_default();
        attempt.phase() == AttemptPhase::Generating
    })
    .await?;
    Ok((pair, sim, id))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_answers_nothing_but_the_job_itself_loses_no_answer() -> Result<()> {
    let (pair, sim, id) = generating().await?;
    sim.sim.hold(Target::Control);
    let asked = sim.asked("/sdapi/v1/progress");
    sim.until_asked("/sdapi/v1/progress", asked + 1).await?;
    sim.sim.gate().open();
    let job = pair.completed(&id).await?;
    assert_eq!((job.attempts.len(), sim.log().len()), (1, 1));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_forty_waiting_calls_no_interrupt_meets_the_next_job() -> Result<()> {
    let (pair, sim, first) = generating().await?;
    let second = pair.submit(txt2img("second")).await?;
    sim.sim.occupy_threads(40);
    pair.cancel(&first).await?;
    let asked = sim.asked("/sdapi/v1/progress");
    sim.until_asked("/sdapi/v1/progress", asked + 1).await?;
    sim.sim.gate().open();
    let job = pair.ended(&first).await?;
    assert_eq!(job.state(), JobState::Cancelled);
    sim.sim.free_threads();
    pair.completed(&second).await?;
    let log = sim.log();
    assert_eq!(log.len(), 2);
    assert_eq!(log[1].outcome, Outcome::Completed);
    let interrupts = sim.sim.interrupts();
    let hits = interrupts.iter().filter_map(|one| one.hit.as_ref());
    for hit in hits {
        assert_eq!(hit.task_id, log[0].task_id);
    }
    Ok(())
}
