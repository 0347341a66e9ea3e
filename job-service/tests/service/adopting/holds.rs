//! Which of the jobs that waited run, and how the others are let run.

use chrono::TimeDelta;
use diesel::{prelude::*, sql_query};
use service_kit::{auth::Token, status::reason_of};
use stablequeue_proto::jobs::v1::{update_job_request::Input, *};
use tonic::{Code, Status};

use super::{NEWEST, UNDER_WAY, adopted, copy, database, job, texts, time_of_samples};
use crate::harness::{Service, with};

/// The job that was processing.
const PROCESSING: &str = "SELECT mobilesd_job_id AS text FROM jobs WHERE status = 'processing'";
/// Those that waited.
const PENDING: &str = "SELECT mobilesd_job_id AS text FROM jobs WHERE status = 'pending' \
                       ORDER BY creation_timestamp, rowid";

async fn update(
    service: &mut Service,
    by: &Token,
    change: UpdateJobRequest,
) -> Result<Job, Status> {
    let answer = service.jobs.update_job(with(change, Some(by))).await?;
    Ok(answer.into_inner().job.unwrap())
}

fn release(id: &str) -> UpdateJobRequest {
    UpdateJobRequest {
        job_id: id.to_owned(),
        release_hold: true,
        ..UpdateJobRequest::default()
    }
}

fn another_input(id: &str) -> UpdateJobRequest {
    UpdateJobRequest {
        job_id: id.to_owned(),
        input: Some(Input::Params(GenerationParams {
            prompt: "another".to_owned(),
            ..GenerationParams::default()
        })),
        ..UpdateJobRequest::default()
    }
}

fn reason(job: &Job) -> HoldReason {
    job.hold.clone().unwrap_or_default().reason()
}

#[tokio::test]
async fn jobs_that_waited_for_a_day_are_held_and_younger_ones_are_not() {
    // Created at this time, to the millisecond.
    let folder = copy(UNDER_WAY);
    let id = texts(&mut database(folder.path()), PENDING).remove(0);
    let created = service_kit::clock::from_text("2026-11-22T11:41:22.039Z").unwrap();
    for (age, held) in [
        (TimeDelta::hours(24), true),
        (TimeDelta::hours(24) - TimeDelta::milliseconds(1), false),
        (TimeDelta::hours(1), false),
    ] {
        let (mut service, admin) = adopted(copy(UNDER_WAY), created + age).await;
        let shown = job(&mut service, &admin, &id).await;
        assert_eq!(shown.state(), JobState::Pending);
        assert_eq!(reason(&shown) == HoldReason::AdoptedStale, held, "{age}");
        if held {
            let message = shown.hold.unwrap().message;
            assert!(message.contains("release_hold"), "{message}");
        }
    }
}

#[tokio::test]
async fn a_job_that_was_under_way_waits_with_an_attempt_of_unknown_outcome() {
    let folder = copy(UNDER_WAY);
    let id = texts(&mut database(folder.path()), PROCESSING).remove(0);
    let (mut service, admin) = adopted(folder, time_of_samples()).await;
    let shown = job(&mut service, &admin, &id).await;
    assert_eq!(shown.state(), JobState::Pending);
    assert_eq!(reason(&shown), HoldReason::AdoptedStale);
    assert_eq!(shown.attempts.len(), 1);
    let attempt = &shown.attempts[0];
    assert_eq!(attempt.phase(), AttemptPhase::OutcomeUnknown);
    assert_eq!(attempt.outcome(), AttemptOutcome::Unspecified);
    assert!(attempt.end_time.is_some() && !attempt.spent);
    assert_eq!(shown.attempts_spent, 0);
    assert!(shown.current_attempt.is_some());
    let released = update(&mut service, &admin, release(&id)).await.unwrap();
    assert_eq!(reason(&released), HoldReason::TargetUnknown);
}

