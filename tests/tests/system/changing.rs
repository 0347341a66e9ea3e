//! A job that waits can be changed, and one that does not cannot.

use std::collections::{BTreeSet, HashMap};

use anyhow::{Context as _, Result};
use service_kit::status::reason_of;
use stablequeue_proto::jobs::v1::{
    self as jobs, GenerationParams, HoldReason, Job, JobEventType, JobState, SubmitJobRequest,
    UpdateJobRequest, WatchJobRequest, update_job_request::Input, watch_job_response::Update,
};
use system_tests::{Pair, PairOptions, Sim, pair::txt2img};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

fn small(prompt: &str) -> GenerationParams {
    GenerationParams {
        prompt: prompt.to_owned(),
        steps: Some(1),
        width: Some(64),
        height: Some(64),
        ..GenerationParams::default()
    }
}

fn of(id: &str) -> UpdateJobRequest {
    UpdateJobRequest {
        job_id: id.to_owned(),
        ..UpdateJobRequest::default()
    }
}

fn input(id: &str, params: GenerationParams) -> UpdateJobRequest {
    UpdateJobRequest {
        input: Some(Input::Params(params)),
        ..of(id)
    }
}

async fn update(pair: &Pair, request: UpdateJobRequest) -> Result<Job, Status> {
    let mut client = pair.jobs().await.expect("job-service is there");
    let answer = client.update_job(request).await?;
    Ok(answer.into_inner().job.unwrap_or_default())
}

