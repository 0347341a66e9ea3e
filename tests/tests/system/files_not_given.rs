//! A server that answers but does not give the files of an attempt whose answer
//! was lost: they are waited for, but not for ever.

use std::time::Duration;

use anyhow::Result;
use forge_sim::{Fault, Rule, Target, Times};
use stablequeue_proto::jobs::v1::{AttemptOutcome, AttemptPhase, JobState};
use system_tests::{Pair, PairOptions, Sim, pair::txt2img};

/// The answer of the first attempt is lost, and each file is given so.
async fn server(pair: &Pair, fault: Fault) -> Result<Sim> {
    let sim = Sim::instant().await?;
    pair.add("gpu", &sim).await?;
    sim.sim.script(Fault::CutBeforeAnswer);
    sim.sim.script_rule(Rule {
        target: Some(Target::File),
        times: Times::Always,
        ..Rule::once(fault)
    });
    Ok(sim)
}

fn refusal() -> Fault {
    Fault::Status {
        code: 500,
        body: "no files today".to_owned(),
    }
}

fn files_in_staging(pair: &Pair) -> Result<usize> {
    let staging = pair.folder.path().join("images").join(".staging");
    Ok(std::fs::read_dir(staging)?.count())
}

#[tokio::test(flavor = "multi_thread")]
async fn they_are_waited_for_as_long_as_the_job_is_wanted() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = server(&pair, refusal()).await?;
    let id = pair.submit(txt2img("kept there")).await?;
    pair.job_when(&id, "nobody knows", |job| {
        let attempt = job.current_attempt.clone().unwrap_or_default();
        attempt.phase() == AttemptPhase::OutcomeUnknown
    })
    .await?;
    let next = pair.submit(txt2img("behind it")).await?;
    pair.cancel(&id).await?;
    let job = pair.ended(&id).await?;
    assert_eq!(job.state(), JobState::Cancelled);
    pair.completed(&next).await?;
    assert_eq!(sim.log().len(), 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_comes_at_last_is_the_result() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = server(&pair, refusal()).await?;
    let id = pair.submit(txt2img("kept there")).await?;
    pair.job_when(&id, "nobody knows", |job| {
        let attempt = job.current_attempt.clone().unwrap_or_default();
        attempt.phase() == AttemptPhase::OutcomeUnknown
    })
    .await?;
    sim.sim.clear_faults();
    let job = pair.completed(&id).await?;
    assert_eq!((job.attempts.len(), sim.log().len()), (1, 1));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_never_come_count_as_lost_and_nothing_of_them_stays() -> Result<()> {
    for fault in [refusal(), Fault::CutMidBody] {
        let mut options = PairOptions::default();
        options.pace.fetch_most = Duration::from_millis(400);
        let pair = Pair::start(options).await?;
        let sim = server(&pair, fault.clone()).await?;
        let id = pair.submit(txt2img("lost there")).await?;
        let job = pair.completed(&id).await?;
        let first = &job.attempts[0];
        assert_eq!(first.outcome(), AttemptOutcome::Lost, "{fault:?}");
        let words = "did not give its files";
        assert!(first.message.contains(words), "{}", first.message);
        assert_eq!(sim.log().len(), 2, "{fault:?}");
        assert_eq!(files_in_staging(&pair)?, 0, "{fault:?}");
    }
    Ok(())
}
