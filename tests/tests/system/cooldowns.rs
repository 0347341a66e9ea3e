//! What a server failed with it is not given for a while: that model, or that
//! size, and nothing else.

use std::time::Duration;

use anyhow::{Context as _, Result};
use forge_sim::{Fault, SimModel};
use stablequeue_proto::{
    jobs::v1::{
        self as jobs, AttemptOutcome, Cooldown, HoldReason, SubmitJobRequest, cooldown::Subject,
    },
    models::v1::{self as models, AvailabilityState},
};
use system_tests::{Pair, PairOptions, Sim, pair::params, wait};

/// Longer than any test.
const LONG: Duration = Duration::from_secs(3600);
/// A checkpoint that every stand-in has.
const LANDSCAPE: &str = "landscape-v2.safetensors";

fn job(checkpoint: &str, side: i32) -> SubmitJobRequest {
    params(jobs::GenerationParams {
        prompt: "a quarry".to_owned(),
        steps: Some(1),
        width: Some(side),
        height: Some(side),
        checkpoint: checkpoint.to_owned(),
        ..jobs::GenerationParams::default()
    })
}

fn with_cooldown(first: Duration) -> PairOptions {
    let mut options = PairOptions::with_quiet_monitors();
    options.pace.cooldown_first = first;
    options.pace.cooldown_most = first;
    options
}

fn out_of_memory() -> Fault {
    Fault::Error500 {
        error: "OutOfMemoryError".to_owned(),
        message: "CUDA out of memory. Tried to allocate 9 GiB".to_owned(),
    }
}

async fn cooldowns(pair: &Pair, server: &str) -> Result<Vec<Cooldown>> {
    let server = pair.server(server).await?;
    Ok(server.status.unwrap_or_default().cooldowns)
}

fn outcomes(job: &jobs::Job) -> Vec<(&str, AttemptOutcome)> {
    let attempts = job.attempts.iter();
    attempts
        .map(|one| (one.server.as_str(), one.outcome()))
        .collect()
}

/// What model-service says of a checkpoint on a server.
async fn availability(pair: &Pair, server: &str, reference: &str) -> Result<AvailabilityState> {
    let request = models::CheckAvailabilityRequest {
        references: vec![models::ModelReference {
            reference: reference.to_owned(),
            r#type: models::ModelType::Checkpoint.into(),
        }],
        servers: vec![server.to_owned()],
        max_age: None,
        assets: Vec::new(),
    };
    let mut client = pair.availability().await?;
    let answer = client.check_availability(request).await?.into_inner();
    let mut found = answer.servers.into_iter().flat_map(|one| one.references);
    Ok(found.next().context("no answer")?.state())
}