fn with_mask(request: UpdateJobRequest, paths: &[&str]) -> UpdateJobRequest {
    UpdateJobRequest {
        update_mask: Some(prost_types::FieldMask {
            paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        }),
        ..request
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pending_job_gets_what_it_is_given_and_keeps_the_rest() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let labels = |text: &str| HashMap::from([("team".to_owned(), text.to_owned())]);
    let id = pair
        .submit(SubmitJobRequest {
            labels: labels("a"),
            priority: Some(7),
            ..txt2img("before")
        })
        .await?;
    let before = pair.job(&id).await?;
    let changed = UpdateJobRequest {
        labels: labels("b"),
        max_attempts: Some(5),
        ..input(
            &id,
            GenerationParams {
                seed: Some(11),
                checkpoint: "landscape-v2.safetensors".to_owned(),
                ..small("after")
            },
        )
    };
    let job = update(&pair, changed).await?;
    assert_eq!((job.priority, job.max_attempts, job.seed), (7, 5, 11));
    assert_eq!(job.labels, labels("b"));
    assert_eq!(job.models[0].reference, "landscape-v2.safetensors");
    assert_eq!((job.state(), job.run), (JobState::Pending, 1));
    assert_eq!(job.create_time, before.create_time);
    // A mask takes what it names, set or not, and nothing else.
    let masked = with_mask(
        UpdateJobRequest {
            max_attempts: Some(9),
            ..of(&id)
        },
        &["priority", "labels"],
    );
    let job = update(&pair, masked).await?;
    assert_eq!((job.priority, job.max_attempts), (0, 5));
    assert!(job.labels.is_empty());
    let etag = job.etag;
    assert_eq!(
        update(&pair, of(&id)).await?.etag,
        etag,
        "nothing was asked"
    );
    let sim = Sim::instant().await?;
    pair.add("gpu", &sim).await?;
    let job = pair.completed(&id).await?;
    let image = pair.images(&id).await?.remove(0);
    assert!(image.infotext.starts_with("after\n"), "{}", image.infotext);
    assert_eq!(image.seed, 11);
    assert!(
        job.result
            .unwrap_or_default()
            .checkpoint
            .contains("landscape-v2"),
        "the new checkpoint"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_not_pending_stays_as_it_is() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::gated().await?;
    pair.add("gpu", &sim).await?;
    let id = pair.submit(txt2img("kept")).await?;
    sim.until(|log| log.len() == 1).await?;
    let refuse = async |state: &str| -> Result<()> {
        let status = update(&pair, input(&id, small("other")))
            .await
            .expect_err("refused");
        assert_eq!(status.code(), Code::FailedPrecondition);
        let info = status.get_details_error_info().context("no reason")?;
        assert_eq!(info.reason, "JOB_NOT_PENDING");
        assert_eq!(info.metadata["state"], state);
        Ok(())
    };
    refuse("processing").await?;
    sim.sim.gate().open();
    pair.completed(&id).await?;
    refuse("completed").await?;
    let image = pair.images(&id).await?.remove(0);
    assert!(image.infotext.starts_with("kept\n"), "{}", image.infotext);
    let status = update(&pair, of("none")).await.expect_err("none");
    assert_eq!(status.code(), Code::NotFound);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_changes_with_one_etag_the_second_is_aborted() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let id = pair.submit(txt2img("contested")).await?;
    let etag = pair.job(&id).await?.etag;
    let change = |priority| UpdateJobRequest {
        etag: etag.clone(),
        priority: Some(priority),
        ..of(&id)
    };
    assert_eq!(update(&pair, change(1)).await?.priority, 1);
    let status = update(&pair, change(2)).await.expect_err("aborted");
    assert_eq!(status.code(), Code::Aborted);
    assert_eq!(reason_of(&status).as_deref(), Some("ETAG_MISMATCH"));
    assert_eq!(pair.job(&id).await?.priority, 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_waits_for_a_server_runs_when_it_is_given_another() -> Result<()> {
    // Quiet: nothing but the change can wake the dispatcher.
    let pair = Pair::start(PairOptions::with_quiet_monitors()).await?;
    let sim = Sim::instant().await?;
    pair.add("gpu", &sim).await?;
    let id = pair
        .submit(SubmitJobRequest {
            target_server: "attic".to_owned(),
            ..txt2img("moved")
        })
        .await?;
    pair.held(&id, HoldReason::TargetUnknown).await?;
    let token = {
        let request = jobs::GetJobRequest {
            job_id: id.clone(),
            ..jobs::GetJobRequest::default()
        };
        let answer = pair.jobs().await?.get_job(request).await?;
        answer.into_inner().resume_token
    };
    let moved = UpdateJobRequest {
        target_server: "gpu".to_owned(),
        ..of(&id)
    };
    update(&pair, moved).await?;
    pair.completed(&id).await?;
    let request = WatchJobRequest {
        job_id: id,
        resume_token: token,
    };
    let mut stream = pair.jobs().await?.watch_job(request).await?.into_inner();
    let first = stream.message().await?.context("no message")?.update;
    let Some(Update::Event(event)) = first else {
        panic!("{first:?}");
    };
    assert_eq!(event.r#type(), JobEventType::Updated);
    assert_eq!(event.message, "target_server");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_at_the_moment_of_the_claim_counts_whole_or_not_at_all() -> Result<()> {
    const JOBS: usize = 40;
    let pair = Pair::start(PairOptions::default()).await?;
    let sims = [Sim::instant().await?, Sim::instant().await?];
    pair.add("a", &sims[0]).await?;
    pair.add("b", &sims[1]).await?;
    let mut ids = Vec::new();
    for _ in 0..JOBS {
        let first = SubmitJobRequest {
            target_server: "a".to_owned(),
            ..txt2img("old")
        };
        ids.push(pair.submit(first).await?);
    }
    let changes = ids.iter().rev().map(|id| {
        let change = UpdateJobRequest {
            target_server: "b".to_owned(),
            ..input(id, small("new"))
        };
        async { Ok::<_, anyhow::Error>(update(&pair, change).await.is_ok()) }
    });
    let changed = futures_util::future::try_join_all(changes).await?;
    for (id, changed) in ids.iter().rev().zip(changed) {
        let job = pair.completed(id).await?;
        let image = pair.images(id).await?.remove(0);
        let (prompt, server) = if changed { ("new", "b") } else { ("old", "a") };
        assert!(
            image.infotext.starts_with(&format!("{prompt}\n")),
            "{changed}: {}",
            image.infotext
        );
        let attempts: Vec<&str> = job.attempts.iter().map(|one| one.server.as_str()).collect();
        assert_eq!(attempts, [server], "{job:#?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_input_after_attempts_begins_the_next_run() -> Result<()> {
    let mut options = PairOptions::default();
    options.pace.retry_first = std::time::Duration::from_secs(600);
    options.pace.retry_most = std::time::Duration::from_secs(600);
    let pair = Pair::start(options).await?;
    let sim = Sim::instant().await?;
    pair.add("gpu", &sim).await?;
    sim.sim.script(forge_sim::Fault::Error500 {
        error: "RuntimeError".to_owned(),
        message: "not now".to_owned(),
    });
    let id = pair.submit(txt2img("failing")).await?;
    pair.held(&id, HoldReason::RetryBackoff).await?;
    let fewer = UpdateJobRequest {
        max_attempts: Some(1),
        ..of(&id)
    };
    let status = update(&pair, fewer).await.expect_err("spent already");
    assert_eq!(status.code(), Code::InvalidArgument);
    // A change of something else leaves the wait as it is.
    let job = update(
        &pair,
        UpdateJobRequest {
            priority: Some(1),
            ..of(&id)
        },
    )
    .await?;
    assert_eq!(
        job.hold.unwrap_or_default().reason(),
        HoldReason::RetryBackoff
    );
    let job = update(&pair, input(&id, small("another"))).await?;
    assert_eq!((job.run, job.attempts_spent), (2, 0));
    let job = pair.completed(&id).await?;
    let runs: Vec<(i32, i32)> = job
        .attempts
        .iter()
        .map(|one| (one.number, one.run))
        .collect();
    assert_eq!(runs, [(1, 1), (2, 2)]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_wrong_with_a_change_is_told_at_once() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let id = pair.submit(txt2img("kept")).await?;
    let before = pair.job(&id).await?;
    let wrong = UpdateJobRequest {
        etag: "x".to_owned(),
        target_server: "no alias!".to_owned(),
        priority: Some(101),
        max_attempts: Some(0),
        labels: HashMap::from([(String::new(), String::new())]),
        ..input(
            &id,
            GenerationParams {
                steps: Some(0),
                width: Some(65),
                ..small("x")
            },
        )
    };
    let cases = [
        (
            wrong.clone(),
            vec![
                "etag",
                "target_server",
                "priority",
                "max_attempts",
                "labels",
                "params.steps",
                "params.width",
            ],
        ),
        (
            with_mask(wrong, &["forge_payload", "app_type", "params.steps"]),
            vec!["etag", "forge_payload", "update_mask.paths"],
        ),
    ];
    for (request, wanted) in cases {
        let status = update(&pair, request).await.expect_err("refused");
        let details = status.get_details_bad_request().context("no violations")?;
        let found: BTreeSet<String> = details
            .field_violations
            .into_iter()
            .map(|one| one.field)
            .collect();
        assert_eq!(found, wanted.into_iter().map(str::to_owned).collect());
    }
    assert_eq!(pair.job(&id).await?, before);
    Ok(())
}
