//! The registry knows when jobs last used a model.

use anyhow::Result;
use prost_types::Timestamp;
use stablequeue_proto::{
    jobs::v1::{GenerationParams, SubmitJobRequest},
    models::v1::{ListModelsRequest, Model},
};
use system_tests::{Pair, PairOptions, Sim, pair::params, wait};

/// A small job with a checkpoint and a LoRA, as Forge's prompts name it.
fn with_models(checkpoint: &str, lora: &str) -> SubmitJobRequest {
    params(GenerationParams {
        prompt: format!("a lighthouse <lora:{lora}:1>"),
        steps: Some(2),
        width: Some(64),
        height: Some(64),
        checkpoint: checkpoint.to_owned(),
        ..GenerationParams::default()
    })
}

async fn models(pair: &Pair) -> Result<Vec<Model>> {
    let request = ListModelsRequest::default();
    let listed = pair.models().await?.list_models(request).await?;
    Ok(listed.into_inner().models)
}

/// The file names of the models that were used, once there are so many.
async fn used(pair: &Pair, count: usize) -> Result<Vec<(String, Timestamp)>> {
    wait::until("the registry knows what was used", || async {
        let models = models(pair).await.map_err(|error| error.to_string())?;
        let mut used: Vec<_> = models
            .iter()
            .filter_map(|model| Some((model.filename.clone(), model.last_used_time?)))
            .collect();
        used.sort_by(|one, other| one.0.cmp(&other.0));
        if used.len() == count {
            Ok(used)
        } else {
            Err(format!("{models:#?}"))
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_completed_job_is_noted_at_its_models_and_at_no_others() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::instant().await?;
    pair.add("gpu", &sim).await?;
    assert_eq!(used(&pair, 0).await?, []);
    let id = pair
        .submit(with_models("landscape-v2", "ink-lines"))
        .await?;
    let ended = pair.completed(&id).await?.complete_time;
    let found = used(&pair, 2).await?;
    let ended = ended.map(|time| time.seconds);
    let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["ink-lines.safetensors", "landscape-v2.safetensors"]);
    for (name, time) in found {
        // Kept to the second.
        assert_eq!(Some(time.seconds), ended, "{name}");
    }
    assert!(models(&pair).await?.len() > 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_without_a_checkpoint_is_noted_at_the_one_that_it_got() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::instant().await?;
    pair.add("gpu", &sim).await?;
    let id = pair.submit(system_tests::pair::txt2img("any")).await?;
    let job = pair.completed(&id).await?;
    let got = job.result.unwrap_or_default().checkpoint;
    let found = used(&pair, 1).await?;
    assert!(got.starts_with(&found[0].0), "{got}: {found:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_used_while_model_service_was_away_is_noted_when_it_is_back() -> Result<()> {
    let mut pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::gated().await?;
    pair.add("gpu", &sim).await?;
    let id = pair.submit(with_models("dawn-mini", "ink-lines")).await?;
    sim.until(|log| log.len() == 1).await?;
    pair.stop_models().await?;
    sim.sim.gate().open();
    let ended = pair.completed(&id).await?.complete_time;
    let ended = ended.map(|time| time.seconds);
    pair.start_models().await?;
    for (name, time) in used(&pair, 2).await? {
        assert_eq!(Some(time.seconds), ended, "{name}");
    }
    Ok(())
}
