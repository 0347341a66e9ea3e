//! A picture of another model is never passed off as the one asked for.

use anyhow::Result;
use forge_sim::Fault;
use stablequeue_proto::jobs::v1::{
    self as jobs, AttemptOutcome, ForgePayload, HoldReason, JobState, SubmitJobRequest,
    forge_payload::Body, submit_job_request::Input,
};
use system_tests::{
    Pair, PairOptions, Sim,
    pair::{params, txt2img},
};

fn with_checkpoint(reference: &str) -> SubmitJobRequest {
    params(jobs::GenerationParams {
        prompt: "a harbour".to_owned(),
        steps: Some(1),
        width: Some(64),
        height: Some(64),
        checkpoint: reference.to_owned(),
        ..jobs::GenerationParams::default()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_checkpoint_never_completes() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::instant().await?;
    pair.add("gpu", &sim).await?;
    let body = r#"{"prompt":"x","steps":1,"override_settings":{"sd_model_checkpoint":"nope"}}"#;
    let payload = SubmitJobRequest {
        input: Some(Input::ForgePayload(ForgePayload {
            endpoint: jobs::Endpoint::Txt2img.into(),
            body: Some(Body::Json(body.to_owned())),
        })),
        ..SubmitJobRequest::default()
    };
    let mut ids = vec![pair.submit(payload).await?];
    // Forge would take the first by a part of its name, and any for the others.
    for reference in ["landscape", "nope.safetensors", "0123456789"] {
        ids.push(pair.submit(with_checkpoint(reference)).await?);
    }
    for id in &ids {
        pair.held(id, HoldReason::ModelMissing).await?;
    }
    let known = pair.submit(txt2img("passes")).await?;
    pair.completed(&known).await?;
    for id in &ids {
        let job = pair.job(id).await?;
        assert_eq!((job.state(), job.attempts.len()), (JobState::Pending, 0));
    }
    assert_eq!(sim.log().len(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_model_is_an_attempt_that_failed() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::instant().await?;
    pair.add("gpu", &sim).await?;
    sim.sim.script(Fault::WrongModel);
    let id = pair
        .submit(with_checkpoint("landscape-v2.safetensors"))
        .await?;
    let job = pair.completed(&id).await?;
    let outcomes: Vec<_> = job.attempts.iter().map(jobs::Attempt::outcome).collect();
    assert_eq!(
        outcomes,
        [AttemptOutcome::WrongModel, AttemptOutcome::Completed]
    );
    for image in pair.images(&id).await? {
        assert!(
            image.infotext.contains("Model: landscape-v2"),
            "{}",
            image.infotext
        );
        assert_eq!(image.attempt, 2);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_model_every_time_fails_the_job_and_keeps_no_image() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::instant().await?;
    pair.add("gpu", &sim).await?;
    for _ in 0..3 {
        sim.sim.script(Fault::WrongModel);
    }
    let id = pair
        .submit(with_checkpoint("landscape-v2.safetensors"))
        .await?;
    let job = pair.ended(&id).await?;
    assert_eq!(job.state(), JobState::Failed);
    assert_eq!(job.error.clone().unwrap_or_default().code, "WRONG_MODEL");
    assert_eq!(job.attempts.len(), 3);
    assert!(
        job.attempts
            .iter()
            .all(|one| one.outcome() == AttemptOutcome::WrongModel)
    );
    assert_eq!(pair.images(&id).await?, []);
    Ok(())
}
