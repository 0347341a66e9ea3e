//! Jobs belong to the key that submitted them.

use anyhow::{Context as _, Result};
use service_kit::auth::{ApiKey, SCOPE_KEY, Scope};
use service_kit::status::reason_of;
use stablequeue_proto::jobs::v1::{
    self as jobs, CancelJobRequest, DeleteApiKeyRequest, DeleteJobRequest, GetJobRequest, JobState,
    ListJobsRequest, ListJobsResponse, SubmitJobRequest, UpdateJobRequest, WatchJobRequest,
    watch_job_response::Update,
};
use system_tests::{Pair, PairOptions, Sim, callers::Key, pair::txt2img};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// A pair that wants keys.
async fn keyed() -> Result<Pair> {
    Pair::start(PairOptions {
        key: Some(ApiKey::generate()?.token()),
        ..PairOptions::default()
    })
    .await
}

/// A key for one's own jobs.
async fn user(pair: &Pair) -> Result<Key> {
    let scopes = [Scope::JobsRead, Scope::JobsWrite];
    pair.new_key(&scopes, jobs::ApiKey::default()).await
}

async fn submit(pair: &Pair, key: &Key, request: SubmitJobRequest) -> Result<String> {
    let answer = pair.jobs_of(key).await?.submit_job(request).await?;
    let job = answer.into_inner().job.context("no job")?;
    assert_eq!(job.key_id, key.id);
    Ok(job.job_id)
}

async fn list(
    pair: &Pair,
    key: &Key,
    request: ListJobsRequest,
) -> Result<ListJobsResponse, Status> {
    let mut client = pair.jobs_of(key).await.expect("job-service is there");
    Ok(client.list_jobs(request).await?.into_inner())
}

