//! Waiting for the end of a job in one call.

use anyhow::{Context as _, Result};
use stablequeue_proto::jobs::v1::{JobState, WaitJobRequest, WaitJobResponse};
use system_tests::{Pair, PairOptions, Sim, pair::txt2img};

async fn wait(pair: &Pair, id: &str, timeout_ms: i32) -> Result<WaitJobResponse> {
    let request = WaitJobRequest {
        job_id: id.to_owned(),
        timeout: Some(prost_types::Duration {
            seconds: i64::from(timeout_ms / 1000),
            nanos: timeout_ms % 1000 * 1_000_000,
        }),
    };
    Ok(pair.jobs().await?.wait_job(request).await?.into_inner())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_ends_with_the_job_or_with_its_time() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::gated().await?;
    pair.add("gpu", &sim).await?;
    let id = pair.submit(txt2img("awaited")).await?;
    for timeout_ms in [0, 150] {
        let answer = wait(&pair, &id, timeout_ms).await?;
        assert!(!answer.done);
        assert_ne!(answer.job.context("no job")?.state(), JobState::Completed);
    }
    let (answer, ()) = tokio::join!(wait(&pair, &id, 60_000), async { sim.sim.gate().open() });
    let answer = answer?;
    assert!(answer.done);
    assert_eq!(answer.job.context("no job")?.state(), JobState::Completed);
    // A job that has ended is answered at once.
    assert!(wait(&pair, &id, 0).await?.done || wait(&pair, &id, 60_000).await?.done);
    Ok(())
}
