//! Jobs without a target keep every server busy, in the order of the queue.

use anyhow::Result;
use stablequeue_proto::jobs::v1::{self as jobs, SubmitJobRequest};
use system_tests::{
    Pair, PairOptions, Sim,
    pair::{params, txt2img},
};

fn one_step(prompt: &str) -> SubmitJobRequest {
    params(jobs::GenerationParams {
        prompt: prompt.to_owned(),
        steps: Some(1),
        width: Some(64),
        height: Some(64),
        ..jobs::GenerationParams::default()
    })
}

/// Waits until this many generations have begun on a stand-in, the last of
/// which still runs.
async fn until_busy_with(sim: &Sim, number: usize) -> Result<()> {
    sim.until(|log| log.len() == number && log[number - 1].ended.is_none())
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_are_busy_from_the_first_job_to_the_last() -> Result<()> {
    const JOBS: usize = 10;
    let pair = Pair::start(PairOptions::default()).await?;
    let sims = [Sim::gated().await?, Sim::gated().await?];
    for (alias, sim) in ["left", "right"].into_iter().zip(&sims) {
        sim.sim.gate().load(JOBS as u64);
        pair.add(alias, sim).await?;
    }
    let mut ids = Vec::new();
    for number in 0..JOBS {
        ids.push(pair.submit(one_step(&format!("picture {number}"))).await?);
    }
    let mut begun = [1, 1];
    for sim in &sims {
        until_busy_with(sim, 1).await?;
    }
    // While jobs wait, a server that has finished one gets another.
    for turn in 0..JOBS - 2 {
        let which = turn % 2;
        sims[which].sim.gate().step(1);
        begun[which] += 1;
        until_busy_with(&sims[which], begun[which]).await?;
        let other = 1 - which;
        until_busy_with(&sims[other], begun[other]).await?;
    }
    for sim in &sims {
        sim.sim.gate().open();
    }
    for id in &ids {
        pair.completed(id).await?;
    }
    for sim in &sims {
        assert_eq!(sim.log().len(), JOBS / 2);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_gets_one_job_at_a_time_and_the_more_urgent_first() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::gated().await?;
    pair.add("gpu", &sim).await?;
    let first = pair.submit(txt2img("first")).await?;
    until_busy_with(&sim, 1).await?;
    let mut ids = vec![first];
    for (prompt, priority) in [("ordinary", 0), ("later", -1), ("urgent", 5)] {
        let request = SubmitJobRequest {
            priority: Some(priority),
            ..txt2img(prompt)
        };
        ids.push(pair.submit(request).await?);
    }
    sim.sim.gate().open();
    for id in &ids {
        pair.completed(id).await?;
    }
    let log = sim.log();
    let prompts: Vec<_> = log
        .iter()
        .map(|one| one.request["prompt"].clone())
        .collect();
    assert_eq!(prompts, ["first", "urgent", "ordinary", "later"]);
    for pair in log.windows(2) {
        assert!(pair[0].ended.is_some_and(|ended| ended < pair[1].started));
    }
    assert_eq!(sim.asked("/sdapi/v1/txt2img"), 4);
    Ok(())
}
