//! Many jobs in one call: all of them or none, or each on its own.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use service_kit::status::reason_of;
use stablequeue_proto::jobs::v1::{
    self as jobs, BatchJob, BatchSubmitJobsRequest, BatchSubmitJobsResponse, BatchTaken,
    GenerationParams, JobOrder, ListJobsRequest, batch_job::Input, batch_submit_result::Outcome,
};
use system_tests::{Pair, PairOptions, Sim, pair::txt2img};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

fn item(prompt: &str) -> BatchJob {
    of(GenerationParams {
        prompt: prompt.to_owned(),
        steps: Some(1),
        width: Some(64),
        height: Some(64),
        ..GenerationParams::default()
    })
}

fn of(params: GenerationParams) -> BatchJob {
    BatchJob {
        input: Some(Input::Params(params)),
        ..BatchJob::default()
    }
}

fn seeded(seed: Option<i64>, variations: i32, batch_size: Option<i32>) -> BatchJob {
    BatchJob {
        variations: Some(variations),
        ..of(GenerationParams {
            prompt: "varied".to_owned(),
            steps: Some(1),
            width: Some(64),
            height: Some(64),
            seed,
            batch_size,
            ..GenerationParams::default()
        })
    }
}

fn batch(jobs: Vec<BatchJob>) -> BatchSubmitJobsRequest {
    BatchSubmitJobsRequest {
        jobs,
        ..BatchSubmitJobsRequest::default()
    }
}

async fn send(
    pair: &Pair,
    request: BatchSubmitJobsRequest,
) -> Result<BatchSubmitJobsResponse, Status> {
    let mut client = pair.jobs().await.expect("job-service is there");
    Ok(client.batch_submit_jobs(request).await?.into_inner())
}

/// The jobs that were taken, with their items.
fn taken(answer: &BatchSubmitJobsResponse) -> Vec<(i32, BatchTaken)> {
    let results = answer.results.iter();
    results
        .filter_map(|result| match &result.outcome {
            Some(Outcome::Taken(taken)) => Some((result.item, taken.clone())),
            _ => None,
        })
        .collect()
}

async fn listed(pair: &Pair, batch_id: &str) -> Result<Vec<jobs::Job>> {
    let request = ListJobsRequest {
        batch_id: batch_id.to_owned(),
        order: JobOrder::CreateTimeAsc.into(),
        page_size: 1000,
        ..ListJobsRequest::default()
    };
    Ok(pair
        .jobs()
        .await?
        .list_jobs(request)
        .await?
        .into_inner()
        .jobs)
}

fn places(status: &Status) -> BTreeSet<String> {
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let details = status.get_details_bad_request().expect("violations");
    let found = details.field_violations.into_iter();
    found.map(|one| one.field).collect()
}

