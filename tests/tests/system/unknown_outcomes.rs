//! What becomes of a job while nobody can say whether its attempt still runs,
//! when its policy does not want to wait for ever.

use anyhow::Result;
use stablequeue_proto::jobs::v1::{
    AttemptOutcome, HoldReason, Job, JobPolicy, JobState, ServerUsage, SubmitJobRequest,
    UnknownPolicy,
};
use system_tests::{Pair, PairOptions, Sim, pair::txt2img};

fn impatient(prompt: &str) -> SubmitJobRequest {
    SubmitJobRequest {
        policy: Some(JobPolicy {
            unknown_policy: UnknownPolicy::RetryAfter.into(),
            unknown_retry_after: Some(prost_types::Duration {
                seconds: 1,
                nanos: 0,
            }),
            ..JobPolicy::default()
        }),
        ..txt2img(prompt)
    }
}

fn repeats(job: &Job) -> Vec<(AttemptOutcome, bool)> {
    let attempts = job.attempts.iter();
    attempts
        .map(|attempt| (attempt.outcome(), attempt.possible_repeat))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn another_server_makes_it_after_the_time_and_that_is_marked() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let (silent, healthy) = (Sim::gated().await?, Sim::instant().await?);
    pair.add("a", &silent).await?;
    let id = pair.submit(impatient("owl")).await?;
    silent.until(|log| log.len() == 1).await?;
    pair.add("b", &healthy).await?;
    silent.sim.freeze();
    let job = pair.completed(&id).await?;
    let wanted = [
        (AttemptOutcome::Abandoned, false),
        (AttemptOutcome::Completed, true),
    ];
    assert_eq!(repeats(&job), wanted);
    assert!(job.attempts[0].spent);
    assert_eq!(job.attempts[0].error_code, "OUTCOME_UNKNOWN");
    assert_eq!(job.result.clone().unwrap_or_default().server, "b");
    // What the first attempt still brings changes nothing.
    silent.sim.thaw();
    silent.sim.gate().open();
    silent.until(|log| log[0].ended.is_some()).await?;
    let other = pair.submit(txt2img("after it")).await?;
    pair.completed(&other).await?;
    assert_eq!(pair.job(&id).await?.etag, job.etag);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_silent_server_itself_gets_it_only_as_another_process() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let mut sim = Sim::gated().await?;
    pair.add("gpu", &sim).await?;
    let id = pair.submit(impatient("owl")).await?;
    sim.until(|log| log.len() == 1).await?;
    sim.sim.freeze();
    pair.job_when(&id, "the attempt is given up", |job| {
        job.state() == JobState::Pending
    })
    .await?;
    sim.sim.thaw();
    sim.sim.gate().open();
    // It is well again and free, but the same process.
    pair.job_when(&id, "the server is well", |job| {
        let hold = job.hold.clone().unwrap_or_default();
        hold.message.contains("may still run on gpu")
    })
    .await?;
    let hold = pair.held(&id, HoldReason::ServerUnavailable).await?;
    assert!(hold.message.contains("another server"), "{}", hold.message);
    assert_eq!(sim.log().len(), 1);
    sim.sim.restart().await?;
    let job = pair.completed(&id).await?;
    let wanted = [
        (AttemptOutcome::Abandoned, false),
        (AttemptOutcome::Completed, false),
    ];
    assert_eq!(repeats(&job), wanted);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_that_policy_a_job_waits_for_its_server() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let (silent, healthy) = (Sim::gated().await?, Sim::instant().await?);
    pair.add("a", &silent).await?;
    let patient = pair.submit(txt2img("patient")).await?;
    silent.until(|log| log.len() == 1).await?;
    pair.add("b", &healthy).await?;
    silent.sim.freeze();
    // Longer than the impatient one waits, which ends on the other server.
    let request = SubmitJobRequest {
        target_server: "b".to_owned(),
        policy: None,
        ..impatient("meanwhile")
    };
    for _ in 0..3 {
        let id = pair.submit(request.clone()).await?;
        pair.completed(&id).await?;
    }
    let job = pair.job(&patient).await?;
    assert_eq!((job.state(), job.attempts.len()), (JobState::Processing, 1));
    silent.sim.thaw();
    silent.sim.gate().open();
    assert_eq!(
        repeats(&pair.completed(&patient).await?),
        [(AttemptOutcome::Completed, false)]
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_holds_for_a_shared_server() -> Result<()> {
    waits_or_goes_elsewhere(ServerUsage::Shared, true).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_holds_for_a_server_without_its_ui() -> Result<()> {
    waits_or_goes_elsewhere(ServerUsage::Dedicated, false).await
}

/// One job whose server falls silent waits for it; one that does not want to is
/// made by another server.
async fn waits_or_goes_elsewhere(usage: ServerUsage, ui: bool) -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let silent = Sim::with(|config| {
        config.gated = true;
        config.ui = ui;
    })
    .await?;
    let healthy = Sim::instant().await?;
    pair.add_as("a", &silent, usage).await?;
    let patient = pair.submit(txt2img("patient")).await?;
    silent.until(|log| log.len() == 1).await?;
    pair.add("b", &healthy).await?;
    silent.sim.freeze();
    for _ in 0..3 {
        let id = pair.submit(txt2img("meanwhile")).await?;
        pair.completed(&id).await?;
    }
    let job = pair.job(&patient).await?;
    assert_eq!((job.state(), job.attempts.len()), (JobState::Processing, 1));
    silent.sim.thaw();
    silent.sim.gate().load(1);
    silent.sim.gate().step(2);
    let job = pair.completed(&patient).await?;
    assert_eq!(repeats(&job), [(AttemptOutcome::Completed, false)]);
    pair.cordon("b").await?;
    let id = pair.submit(impatient("impatient")).await?;
    silent.until(|log| log.len() == 2).await?;
    pair.uncordon("b").await?;
    silent.sim.freeze();
    let wanted = [
        (AttemptOutcome::Abandoned, false),
        (AttemptOutcome::Completed, true),
    ];
    assert_eq!(repeats(&pair.completed(&id).await?), wanted);
    Ok(())
}
