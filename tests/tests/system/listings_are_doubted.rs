//! What a server lists is believed only when it makes sense: nothing counts
//! as gone after one look, what is gone is soon known, and what is known since a
//! look is not undone by it.

use std::time::Duration;

use anyhow::{Context as _, Result};
use forge_sim::{Fault, Rule, Target, Times, When};
use job_service::availability::{Finding, Reference};
use service_kit::clock::Clock;
use stablequeue_proto::{
    jobs::v1::{self as jobs, AttemptOutcome, JobState, SubmitJobRequest},
    models::v1::{
        AvailabilityState, CheckAvailabilityRequest, InventoryItem, InventoryModel, ModelReference,
        ModelType, inventory_item::Kind,
    },
};
use system_tests::{
    Pair, PairOptions, Sim,
    pair::{params, txt2img},
    wait,
};

use crate::large_fleets;

const CHECKPOINTS: &str = "/sdapi/v1/sd-models";

fn reference(name: &str) -> ModelReference {
    ModelReference {
        reference: name.to_owned(),
        r#type: ModelType::Checkpoint.into(),
    }
}

/// What model-service says of a checkpoint on the only server.
async fn state_of(pair: &Pair, name: &str) -> Result<AvailabilityState> {
    let request = CheckAvailabilityRequest {
        references: vec![reference(name)],
        servers: vec!["gpu".to_owned()],
        ..CheckAvailabilityRequest::default()
    };
    let mut client = pair.availability().await?;
    let answer = client.check_availability(request).await?.into_inner();
    let server = answer.servers.first().context("no server")?;
    Ok(server.references.first().context("no reference")?.state())
}

async fn until_state(pair: &Pair, name: &str, wanted: AvailabilityState) -> Result<()> {
    wait::until(wanted.as_str_name(), || async {
        match state_of(pair, name).await {
            Ok(state) if state == wanted => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
}

/// Plays this with every listing of checkpoints from now on.
fn always(sim: &Sim, fault: Fault) {
    sim.sim.script_rule(Rule {
        target: Some(Target::Path(CHECKPOINTS.to_owned())),
        when: When::default(),
        times: Times::Always,
        ..Rule::once(fault)
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn one_empty_listing_takes_nothing_away() -> Result<()> {
    let pair = Pair::start(PairOptions::with_quiet_monitors()).await?;
    let sim = Sim::instant().await?;
    pair.add("gpu", &sim).await?;
    let listed = sim.asked(CHECKPOINTS);
    let listing = Target::Path(CHECKPOINTS.to_owned());
    sim.sim.script_on(listing, Fault::EmptyListing);
    pair.probe("gpu").await?;
    assert_eq!(sim.sim.faults_left(), 0);
    assert_eq!(sim.asked(CHECKPOINTS), listed + 2, "a second look");
    let server = pair.server("gpu").await?;
    assert_eq!(server.status.unwrap_or_default().checkpoint_count, 3);
    let state = state_of(&pair, "landscape-v2").await?;
    assert_eq!(state, AvailabilityState::Available);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_gone_is_soon_known_although_model_service_doubts_it() -> Result<()> {
    let mut options = PairOptions::with_quiet_monitors();
    options.pace.doubted_look = Duration::from_secs(1);
    let pair = Pair::start(options).await?;
    let sim = Sim::instant().await?;
    pair.add("gpu", &sim).await?;
    always(&sim, Fault::EmptyListing);
    pair.probe("gpu").await?;
    // Both looks of job-service agree; model-service wants a later one.
    let state = state_of(&pair, "landscape-v2").await?;
    assert_eq!(state, AvailabilityState::Available);
    until_state(&pair, "landscape-v2", AvailabilityState::Missing).await?;
    sim.sim.clear_faults();
    pair.probe("gpu").await?;
    let state = state_of(&pair, "landscape-v2").await?;
    assert_eq!(state, AvailabilityState::Available);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_listing_sent_again_is_no_second_look() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let client = large_fleets::client(&pair)?;
    let checkpoint = |number: i32| InventoryItem {
        kind: Some(Kind::Model(InventoryModel {
            r#type: ModelType::Checkpoint.into(),
            title: format!("number-{number}.safetensors"),
            path: format!("/models/number-{number}.safetensors"),
            ..InventoryModel::default()
        })),
        removed: false,
    };
    let items: Vec<_> = (0..3).map(checkpoint).collect();
    let now = Clock::system().now();
    let at = |seconds: u64| now - Duration::from_secs(60) + Duration::from_secs(seconds);
    let push = async |generation: &str, items: &[InventoryItem], seconds: u64| {
        let items = items.to_vec();
        client
            .push_inventory("gpu", generation, items, at(seconds))
            .await
    };
    assert_eq!(push("all", &items, 0).await?, 0);
    assert_eq!(push("none", &[], 10).await?, 3);
    assert_eq!(push("none", &[], 10).await?, 3, "its answer was lost");
    assert_eq!(push("none", &[], 16).await?, 0);
    let wanted = Reference {
        is_lora: false,
        text: "number-1".to_owned(),
    };
    let found = client
        .check(std::slice::from_ref(&wanted), &["gpu".to_owned()])
        .await?;
    assert_eq!(found[&("gpu".to_owned(), wanted)], Finding::Missing);
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
    let state = state_of(&pair, "landscape-v2").await?;
    assert_eq!(state, AvailabilityState::Available);
    let id = pair.submit(txt2img("still there")).await?;
    pair.completed(&id).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_turned_out_to_be_missing_is_not_put_back_by_an_older_listing() -> Result<()> {
    let mut options = PairOptions::with_quiet_monitors();
    options.pace.probe = Duration::from_millis(50);
    let pair = Pair::start(options).await?;
    let sim = Sim::instant().await?;
    pair.add("gpu", &sim).await?;
    until_state(&pair, "landscape-v2", AvailabilityState::Available).await?;
    sim.sim.script(Fault::WrongModel);
    always(&sim, Fault::FailListing);
    let request = SubmitJobRequest {
        max_attempts: Some(1),
        ..params(jobs::GenerationParams {
            prompt: "a harbour".to_owned(),
            steps: Some(1),
            width: Some(64),
            height: Some(64),
            checkpoint: "landscape-v2.safetensors".to_owned(),
            ..jobs::GenerationParams::default()
        })
    };
    let id = pair.submit(request).await?;
    let job = pair.ended(&id).await?;
    assert_eq!(job.state(), JobState::Failed);
    assert_eq!(job.attempts[0].outcome(), AttemptOutcome::WrongModel);
    until_state(&pair, "landscape-v2", AvailabilityState::Missing).await?;
    // Each look tries to list it, as it was asked to.
    let listed = sim.asked(CHECKPOINTS);
    sim.until_asked(CHECKPOINTS, listed + 5).await?;
    let state = state_of(&pair, "landscape-v2").await?;
    assert_eq!(state, AvailabilityState::Missing);
    // What a listing of after that says counts.
    sim.sim.clear_faults();
    until_state(&pair, "landscape-v2", AvailabilityState::Available).await
}