fn set<const N: usize>(fields: [&str; N]) -> BTreeSet<String> {
    fields.into_iter().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_jobs_of_a_batch_run_and_are_found_by_it() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::instant().await?;
    pair.add("gpu", &sim).await?;
    let alone = pair.submit(txt2img("alone")).await?;
    let answer = send(&pair, batch(vec![item("one"), item("two"), item("three")])).await?;
    assert!(!answer.batch_id.is_empty() && !answer.resume_token.is_empty());
    let taken = taken(&answer);
    let items: Vec<i32> = taken.iter().map(|(item, _)| *item).collect();
    assert_eq!(items, [0, 1, 2]);
    for ((_, job), prompt) in taken.iter().zip(["one", "two", "three"]) {
        let done = pair.completed(&job.job_id).await?;
        assert_eq!((&done.batch_id, done.seed), (&answer.batch_id, job.seed));
        let image = pair.images(&job.job_id).await?.remove(0);
        assert!(image.infotext.starts_with(prompt), "{}", image.infotext);
    }
    let found = listed(&pair, &answer.batch_id).await?;
    let found: Vec<&str> = found.iter().map(|job| job.job_id.as_str()).collect();
    let wanted: Vec<&str> = taken.iter().map(|(_, job)| job.job_id.as_str()).collect();
    assert_eq!(found, wanted);
    assert_eq!(pair.completed(&alone).await?.batch_id, "");
    assert_eq!(listed(&pair, "another").await?, []);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_fault_refuses_an_atomic_batch_and_all_faults_are_told() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let wrong = BatchSubmitJobsRequest {
        request_id: "new\nline".to_owned(),
        ..batch(vec![
            item("good"),
            BatchJob {
                priority: Some(101),
                variations: Some(0),
                ..of(GenerationParams {
                    steps: Some(0),
                    ..GenerationParams::default()
                })
            },
            item("good"),
            BatchJob::default(),
            seeded(Some(4_294_967_295), 2, None),
        ])
    };
    let status = send(&pair, wrong).await.expect_err("refused");
    let wanted = set([
        "request_id",
        "jobs[1].params.steps",
        "jobs[1].priority",
        "jobs[1].variations",
        "jobs[3].input",
        "jobs[4].variations",
    ]);
    assert_eq!(places(&status), wanted);
    for (jobs, place) in [
        (Vec::new(), "jobs"),
        (vec![item("x"); 1001], "jobs"),
        (vec![seeded(None, 600, None); 2], "jobs"),
        (vec![seeded(None, 1001, None)], "jobs[0].variations"),
    ] {
        let status = send(&pair, batch(jobs)).await.expect_err("refused");
        assert_eq!(places(&status), set([place]));
    }
    // A thousand faults still arrive as one status.
    let all = vec![BatchJob::default(); 1000];
    let status = send(&pair, batch(all)).await.expect_err("refused");
    assert!(places(&status).len() > 20);
    let listed = pair
        .jobs()
        .await?
        .list_jobs(ListJobsRequest::default())
        .await?;
    assert_eq!(listed.into_inner().jobs, []);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_atomic_the_good_items_are_taken_and_the_others_say_why() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let bad = || BatchJob {
        source_info: "x".repeat(1025),
        ..item("bad")
    };
    let apart = |jobs| BatchSubmitJobsRequest {
        atomic: Some(false),
        ..batch(jobs)
    };
    let answer = send(
        &pair,
        apart(vec![bad(), seeded(Some(7), 2, None), bad(), item("good")]),
    )
    .await?;
    let items: Vec<i32> = answer.results.iter().map(|result| result.item).collect();
    assert_eq!(items, [0, 1, 1, 2, 3]);
    let items: Vec<i32> = taken(&answer).iter().map(|(item, _)| *item).collect();
    assert_eq!(items, [1, 1, 3]);
    let Some(Outcome::Failure(failure)) = &answer.results[3].outcome else {
        panic!("{answer:?}");
    };
    assert_eq!(failure.reason, "INVALID_FIELDS");
    assert_eq!(failure.violations[0].field, "jobs[2].source_info");
    assert_eq!(listed(&pair, &answer.batch_id).await?.len(), 3);
    let answer = send(&pair, apart(vec![bad()])).await?;
    assert_eq!((answer.batch_id.as_str(), answer.results.len()), ("", 1));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn variations_count_their_seeds_on() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let answer = send(
        &pair,
        batch(vec![
            seeded(Some(10), 4, None),
            seeded(Some(100), 3, Some(4)),
            seeded(None, 3, None),
            seeded(Some(4_294_967_292), 4, None),
        ]),
    )
    .await?;
    let taken = taken(&answer);
    let seeds = |item: i32| -> Vec<i64> {
        let of_item = taken.iter().filter(|(at, _)| *at == item);
        of_item.map(|(_, job)| job.seed).collect()
    };
    assert_eq!(seeds(0), [10, 11, 12, 13]);
    assert_eq!(seeds(1), [100, 104, 108], "no image twice");
    let drawn = seeds(2);
    assert_eq!(drawn, [drawn[0], drawn[0] + 1, drawn[0] + 2]);
    assert_eq!(seeds(3).last(), Some(&4_294_967_295));
    let sim = Sim::instant().await?;
    pair.add("gpu", &sim).await?;
    for (_, job) in &taken {
        pair.completed(&job.job_id).await?;
        let images = pair.images(&job.job_id).await?;
        assert_eq!(images[0].seed, job.seed);
        assert!(images[0].infotext.contains(&format!("Seed: {}", job.seed)));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_sent_again_is_the_same_batch() -> Result<()> {
    let mut pair = Pair::start(PairOptions::default()).await?;
    let request = |count| BatchSubmitJobsRequest {
        request_id: "once".to_owned(),
        ..batch(vec![item("first"), seeded(None, count, None)])
    };
    let sent = (0..6).map(|_| send(&pair, request(3)));
    let answers = futures_util::future::try_join_all(sent).await?;
    let ids: BTreeSet<&str> = answers.iter().map(|one| one.batch_id.as_str()).collect();
    assert_eq!(ids.len(), 1);
    assert!(answers.iter().all(|one| one.results == answers[0].results));
    pair.stop_jobs().await?;
    pair.start_jobs().await?;
    let again = send(&pair, request(3)).await?;
    assert_eq!(again.results, answers[0].results);
    let status = send(&pair, request(4)).await.expect_err("reused");
    assert_eq!(reason_of(&status).as_deref(), Some("REQUEST_ID_REUSED"));
    let listed = pair
        .jobs()
        .await?
        .list_jobs(ListJobsRequest::default())
        .await?;
    assert_eq!(listed.into_inner().jobs.len(), 4);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_jobs_are_one_transaction() -> Result<()> {
    let mut pair = Pair::start(PairOptions::default()).await?;
    let answer = send(&pair, batch(vec![seeded(Some(0), 1000, None)])).await?;
    let seeds: Vec<i64> = taken(&answer).iter().map(|(_, job)| job.seed).collect();
    assert_eq!(seeds, (0..1000).collect::<Vec<i64>>());
    pair.stop_jobs().await?;
    pair.start_jobs().await?;
    let found = listed(&pair, &answer.batch_id).await?;
    assert_eq!(found.len(), 1000);
    let first = found.first().context("no job")?;
    assert!(found.iter().all(|job| job.create_time == first.create_time));
    Ok(())
}
