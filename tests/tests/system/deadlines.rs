//! Jobs whose time is up end, wherever they are.

use anyhow::Result;
use forge_sim::Outcome;
use stablequeue_proto::jobs::v1::{
    AttemptOutcome, GenerationParams, ImageKind, Job, JobPolicy, JobState, SubmitJobRequest,
};
use system_tests::{
    Pair, PairOptions, Sim,
    pair::{params, txt2img},
};

const SECOND: Option<prost_types::Duration> = Some(prost_types::Duration {
    seconds: 1,
    nanos: 0,
});

fn waits_a_second(prompt: &str) -> SubmitJobRequest {
    SubmitJobRequest {
        policy: Some(JobPolicy {
            wait_timeout: SECOND,
            ..JobPolicy::default()
        }),
        ..txt2img(prompt)
    }
}

fn takes_a_second(prompt: &str) -> SubmitJobRequest {
    let ten_steps = params(GenerationParams {
        prompt: prompt.to_owned(),
        steps: Some(10),
        width: Some(64),
        height: Some(64),
        ..GenerationParams::default()
    });
    SubmitJobRequest {
        policy: Some(JobPolicy {
            total_timeout: SECOND,
            ..JobPolicy::default()
        }),
        ..ten_steps
    }
}

fn failed_with(job: &Job, code: &str) -> String {
    let error = job.error.clone().unwrap_or_default();
    assert_eq!((job.state(), error.code.as_str()), (JobState::Failed, code));
    error.message
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_no_server_takes_in_time_fails_with_why_it_waited() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let id = pair.submit(waits_a_second("nobody")).await?;
    let job = pair.ended(&id).await?;
    let message = failed_with(&job, "WAIT_DEADLINE_EXCEEDED");
    assert!(message.contains("no server is registered"), "{message}");
    assert_eq!((job.attempts.len(), job.hold), (0, None));
    let total = pair.submit(takes_a_second("nobody")).await?;
    let job = pair.ended(&total).await?;
    failed_with(&job, "DEADLINE_EXCEEDED");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_behind_another_fails_in_time_and_the_one_at_work_goes_on() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::gated().await?;
    pair.add("gpu", &sim).await?;
    let first = pair.submit(waits_a_second("began in time")).await?;
    sim.until(|log| log.len() == 1).await?;
    let second = pair.submit(waits_a_second("behind it")).await?;
    failed_with(&pair.ended(&second).await?, "WAIT_DEADLINE_EXCEEDED");
    let job = pair.job(&first).await?;
    assert_eq!(
        (job.state(), job.wait_deadline),
        (JobState::Processing, None)
    );
    sim.sim.gate().open();
    pair.completed(&first).await?;
    assert_eq!(sim.log().len(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_is_stopped_at_the_deadline_and_its_images_are_kept() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::gated().await?;
    pair.add("gpu", &sim).await?;
    let id = pair.submit(takes_a_second("too slow")).await?;
    sim.sim.gate().load(1);
    sim.sim.gate().step(3);
    let job = pair.ended(&id).await?;
    let message = failed_with(&job, "DEADLINE_EXCEEDED");
    assert!(message.contains("the end of its time"), "{message}");
    assert_eq!(job.cancel_requested_time, None);
    assert_eq!(job.attempts.len(), 1);
    assert_eq!(job.attempts[0].outcome(), AttemptOutcome::Expired);
    let images = pair.images(&id).await?;
    assert_eq!(images.len(), 1);
    assert_eq!(images[0].kind(), ImageKind::Partial);
    sim.sim.gate().open();
    let next = pair.submit(txt2img("unharmed")).await?;
    pair.completed(&next).await?;
    let ended: Vec<Outcome> = sim.log().iter().map(|one| one.outcome).collect();
    assert_eq!(ended, [Outcome::Interrupted, Outcome::Completed]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_that_passed_while_the_service_was_away_holds() -> Result<()> {
    let mut pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::gated().await?;
    pair.add("gpu", &sim).await?;
    let processing = pair.submit(takes_a_second("at work")).await?;
    sim.until(|log| log.len() == 1).await?;
    let pending = pair.submit(waits_a_second("behind it")).await?;
    pair.stop_jobs().await?;
    pair.start_jobs().await?;
    sim.sim.gate().load(1);
    sim.sim.gate().step(3);
    failed_with(&pair.ended(&pending).await?, "WAIT_DEADLINE_EXCEEDED");
    let job = pair.ended(&processing).await?;
    failed_with(&job, "DEADLINE_EXCEEDED");
    assert_eq!(job.attempts[0].outcome(), AttemptOutcome::Expired);
    Ok(())
}
