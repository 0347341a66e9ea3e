//! Random histories: submissions, cancels, retries, servers that are cordoned,
//! faulty, frozen and killed, and kills and restarts of both services, drawn
//! from a seed. What the stand-ins logged then tells whether every promise was
//! kept; the seed of a history that broke one is printed.

mod check;
mod turns;
mod world;

use anyhow::{Context as _, Result};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use check::Tally;
use world::World;

/// What is done in one history.
const TURNS: usize = 40;
/// Histories that are played at a time.
const AT_A_TIME: usize = 4;
/// The least share of the submitted jobs that have to be completed over many
/// histories: otherwise they would show nothing.
const COMPLETED_LEAST: f64 = 0.5;

#[tokio::test(flavor = "multi_thread")]
async fn in_random_histories_every_job_is_accounted_for() -> Result<()> {
    play_all(0..50).await
}

#[tokio::test(flavor = "multi_thread")]
async fn in_random_histories_every_job_is_accounted_for_again() -> Result<()> {
    play_all(50..100).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes an hour: cargo test -p system-tests --test system -- --ignored --nocapture two_thousand_random_histories"]
async fn in_two_thousand_random_histories_every_job_is_accounted_for() -> Result<()> {
    play_all(100..2_100).await
}

async fn play_all(seeds: std::ops::Range<u64>) -> Result<()> {
    println!("seeds {seeds:?}");
    let tally = stream::iter(seeds)
        .map(|seed| async move {
            let played = play(seed).await;
            played.with_context(|| format!("the history of seed {seed}"))
        })
        .buffer_unordered(AT_A_TIME)
        .try_fold(Tally::default(), |sum, one| async move { Ok(sum + one) })
        .await?;
    println!("{tally:?}");
    let share = f64::from(tally.completed) / f64::from(tally.jobs.max(1));
    anyhow::ensure!(share >= COMPLETED_LEAST, "too few are completed: {tally:?}");
    Ok(())
}

async fn play(seed: u64) -> Result<Tally> {
    let mut world = World::new(seed).await?;
    let played = async {
        for _ in 0..TURNS {
            world.turn().await?;
        }
        world.calm_down().await?;
        check::check(&mut world).await
    };
    let checked = played.await;
    checked.with_context(|| format!("what was done: {:#?}", world.done))
}
