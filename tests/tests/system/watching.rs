//! A watch tells everything that happens to a job, once and in order.

use std::time::Duration;

use anyhow::{Context as _, Result};
use service_kit::{resume::ResumeToken, status::reason_of};
use stablequeue_proto::jobs::v1::{
    self as jobs, JobEventType, JobState, WatchJobRequest, WatchJobResponse,
    watch_job_response::Update,
};
use system_tests::{Pair, PairOptions, Sim, pair::txt2img};
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt as _;

/// Bounds the waiting for the next message.
const BOUND: Duration = Duration::from_secs(30);

async fn watch(pair: &Pair, id: &str, token: &str) -> Result<Streaming<WatchJobResponse>, Status> {
    let request = WatchJobRequest {
        job_id: id.to_owned(),
        resume_token: token.to_owned(),
    };
    let mut client = pair.jobs().await.expect("job-service is there");
    Ok(client.watch_job(request).await?.into_inner())
}

/// The next message; `None` when the stream ended in order.
async fn next(
    stream: &mut Streaming<WatchJobResponse>,
) -> Result<Option<WatchJobResponse>, Status> {
    let message = tokio::time::timeout(BOUND, stream.message()).await;
    message.expect("a message or the end")
}

/// Every event to the end of the stream, with the tokens behind them.
async fn events(stream: &mut Streaming<WatchJobResponse>) -> Result<Vec<(jobs::JobEvent, String)>> {
    let mut events = Vec::new();
    while let Some(message) = next(stream).await? {
        if let Some(Update::Event(event)) = message.update {
            events.push((event, message.resume_token));
        }
    }
    Ok(events)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_begins_with_a_snapshot_and_ends_after_the_terminal_event() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::gated().await?;
    let id = pair.submit(txt2img("watched")).await?;
    let mut stream = watch(&pair, &id, "").await?;
    let first = next(&mut stream).await?.context("no message")?;
    let Some(Update::Snapshot(snapshot)) = first.update else {
        panic!("{first:?}");
    };
    assert_eq!(
        (snapshot.job_id, snapshot.state),
        (id.clone(), JobState::Pending.into())
    );
    assert!(!first.resume_token.is_empty());
    pair.add("gpu", &sim).await?;
    sim.sim.gate().open();
    let events = events(&mut stream).await?;
    let types: Vec<JobEventType> = events.iter().map(|(event, _)| event.r#type()).collect();
    assert_eq!(
        types.iter().find(|one| **one != JobEventType::Held),
        Some(&JobEventType::Claimed)
    );
    assert_eq!(types.last(), Some(&JobEventType::Completed));
    assert!(types.contains(&JobEventType::PhaseChanged));
    assert_eq!(
        types
            .iter()
            .filter(|one| **one == JobEventType::Completed)
            .count(),
        1
    );
    let last = &events.last().context("no event")?.0;
    assert_eq!(
        (last.state(), last.attempt, last.server.as_str()),
        (JobState::Completed, 1, "gpu")
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_goes_on_exactly_where_it_was_given() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::instant().await?;
    let mut client = pair.jobs().await?;
    let answer = client
        .submit_job(txt2img("watched twice"))
        .await?
        .into_inner();
    let id = answer.job.context("no job")?.job_id;
    let mut stream = watch(&pair, &id, &answer.resume_token).await?;
    pair.add("gpu", &sim).await?;
    let all = events(&mut stream).await?;
    assert!(all.len() >= 3, "{all:#?}");
    for (at, (_, token)) in all.iter().enumerate() {
        let mut stream = watch(&pair, &id, token).await?;
        let rest = events(&mut stream).await?;
        assert_eq!(rest, all[at + 1..], "after event {at}");
    }
    // From the beginning again, and from now, which is after the end.
    let mut stream = watch(&pair, &id, &answer.resume_token).await?;
    assert_eq!(events(&mut stream).await?, all);
    let get = jobs::GetJobRequest {
        job_id: id.clone(),
        view: 0,
    };
    let now = client.get_job(get).await?.into_inner().resume_token;
    let mut stream = watch(&pair, &id, &now).await?;
    assert_eq!(events(&mut stream).await?, []);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_watch_misses_the_end_however_close_they_come() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::instant().await?;
    pair.add("gpu", &sim).await?;
    let mut client = pair.jobs().await?;
    for number in 0..20 {
        let answer = client
            .submit_job(txt2img(&format!("quick {number}")))
            .await?;
        let answer = answer.into_inner();
        let id = answer.job.context("no job")?.job_id;
        let mut stream = watch(&pair, &id, &answer.resume_token).await?;
        let events = events(&mut stream).await?;
        let last = events.last().map(|(event, _)| event.r#type());
        assert_eq!(last, Some(JobEventType::Completed), "{events:#?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_is_told_while_it_runs() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::gated().await?;
    pair.add("gpu", &sim).await?;
    let id = pair.submit(txt2img("slowly")).await?;
    let mut stream = watch(&pair, &id, "").await?;
    sim.sim.gate().load(1);
    sim.sim.gate().step(1);
    let progress = loop {
        let message = next(&mut stream).await?.context("it ended")?;
        if let Some(Update::Progress(progress)) = message.update
            && progress.step == 1
        {
            assert_eq!(message.resume_token, "");
            break progress;
        }
    };
    assert_eq!((progress.attempt, progress.steps), (1, 2));
    assert!(progress.fraction > 0.0 && progress.fraction < 1.0);
    sim.sim.gate().open();
    pair.completed(&id).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_another_database_says_that_its_history_is_gone() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let mut client = pair.jobs().await?;
    let answer = client.submit_job(txt2img("watched")).await?.into_inner();
    let id = answer.job.context("no job")?.job_id;
    let known: ResumeToken = answer.resume_token.parse()?;
    let other = ResumeToken::new("another", known.sequence).to_string();
    let ahead = ResumeToken::new(known.epoch, known.sequence + 1000).to_string();
    for token in [other, ahead] {
        let status = watch(&pair, &id, &token)
            .await
            .expect_err("no such history");
        assert_eq!(status.code(), Code::OutOfRange);
        assert_eq!(reason_of(&status).as_deref(), Some("WATCH_HISTORY_GONE"));
    }
    let status = watch(&pair, &id, "nonsense").await.expect_err("no token");
    assert_eq!(status.code(), Code::InvalidArgument);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_a_watch_with_a_token_that_goes_on_after_the_restart() -> Result<()> {
    let mut pair = Pair::start(PairOptions::default()).await?;
    let id = pair.submit(txt2img("interrupted watch")).await?;
    let mut stream = watch(&pair, &id, "").await?;
    next(&mut stream).await?.context("no snapshot")?;
    pair.stop_jobs().await?;
    let status = loop {
        match next(&mut stream).await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it ended as if the job had"),
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    let info = status.get_details_error_info().context("no reason")?;
    let token = info
        .metadata
        .get("resume_token")
        .context("no token")?
        .clone();
    pair.start_jobs().await?;
    let sim = Sim::instant().await?;
    pair.add("gpu", &sim).await?;
    let mut stream = watch(&pair, &id, &token).await?;
    let events = events(&mut stream).await?;
    assert_eq!(
        events.last().map(|(event, _)| event.r#type()),
        Some(JobEventType::Completed)
    );
    Ok(())
}
