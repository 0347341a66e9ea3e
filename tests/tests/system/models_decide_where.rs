//! A job runs only where its models are, and waits with a reason otherwise.

use anyhow::{Context as _, Result};
use forge_sim::SimModel;
use stablequeue_proto::{
    jobs::v1::{self as jobs, HoldReason, SubmitJobRequest},
    models::v1::{
        self as models, InventoryMode, inventory_item::Kind, sync_server_inventory_request::Part,
    },
};
use system_tests::{
    Pair, PairOptions, Sim,
    pair::{params, txt2img},
};

fn with_checkpoint(reference: &str) -> SubmitJobRequest {
    params(jobs::GenerationParams {
        prompt: "a lighthouse".to_owned(),
        steps: Some(2),
        width: Some(64),
        height: Some(64),
        checkpoint: reference.to_owned(),
        ..jobs::GenerationParams::default()
    })
}

/// A stand-in that has one more checkpoint.
async fn with_extra(name: &str) -> Result<Sim> {
    let extra = SimModel::named(name);
    Sim::with(|config| config.checkpoints.push(extra)).await
}

/// Adds or removes one checkpoint of a server's inventory, as a delta.
async fn change_inventory(
    pair: &Pair,
    (server, sim): (&str, &Sim),
    title: &str,
    removed: bool,
) -> Result<()> {
    let path = sim.folder.path().join("models/Stable-diffusion");
    let mut client = pair.availability().await?;
    let known = client
        .list_inventories(models::ListInventoriesRequest::default())
        .await?
        .into_inner()
        .inventories
        .into_iter()
        .find(|inventory| inventory.server == server)
        .context("no inventory")?;
    let header = models::InventoryHeader {
        server: server.to_owned(),
        generation: format!("by hand, removed: {removed}"),
        mode: InventoryMode::Delta.into(),
        base_generation: known.generation,
        item_count: Some(1),
        list_time: None,
    };
    let item = models::InventoryItem {
        kind: Some(Kind::Model(models::InventoryModel {
            r#type: models::ModelType::Checkpoint.into(),
            title: title.to_owned(),
            path: path.join(title).display().to_string(),
            ..models::InventoryModel::default()
        })),
        removed,
    };
    let parts = [
        Part::Header(header),
        Part::Items(models::InventoryItems { items: vec![item] }),
    ];
    let parts = parts.map(|part| models::SyncServerInventoryRequest { part: Some(part) });
    let synced = client
        .sync_server_inventory(tokio_stream::iter(parts))
        .await?
        .into_inner();
    let wanted = if removed { (0, 1) } else { (1, 0) };
    assert_eq!((synced.added_count, synced.removed_count), wanted);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_runs_on_the_only_server_that_has_its_model() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let (plain, special) = (
        Sim::instant().await?,
        with_extra("special.safetensors").await?,
    );
    pair.add("a", &plain).await?;
    pair.add("b", &special).await?;
    for reference in ["special.safetensors", "special"] {
        let id = pair.submit(with_checkpoint(reference)).await?;
        let job = pair.completed(&id).await?;
        assert_eq!(job.result.unwrap_or_default().server, "b");
    }
    // By its hash too, once the server has loaded it and lists that.
    pair.probe("b").await?;
    let sha256 = SimModel::named("special.safetensors").sha256();
    for reference in [sha256.clone(), sha256[..10].to_uppercase()] {
        let id = pair.submit(with_checkpoint(&reference)).await?;
        let job = pair.completed(&id).await?;
        let result = job.result.unwrap_or_default();
        assert_eq!(result.server, "b");
        assert_eq!(result.verification(), jobs::Verification::Hash);
    }
    assert_eq!(plain.log().len(), 0);
    let used = special.log();
    assert!(used.iter().all(|one| {
        let title = one.checkpoint.clone().unwrap_or_default();
        title.starts_with("special.safetensors")
    }));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_model_is_nowhere_waits_and_is_sent_when_an_inventory_shows_it() -> Result<()> {
    let pair = Pair::start(PairOptions::with_quiet_monitors()).await?;
    let (plain, special) = (
        Sim::instant().await?,
        with_extra("special.safetensors").await?,
    );
    pair.add("a", &plain).await?;
    pair.add("b", &special).await?;
    change_inventory(&pair, ("b", &special), "special.safetensors", true).await?;
    let id = pair.submit(with_checkpoint("special.safetensors")).await?;
    let hold = pair.held(&id, HoldReason::ModelMissing).await?;
    assert!(
        hold.message.contains("special.safetensors"),
        "{}",
        hold.message
    );
    // A job behind it is not held up by it.
    let other = pair.submit(txt2img("passes by")).await?;
    pair.completed(&other).await?;
    assert_eq!(pair.job(&id).await?.current_attempt, None);
    // Neither a sweep nor a probe is due: only the event can send it.
    change_inventory(&pair, ("b", &special), "special.safetensors", false).await?;
    let job = pair.completed(&id).await?;
    assert_eq!(job.result.unwrap_or_default().server, "b");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_was_put_on_a_server_is_found_by_a_probe() -> Result<()> {
    let pair = Pair::start(PairOptions::with_quiet_monitors()).await?;
    let sim = Sim::instant().await?;
    pair.add("gpu", &sim).await?;
    let id = pair.submit(with_checkpoint("late.safetensors")).await?;
    pair.held(&id, HoldReason::ModelMissing).await?;
    sim.sim.add_checkpoint(SimModel::named("late.safetensors"));
    pair.probe("gpu").await?;
    let job = pair.completed(&id).await?;
    let checkpoint = job.result.unwrap_or_default().checkpoint;
    assert!(checkpoint.starts_with("late.safetensors"), "{checkpoint}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ambiguous_reference_waits_with_its_candidates_and_is_never_guessed() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::with(|config| {
        for folder in ["summer", "winter"] {
            let path = format!("{folder}/twin.safetensors");
            config.checkpoints.push(SimModel::named(path));
        }
    })
    .await?;
    pair.add("gpu", &sim).await?;
    let id = pair.submit(with_checkpoint("twin.safetensors")).await?;
    let hold = pair.held(&id, HoldReason::ModelAmbiguous).await?;
    for candidate in ["summer/twin.safetensors", "winter/twin.safetensors"] {
        assert!(hold.message.contains(candidate), "{}", hold.message);
    }
    let exact = pair
        .submit(with_checkpoint("winter/twin.safetensors"))
        .await?;
    let job = pair.completed(&exact).await?;
    let checkpoint = job.result.unwrap_or_default().checkpoint;
    assert!(
        checkpoint.starts_with("winter/twin.safetensors"),
        "{checkpoint}"
    );
    let job = pair.job(&id).await?;
    assert_eq!(job.current_attempt, None, "{job:#?}");
    assert_eq!(sim.log().len(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_found_by_the_title_that_it_had_before_its_first_load() -> Result<()> {
    const OLD: &str = "special.safetensors";
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = with_extra(OLD).await?;
    pair.add("gpu", &sim).await?;
    // At once again: what is known of the server may be older than the load.
    for _ in 0..2 {
        let id = pair.submit(with_checkpoint("special")).await?;
        let job = pair.completed(&id).await?;
        assert_eq!(job.attempts.len(), 1, "{job:#?}");
    }
    assert_eq!(sim.log()[0].asked_checkpoint.as_deref(), Some(OLD));
    pair.probe("gpu").await?;
    let id = pair.submit(with_checkpoint(OLD)).await?;
    let job = pair.completed(&id).await?;
    assert_eq!(job.attempts.len(), 1, "{job:#?}");
    let result = job.result.unwrap_or_default();
    assert_eq!(result.verification(), jobs::Verification::Hash);
    let new = format!("{OLD} [{}]", &SimModel::named(OLD).sha256()[..10]);
    let log = sim.log();
    assert_eq!(log[2].asked_checkpoint.as_ref(), Some(&new));
    assert_eq!(log[2].checkpoint.as_ref(), Some(&new));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lora_of_the_prompt_is_a_model_that_the_server_must_have() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let plain = Sim::instant().await?;
    let special =
        Sim::with(|config| config.loras.push(SimModel::named("dots.safetensors"))).await?;
    pair.add("a", &plain).await?;
    pair.add("b", &special).await?;
    let here = pair.submit(txt2img("a cat <lora:dots:0.7>")).await?;
    let nowhere = pair.submit(txt2img("a cat <lora:missing-lora:1>")).await?;
    let job = pair.completed(&here).await?;
    assert_eq!(job.result.unwrap_or_default().server, "b");
    let image = pair.images(&here).await?.remove(0);
    assert!(image.infotext.contains("Lora hashes"), "{}", image.infotext);
    let hold = pair.held(&nowhere, HoldReason::ModelMissing).await?;
    assert!(hold.message.contains("missing-lora"), "{}", hold.message);
    Ok(())
}
