//! What callers learn of an attempt beside its outcome: how far it came and how
//! long the server loaded and generated.

use anyhow::Result;
use forge_sim::Fault;
use stablequeue_proto::jobs::v1::AttemptPhase;
use system_tests::{Pair, PairOptions, Sim, pair::txt2img};

#[tokio::test(flavor = "multi_thread")]
async fn loading_and_generating_are_timed_apart() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::gated().await?;
    pair.add("gpu", &sim).await?;
    let id = pair.submit(txt2img("timed")).await?;
    for (phase, permit) in [
        (AttemptPhase::Loading, true),
        (AttemptPhase::Generating, false),
    ] {
        pair.job_when(&id, phase.as_str_name(), |job| {
            job.current_attempt.clone().unwrap_or_default().phase() == phase
        })
        .await?;
        let asked = sim.asked("/internal/progress");
        sim.until_asked("/internal/progress", asked + 3).await?;
        if permit {
            sim.sim.gate().load(1);
        } else {
            sim.sim.gate().open();
        }
    }
    let job = pair.completed(&id).await?;
    let attempt = &job.attempts[0];
    let is_long = |time: Option<prost_types::Duration>| {
        time.is_some_and(|time| time.seconds > 0 || time.nanos >= 50_000_000)
    };
    assert!(is_long(attempt.load_time), "{attempt:#?}");
    assert!(is_long(attempt.generate_time), "{attempt:#?}");
    assert_eq!(attempt.last_phase(), AttemptPhase::Saving);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_keeps_the_words_and_the_status_of_the_server_and_how_far_it_came() -> Result<()>
{
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::instant().await?;
    pair.add("gpu", &sim).await?;
    sim.sim.script(Fault::Error500 {
        error: "RuntimeError".to_owned(),
        message: "Expected all tensors to be on the same device".to_owned(),
    });
    let id = pair.submit(txt2img("failing once")).await?;
    let job = pair.completed(&id).await?;
    let first = &job.attempts[0];
    assert_eq!(first.http_status, 500);
    let words = "RuntimeError: Expected all tensors to be on the same device";
    assert_eq!(first.message, words);
    assert_ne!(first.last_phase(), AttemptPhase::Ended);
    assert_ne!(first.last_phase(), AttemptPhase::Unspecified);
    Ok(())
}
