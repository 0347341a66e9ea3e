//! A server keeps the checkpoint that it has loaded while jobs for it wait, but
//! not for ever.

use anyhow::Result;
use stablequeue_proto::jobs::v1::{GenerationParams, SubmitJobRequest};
use system_tests::{Pair, PairOptions, Sim, pair::params};

const DAWN: &str = "dawn-mini.safetensors";
const LANDSCAPE: &str = "landscape-v2.safetensors";

fn with(checkpoint: &str, number: usize) -> SubmitJobRequest {
    params(GenerationParams {
        prompt: format!("number {number}"),
        steps: Some(1),
        width: Some(64),
        height: Some(64),
        checkpoint: checkpoint.to_owned(),
        ..GenerationParams::default()
    })
}

/// F26: jobs for two checkpoints in turn.
#[tokio::test(flavor = "multi_thread")]
async fn two_checkpoints_in_turn_are_not_loaded_in_turn() -> Result<()> {
    const JOBS: usize = 20;
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::instant().await?;
    pair.add("gpu", &sim).await?;
    pair.cordon("gpu").await?;
    let mut ids = Vec::new();
    for number in 0..JOBS {
        let checkpoint = if number % 2 == 0 { DAWN } else { LANDSCAPE };
        ids.push(pair.submit(with(checkpoint, number)).await?);
    }
    pair.uncordon("gpu").await?;
    for id in &ids {
        pair.completed(id).await?;
    }
    let log = sim.log();
    let loads = log.iter().filter(|one| one.loaded_checkpoint).count();
    assert_eq!(log.len(), JOBS);
    assert!(loads <= JOBS / 2, "{loads} loads for {JOBS} jobs");
    // The first in the queue is not the last to run: it is passed over a few
    // times only.
    let first = log
        .iter()
        .position(|one| one.request["prompt"] == "number 0")
        .unwrap_or(JOBS);
    let second = log
        .iter()
        .position(|one| one.request["prompt"] == "number 1")
        .unwrap_or(JOBS);
    assert!(first < 6 && second < 8, "{first} and {second}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_more_urgent_job_is_never_passed_over() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::instant().await?;
    pair.add("gpu", &sim).await?;
    // The server has this one loaded now.
    let warm = pair.submit(with(DAWN, 0)).await?;
    pair.completed(&warm).await?;
    pair.cordon("gpu").await?;
    let mut ids = Vec::new();
    for number in 1..4 {
        ids.push(pair.submit(with(DAWN, number)).await?);
    }
    let urgent = SubmitJobRequest {
        priority: Some(1),
        ..with(LANDSCAPE, 9)
    };
    ids.push(pair.submit(urgent).await?);
    pair.uncordon("gpu").await?;
    for id in &ids {
        pair.completed(id).await?;
    }
    assert_eq!(sim.log()[1].request["prompt"], "number 9");
    Ok(())
}
