//! How much four servers get done beside a fifth that is stuck or comes and
//! goes, against four alone in the same run.

use std::time::{Duration, Instant};

use anyhow::Result;
use forge_sim::{Flap, Outcome};
use system_tests::{Pair, PairOptions, Sim, pair::txt2img};

use crate::figures::median;

/// Servers that are well.
const WELL: usize = 4;
/// What they are to get done, together.
const GENERATIONS: usize = 200;
/// Jobs that are submitted: there is always one more.
const JOBS: usize = GENERATIONS + 120;
/// Rounds of each kind, in turn.
const ROUNDS: usize = 5;
/// One sampling step; a job has two.
const STEP: Duration = Duration::from_millis(50);
/// The least share of the throughput without the fifth.
const BOUND: f64 = 0.95;
/// How the fifth comes and goes: connections that it resets, then requests
/// that it serves.
const FLAPPING: Flap = Flap { reset: 3, serve: 8 };

/// What the fifth server is like.
#[derive(Clone, Copy, Debug)]
enum Fifth {
    Absent,
    Stuck,
    Flapping,
}

/// Measures and prints.
pub(crate) async fn run() -> Result<()> {
    let kinds = [Fifth::Absent, Fifth::Stuck, Fifth::Flapping];
    let mut rates = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for (kind, rates) in kinds.iter().zip(&mut rates) {
            rates.push(round(*kind).await?);
        }
    }
    let [alone, stuck, flapping] = rates.map(|rates| median(&rates));
    println!("{GENERATIONS} generations of {WELL} servers, {ROUNDS} rounds of each kind");
    println!("  alone                {alone:>6.1}/s");
    for (name, rate) in [("stuck", stuck), ("flapping", flapping)] {
        let ratio = rate / alone;
        let kept = if ratio >= BOUND { "kept" } else { "missed" };
        println!("  beside a {name:<10}  {rate:>6.1}/s   ratio {ratio:.3}, bound {BOUND}: {kept}");
    }
    Ok(())
}

/// What the servers that are well get done in a second.
async fn round(fifth: Fifth) -> Result<f64> {
    let pair = Pair::start(PairOptions::default()).await?;
    let slow = |config: &mut forge_sim::SimConfig| config.step_time = STEP;
    let mut well = Vec::new();
    for at in 0..WELL {
        let sim = Sim::with(slow).await?;
        pair.add(&format!("well-{at}"), &sim).await?;
        well.push(sim);
    }
    let other = match fifth {
        Fifth::Absent => None,
        Fifth::Stuck | Fifth::Flapping => {
            let sim = Sim::with(slow).await?;
            pair.add("fifth", &sim).await?;
            Some(sim)
        }
    };
    match (fifth, &other) {
        (Fifth::Stuck, Some(sim)) => sim.sim.freeze(),
        (Fifth::Flapping, Some(sim)) => sim.sim.flap(Some(FLAPPING)),
        _ => {}
    }
    let begun = Instant::now();
    for number in 0..JOBS {
        pair.submit(txt2img(&format!("number {number}"))).await?;
    }
    system_tests::wait::until("they get that done", || {
        let done: usize = well
            .iter()
            .map(|sim| {
                let log = sim.log();
                log.iter()
                    .filter(|one| one.outcome == Outcome::Completed)
                    .count()
            })
            .sum();
        async move {
            if done >= GENERATIONS {
                Ok(())
            } else {
                Err(format!("{done} are done"))
            }
        }
    })
    .await?;
    Ok(GENERATIONS as f64 / begun.elapsed().as_secs_f64())
}