async fn ids(pair: &Pair, key: &Key, of: &str) -> Result<Vec<String>> {
    let request = ListJobsRequest {
        key_id: of.to_owned(),
        order: jobs::JobOrder::CreateTimeAsc.into(),
        ..ListJobsRequest::default()
    };
    let jobs = list(pair, key, request).await?.jobs;
    Ok(jobs.into_iter().map(|job| job.job_id).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_has_ones_own_jobs_and_everybodys_only_with_the_wider_scope() -> Result<()> {
    let pair = keyed().await?;
    let (one, other) = (user(&pair).await?, user(&pair).await?);
    let reader = pair
        .new_key(&[Scope::JobsReadAll], jobs::ApiKey::default())
        .await?;
    let mine = submit(&pair, &one, txt2img("mine")).await?;
    let theirs = submit(&pair, &other, txt2img("theirs")).await?;
    let pairs = pair.submit(txt2img("the pair's")).await?;
    let both = [&mine, &theirs, &pairs];
    for (key, of, expected) in [
        (&one, "", &[&mine][..]),
        (&one, one.id.as_str(), &[&mine]),
        (&one, other.id.as_str(), &[]),
        (&one, "no such key", &[]),
        (&other, "", &[&theirs]),
        (&reader, "", &both),
        (&reader, one.id.as_str(), &[&mine]),
        (&reader, reader.id.as_str(), &[]),
    ] {
        let found = ids(&pair, key, of).await?;
        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{of:?}");
    }
    let shown = pair.job(&mine).await?;
    assert_eq!(shown.key_id, one.id, "the pair's own key sees everything");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_retries_its_own_jobs_and_no_others() -> Result<()> {
    let pair = keyed().await?;
    let (one, other) = (user(&pair).await?, user(&pair).await?);
    let mine = submit(&pair, &one, txt2img("mine")).await?;
    let theirs = submit(&pair, &other, txt2img("theirs")).await?;
    for id in [&mine, &theirs] {
        pair.cancel(id).await?;
    }
    let all = jobs::BatchRetryJobsRequest {
        states: vec![JobState::Cancelled.into()],
        ..jobs::BatchRetryJobsRequest::default()
    };
    let mut client = pair.jobs_of(&one).await?;
    let found = client.batch_retry_jobs(all.clone()).await?.into_inner();
    let found: Vec<&str> = found
        .results
        .iter()
        .map(|each| each.job_id.as_str())
        .collect();
    assert_eq!(found, [mine.as_str()]);
    let by_id = jobs::BatchRetryJobsRequest {
        job_ids: vec![theirs.clone()],
        ..jobs::BatchRetryJobsRequest::default()
    };
    let found = client.batch_retry_jobs(by_id).await?.into_inner().results;
    let failure = found[0].failure.clone().unwrap_or_default();
    assert_eq!(
        (found[0].run, failure.reason.as_str()),
        (0, "JOB_NOT_FOUND")
    );
    assert_eq!(pair.job(&theirs).await?.run, 1);
    // The pair's own key changes everybody's.
    let found = pair.jobs().await?.batch_retry_jobs(all).await?.into_inner();
    assert_eq!(found.results.len(), 1);
    assert_eq!(found.results[0].job_id, theirs);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_token_is_of_one_caller() -> Result<()> {
    let pair = keyed().await?;
    let (one, other) = (user(&pair).await?, user(&pair).await?);
    for number in 0..3 {
        submit(&pair, &one, txt2img(&number.to_string())).await?;
        submit(&pair, &other, txt2img(&number.to_string())).await?;
    }
    let page = |token: &str| ListJobsRequest {
        page_size: 2,
        page_token: token.to_owned(),
        ..ListJobsRequest::default()
    };
    let first = list(&pair, &one, page("")).await?;
    let status = list(&pair, &other, page(&first.next_page_token))
        .await
        .expect_err("it is another list");
    assert_eq!(status.code(), Code::InvalidArgument);
    let rest = list(&pair, &one, page(&first.next_page_token)).await?;
    assert_eq!((first.jobs.len(), rest.jobs.len()), (2, 1));
    assert!(rest.jobs.iter().all(|job| job.key_id == one.id));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_is_of_one_key() -> Result<()> {
    let pair = keyed().await?;
    let (one, other) = (user(&pair).await?, user(&pair).await?);
    let request = SubmitJobRequest {
        request_id: "the same".to_owned(),
        ..txt2img("twice")
    };
    let first = submit(&pair, &one, request.clone()).await?;
    assert_ne!(submit(&pair, &other, request.clone()).await?, first);
    assert_eq!(submit(&pair, &one, request).await?, first);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sees_a_job_but_may_not_change_it_learns_which_scope_would() -> Result<()> {
    let pair = keyed().await?;
    let owner = user(&pair).await?;
    let id = submit(&pair, &owner, txt2img("not yours")).await?;
    let scopes = [Scope::JobsReadAll, Scope::JobsWrite, Scope::QueueAdmin];
    let reader = pair.new_key(&scopes, jobs::ApiKey::default()).await?;
    let mut client = pair.jobs_of(&reader).await?;
    let before = pair.job(&id).await?;
    let update = UpdateJobRequest {
        job_id: id.clone(),
        priority: Some(5),
        ..UpdateJobRequest::default()
    };
    let cancel = CancelJobRequest { job_id: id.clone() };
    let delete = DeleteJobRequest {
        job_id: id.clone(),
        cancel_first: true,
    };
    let refusals = [
        client.update_job(update.clone()).await.err(),
        client.cancel_job(cancel).await.err(),
        client.delete_job(delete.clone()).await.err(),
    ];
    for status in refusals {
        let status = status.context("it was changed")?;
        assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
        let info = status.get_details_error_info().context("no reason")?;
        let named = info.metadata.get(SCOPE_KEY).map(String::as_str);
        assert_eq!(named, Some("admin"));
    }
    assert_eq!(pair.job(&id).await?, before);
    // The pair's key has all scopes.
    let mut admin = pair.jobs().await?;
    admin.update_job(update).await?;
    assert_eq!(pair.cancel(&id).await?.state(), JobState::Cancelled);
    admin.delete_job(delete).await?;
    let request = GetJobRequest {
        job_id: id,
        view: 0,
    };
    let gone = pair.jobs_of(&owner).await?.get_job(request).await;
    let gone = gone.expect_err("it is deleted");
    assert_eq!(reason_of(&gone).as_deref(), Some("JOB_NOT_FOUND"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_goes_on_to_its_end_when_its_key_is_deleted() -> Result<()> {
    let pair = keyed().await?;
    let sim = Sim::instant().await?;
    let owner = user(&pair).await?;
    let id = submit(&pair, &owner, txt2img("watched")).await?;
    let request = WatchJobRequest {
        job_id: id.clone(),
        ..WatchJobRequest::default()
    };
    let mut client = pair.jobs_of(&owner).await?;
    let mut stream = client.watch_job(request.clone()).await?.into_inner();
    stream.message().await?.context("no snapshot")?;
    let delete = DeleteApiKeyRequest {
        key_id: owner.id.clone(),
    };
    pair.keys().await?.delete_api_key(delete).await?;
    let status = client.watch_job(request).await.expect_err("no key");
    assert_eq!(status.code(), Code::Unauthenticated);
    pair.add("gpu", &sim).await?;
    let mut last = None;
    while let Some(message) = stream.message().await? {
        if let Some(Update::Event(event)) = message.update {
            last = Some(event.state());
        }
    }
    assert_eq!(last, Some(JobState::Completed));
    // The job stays, and is its key's for good.
    assert_eq!(pair.completed(&id).await?.key_id, owner.id);
    Ok(())
}
