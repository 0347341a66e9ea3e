//! RefreshInventory: what a server has now is with model-service when it
//! answers.

use anyhow::Result;
use forge_sim::SimModel;
use service_kit::status::{reason_of, retry_delay_of};
use stablequeue_proto::{
    jobs::v1::{RefreshInventoryRequest, Server, ServerStatus, UpdateServerRequest},
    models::v1::{ModelReference, ResolveModelsRequest},
};
use system_tests::{Pair, PairOptions, Sim, pair::txt2img};
use tonic::{Code, Status};

async fn refresh(pair: &Pair, alias: &str) -> Result<ServerStatus, Status> {
    let request = RefreshInventoryRequest {
        alias: alias.to_owned(),
    };
    let mut client = pair.servers().await.expect("job-service is there");
    let answer = client.refresh_inventory(request).await?.into_inner();
    Ok(answer.server.unwrap_or_default().status.unwrap_or_default())
}

/// Whether model-service knows a model by this reference.
async fn is_known(pair: &Pair, reference: &str) -> Result<bool> {
    let request = ResolveModelsRequest {
        references: vec![ModelReference {
            reference: reference.to_owned(),
            ..ModelReference::default()
        }],
    };
    let answer = pair.models().await?.resolve_models(request).await?;
    let resolution = answer.into_inner().resolutions.remove(0);
    Ok(resolution.model.is_some())
}

/// Milliseconds since 1970.
fn millis(time: Option<prost_types::Timestamp>) -> i64 {
    let time = time.unwrap_or_default();
    time.seconds * 1000 + i64::from(time.nanos / 1_000_000)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_put_on_an_idle_server_is_known_when_it_answers() -> Result<()> {
    let pair = Pair::start(PairOptions::with_quiet_monitors()).await?;
    let sim = Sim::instant().await?;
    pair.add("gpu", &sim).await?;
    let before = pair.server("gpu").await?.status.unwrap_or_default();
    sim.sim.add_checkpoint(SimModel::named("late.safetensors"));
    assert!(!is_known(&pair, "late.safetensors").await?);
    let after = refresh(&pair, "gpu").await?;
    assert_eq!(after.checkpoint_count, before.checkpoint_count + 1);
    assert!(millis(after.inventory_time) >= millis(before.inventory_time));
    assert!(is_known(&pair, "late.safetensors").await?);
    // The same once more is passed on once more.
    let again = refresh(&pair, "gpu").await?;
    assert!(millis(again.inventory_time) > millis(after.inventory_time));
    assert_eq!(again.checkpoint_count, after.checkpoint_count);
    assert_eq!(sim.asked("/sdapi/v1/refresh-checkpoints"), 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_server_is_listed_and_not_kept_from_its_work() -> Result<()> {
    let pair = Pair::start(PairOptions::with_quiet_monitors()).await?;
    let sim = Sim::gated().await?;
    pair.add("gpu", &sim).await?;
    let before = pair.server("gpu").await?.status.unwrap_or_default();
    let id = pair.submit(txt2img("busy")).await?;
    sim.until(|log| log.len() == 1).await?;
    let after = refresh(&pair, "gpu").await?;
    assert!(millis(after.inventory_time) > millis(before.inventory_time));
    assert_eq!(sim.asked("/sdapi/v1/refresh-checkpoints"), 0);
    sim.sim.gate().open();
    pair.completed(&id).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_an_inventory_from_being_taken_is_told() -> Result<()> {
    let mut pair = Pair::start(PairOptions::with_quiet_monitors()).await?;
    let mut sim = Sim::instant().await?;
    pair.add("gpu", &sim).await?;
    let status = refresh(&pair, "attic").await.expect_err("unknown");
    assert_eq!(status.code(), Code::NotFound);
    pair.stop_models().await?;
    let status = refresh(&pair, "gpu").await.expect_err("nobody takes it");
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(reason_of(&status).as_deref(), Some("INVENTORY_NOT_TAKEN"));
    assert!(retry_delay_of(&status).is_some());
    pair.start_models().await?;
    sim.sim.kill().await;
    let status = refresh(&pair, "gpu").await.expect_err("it is dead");
    assert_eq!(status.code(), Code::Unavailable);
    sim.sim.restart().await?;
    let disabled = UpdateServerRequest {
        server: Some(Server {
            alias: "gpu".to_owned(),
            enabled: Some(false),
            ..Server::default()
        }),
        update_mask: None,
    };
    pair.servers().await?.update_server(disabled).await?;
    let status = refresh(&pair, "gpu").await.expect_err("disabled");
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(reason_of(&status).as_deref(), Some("SERVER_DISABLED"));
    Ok(())
}
