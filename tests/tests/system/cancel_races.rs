//! Cancelling a job around its end, again and again, while the server's next
//! job waits: the next one is never hit.

use std::time::Duration;

use anyhow::Result;
use forge_sim::Outcome;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use service_kit::clock::Clock;
use stablequeue_proto::jobs::v1::{ImageKind, JobState};
use system_tests::{Pair, PairOptions, Sim, pair::txt2img};

/// Where the moments come from.
const SEED: u64 = 20_261_122;
/// Tries in every run of the tests.
const TRIES: usize = 60;
/// Tries in the long run.
const LONG_RUN: usize = 500;
/// A generation takes two of these.
const STEP: Duration = Duration::from_millis(8);
/// When a job is cancelled, in microseconds after its submission: from before
/// its request is out to after its end.
const MOMENT_US: std::ops::Range<u64> = 0..80_000;

#[tokio::test(flavor = "multi_thread")]
async fn the_next_job_is_never_interrupted_however_close_a_cancel_comes_to_the_end() -> Result<()> {
    play(TRIES, SEED).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: cargo test -p system-tests --test system -- --ignored next_job"]
async fn the_next_job_is_never_interrupted_in_500_tries() -> Result<()> {
    play(LONG_RUN, SEED + 1).await
}

async fn play(tries: usize, seed: u64) -> Result<()> {
    println!("seed {seed}");
    let mut options = PairOptions::default();
    options.pace.progress = Duration::from_millis(5);
    let pair = Pair::start(options).await?;
    let sim = Sim::with(|config| config.step_time = STEP).await?;
    pair.add("gpu", &sim).await?;
    let clock = Clock::system();
    let mut moments = StdRng::seed_from_u64(seed);
    let (mut cancelled, mut hit) = (0, 0);
    for number in 0..tries {
        let doomed = pair.submit(txt2img(&format!("doomed {number}"))).await?;
        let next = pair.submit(txt2img(&format!("next {number}"))).await?;
        let moment = Duration::from_micros(moments.random_range(MOMENT_US));
        // The moment itself is what is tried.
        clock.sleep(moment).await;
        pair.cancel(&doomed).await?;
        let job = pair.ended(&doomed).await?;
        cancelled += usize::from(job.state() == JobState::Cancelled);
        let job = pair.completed(&next).await?;
        assert_eq!(job.attempts.len(), 1, "try {number}: {job:#?}");
        assert!(!job.result.unwrap_or_default().partial, "try {number}");
        let images = pair.images(&next).await?;
        let kinds: Vec<ImageKind> = images.iter().map(|image| image.kind()).collect();
        assert_eq!(kinds, [ImageKind::Sample], "try {number}");
    }
    for one in sim.log() {
        let prompt = one.request["prompt"].as_str().unwrap_or_default();
        hit += usize::from(one.outcome == Outcome::Interrupted);
        let is_next = prompt.starts_with("next");
        assert!(!is_next || one.outcome == Outcome::Completed, "{one:#?}");
    }
    let log = sim.log();
    for hit in sim
        .sim
        .interrupts()
        .iter()
        .filter_map(|one| one.hit.as_ref())
    {
        let of = log.iter().find(|one| one.task_id == hit.task_id);
        let prompt = of.and_then(|one| one.request["prompt"].as_str());
        let doomed = prompt.is_some_and(|prompt| prompt.starts_with("doomed"));
        assert!(doomed, "{hit:?} hit {prompt:?}");
    }
    // The moments are what they are meant to be.
    println!("{tries} tries, {cancelled} cancelled, {hit} interrupted at work");
    assert!(0 < hit && hit <= cancelled && cancelled < tries);
    Ok(())
}
