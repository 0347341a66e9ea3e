//! What a server lists is believed only when it makes sense: nothing counts
//! as gone after one look.

use anyhow::{Context as _, Result};
use forge_sim::{Fault, Target};
use stablequeue_proto::models::v1::ListInventoriesRequest;
use system_tests::{Pair, PairOptions, Sim, pair::txt2img};

/// How many checkpoints model-service knows of on the only server.
async fn known_checkpoints(pair: &Pair) -> Result<i32> {
    let answer = pair
        .availability()
        .await?
        .list_inventories(ListInventoriesRequest::default())
        .await?;
    let inventories = answer.into_inner().inventories;
    Ok(inventories
        .first()
        .context("no inventory")?
        .checkpoint_count)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_listing_is_looked_at_twice_before_anything_counts_as_gone() -> Result<()> {
    let pair = Pair::start(PairOptions::with_quiet_monitors()).await?;
    let sim = Sim::instant().await?;
    pair.add("gpu", &sim).await?;
    let empty = || {
        let listing = Target::Path("/sdapi/v1/sd-models".to_owned());
        sim.sim.script_on(listing, Fault::EmptyListing);
    };
    empty();
    pair.probe("gpu").await?;
    assert_eq!(sim.sim.faults_left(), 0);
    assert_eq!(known_checkpoints(&pair).await?, 3);
    // When both looks agree, they are believed.
    empty();
    empty();
    pair.probe("gpu").await?;
    assert_eq!(sim.sim.faults_left(), 0);
    assert_eq!(known_checkpoints(&pair).await?, 0);
    pair.probe("gpu").await?;
    assert_eq!(known_checkpoints(&pair).await?, 3);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_that_fails_takes_nothing_away() -> Result<()> {
    let pair = Pair::start(PairOptions::with_quiet_monitors()).await?;
    let sim = Sim::instant().await?;
    pair.add("gpu", &sim).await?;
    sim.sim.script(Fault::FailListing);
    pair.probe("gpu").await?;
    assert_eq!(sim.sim.faults_left(), 0);
    assert_eq!(known_checkpoints(&pair).await?, 3);
    let id = pair.submit(txt2img("still there")).await?;
    pair.completed(&id).await?;
    Ok(())
}
