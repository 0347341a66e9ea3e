//! No key takes more than it may, and none takes what is another's.

use anyhow::Result;
use service_kit::auth::{ApiKey, Scope};
use stablequeue_proto::jobs::v1::{
    self as jobs, BatchJob, BatchSubmitJobsRequest, CancelJobRequest, UpdateApiKeyRequest,
    WaitJobRequest, WatchJobRequest, WatchJobResponse, batch_job,
};
use system_tests::{Pair, PairOptions, callers::Key, pair::txt2img, wait};
use tonic::{Status, Streaming};

use crate::limits::exhausted;

const SCOPES: [Scope; 2] = [Scope::JobsRead, Scope::JobsWrite];

fn keyed() -> Result<PairOptions> {
    Ok(PairOptions {
        key: Some(ApiKey::generate()?.token()),
        ..PairOptions::default()
    })
}

async fn submit(pair: &Pair, key: &Key) -> Result<String, Status> {
    let mut client = pair.jobs_of(key).await.expect("job-service is there");
    let answer = client.submit_job(txt2img("one of many")).await?;
    Ok(answer.into_inner().job.unwrap_or_default().job_id)
}

async fn batch(pair: &Pair, key: &Key, count: i32) -> Result<(), Status> {
    let job = BatchJob {
        input: Some(batch_job::Input::Params(jobs::GenerationParams::default())),
        variations: Some(count),
        ..BatchJob::default()
    };
    let request = BatchSubmitJobsRequest {
        jobs: vec![job],
        ..BatchSubmitJobsRequest::default()
    };
    let mut client = pair.jobs_of(key).await.expect("job-service is there");
    client.batch_submit_jobs(request).await.map(|_| ())
}

/// Gives a key another limit of waiting jobs.
async fn allow(pair: &Pair, key: &Key, queued_jobs_max: Option<i32>) -> Result<()> {
    let request = UpdateApiKeyRequest {
        api_key: Some(jobs::ApiKey {
            key_id: key.id.clone(),
            queued_jobs_max,
            ..jobs::ApiKey::default()
        }),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["queued_jobs_max".to_owned()],
        }),
    };
    pair.keys().await?.update_api_key(request).await?;
    Ok(())
}

/// Checks that a refusal is about this key's waiting jobs.
fn assert_full(refused: Result<impl std::fmt::Debug, Status>, key: &Key) -> Result<()> {
    let status = refused.expect_err("this key has as many as it may");
    let subject = exhausted(&status, "QUEUE_FULL")?;
    assert_eq!(subject, format!("api_key/{}", key.id));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_jobs_of_a_key_wait_than_may() -> Result<()> {
    let mut pair = Pair::start(keyed()?).await?;
    let limits = jobs::ApiKey {
        queued_jobs_max: Some(2),
        ..jobs::ApiKey::default()
    };
    let key = pair.new_key(&SCOPES, limits).await?;
    let other = pair.new_key(&SCOPES, jobs::ApiKey::default()).await?;
    assert_full(batch(&pair, &key, 3).await, &key)?;
    let first = submit(&pair, &key).await?;
    batch(&pair, &key, 1).await?;
    assert_full(submit(&pair, &key).await, &key)?;
    batch(&pair, &other, 5).await?;
    pair.stop_jobs().await?;
    pair.start_jobs().await?;
    assert_full(submit(&pair, &key).await, &key)?;
    let cancel = CancelJobRequest { job_id: first };
    pair.jobs_of(&key).await?.cancel_job(cancel).await?;
    submit(&pair, &key).await?;
    assert_full(submit(&pair, &key).await, &key)?;
    allow(&pair, &key, Some(3)).await?;
    submit(&pair, &key).await?;
    assert_full(submit(&pair, &key).await, &key)?;
    allow(&pair, &key, None).await?;
    batch(&pair, &key, 5).await?;
    allow(&pair, &key, Some(0)).await?;
    assert_full(submit(&pair, &key).await, &key)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_says_nothing_has_what_the_service_gives_each() -> Result<()> {
    let mut options = keyed()?;
    options.limits.queued_jobs_per_key = Some(1);
    options.limits.watches_per_key = 1;
    let pair = Pair::start(options).await?;
    let plain = pair.new_key(&SCOPES, jobs::ApiKey::default()).await?;
    let limits = jobs::ApiKey {
        queued_jobs_max: Some(2),
        watches_max: Some(2),
        ..jobs::ApiKey::default()
    };
    let wider = pair.new_key(&SCOPES, limits).await?;
    for (key, most) in [(&plain, 1), (&wider, 2)] {
        let mut watches = Vec::new();
        for _ in 0..most {
            let id = submit(&pair, key).await?;
            watches.push(watch(&pair, key, &id).await?);
        }
        assert_full(submit(&pair, key).await, key)?;
        let status = watch(&pair, key, "any").await.expect_err("one too many");
        let subject = exhausted(&status, "TOO_MANY_WATCHES")?;
        assert_eq!(subject, format!("api_key/{}", key.id));
    }
    Ok(())
}

async fn watch(pair: &Pair, key: &Key, id: &str) -> Result<Streaming<WatchJobResponse>, Status> {
    let request = WatchJobRequest {
        job_id: id.to_owned(),
        ..WatchJobRequest::default()
    };
    let mut client = pair.jobs_of(key).await.expect("job-service is there");
    Ok(client.watch_job(request).await?.into_inner())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_watches_of_a_key_are_open_than_may() -> Result<()> {
    let pair = Pair::start(keyed()?).await?;
    let limits = jobs::ApiKey {
        watches_max: Some(2),
        ..jobs::ApiKey::default()
    };
    let key = pair.new_key(&SCOPES, limits).await?;
    let other = pair.new_key(&SCOPES, jobs::ApiKey::default()).await?;
    let (id, others) = (submit(&pair, &key).await?, submit(&pair, &other).await?);
    let first = watch(&pair, &key, &id).await?;
    let _second = watch(&pair, &key, &id).await?;
    let subject = format!("api_key/{}", key.id);
    let status = watch(&pair, &key, &id).await.expect_err("the third");
    assert_eq!(exhausted(&status, "TOO_MANY_WATCHES")?, subject);
    let waiting = WaitJobRequest {
        job_id: id.clone(),
        ..WaitJobRequest::default()
    };
    let status = pair.jobs_of(&key).await?.wait_job(waiting).await;
    let status = status.expect_err("the third");
    assert_eq!(exhausted(&status, "TOO_MANY_WATCHES")?, subject);
    let _others = watch(&pair, &other, &others).await?;
    drop(first);
    let _third = wait::until("a place is given back", || async {
        let watched = watch(&pair, &key, &id).await;
        watched.map_err(|status| status.to_string())
    })
    .await?;
    Ok(())
}