#[tokio::test]
async fn a_released_job_waits_like_others_also_after_a_restart() {
    let folder = copy(NEWEST);
    let id = texts(&mut database(folder.path()), PENDING).remove(0);
    let (mut service, admin) = adopted(folder, time_of_samples()).await;
    let before = job(&mut service, &admin, &id).await;
    assert_eq!(reason(&before), HoldReason::AdoptedStale);
    // Other changes do not let it run.
    let moved = UpdateJobRequest {
        target_server: "elsewhere".to_owned(),
        ..another_input(&id)
    };
    let moved = update(&mut service, &admin, moved).await.unwrap();
    assert_eq!(reason(&moved), HoldReason::AdoptedStale);
    let released = update(&mut service, &admin, release(&id)).await.unwrap();
    assert_eq!(reason(&released), HoldReason::TargetUnknown);
    // Once more does nothing.
    let again = update(&mut service, &admin, release(&id)).await.unwrap();
    assert_eq!(again.etag, released.etag);
    let mut service = service.restarted().await;
    let shown = job(&mut service, &admin, &id).await;
    assert_eq!(reason(&shown), HoldReason::TargetUnknown);
}

#[tokio::test]
async fn a_job_that_cannot_be_understood_is_let_run_by_another_input_only() {
    let folder = copy(UNDER_WAY);
    let id = texts(&mut database(folder.path()), PENDING).remove(0);
    sql_query("UPDATE jobs SET generation_params_json = '{\"prompt\":\"x\",\"steps\":\"banana\"}'")
        .execute(&mut database(folder.path()))
        .unwrap();
    let (mut service, admin) = adopted(folder, time_of_samples()).await;
    let shown = job(&mut service, &admin, &id).await;
    assert_eq!(reason(&shown), HoldReason::AdoptedUnreadable);
    let message = shown.hold.unwrap().message;
    assert!(message.contains("steps"), "{message}");
    let refused = update(&mut service, &admin, release(&id))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert_eq!(reason_of(&refused).as_deref(), Some("JOB_UNREADABLE"));
    let given = update(&mut service, &admin, another_input(&id)).await;
    assert_eq!(reason(&given.unwrap()), HoldReason::TargetUnknown);
    let shown = job(&mut service, &admin, &id).await;
    let request = shown.request.unwrap();
    assert_eq!(request.fields.len(), 1, "{request:?}");
}

#[tokio::test]
async fn held_jobs_are_cancelled_and_deleted_like_others() {
    let folder = copy(UNDER_WAY);
    let conn = &mut database(folder.path());
    let stale = texts(conn, PROCESSING).remove(0);
    let (mut service, admin) = adopted(folder, time_of_samples()).await;
    let cancel = CancelJobRequest {
        job_id: stale.clone(),
    };
    let cancelled = service.jobs.cancel_job(with(cancel, Some(&admin))).await;
    let cancelled = cancelled.unwrap().into_inner().job.unwrap();
    assert_eq!(cancelled.state(), JobState::Cancelled);
    let delete = DeleteJobRequest {
        job_id: stale.clone(),
        cancel_first: false,
    };
    let deleted = service.jobs.delete_job(with(delete, Some(&admin))).await;
    deleted.unwrap();
    let get = GetJobRequest {
        job_id: stale,
        view: 0,
    };
    let gone = service.jobs.get_job(with(get, Some(&admin))).await;
    assert_eq!(gone.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn those_that_run_keep_their_order_and_go_before_all_later_ones() {
    let folder = copy(NEWEST);
    let order = texts(&mut database(folder.path()), PENDING);
    let (mut service, admin) = adopted(folder, time_of_samples()).await;
    let new = SubmitJobRequest {
        input: Some(submit_job_request::Input::Params(GenerationParams {
            prompt: "new".to_owned(),
            ..GenerationParams::default()
        })),
        ..SubmitJobRequest::default()
    };
    let new = service.jobs.submit_job(with(new, Some(&admin))).await;
    let new = new.unwrap().into_inner().job.unwrap().job_id;
    let folder = service.stopped().await;
    let queue = texts(
        &mut database(folder.path()),
        "SELECT mobilesd_job_id AS text FROM jobs WHERE status = 'pending' ORDER BY queue_rank",
    );
    assert_eq!(queue, [order, vec![new]].concat());
}
