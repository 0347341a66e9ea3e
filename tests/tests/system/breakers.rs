//! A server on which one job after the other fails gets no more of them for a
//! while; one bad job keeps no server away from the others.

use std::time::Duration;

use anyhow::Result;
use forge_sim::Fault;
use stablequeue_proto::jobs::v1::{
    AttemptOutcome, BreakerState, HoldReason, Job, JobState, ServerStatus, SubmitJobRequest,
};
use system_tests::{Pair, PairOptions, Sim, pair::txt2img, wait};

/// Longer than any test.
const LONG: Duration = Duration::from_secs(3600);

fn fails() -> Fault {
    Fault::Error500 {
        error: "RuntimeError".to_owned(),
        message: "the card burns".to_owned(),
    }
}

fn once_on(server: &str, prompt: &str) -> SubmitJobRequest {
    SubmitJobRequest {
        target_server: server.to_owned(),
        max_attempts: Some(1),
        ..txt2img(prompt)
    }
}

fn with_breaker(first: Duration) -> PairOptions {
    let mut options = PairOptions::default();
    options.pace.breaker_first = first;
    options.pace.breaker_most = first * 8;
    options
}

/// Three different jobs that fail on a server.
async fn three_fail_on(pair: &Pair, server: &str, sim: &Sim) -> Result<()> {
    for prompt in ["one", "two", "three"] {
        sim.sim.script(fails());
        let id = pair.submit(once_on(server, prompt)).await?;
        assert_eq!(pair.ended(&id).await?.state(), JobState::Failed);
    }
    Ok(())
}

async fn status(pair: &Pair, server: &str) -> Result<ServerStatus> {
    Ok(pair.server(server).await?.status.unwrap_or_default())
}

async fn until_breaker_is(pair: &Pair, server: &str, wanted: BreakerState) -> Result<ServerStatus> {
    wait::until(wanted.as_str_name(), || async {
        let status = status(pair, server).await;
        let status = status.map_err(|error| error.to_string())?;
        if status.breaker() == wanted {
            Ok(status)
        } else {
            Err(format!("{status:?}"))
        }
    })
    .await
}

fn servers(job: &Job) -> Vec<&str> {
    job.attempts.iter().map(|one| one.server.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_where_three_jobs_failed_in_a_row_gets_no_more_for_a_while() -> Result<()> {
    let pair = Pair::start(with_breaker(LONG)).await?;
    let (a, b) = (Sim::instant().await?, Sim::instant().await?);
    pair.add("a", &a).await?;
    pair.add("b", &b).await?;
    three_fail_on(&pair, "a", &a).await?;
    let open = status(&pair, "a").await?;
    assert_eq!(open.breaker(), BreakerState::Open);
    assert!(open.breaker_retry_time.is_some(), "{open:?}");
    assert_eq!(status(&pair, "b").await?.breaker(), BreakerState::Closed);
    for prompt in ["four", "five", "six"] {
        let id = pair.submit(txt2img(prompt)).await?;
        assert_eq!(servers(&pair.completed(&id).await?), ["b"]);
    }
    let waits = pair.submit(once_on("a", "seven")).await?;
    let hold = pair.held(&waits, HoldReason::CoolingDown).await?;
    assert_eq!(hold.retry_time, open.breaker_retry_time);
    for part in ["a gets no jobs until", "the card burns", "UncordonServer"] {
        assert!(hold.message.contains(part), "{}", hold.message);
    }
    assert_eq!(a.log().len(), 3);
    // Whoever has looked at it ends that.
    pair.uncordon("a").await?;
    pair.completed(&waits).await?;
    assert_eq!(status(&pair, "a").await?.breaker(), BreakerState::Closed);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn after_its_time_one_job_on_trial_decides() -> Result<()> {
    let pair = Pair::start(with_breaker(Duration::from_millis(300))).await?;
    let sim = Sim::instant().await?;
    pair.add("gpu", &sim).await?;
    three_fail_on(&pair, "gpu", &sim).await?;
    sim.sim.script(fails());
    let trial = pair.submit(once_on("gpu", "trial")).await?;
    assert_eq!(pair.ended(&trial).await?.state(), JobState::Failed);
    until_breaker_is(&pair, "gpu", BreakerState::Open).await?;
    assert_eq!(sim.log().len(), 4, "one on trial");
    let good = pair.submit(once_on("gpu", "good")).await?;
    pair.completed(&good).await?;
    let closed = status(&pair, "gpu").await?;
    assert_eq!(closed.breaker(), BreakerState::Closed);
    assert_eq!(closed.breaker_retry_time, None);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_fails_again_and_again_opens_no_breaker() -> Result<()> {
    const ATTEMPTS: i32 = 6;
    let pair = Pair::start(with_breaker(LONG)).await?;
    let sim = Sim::instant().await?;
    pair.add("gpu", &sim).await?;
    for _ in 0..ATTEMPTS {
        sim.sim.script(fails());
    }
    let request = SubmitJobRequest {
        max_attempts: Some(ATTEMPTS),
        ..txt2img("bad idea")
    };
    let id = pair.submit(request).await?;
    let job = pair.ended(&id).await?;
    assert_eq!(job.state(), JobState::Failed);
    let outcomes = job.attempts.iter().map(|one| one.outcome());
    assert!(outcomes.eq([AttemptOutcome::RetryableError; ATTEMPTS as usize]));
    assert_eq!(status(&pair, "gpu").await?.breaker(), BreakerState::Closed);
    let good = pair.submit(txt2img("good idea")).await?;
    pair.completed(&good).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poisoned_server_that_cannot_be_healed_is_to_be_restarted() -> Result<()> {
    let pair = Pair::start(with_breaker(LONG)).await?;
    let only = |config: &mut forge_sim::SimConfig| config.checkpoints.truncate(1);
    let sim = Sim::with(only).await?;
    pair.add("gpu", &sim).await?;
    sim.sim.script(Fault::Error500 {
        error: "AttributeError".to_owned(),
        message: "'NoneType' object has no attribute 'sd_checkpoint_info'".to_owned(),
    });
    let id = pair.submit(txt2img("patient")).await?;
    let hold = pair.held(&id, HoldReason::CoolingDown).await?;
    assert!(hold.message.contains("restart it"), "{}", hold.message);
    let job = pair.job(&id).await?;
    assert_eq!((job.attempts.len(), job.attempts_spent), (1, 0), "{job:?}");
    pair.uncordon("gpu").await?;
    assert_eq!(pair.completed(&id).await?.attempts_spent, 1);
    Ok(())
}
