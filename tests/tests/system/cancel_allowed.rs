//! Where a server cannot say whose work it does, a cancel stops nothing unless
//! its owner allows that.

use anyhow::Result;
use forge_sim::Outcome;
use stablequeue_proto::jobs::v1::{
    AttemptPhase, ImageKind, JobState, Server, ServerUsage, UpdateServerRequest,
};
use system_tests::{Pair, PairOptions, Sim, pair::txt2img};

/// A shared server, or one without its UI.
async fn server(ui: bool) -> Result<(Pair, Sim)> {
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::with(|config| {
        config.gated = true;
        config.ui = ui;
    })
    .await?;
    let usage = if ui {
        ServerUsage::Shared
    } else {
        ServerUsage::Dedicated
    };
    pair.add_as("gpu", &sim, usage).await?;
    Ok((pair, sim))
}

async fn allow(pair: &Pair) -> Result<()> {
    let server = Server {
        alias: "gpu".to_owned(),
        interrupts_allowed: Some(true),
        ..Server::default()
    };
    let request = UpdateServerRequest {
        server: Some(server),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["interrupts_allowed".to_owned()],
        }),
    };
    pair.servers().await?.update_server(request).await?;
    Ok(())
}

/// A job that generates there, and one behind it.
async fn two_jobs(pair: &Pair, sim: &Sim) -> Result<(String, String)> {
    let first = pair.submit(txt2img("first")).await?;
    sim.sim.gate().load(1);
    pair.job_when(&first, "it generates", |job| {
        let attempt = job.current_attempt.clone().unwrap_or_default();
        attempt.phase() == AttemptPhase::Generating
    })
    .await?;
    Ok((first, pair.submit(txt2img("second")).await?))
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_ui_a_cancelled_generation_ends_by_itself_and_is_kept() -> Result<()> {
    let (pair, sim) = server(false).await?;
    let (first, second) = two_jobs(&pair, &sim).await?;
    pair.cancel(&first).await?;
    let asked = sim.asked("/sdapi/v1/progress");
    sim.until_asked("/sdapi/v1/progress", asked + 5).await?;
    assert_eq!(pair.job(&first).await?.state(), JobState::Processing);
    sim.sim.gate().open();
    let job = pair.ended(&first).await?;
    assert_eq!(job.state(), JobState::Cancelled);
    assert!(!job.result.unwrap_or_default().partial);
    assert_eq!(pair.images(&first).await?[0].kind(), ImageKind::Sample);
    pair.completed(&second).await?;
    assert_eq!(sim.asked("/sdapi/v1/interrupt"), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn where_its_owner_allows_it_a_cancelled_generation_is_interrupted() -> Result<()> {
    for ui in [true, false] {
        let (pair, sim) = server(ui).await?;
        let (first, second) = two_jobs(&pair, &sim).await?;
        pair.cancel(&first).await?;
        // Also when it is allowed only now.
        allow(&pair).await?;
        let job = pair.ended(&first).await?;
        assert_eq!(job.state(), JobState::Cancelled, "ui: {ui}");
        assert_eq!(pair.images(&first).await?[0].kind(), ImageKind::Partial);
        sim.sim.gate().open();
        pair.completed(&second).await?;
        let ended: Vec<Outcome> = sim.log().iter().map(|one| one.outcome).collect();
        assert_eq!(
            ended,
            [Outcome::Interrupted, Outcome::Completed],
            "ui: {ui}"
        );
    }
    Ok(())
}
