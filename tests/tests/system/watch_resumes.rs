//! A client that goes on where it was gets every durable event once, however
//! often the service is stopped under it.

use std::{error::Error as _, time::Duration};

use anyhow::{Context as _, Result};
use stablequeue_proto::jobs::v1::{
    JobEvent, JobEventType, WatchJobRequest, job_service_client::JobServiceClient,
    watch_job_response::Update,
};
use system_tests::{Pair, PairOptions, Sim, pair::txt2img};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// Bounds the waiting for the next message.
const BOUND: Duration = Duration::from_secs(60);

/// An event and the token behind it.
type Told = (JobEvent, String);

/// What a client has got so far.
#[derive(Clone, Debug, Default)]
struct Followed {
    events: Vec<Told>,
    /// Streams that were opened.
    streams: usize,
    /// How streams ended before the job did.
    ends: Vec<Status>,
}

/// Follows a job as a client does that takes any failure for a reason to come
/// back: connects again and goes on behind the last token that it was given.
async fn follow(
    address: String,
    job_id: String,
    mut token: String,
    followed: watch::Sender<Followed>,
) {
    loop {
        let request = WatchJobRequest {
            job_id: job_id.clone(),
            resume_token: token.clone(),
        };
        let Ok(mut client) = JobServiceClient::connect(address.clone()).await else {
            tokio::task::yield_now().await;
            continue;
        };
        let mut stream = match client.watch_job(request).await {
            Ok(stream) => stream.into_inner(),
            // The service stops, or the connection broke under the call: then the status has a
            // source, since it is not the service's answer.
            Err(status)
                if matches!(status.code(), Code::Unavailable | Code::Cancelled)
                    || status.source().is_some() =>
            {
                continue;
            }
            Err(status) => panic!("{status:?}"),
        };
        followed.send_modify(|so_far| so_far.streams += 1);
        loop {
            match stream.message().await {
                Ok(Some(message)) => {
                    if !message.resume_token.is_empty() {
                        token.clone_from(&message.resume_token);
                    }
                    if let Some(Update::Event(event)) = message.update {
                        let told = (event, message.resume_token);
                        followed.send_modify(|so_far| so_far.events.push(told));
                    }
                }
                Ok(None) => return,
                Err(status) => {
                    followed.send_modify(|so_far| so_far.ends.push(status));
                    break;
                }
            }
        }
    }
}

/// All events after a token, in one stream.
async fn all_events(pair: &Pair, job_id: &str, token: &str) -> Result<Vec<Told>> {
    let request = WatchJobRequest {
        job_id: job_id.to_owned(),
        resume_token: token.to_owned(),
    };
    let mut stream = pair.jobs().await?.watch_job(request).await?.into_inner();
    let mut events = Vec::new();
    while let Some(message) = tokio::time::timeout(BOUND, stream.message()).await?? {
        if let Some(Update::Event(event)) = message.update {
            events.push((event, message.resume_token));
        }
    }
    Ok(events)
}

async fn until(
    followed: &mut watch::Receiver<Followed>,
    what: impl Fn(&Followed) -> bool,
) -> Result<()> {
    let waiting = async { followed.wait_for(|so_far| what(so_far)).await.map(|_| ()) };
    match tokio::time::timeout(BOUND, waiting).await {
        Ok(found) => found.context("the client ended"),
        Err(_) => anyhow::bail!("it did not come: {:#?}", followed.borrow()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_comes_once_over_any_number_of_stops() -> Result<()> {
    let mut pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::gated().await?;
    let answer = pair.jobs().await?.submit_job(txt2img("followed")).await?;
    let answer = answer.into_inner();
    let (id, begin) = (answer.job.context("no job")?.job_id, answer.resume_token);
    let (sender, mut followed) = watch::channel(Followed::default());
    let address = format!("http://{}", pair.jobs_addr());
    let client = TaskTracker::new().spawn(follow(address, id.clone(), begin.clone(), sender));
    until(&mut followed, |so_far| so_far.streams == 1).await?;
    // Before its claim, while it runs, and between its steps.
    pair.stop_jobs().await?;
    pair.start_jobs().await?;
    until(&mut followed, |so_far| so_far.streams == 2).await?;
    pair.add("gpu", &sim).await?;
    sim.until(|log| log.len() == 1).await?;
    for streams in 3..5 {
        pair.stop_jobs().await?;
        pair.start_jobs().await?;
        until(&mut followed, |so_far| so_far.streams == streams).await?;
        sim.sim.gate().step(1);
    }
    sim.sim.gate().open();
    pair.completed(&id).await?;
    tokio::time::timeout(BOUND, client)
        .await
        .context("the stream did not end behind the job's end")??;
    let followed = followed.borrow().clone();
    assert_eq!(followed.events, all_events(&pair, &id, &begin).await?);
    let last = followed.events.last().map(|(event, _)| event.r#type());
    assert_eq!(last, Some(JobEventType::Completed));
    let mut tokens: Vec<&String> = followed.events.iter().map(|(_, token)| token).collect();
    tokens.sort();
    tokens.dedup();
    assert_eq!(tokens.len(), followed.events.len(), "none came twice");
    // Each stop said so, with a place to go on from.
    assert_eq!(followed.ends.len(), 3, "{:#?}", followed.ends);
    for status in &followed.ends {
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
        let info = status.get_details_error_info().context("no reason")?;
        assert!(info.metadata.contains_key("resume_token"), "{info:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_was_away_during_the_end_gets_it_when_it_is_back() -> Result<()> {
    let mut pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::gated().await?;
    pair.add("gpu", &sim).await?;
    let answer = pair.jobs().await?.submit_job(txt2img("ends alone")).await?;
    let answer = answer.into_inner();
    let (id, begin) = (answer.job.context("no job")?.job_id, answer.resume_token);
    let request = WatchJobRequest {
        job_id: id.clone(),
        resume_token: begin.clone(),
    };
    let mut stream = pair.jobs().await?.watch_job(request).await?.into_inner();
    let first = stream.message().await?.context("no event")?;
    drop(stream);
    sim.until(|log| log.len() == 1).await?;
    pair.stop_jobs().await?;
    sim.sim.gate().open();
    sim.until(|log| log[0].ended.is_some()).await?;
    pair.start_jobs().await?;
    let rest = all_events(&pair, &id, &first.resume_token).await?;
    let last = rest.last().map(|(event, _)| event.r#type());
    assert_eq!(last, Some(JobEventType::Completed));
    let all = all_events(&pair, &id, &begin).await?;
    assert_eq!(all[1..], rest);
    Ok(())
}