async fn until_availability_is(pair: &Pair, server: &str, wanted: AvailabilityState) -> Result<()> {
    wait::until(wanted.as_str_name(), || async {
        let state = availability(pair, server, LANDSCAPE).await;
        let state = state.map_err(|error| error.to_string())?;
        if state == wanted {
            Ok(())
        } else {
            Err(state.as_str_name().to_owned())
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_a_server_cannot_load_cools_down_there_and_nothing_else() -> Result<()> {
    let mut pair = Pair::start(with_cooldown(LONG)).await?;
    let with = |model: SimModel| Sim::with(|config| config.checkpoints.push(model));
    let a = with(SimModel::broken("quarry.safetensors")).await?;
    let b = with(SimModel::named("quarry.safetensors")).await?;
    pair.add("a", &a).await?;
    pair.add("b", &b).await?;
    pair.cordon("b").await?;
    let id = pair.submit(job("quarry.safetensors", 64)).await?;
    let hold = pair.held(&id, HoldReason::CoolingDown).await?;
    for part in ["a is not given quarry.safetensors", "Failed to recognize"] {
        assert!(hold.message.contains(part), "{}", hold.message);
    }
    let cooling = cooldowns(&pair, "a").await?;
    let wanted = Some(Subject::Model("quarry.safetensors".to_owned()));
    assert_eq!((cooling.len(), &cooling[0].subject), (1, &wanted));
    assert_eq!(cooling[0].failures, 1);
    assert_eq!(hold.retry_time, cooling[0].end_time);
    // Other jobs pass it, on the same server.
    let other = pair.submit(job(LANDSCAPE, 64)).await?;
    pair.completed(&other).await?;
    // A restart does not forget it.
    pair.stop_jobs().await?;
    pair.start_jobs().await?;
    assert_eq!(cooldowns(&pair, "a").await?, cooling);
    pair.uncordon("b").await?;
    let wanted = [
        ("a", AttemptOutcome::RetryableError),
        ("b", AttemptOutcome::Completed),
    ];
    assert_eq!(outcomes(&pair.completed(&id).await?), wanted);
    assert_eq!(cooldowns(&pair, "b").await?, []);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_size_that_did_not_fit_goes_elsewhere_and_smaller_ones_pass() -> Result<()> {
    let pair = Pair::start(with_cooldown(LONG)).await?;
    let (a, b) = (Sim::instant().await?, Sim::instant().await?);
    pair.add("a", &a).await?;
    pair.add("b", &b).await?;
    pair.cordon("b").await?;
    a.sim.script(out_of_memory());
    let large = pair.submit(job("", 128)).await?;
    let hold = pair.held(&large, HoldReason::CoolingDown).await?;
    assert!(hold.message.contains("16384 pixels"), "{}", hold.message);
    let subjects: Vec<_> = (cooldowns(&pair, "a").await?.into_iter())
        .filter_map(|one| one.subject)
        .collect();
    assert_eq!(subjects, [Subject::Pixels(128 * 128)]);
    let larger = pair.submit(job("", 256)).await?;
    pair.held(&larger, HoldReason::CoolingDown).await?;
    let smaller = pair.submit(job("", 64)).await?;
    let smaller = pair.completed(&smaller).await?;
    assert_eq!(outcomes(&smaller), [("a", AttemptOutcome::Completed)]);
    pair.uncordon("b").await?;
    for id in [&large, &larger] {
        let job = pair.completed(id).await?;
        assert_eq!(job.result.unwrap_or_default().server, "b");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn when_it_is_over_the_job_runs_and_its_success_ends_it() -> Result<()> {
    let pair = Pair::start(with_cooldown(Duration::from_millis(300))).await?;
    let sim = Sim::instant().await?;
    pair.add("gpu", &sim).await?;
    for _ in 0..2 {
        sim.sim.script(out_of_memory());
    }
    let id = pair.submit(job("", 64)).await?;
    let job = pair.completed(&id).await?;
    assert_eq!(job.attempts.len(), 3);
    assert_eq!(cooldowns(&pair, "gpu").await?, []);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_was_silently_replaced_is_not_looked_for_there_again() -> Result<()> {
    let pair = Pair::start(with_cooldown(LONG)).await?;
    let (a, b) = (Sim::instant().await?, Sim::instant().await?);
    pair.add("a", &a).await?;
    pair.add("b", &b).await?;
    pair.cordon("b").await?;
    a.sim.remove_checkpoint(LANDSCAPE);
    a.sim.script(Fault::WrongModel);
    let id = pair.submit(job(LANDSCAPE, 64)).await?;
    pair.job_when(&id, "the wrong model is noticed", |job| {
        outcomes(job) == [("a", AttemptOutcome::WrongModel)]
    })
    .await?;
    until_availability_is(&pair, "a", AvailabilityState::Missing).await?;
    let cooling = cooldowns(&pair, "a").await?;
    assert_eq!(
        cooling.first().and_then(|one| one.subject.clone()),
        Some(Subject::Model(LANDSCAPE.to_owned()))
    );
    pair.uncordon("b").await?;
    let wanted = [
        ("a", AttemptOutcome::WrongModel),
        ("b", AttemptOutcome::Completed),
    ];
    assert_eq!(outcomes(&pair.completed(&id).await?), wanted);
    // A newer listing of the server counts more than what was found out.
    a.sim.add_checkpoint(SimModel::named(LANDSCAPE));
    let request = jobs::RefreshInventoryRequest {
        alias: "a".to_owned(),
    };
    pair.servers().await?.refresh_inventory(request).await?;
    until_availability_is(&pair, "a", AvailabilityState::Available).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_lists_a_model_and_uses_another_keeps_its_cooldown() -> Result<()> {
    let pair = Pair::start(with_cooldown(LONG)).await?;
    let (a, b) = (Sim::instant().await?, Sim::instant().await?);
    pair.add("a", &a).await?;
    pair.add("b", &b).await?;
    pair.cordon("b").await?;
    a.sim.script(Fault::DropsCheckpoint);
    let id = pair.submit(job(LANDSCAPE, 64)).await?;
    pair.held(&id, HoldReason::CoolingDown).await?;
    pair.uncordon("b").await?;
    pair.completed(&id).await?;
    // Its newest listing has it again; still nothing is tried there.
    until_availability_is(&pair, "a", AvailabilityState::Available).await?;
    for _ in 0..3 {
        let id = pair.submit(job(LANDSCAPE, 64)).await?;
        let job = pair.completed(&id).await?;
        assert_eq!(outcomes(&job), [("b", AttemptOutcome::Completed)]);
    }
    assert_eq!(a.log().len(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lora_that_a_server_leaves_out_cools_down_there() -> Result<()> {
    let pair = Pair::start(with_cooldown(LONG)).await?;
    let (a, b) = (Sim::with(cached).await?, Sim::with(cached).await?);
    pair.add("a", &a).await?;
    pair.add("b", &b).await?;
    pair.cordon("b").await?;
    a.sim.script(Fault::SkipsLoras);
    let with_lora = || {
        params(jobs::GenerationParams {
            prompt: "a quarry <lora:ink-lines:0.7>".to_owned(),
            steps: Some(1),
            width: Some(64),
            height: Some(64),
            ..jobs::GenerationParams::default()
        })
    };
    let id = pair.submit(with_lora()).await?;
    let hold = pair.held(&id, HoldReason::CoolingDown).await?;
    assert!(hold.message.contains("ink-lines"), "{}", hold.message);
    let other = pair.submit(job("", 64)).await?;
    let other = pair.completed(&other).await?;
    assert_eq!(outcomes(&other), [("a", AttemptOutcome::Completed)]);
    pair.uncordon("b").await?;
    let wanted = [
        ("a", AttemptOutcome::WrongModel),
        ("b", AttemptOutcome::Completed),
    ];
    assert_eq!(outcomes(&pair.completed(&id).await?), wanted);
    Ok(())
}

fn cached(config: &mut forge_sim::SimConfig) {
    config.hashes_cached = true;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poisoned_server_is_healed_and_the_job_spends_nothing() -> Result<()> {
    let pair = Pair::start(with_cooldown(LONG)).await?;
    let sim = Sim::instant().await?;
    pair.add("gpu", &sim).await?;
    let first = pair.submit(job(LANDSCAPE, 64)).await?;
    pair.completed(&first).await?;
    sim.sim.poison();
    let second = pair.submit(job(LANDSCAPE, 64)).await?;
    let second = pair.completed(&second).await?;
    assert_eq!(second.attempts.len(), 2, "{second:#?}");
    assert_eq!(second.attempts[0].error_code, "FORGE_POISONED");
    assert!(!second.attempts[0].spent);
    assert_eq!(second.attempts_spent, 1);
    assert!(!sim.sim.is_poisoned());
    assert_eq!(cooldowns(&pair, "gpu").await?, []);
    Ok(())
}
