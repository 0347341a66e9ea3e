//! Cancelling a job in each stage of its attempt ends exactly it, and leaves
//! what the server does for others alone.

use anyhow::Result;
use forge_sim::{Fault, Outcome, Stage, Target};
use job_service::dispatch::forge::GenerateAnswer;
use stablequeue_proto::jobs::v1::{
    AttemptOutcome, AttemptPhase, ImageKind, Job, JobState, ServerUsage,
};
use system_tests::{Pair, PairOptions, Sim, pair::txt2img};

/// How often an interrupt was asked for.
fn interrupts(sim: &Sim) -> usize {
    sim.asked("/sdapi/v1/interrupt")
}

/// Waits until a job's attempt is in a phase.
async fn in_phase(pair: &Pair, id: &str, phase: AttemptPhase) -> Result<Job> {
    pair.job_when(id, phase.as_str_name(), |job| {
        let attempt = job.current_attempt.clone().unwrap_or_default();
        attempt.phase() == phase
    })
    .await
}

/// Waits until the server has been looked at some more.
async fn looked_at(sim: &Sim) -> Result<()> {
    let asked = sim.asked("/sdapi/v1/progress");
    sim.until_asked("/sdapi/v1/progress", asked + 5).await
}

fn outcomes(sim: &Sim) -> Vec<Outcome> {
    sim.log().iter().map(|one| one.outcome).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_behind_other_work_on_the_server_is_interrupted_when_its_turn_comes_and_not_before()
-> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::gated().await?;
    pair.add("gpu", &sim).await?;
    let other = sim.foreign()?;
    sim.until(|log| log.len() == 1).await?;
    let id = pair.submit(txt2img("behind")).await?;
    in_phase(&pair, &id, AttemptPhase::Queued).await?;
    pair.cancel(&id).await?;
    looked_at(&sim).await?;
    assert_eq!(interrupts(&sim), 0);
    assert_eq!(pair.job(&id).await?.state(), JobState::Processing);
    sim.sim.gate().load(2);
    sim.sim.gate().step(2);
    assert!(matches!(other.await?, GenerateAnswer::Answered { .. }));
    let job = pair.ended(&id).await?;
    assert_eq!(job.state(), JobState::Cancelled);
    assert_eq!(outcomes(&sim), [Outcome::Completed, Outcome::Interrupted]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_shared_server_a_job_behind_other_work_ends_by_itself() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::gated().await?;
    pair.add_as("gpu", &sim, ServerUsage::Shared).await?;
    let other = sim.foreign()?;
    sim.until(|log| log.len() == 1).await?;
    let id = pair.submit(txt2img("behind")).await?;
    in_phase(&pair, &id, AttemptPhase::Queued).await?;
    pair.cancel(&id).await?;
    looked_at(&sim).await?;
    sim.sim.gate().open();
    assert!(matches!(other.await?, GenerateAnswer::Answered { .. }));
    assert_eq!(pair.ended(&id).await?.state(), JobState::Cancelled);
    assert_eq!(outcomes(&sim), [Outcome::Completed; 2]);
    assert_eq!(interrupts(&sim), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_model_is_loading_ends_when_it_is_loaded() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::gated().await?;
    pair.add("gpu", &sim).await?;
    let first = pair.submit(txt2img("first")).await?;
    let second = pair.submit(txt2img("second")).await?;
    in_phase(&pair, &first, AttemptPhase::Loading).await?;
    pair.cancel(&first).await?;
    sim.until(|log| !log[0].interrupts.is_empty()).await?;
    assert_eq!(pair.job(&first).await?.state(), JobState::Processing);
    sim.sim.gate().load(1);
    let job = pair.ended(&first).await?;
    assert_eq!(job.state(), JobState::Cancelled);
    assert_eq!(pair.images(&first).await?, []);
    sim.sim.gate().open();
    pair.completed(&second).await?;
    assert_eq!(outcomes(&sim), [Outcome::Interrupted, Outcome::Completed]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_never_begins_is_cancelled_after_the_grace_and_stops_nothing() -> Result<()>
{
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::instant().await?;
    pair.add("gpu", &sim).await?;
    sim.sim.script(Fault::Hang);
    let id = pair.submit(txt2img("stuck on its way")).await?;
    sim.until_asked("/sdapi/v1/txt2img", 1).await?;
    pair.cancel(&id).await?;
    let job = pair.ended(&id).await?;
    assert_eq!(job.state(), JobState::Cancelled);
    assert_eq!(job.attempts[0].outcome(), AttemptOutcome::Cancelled);
    let next = pair.submit(txt2img("next")).await?;
    pair.completed(&next).await?;
    assert_eq!((sim.log().len(), interrupts(&sim)), (1, 0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_interrupt_was_not_answered_gets_no_job_until_it_answers_again() -> Result<()>
{
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::gated().await?;
    pair.add("gpu", &sim).await?;
    let first = pair.submit(txt2img("first")).await?;
    let second = pair.submit(txt2img("second")).await?;
    sim.sim.gate().load(1);
    in_phase(&pair, &first, AttemptPhase::Generating).await?;
    // Lost on its way: it may arrive at any time.
    sim.sim.script_on(Target::Interrupt, Fault::Hang);
    pair.cancel(&first).await?;
    let job = pair.ended(&first).await?;
    assert_eq!(job.state(), JobState::Cancelled);
    let interrupted = last_order(&sim, "/sdapi/v1/interrupt");
    sim.sim.gate().open();
    pair.completed(&second).await?;
    let sent = last_order(&sim, "/sdapi/v1/txt2img");
    let between = looks_between(&sim, interrupted, sent);
    assert!(between >= 2, "{between} looks before the next job");
    assert_eq!(outcomes(&sim), [Outcome::Interrupted, Outcome::Completed]);
    Ok(())
}

fn last_order(sim: &Sim, path: &str) -> u64 {
    let requests = sim.sim.requests();
    let orders = requests.iter().filter(|one| one.path == path);
    orders.map(|one| one.order).max().unwrap_or(0)
}

/// How often the task was asked for between two requests.
fn looks_between(sim: &Sim, from: u64, to: u64) -> usize {
    let requests = sim.sim.requests();
    let looks = requests
        .iter()
        .filter(|one| one.path == "/internal/progress" && from < one.order && one.order < to);
    looks.count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_comes_back_with_a_cancelled_job_at_work_is_stopped_before_its_next_job()
-> Result<()> {
    let mut options = PairOptions::default();
    options.pace.unknown_grace = std::time::Duration::from_millis(100);
    let pair = Pair::start(options).await?;
    let sim = Sim::gated().await?;
    pair.add("gpu", &sim).await?;
    let first = pair.submit(txt2img("first")).await?;
    sim.sim.gate().load(1);
    in_phase(&pair, &first, AttemptPhase::Generating).await?;
    sim.sim.freeze();
    in_phase(&pair, &first, AttemptPhase::OutcomeUnknown).await?;
    pair.cancel(&first).await?;
    // Nobody waits for ever for a server that is silent.
    assert_eq!(pair.ended(&first).await?.state(), JobState::Cancelled);
    let second = pair.submit(txt2img("second")).await?;
    sim.sim.thaw();
    sim.until(|log| log[0].outcome != Outcome::Running).await?;
    sim.sim.gate().open();
    pair.completed(&second).await?;
    let log = sim.log();
    assert_eq!(outcomes(&sim), [Outcome::Interrupted, Outcome::Completed]);
    assert!(log[0].ended.is_some_and(|ended| ended < log[1].started));
    Ok(())
}

/// A job that is cancelled and interrupted while its generation is in a stage,
/// how it ended, and that it left the next one alone.
async fn interrupted_in(stage: Stage) -> Result<(Job, Vec<ImageKind>)> {
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::instant().await?;
    pair.add("gpu", &sim).await?;
    sim.sim.gate().hold(stage);
    let first = pair.submit(txt2img("first")).await?;
    sim.until(|log| log.first().is_some_and(|one| one.stage == stage))
        .await?;
    let second = pair.submit(txt2img("second")).await?;
    pair.cancel(&first).await?;
    // It has taken effect, not just arrived.
    sim.until(|log| !log[0].interrupts.is_empty()).await?;
    sim.sim.gate().release(stage);
    let job = pair.ended(&first).await?;
    assert_eq!(job.state(), JobState::Cancelled);
    pair.completed(&second).await?;
    let hits = sim.sim.interrupts();
    let hits = hits.iter().filter_map(|one| one.hit.as_ref());
    for hit in hits {
        assert_eq!(hit.task_id, sim.log()[0].task_id);
    }
    let images = pair.images(&first).await?;
    Ok((job, images.iter().map(|image| image.kind()).collect()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_that_is_whole_before_the_interrupt_takes_effect_is_kept_as_such() -> Result<()> {
    let (job, kinds) = interrupted_in(Stage::Finishing).await?;
    assert!(!job.result.unwrap_or_default().partial);
    assert_eq!(kinds, [ImageKind::Sample]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_that_is_interrupted_while_it_is_decoded_is_kept_as_partial() -> Result<()> {
    let (job, kinds) = interrupted_in(Stage::Decoding).await?;
    assert!(job.result.unwrap_or_default().partial);
    assert_eq!(kinds, [ImageKind::Partial]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_server_keeps_interrupts_waiting_it_gets_no_job() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::gated().await?;
    pair.add("gpu", &sim).await?;
    let first = pair.submit(txt2img("first")).await?;
    sim.sim.gate().load(1);
    in_phase(&pair, &first, AttemptPhase::Generating).await?;
    sim.sim.hold(Target::Interrupt);
    pair.cancel(&first).await?;
    sim.until_asked("/sdapi/v1/interrupt", 1).await?;
    sim.sim.hold(Target::Control);
    let second = pair.submit(txt2img("second")).await?;
    sim.sim.gate().open();
    assert_eq!(pair.ended(&first).await?.state(), JobState::Cancelled);
    // It is asked, does not answer, and is left alone.
    looked_at_once(&sim).await?;
    assert_eq!(sim.log().len(), 1);
    sim.sim.release(&Target::Control);
    sim.sim.release(&Target::Interrupt);
    pair.completed(&second).await?;
    assert_eq!(outcomes(&sim), [Outcome::Completed; 2]);
    assert!(sim.sim.interrupts().iter().all(|one| one.hit.is_none()));
    Ok(())
}

async fn looked_at_once(sim: &Sim) -> Result<()> {
    let asked = sim.asked("/sdapi/v1/progress");
    sim.until_asked("/sdapi/v1/progress", asked + 1).await
}
