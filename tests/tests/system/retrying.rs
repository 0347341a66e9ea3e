//! Jobs that have ended run again, as their callers and their policies want.

use anyhow::{Context as _, Result};
use forge_sim::{Fault, Rule, Times};
use service_kit::status::reason_of;
use stablequeue_proto::jobs::v1::{
    self as jobs, AttemptOutcome, BatchRetryJobsRequest, BatchRetryJobsResponse, Job, JobEventType,
    JobPolicy, JobState, RetryJobRequest, SubmitJobRequest, UpdateJobRequest, WatchJobRequest,
    watch_job_response::Update,
};
use system_tests::{Pair, PairOptions, Sim, pair::txt2img};
use tonic::{Code, Status};

fn permanent() -> Fault {
    Fault::Error500 {
        error: "AssertionError".to_owned(),
        message: "it can never work".to_owned(),
    }
}

fn again(id: &str) -> RetryJobRequest {
    RetryJobRequest {
        job_id: id.to_owned(),
        ..RetryJobRequest::default()
    }
}

async fn retry(pair: &Pair, request: RetryJobRequest) -> Result<Job, Status> {
    let mut client = pair.jobs().await.expect("job-service is there");
    let answer = client.retry_job(request).await?;
    Ok(answer.into_inner().job.unwrap_or_default())
}

async fn refused(pair: &Pair, request: RetryJobRequest) -> Result<(Code, String, String)> {
    let status = retry(pair, request).await.err().context("it was retried")?;
    let reason = reason_of(&status).unwrap_or_default();
    Ok((status.code(), reason, status.message().to_owned()))
}

