//! What follows when a server refuses or fails: another server, another try,
//! or the end, with a code and the server's own words.

use anyhow::Result;
use forge_sim::Fault;
use stablequeue_proto::jobs::v1::{
    self as jobs, AttemptOutcome, ForgePayload, HoldReason, JobState, ServerHealth,
    SubmitJobRequest, forge_payload::Body, submit_job_request::Input,
};
use system_tests::{
    Pair, PairOptions, Sim,
    pair::{params, txt2img},
};

fn outcomes(job: &jobs::Job) -> Vec<AttemptOutcome> {
    job.attempts.iter().map(jobs::Attempt::outcome).collect()
}

fn error(class: &str, message: &str) -> Fault {
    Fault::Error500 {
        error: class.to_owned(),
        message: message.to_owned(),
    }
}

fn no_script() -> Fault {
    Fault::Status {
        code: 422,
        body: r#"{"detail":"Script 'outpainting' not found"}"#.to_owned(),
    }
}

fn on(server: &str, prompt: &str) -> SubmitJobRequest {
    SubmitJobRequest {
        target_server: server.to_owned(),
        ..txt2img(prompt)
    }
}

async fn two_servers() -> Result<(Pair, Sim, Sim)> {
    let pair = Pair::start(PairOptions::default()).await?;
    let (a, b) = (Sim::instant().await?, Sim::instant().await?);
    pair.add("a", &a).await?;
    pair.add("b", &b).await?;
    Ok((pair, a, b))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_the_script_is_passed_over_for_one_that_has_it() -> Result<()> {
    let (pair, a, b) = two_servers().await?;
    pair.cordon("b").await?;
    a.sim.script(no_script());
    let id = pair.submit(txt2img("needs a script")).await?;
    pair.held(&id, HoldReason::ServerLacksFeature).await?;
    pair.uncordon("b").await?;
    let job = pair.completed(&id).await?;
    let wanted = [
        AttemptOutcome::ServerLacksFeature,
        AttemptOutcome::Completed,
    ];
    assert_eq!(outcomes(&job), wanted);
    assert_eq!(job.attempts[0].error_code, "FORGE_SCRIPT_MISSING");
    assert_eq!(job.result.unwrap_or_default().server, "b");
    assert_eq!((a.log().len(), b.log().len()), (0, 1));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_every_server_refuses_fails() -> Result<()> {
    let (pair, a, b) = two_servers().await?;
    let body = r#"{"prompt":"x","steps":1,"width":64,"height":64,"script_name":"no such script"}"#;
    let request = SubmitJobRequest {
        input: Some(Input::ForgePayload(ForgePayload {
            endpoint: jobs::Endpoint::Txt2img.into(),
            body: Some(Body::Json(body.to_owned())),
        })),
        ..SubmitJobRequest::default()
    };
    let id = pair.submit(request).await?;
    let job = pair.ended(&id).await?;
    assert_eq!(job.state(), JobState::Failed);
    assert_eq!(outcomes(&job), [AttemptOutcome::ServerLacksFeature; 2]);
    let error = job.error.unwrap_or_default();
    assert_eq!(error.code, "LACKS_SCRIPT");
    assert!(
        error.message.contains("no such script"),
        "{}",
        error.message
    );
    assert_eq!((a.log().len(), b.log().len()), (0, 0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_never_work_fails_at_once_with_the_servers_words() -> Result<()> {
    let (pair, a, b) = two_servers().await?;
    for sim in [&a, &b] {
        sim.sim
            .script(error("AssertionError", "the mask has another size"));
    }
    let id = pair.submit(txt2img("bad idea")).await?;
    let job = pair.ended(&id).await?;
    assert_eq!(job.state(), JobState::Failed);
    assert_eq!(outcomes(&job), [AttemptOutcome::PermanentError]);
    let failed = job.error.unwrap_or_default();
    assert!(
        failed.message.contains("the mask has another size"),
        "{}",
        failed.message
    );
    assert!(!failed.server.is_empty());
    assert_eq!(a.log().len() + b.log().len(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn another_failure_is_tried_again_until_the_attempts_are_used_up() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::instant().await?;
    pair.add("gpu", &sim).await?;
    for _ in 0..2 {
        sim.sim.script(error("RuntimeError", "cosmic ray"));
    }
    let id = pair.submit(txt2img("third time lucky")).await?;
    let job = pair.completed(&id).await?;
    use AttemptOutcome::{Completed, RetryableError};
    assert_eq!(outcomes(&job), [RetryableError, RetryableError, Completed]);
    assert_eq!(job.attempts_spent, 3);
    let seeds = sim.log().into_iter().map(|one| one.seed);
    let seeds: Vec<_> = seeds.flatten().collect();
    assert!(seeds.iter().all(|seed| *seed == i128::from(job.seed)));
    for _ in 0..3 {
        sim.sim.script(error("RuntimeError", "cosmic ray"));
    }
    let id = pair.submit(txt2img("out of luck")).await?;
    let job = pair.ended(&id).await?;
    assert_eq!(job.state(), JobState::Failed);
    assert_eq!(outcomes(&job), [RetryableError; 3]);
    let failed = job.error.unwrap_or_default();
    assert_eq!(failed.code, "FORGE_ERROR");
    assert!(failed.message.contains("cosmic ray"), "{}", failed.message);
    assert_eq!(sim.sim.faults_left(), 0);
    // The queue goes on behind it.
    let next = pair.submit(txt2img("next")).await?;
    pair.completed(&next).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_job_is_tried_on_another_server_first() -> Result<()> {
    let (pair, a, b) = two_servers().await?;
    let with_landscape = |target: &str| SubmitJobRequest {
        target_server: target.to_owned(),
        ..params(jobs::GenerationParams {
            prompt: "hills".to_owned(),
            steps: Some(1),
            width: Some(64),
            height: Some(64),
            checkpoint: "landscape-v2".to_owned(),
            ..jobs::GenerationParams::default()
        })
    };
    // The first choice is the server that has the checkpoint loaded already.
    let warm = pair.submit(with_landscape("b")).await?;
    pair.completed(&warm).await?;
    pair.probe("b").await?;
    b.sim.script(error("RuntimeError", "this card only"));
    let id = pair.submit(with_landscape("")).await?;
    let job = pair.completed(&id).await?;
    let servers: Vec<&str> = job.attempts.iter().map(|one| one.server.as_str()).collect();
    assert_eq!(servers, ["b", "a"], "{job:#?}");
    assert_eq!(a.log().len(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_may_be_limited_to_one_attempt() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::instant().await?;
    pair.add("gpu", &sim).await?;
    sim.sim.script(error(
        "OutOfMemoryError",
        "CUDA out of memory. Tried to allocate 9 GiB",
    ));
    let request = SubmitJobRequest {
        max_attempts: Some(1),
        ..txt2img("once")
    };
    let id = pair.submit(request).await?;
    let job = pair.ended(&id).await?;
    assert_eq!((job.state(), job.attempts.len()), (JobState::Failed, 1));
    let failed = job.error.unwrap_or_default();
    assert!(
        failed.message.contains("CUDA out of memory"),
        "{}",
        failed.message
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_connection_spends_nothing_and_closes_the_server() -> Result<()> {
    let pair = Pair::start(PairOptions::with_quiet_monitors()).await?;
    let (mut a, b) = (Sim::instant().await?, Sim::instant().await?);
    pair.add("a", &a).await?;
    a.sim.kill().await;
    let id = pair.submit(on("a", "later")).await?;
    let hold = pair.held(&id, HoldReason::ServerUnavailable).await?;
    assert!(hold.message.starts_with("a: "), "{}", hold.message);
    let job = pair.job(&id).await?;
    assert_eq!(outcomes(&job), [AttemptOutcome::Refused]);
    assert_eq!((job.attempts_spent, job.attempts[0].spent), (0, false));
    let status = pair.server("a").await?.status.unwrap_or_default();
    assert_eq!(status.health(), ServerHealth::Unreachable);
    // Other jobs go elsewhere meanwhile.
    pair.add("b", &b).await?;
    let other = pair.submit(txt2img("elsewhere")).await?;
    let other = pair.completed(&other).await?;
    assert_eq!(other.result.unwrap_or_default().server, "b");
    a.sim.restart().await?;
    pair.probe("a").await?;
    let job = pair.completed(&id).await?;
    assert_eq!(job.attempts_spent, 1);
    assert_eq!(
        outcomes(&job),
        [AttemptOutcome::Refused, AttemptOutcome::Completed]
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_finds_its_server_dead_goes_to_another() -> Result<()> {
    let pair = Pair::start(PairOptions::with_quiet_monitors()).await?;
    let (mut a, b) = (Sim::instant().await?, Sim::instant().await?);
    pair.add("a", &a).await?;
    pair.add("b", &b).await?;
    a.sim.kill().await;
    for prompt in ["one", "two"] {
        let id = pair.submit(txt2img(prompt)).await?;
        let job = pair.completed(&id).await?;
        assert_eq!(job.attempts_spent, 1);
        assert_eq!(job.result.unwrap_or_default().server, "b");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_asks_for_credentials_gets_no_jobs() -> Result<()> {
    let pair = Pair::start(PairOptions::with_quiet_monitors()).await?;
    let sim = Sim::instant().await?;
    pair.add("gpu", &sim).await?;
    sim.sim.script(Fault::Status {
        code: 401,
        body: r#"{"detail":"Not authenticated"}"#.to_owned(),
    });
    let id = pair.submit(txt2img("locked out")).await?;
    let hold = pair.held(&id, HoldReason::ServerUnavailable).await?;
    assert!(
        hold.message.contains("Not authenticated"),
        "{}",
        hold.message
    );
    let status = pair.server("gpu").await?.status.unwrap_or_default();
    assert_eq!(status.health(), ServerHealth::Unauthenticated);
    assert_eq!(pair.job(&id).await?.attempts_spent, 0);
    pair.probe("gpu").await?;
    pair.completed(&id).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_failure_on_two_servers_is_the_jobs_own() -> Result<()> {
    let (pair, a, b) = two_servers().await?;
    for sim in [&a, &b] {
        sim.sim
            .script(error("RuntimeError", "mat1 and mat2 do not fit"));
    }
    let id = pair.submit(txt2img("cannot be")).await?;
    let job = pair.ended(&id).await?;
    assert_eq!(job.state(), JobState::Failed);
    assert_eq!(outcomes(&job), [AttemptOutcome::RetryableError; 2]);
    let failed = job.error.unwrap_or_default();
    assert!(
        failed.message.contains("mat1 and mat2"),
        "{}",
        failed.message
    );
    assert_eq!((a.log().len(), b.log().len()), (1, 1));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_no_model_fails_its_own_job_and_no_other() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::with(|config| {
        let broken = forge_sim::SimModel::broken("broken.safetensors");
        config.checkpoints.push(broken);
    })
    .await?;
    pair.add("gpu", &sim).await?;
    let once = |checkpoint: &str| SubmitJobRequest {
        max_attempts: Some(1),
        ..params(jobs::GenerationParams {
            prompt: "a well".to_owned(),
            steps: Some(1),
            width: Some(64),
            height: Some(64),
            checkpoint: checkpoint.to_owned(),
            ..jobs::GenerationParams::default()
        })
    };
    let good = pair.submit(once("dawn-mini")).await?;
    pair.completed(&good).await?;
    for _ in 0..2 {
        let bad = pair.submit(once("broken")).await?;
        let job = pair.ended(&bad).await?;
        assert_eq!(job.state(), JobState::Failed);
        let failed = job.error.unwrap_or_default();
        assert_eq!(failed.code, "FORGE_MODEL_UNREADABLE");
        // Forge itself would fail this one now, and every other with it.
        let next = pair.submit(once("dawn-mini")).await?;
        pair.completed(&next).await?;
    }
    Ok(())
}
