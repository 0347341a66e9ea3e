//! What a job wants model-service to be asked, and what its silence means.

use anyhow::Result;
use stablequeue_proto::jobs::v1::{
    self as jobs, AvailabilityPolicy, HoldReason, JobPolicy, JobState, SubmitJobRequest,
};
use system_tests::{Pair, PairOptions, Sim, pair::params};

fn job(checkpoint: &str, availability: AvailabilityPolicy) -> SubmitJobRequest {
    let request = params(jobs::GenerationParams {
        prompt: "a ferry".to_owned(),
        steps: Some(1),
        width: Some(64),
        height: Some(64),
        checkpoint: checkpoint.to_owned(),
        ..jobs::GenerationParams::default()
    });
    SubmitJobRequest {
        policy: Some(JobPolicy {
            availability: availability.into(),
            ..JobPolicy::default()
        }),
        ..request
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_that_go_without_model_service_run_while_it_is_away() -> Result<()> {
    use AvailabilityPolicy::{FailFast, Prefer, Require, Skip};
    let mut pair = Pair::start(PairOptions::with_quiet_monitors()).await?;
    let sim = Sim::instant().await?;
    pair.add("gpu", &sim).await?;
    pair.stop_models().await?;
    let mut waiting = Vec::new();
    for policy in [Require, FailFast] {
        let id = pair.submit(job("landscape-v2", policy)).await?;
        pair.held(&id, HoldReason::ModelServiceUnavailable).await?;
        waiting.push(id);
    }
    for policy in [Prefer, Skip] {
        let id = pair.submit(job("landscape-v2", policy)).await?;
        pair.completed(&id).await?;
        for image in pair.images(&id).await? {
            let infotext = &image.infotext;
            assert!(infotext.contains("Model: landscape-v2"), "{infotext}");
        }
    }
    // Its own list does not have it, and it would rather wait than be refused.
    let id = pair.submit(job("nope", Prefer)).await?;
    pair.held(&id, HoldReason::ModelMissing).await?;
    pair.start_models().await?;
    for id in &waiting {
        pair.completed(id).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_asks_nobody_is_checked_all_the_same() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::instant().await?;
    pair.add("gpu", &sim).await?;
    let request = SubmitJobRequest {
        max_attempts: Some(1),
        ..job("nope", AvailabilityPolicy::Skip)
    };
    let id = pair.submit(request).await?;
    let job = pair.ended(&id).await?;
    assert_eq!(job.state(), JobState::Failed);
    assert_eq!(job.error.unwrap_or_default().code, "WRONG_MODEL");
    assert_eq!(pair.images(&id).await?, []);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_does_not_want_to_wait_fails_when_nobody_has_its_model() -> Result<()> {
    use AvailabilityPolicy::{FailFast, Require};
    let pair = Pair::start(PairOptions::default()).await?;
    let (a, b) = (Sim::instant().await?, Sim::instant().await?);
    pair.add("a", &a).await?;
    pair.add("b", &b).await?;
    let id = pair.submit(job("nope", FailFast)).await?;
    let failed = pair.ended(&id).await?;
    assert_eq!(failed.state(), JobState::Failed);
    let error = failed.error.unwrap_or_default();
    assert_eq!(error.code, "MODEL_NOT_FOUND");
    for part in ["a lacks nope", "b lacks nope"] {
        assert!(error.message.contains(part), "{}", error.message);
    }
    assert_eq!(failed.attempts.len(), 0);
    let id = pair.submit(job("nope", Require)).await?;
    pair.held(&id, HoldReason::ModelMissing).await?;
    let id = pair.submit(job("landscape-v2", FailFast)).await?;
    pair.completed(&id).await?;
    Ok(())
}