async fn retry_many(
    pair: &Pair,
    request: BatchRetryJobsRequest,
) -> Result<BatchRetryJobsResponse, Status> {
    let mut client = pair.jobs().await.expect("job-service is there");
    Ok(client.batch_retry_jobs(request).await?.into_inner())
}

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_job_runs_again_and_keeps_its_history() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::instant().await?;
    pair.add("gpu", &sim).await?;
    sim.sim.script(permanent());
    let id = pair.submit(txt2img("second time lucky")).await?;
    let failed = pair.ended(&id).await?;
    assert_eq!((failed.state(), failed.run), (JobState::Failed, 1));
    let retried = retry(&pair, again(&id)).await?;
    assert_eq!((retried.run, retried.attempts_spent), (2, 0));
    assert_eq!((retried.error, retried.complete_time), (None, None));
    let job = pair.completed(&id).await?;
    let attempts: Vec<(i32, i32)> = job
        .attempts
        .iter()
        .map(|one| (one.number, one.run))
        .collect();
    assert_eq!(attempts, [(1, 1), (2, 2)]);
    assert_eq!(job.attempts[0].error_code, "FORGE_REJECTED");
    assert_eq!(job.attempts_spent, 1);
    assert_eq!(pair.images(&id).await?.len(), 1);
    let (code, reason, message) = refused(&pair, again(&id)).await?;
    assert_eq!(code, Code::FailedPrecondition);
    assert_eq!(reason, "JOB_NOT_RETRIABLE");
    assert!(message.contains("as_new"), "{message}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_from_the_first_run_goes_on_into_the_next() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let answer = pair.jobs().await?.submit_job(txt2img("a saga")).await?;
    let taken = answer.into_inner();
    let id = taken.job.unwrap_or_default().job_id;
    pair.cancel(&id).await?;
    retry(&pair, again(&id)).await?;
    let request = WatchJobRequest {
        job_id: id.clone(),
        resume_token: taken.resume_token,
    };
    let mut watch = pair.jobs().await?.watch_job(request).await?.into_inner();
    let mut seen = Vec::new();
    while let Some(message) = watch.message().await? {
        if let Some(Update::Event(event)) = message.update {
            let kind = event.r#type();
            seen.push(kind);
            if kind == JobEventType::Retried {
                assert_eq!(event.state(), JobState::Pending);
                pair.cancel(&id).await?;
            }
        }
    }
    let wanted = [
        JobEventType::Cancelled,
        JobEventType::Retried,
        JobEventType::Cancelled,
    ];
    assert_eq!(seen, wanted);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_not_ended_is_not_retried_and_says_what_to_do() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::gated().await?;
    let waiting = pair.submit(txt2img("waits")).await?;
    let (_, reason, message) = refused(&pair, again(&waiting)).await?;
    assert_eq!(reason, "JOB_NOT_RETRIABLE");
    assert!(
        message.contains("waits for an attempt already"),
        "{message}"
    );
    pair.add("gpu", &sim).await?;
    sim.until(|log| log.len() == 1).await?;
    let (_, _, message) = refused(&pair, again(&waiting)).await?;
    assert!(message.contains("cancel it first"), "{message}");
    let (code, reason, _) = refused(&pair, again("none")).await?;
    assert_eq!((code, reason.as_str()), (Code::NotFound, "JOB_NOT_FOUND"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_with_a_request_id_has_its_effect_once() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let id = pair.submit(txt2img("once")).await?;
    pair.cancel(&id).await?;
    let request = RetryJobRequest {
        request_id: "r".to_owned(),
        ..again(&id)
    };
    assert_eq!(retry(&pair, request.clone()).await?.run, 2);
    pair.cancel(&id).await?;
    let repeated = retry(&pair, request.clone()).await?;
    assert_eq!((repeated.run, repeated.state()), (2, JobState::Cancelled));
    let other = RetryJobRequest {
        as_new: true,
        ..request
    };
    let (code, reason, _) = refused(&pair, other).await?;
    assert_eq!(
        (code, reason.as_str()),
        (Code::AlreadyExists, "REQUEST_ID_REUSED")
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_completed_job_is_copied_into_a_new_one() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::instant().await?;
    pair.add("gpu", &sim).await?;
    let id = pair.submit(txt2img("twice")).await?;
    let original = pair.completed(&id).await?;
    let request = RetryJobRequest {
        as_new: true,
        ..again(&id)
    };
    let copy = retry(&pair, request).await?;
    assert_ne!(copy.job_id, id);
    assert_eq!(copy.run, 1);
    let copied = pair.completed(&copy.job_id).await?;
    assert_eq!(copied.request, original.request);
    assert_eq!(pair.job(&id).await?.etag, original.etag);
    let seeds: Vec<i64> = pair
        .images(&copy.job_id)
        .await?
        .iter()
        .map(|one| one.seed)
        .collect();
    assert_eq!(seeds, [copy.seed]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_needs_room_in_the_queue() -> Result<()> {
    let mut options = PairOptions::default();
    options.limits.queued_jobs = 1;
    let pair = Pair::start(options).await?;
    let first = pair.submit(txt2img("first")).await?;
    pair.cancel(&first).await?;
    let second = pair.submit(txt2img("second")).await?;
    let (code, reason, _) = refused(&pair, again(&first)).await?;
    assert_eq!(
        (code, reason.as_str()),
        (Code::ResourceExhausted, "QUEUE_FULL")
    );
    assert_eq!(pair.job(&first).await?.run, 1);
    pair.cancel(&second).await?;
    retry(&pair, again(&first)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn many_are_retried_at_once_each_with_its_own_result() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::instant().await?;
    pair.add("gpu", &sim).await?;
    sim.sim.script_rule(Rule {
        times: Times::Next(2),
        ..Rule::once(permanent())
    });
    let mut failed = Vec::new();
    for prompt in ["one", "two"] {
        let id = pair.submit(txt2img(prompt)).await?;
        assert_eq!(pair.ended(&id).await?.state(), JobState::Failed);
        failed.push(id);
    }
    let done = pair.submit(txt2img("three")).await?;
    pair.completed(&done).await?;
    let by_code = BatchRetryJobsRequest {
        error_code: "FORGE_REJECTED".to_owned(),
        request_id: "all".to_owned(),
        ..BatchRetryJobsRequest::default()
    };
    let answer = retry_many(&pair, by_code.clone()).await?;
    let found: Vec<(&str, i32)> = answer
        .results
        .iter()
        .map(|result| (result.job_id.as_str(), result.run))
        .collect();
    assert_eq!(found, [(failed[0].as_str(), 2), (failed[1].as_str(), 2)]);
    assert!(!answer.more);
    for id in &failed {
        pair.completed(id).await?;
    }
    let repeated = retry_many(&pair, by_code).await?;
    assert_eq!(repeated.results, answer.results);
    let by_id = BatchRetryJobsRequest {
        job_ids: vec![done.clone(), "none".to_owned()],
        ..BatchRetryJobsRequest::default()
    };
    let answer = retry_many(&pair, by_id).await?;
    let reasons: Vec<String> = answer
        .results
        .into_iter()
        .map(|result| result.failure.unwrap_or_default().reason)
        .collect();
    assert_eq!(reasons, ["JOB_NOT_RETRIABLE", "JOB_NOT_FOUND"]);
    let both = BatchRetryJobsRequest {
        job_ids: vec![done],
        batch_id: "b".to_owned(),
        states: vec![JobState::Completed.into()],
        ..BatchRetryJobsRequest::default()
    };
    let status = retry_many(&pair, both)
        .await
        .err()
        .context("it was taken")?;
    assert_eq!(status.code(), Code::InvalidArgument);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_decides_after_which_outcomes_a_job_is_tried_again() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::instant().await?;
    pair.add("gpu", &sim).await?;
    let broken = || Fault::Error500 {
        error: "RuntimeError".to_owned(),
        message: "not today".to_owned(),
    };
    sim.sim.script(broken());
    let lost_only = SubmitJobRequest {
        policy: Some(JobPolicy {
            retry_on: vec![AttemptOutcome::Lost.into()],
            ..JobPolicy::default()
        }),
        ..txt2img("proud")
    };
    let id = pair.submit(lost_only).await?;
    let job = pair.ended(&id).await?;
    assert_eq!((job.state(), job.attempts.len()), (JobState::Failed, 1));
    assert_eq!(job.error.unwrap_or_default().code, "FORGE_ERROR");
    sim.sim.script(broken());
    let id = pair.submit(txt2img("patient")).await?;
    assert_eq!(pair.completed(&id).await?.attempts.len(), 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_is_shown_with_what_holds_and_is_changed_as_a_whole() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let request = SubmitJobRequest {
        policy: Some(JobPolicy {
            total_timeout: seconds(600),
            max_backoff: seconds(5),
            ..JobPolicy::default()
        }),
        request_id: "p".to_owned(),
        ..txt2img("careful")
    };
    let id = pair.submit(request.clone()).await?;
    let job = pair.job(&id).await?;
    let policy = job.policy.unwrap_or_default();
    assert_eq!(policy.max_backoff, seconds(5));
    assert_eq!(policy.retry_on.len(), 5);
    assert_eq!(policy.unknown_policy(), jobs::UnknownPolicy::Wait);
    let default_first = policy.initial_backoff.unwrap_or_default();
    assert_eq!(
        (default_first.seconds, default_first.nanos),
        (0, 50_000_000)
    );
    let created = job.create_time.unwrap_or_default();
    let deadline = job.total_deadline.unwrap_or_default();
    assert_eq!(deadline.seconds - created.seconds, 600);
    assert_eq!(job.wait_deadline, None);
    let changed = UpdateJobRequest {
        job_id: id.clone(),
        policy: Some(JobPolicy {
            wait_timeout: seconds(700),
            ..JobPolicy::default()
        }),
        ..UpdateJobRequest::default()
    };
    pair.jobs().await?.update_job(changed).await?;
    let job = pair.job(&id).await?;
    let wait = job.wait_deadline.unwrap_or_default();
    assert_eq!(
        (wait.seconds - created.seconds, job.total_deadline),
        (700, None)
    );
    // The policy is a part of what a request id stands for.
    let without = SubmitJobRequest {
        policy: None,
        ..request
    };
    let status = pair.jobs().await?.submit_job(without).await;
    let status = status.err().context("it was taken")?;
    assert_eq!(reason_of(&status).as_deref(), Some("REQUEST_ID_REUSED"));
    Ok(())
}
