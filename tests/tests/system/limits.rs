//! What the service does not take on is refused with what ran out and when to
//! come back.

use anyhow::{Context as _, Result};
use service_kit::status::{reason_of, retry_delay_of};
use stablequeue_proto::jobs::v1::{
    BatchJob, BatchSubmitJobsRequest, GenerationParams, SubmitJobRequest, UpdateJobRequest,
    WaitJobRequest, WatchJobRequest, batch_job, update_job_request::Input,
};
use system_tests::{
    Pair, PairOptions,
    pair::{params, txt2img},
    wait,
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

fn of_bytes(bytes: usize) -> GenerationParams {
    GenerationParams {
        prompt: "x".repeat(bytes),
        ..GenerationParams::default()
    }
}

/// What ran out, of a refusal that says when to come back.
pub(crate) fn exhausted(status: &Status, reason: &str) -> Result<String> {
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    assert_eq!(reason_of(status).as_deref(), Some(reason));
    assert!(retry_delay_of(status).is_some());
    let quota = status.get_details_quota_failure().context("no quota")?;
    Ok(quota.violations[0].subject.clone())
}

async fn refused(pair: &Pair, request: SubmitJobRequest) -> Result<String> {
    let answer = pair.jobs().await?.submit_job(request).await;
    exhausted(&answer.expect_err("the queue is full"), "QUEUE_FULL")
}

async fn batch(pair: &Pair, count: i32) -> Result<(), Status> {
    let job = BatchJob {
        input: Some(batch_job::Input::Params(of_bytes(10))),
        variations: Some(count),
        ..BatchJob::default()
    };
    let request = BatchSubmitJobsRequest {
        jobs: vec![job],
        ..BatchSubmitJobsRequest::default()
    };
    let mut client = pair.jobs().await.expect("job-service is there");
    client.batch_submit_jobs(request).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_jobs_wait_than_may() -> Result<()> {
    let mut options = PairOptions::default();
    options.limits.queued_jobs = 3;
    let mut pair = Pair::start(options).await?;
    let status = batch(&pair, 4).await.expect_err("too many at once");
    assert_eq!(exhausted(&status, "QUEUE_FULL")?, "queued_jobs");
    let known = SubmitJobRequest {
        request_id: "known".to_owned(),
        ..txt2img("known")
    };
    let first = pair.submit(known.clone()).await?;
    batch(&pair, 2).await?;
    assert_eq!(refused(&pair, txt2img("fourth")).await?, "queued_jobs");
    assert!(batch(&pair, 1).await.is_err());
    assert_eq!(pair.submit(known).await?, first, "no new job");
    pair.stop_jobs().await?;
    pair.start_jobs().await?;
    assert_eq!(refused(&pair, txt2img("fourth")).await?, "queued_jobs");
    pair.cancel(&first).await?;
    pair.submit(txt2img("third again")).await?;
    assert_eq!(refused(&pair, txt2img("fourth")).await?, "queued_jobs");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_bytes_wait_than_may() -> Result<()> {
    let mut options = PairOptions::default();
    options.limits.queued_bytes = 10_000;
    let pair = Pair::start(options).await?;
    let id = pair.submit(params(of_bytes(8_000))).await?;
    let other = pair.submit(params(of_bytes(1_000))).await?;
    let large = params(of_bytes(2_000));
    assert_eq!(refused(&pair, large.clone()).await?, "queued_bytes");
    let change = |id: &str, bytes| UpdateJobRequest {
        job_id: id.to_owned(),
        input: Some(Input::Params(of_bytes(bytes))),
        ..UpdateJobRequest::default()
    };
    let before = pair.job(&other).await?;
    let mut client = pair.jobs().await?;
    let status = client.update_job(change(&other, 3_000)).await;
    let status = status.expect_err("it would grow");
    assert_eq!(exhausted(&status, "QUEUE_FULL")?, "queued_bytes");
    assert_eq!(pair.job(&other).await?, before);
    client.update_job(change(&id, 7_000)).await?;
    client.update_job(change(&other, 1_500)).await?;
    assert_eq!(refused(&pair, large.clone()).await?, "queued_bytes");
    pair.cancel(&id).await?;
    pair.submit(large).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_watches_are_open_than_may() -> Result<()> {
    let mut options = PairOptions::default();
    options.limits.watches = 2;
    let pair = Pair::start(options).await?;
    let id = pair.submit(txt2img("watched")).await?;
    let request = || WatchJobRequest {
        job_id: id.clone(),
        ..WatchJobRequest::default()
    };
    let mut client = pair.jobs().await?;
    let mut first = client.watch_job(request()).await?.into_inner();
    let _second = client.watch_job(request()).await?.into_inner();
    let status = client.watch_job(request()).await.expect_err("the third");
    assert_eq!(exhausted(&status, "TOO_MANY_WATCHES")?, "watches");
    let waiting = WaitJobRequest {
        job_id: id.clone(),
        ..WaitJobRequest::default()
    };
    let status = client.wait_job(waiting).await.expect_err("the third");
    assert_eq!(exhausted(&status, "TOO_MANY_WATCHES")?, "watches");
    assert!(first.message().await?.is_some());
    drop(first);
    let _third = wait::until("a place is given back", || async {
        let mut client = pair.jobs().await.map_err(|error| error.to_string())?;
        let answer = client.watch_job(request()).await;
        answer.map_err(|status| status.to_string())
    })
    .await?;
    Ok(())
}
