//! While model-service is away jobs wait; none is lost, failed or guessed.

use anyhow::Result;
use stablequeue_proto::jobs::v1::{self as jobs, HoldReason};
use system_tests::{Pair, PairOptions, Sim, pair::txt2img};

#[tokio::test(flavor = "multi_thread")]
async fn jobs_wait_for_model_service_and_run_when_it_is_back() -> Result<()> {
    let mut pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::instant().await?;
    pair.add("gpu", &sim).await?;
    let before = pair.submit(txt2img("before")).await?;
    pair.completed(&before).await?;
    pair.stop_models().await?;
    let ids = [
        pair.submit(txt2img("one")).await?,
        pair.submit(txt2img("two")).await?,
    ];
    for id in &ids {
        pair.held(id, HoldReason::ModelServiceUnavailable).await?;
    }
    assert_eq!(sim.log().len(), 1);
    pair.start_models().await?;
    for id in &ids {
        let job = pair.completed(id).await?;
        assert_eq!(job.attempts_spent, 1);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_job_does_not_need_model_service() -> Result<()> {
    let mut pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::gated().await?;
    pair.add("gpu", &sim).await?;
    let id = pair.submit(txt2img("under way")).await?;
    sim.until(|log| log.len() == 1).await?;
    pair.stop_models().await?;
    sim.sim.gate().open();
    pair.completed(&id).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_service_with_an_empty_database_learns_the_inventories_again() -> Result<()> {
    let mut pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::instant().await?;
    pair.add("gpu", &sim).await?;
    pair.stop_models().await?;
    for entry in std::fs::read_dir(pair.folder.path())? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("mobilesd_models") && path.is_file() {
            std::fs::remove_file(&path)?;
        }
    }
    pair.start_models().await?;
    let id = pair.submit(txt2img("after the loss")).await?;
    pair.completed(&id).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_not_listed_again_and_again_while_model_service_is_away() -> Result<()> {
    let mut options = PairOptions::with_quiet_monitors();
    options.pace.probe = std::time::Duration::from_millis(50);
    let mut pair = Pair::start(options).await?;
    let sim = Sim::instant().await?;
    pair.stop_models().await?;
    let request = jobs::CreateServerRequest {
        server: Some(jobs::Server {
            alias: "gpu".to_owned(),
            base_url: sim.sim.url(),
            usage: jobs::ServerUsage::Dedicated.into(),
            ..jobs::Server::default()
        }),
        ..jobs::CreateServerRequest::default()
    };
    pair.servers().await?.create_server(request).await?;
    // What it lists first is taken by nobody.
    sim.until_asked("/app_id", 6).await?;
    assert_eq!(sim.asked("/sdapi/v1/loras"), 1);
    pair.start_models().await?;
    let id = pair.submit(txt2img("after it")).await?;
    pair.completed(&id).await?;
    assert_eq!(sim.asked("/sdapi/v1/loras"), 1, "what it had is passed on");
    Ok(())
}
