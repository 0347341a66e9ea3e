//! Many jobs at once, and many things going wrong at once: every job ends as
//! it should, and none is ever made twice at the same time.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;
use forge_sim::{Fault, Generation, Outcome};
use stablequeue_proto::jobs::v1::{ServerUsage, SubmitJobRequest};
use system_tests::{Pair, PairOptions, Sim, pair::txt2img};

/// Every generation of the stand-ins by the job it was for, in order.
fn by_job<'a>(ids: &'a [String], sims: &[Sim]) -> BTreeMap<&'a str, Vec<Generation>> {
    let mut found: BTreeMap<&str, Vec<Generation>> =
        ids.iter().map(|id| (id.as_str(), Vec::new())).collect();
    for generation in sims.iter().flat_map(Sim::log) {
        let of = ids
            .iter()
            .find(|id| generation.task_id.starts_with(&format!("sq-{id}-")));
        if let Some(generations) = of.and_then(|id| found.get_mut(id.as_str())) {
            generations.push(generation);
        }
    }
    for generations in found.values_mut() {
        generations.sort_by_key(|one| one.started);
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn many_jobs_sent_in_at_once_are_each_made_once() -> Result<()> {
    const JOBS: usize = 60;
    let pair = Pair::start(PairOptions::default()).await?;
    let sims = [Sim::instant().await?, Sim::instant().await?];
    for (alias, sim) in ["a", "b"].into_iter().zip(&sims) {
        pair.add(alias, sim).await?;
    }
    let submissions = (0..JOBS).map(|number| pair.submit(txt2img(&format!("number {number}"))));
    let ids = futures_util::future::try_join_all(submissions).await?;
    for id in &ids {
        let job = pair.completed(id).await?;
        assert_eq!(job.attempts.len(), 1, "{job:#?}");
    }
    for (id, generations) in by_job(&ids, &sims) {
        assert_eq!(generations.len(), 1, "{id}");
    }
    assert!(sims.iter().all(|sim| sim.log().len() >= JOBS / 4));
    Ok(())
}

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        // The multiplier is that of PCG's and Knuth's 64-bit generators.
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % limit
    }
}

/// Lets one thing go wrong.
async fn mishap(pair: &mut Pair, sims: &mut [Sim; 2], dice: &mut Dice, turn: u64) -> Result<()> {
    let which = usize::try_from(dice.below(2))?;
    let sim = &mut sims[which];
    match dice.below(12) {
        0 => sim.sim.script(Fault::CutBeforeAnswer),
        1 => sim.sim.script(Fault::CutMidBody),
        2 => sim.sim.script(Fault::Garbage),
        3 => sim.sim.script(Fault::BrokenImage),
        4 => sim.sim.script(Fault::WrongModel),
        5 => sim.sim.script(Fault::Hang),
        6 => sim.sim.script(Fault::Error500 {
            error: "RuntimeError".to_owned(),
            message: format!("mishap {turn}"),
        }),
        7 => sim.sim.script(Fault::Status {
            code: 503,
            body: "busy".to_owned(),
        }),
        8 | 9 => {
            sim.sim.kill().await;
            sim.sim.restart().await?;
        }
        10 => {
            pair.stop_models().await?;
            pair.start_models().await?;
        }
        _ => {
            pair.stop_jobs().await?;
            pair.start_jobs().await?;
        }
    }
    Ok(())
}

async fn storm(seed: u64, usage: ServerUsage) -> Result<()> {
    const JOBS: usize = 20;
    const TURNS: u64 = 14;
    let mut options = PairOptions::default();
    options.pace.unknown_grace = Duration::from_millis(200);
    options.grace = Duration::ZERO;
    let mut pair = Pair::start(options).await?;
    let slow = |config: &mut forge_sim::SimConfig| config.step_time = Duration::from_millis(20);
    let mut sims = [Sim::with(slow).await?, Sim::with(slow).await?];
    for (alias, sim) in ["a", "b"].into_iter().zip(&sims) {
        pair.add_as(alias, sim, usage).await?;
    }
    let mut ids = Vec::new();
    for number in 0..JOBS {
        let request = SubmitJobRequest {
            max_attempts: Some(10),
            ..txt2img(&format!("number {number}"))
        };
        ids.push(pair.submit(request).await?);
    }
    let mut dice = Dice(seed);
    for turn in 0..TURNS {
        mishap(&mut pair, &mut sims, &mut dice, turn).await?;
        // Some more is made before the next, unless all is made already.
        let made = |log: &[Generation]| {
            let done = log.iter().filter(|one| one.outcome == Outcome::Completed);
            done.count()
        };
        let before: usize = sims.iter().map(|sim| made(&sim.log())).sum();
        system_tests::wait::until("something more is made", || async {
            let now: usize = sims.iter().map(|sim| made(&sim.log())).sum();
            if now > before || now >= JOBS {
                Ok(())
            } else {
                Err(format!("{now} are made"))
            }
        })
        .await?;
    }
    for sim in &sims {
        sim.sim.clear_faults();
    }
    for id in &ids {
        pair.completed(id).await?;
        let images = pair.images(id).await?;
        assert_eq!(images.len(), 1, "seed {seed}");
        assert!(pair.image_path(&images[0].sha256).is_file());
        assert!(
            images[0].infotext.contains("Model: dawn-mini"),
            "{}",
            images[0].infotext
        );
    }
    for (id, generations) in by_job(&ids, &sims) {
        for two in generations.windows(2) {
            let in_turn = two[0].ended.is_some_and(|ended| ended < two[1].started);
            assert!(in_turn, "seed {seed}, job {id}: {generations:#?}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_goes_wrong_every_job_is_completed_and_none_is_made_twice_at_once() -> Result<()> {
    storm(1, ServerUsage::Dedicated).await?;
    storm(2, ServerUsage::Shared).await
}
