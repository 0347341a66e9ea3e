//! SIGKILL at random moments while many jobs run: none is lost, none runs
//! twice. The moments come from a fixed seed.

use std::{collections::BTreeMap, time::Duration};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use crate::world::{Client, World};

const SEED: u64 = 20_261_122;
/// How many seeds the long run plays.
const LONG_RUN: u64 = 40;
const JOBS: usize = 20;
const KILLS: usize = 15;
/// How long a run lasts before it is killed, in milliseconds: from its first
/// steps to the middle of its work.
const RUN_MS: std::ops::Range<u64> = 5..900;

#[tokio::test(flavor = "multi_thread")]
async fn no_job_is_lost_or_generated_twice_however_often_the_program_is_killed() {
    play(SEED).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: cargo test -p job-service --test crash -- --ignored"]
async fn the_same_with_many_other_moments() {
    for seed in 0..LONG_RUN {
        println!("seed {seed}");
        play(seed).await;
    }
}

async fn play(seed: u64) {
    let world = World::with_sims(2, |config| {
        config.step_time = Duration::from_millis(100);
        config.load_time = Duration::from_millis(50);
    })
    .await;
    let mut moments = StdRng::seed_from_u64(seed);
    let mut program = world.start(&[]);
    let mut client = Client::of(&program).await;
    let mut ids = Vec::new();
    for number in 0..JOBS {
        ids.push(client.submit(&format!("lighthouse {number}")).await);
    }
    for _ in 0..KILLS {
        let moment = Duration::from_millis(moments.random_range(RUN_MS));
        program.runs_for(moment).await;
        program.kill();
        program = world.start(&[]);
    }
    let mut client = Client::of(&program).await;
    let mut images = std::collections::BTreeSet::new();
    let mut tokens = BTreeMap::new();
    for id in &ids {
        let job = client.completed(id).await;
        for attempt in job.attempts {
            tokens.insert(attempt.token, id.clone());
        }
        images.extend(client.images(id).await);
    }
    assert_eq!(client.list().await.len(), JOBS);
    assert_eq!(images.len(), JOBS);
    let mut per_job: BTreeMap<&String, usize> = BTreeMap::new();
    let generations = world.generations();
    for generation in &generations {
        // One that nobody knows of would be missing here.
        *per_job.entry(&tokens[&generation.task_id]).or_default() += 1;
    }
    assert_eq!(per_job.len(), JOBS);
    assert!(per_job.values().all(|count| *count == 1), "{per_job:#?}");
    program.kill();
    // The next start sweeps what the last kill may have left.
    let program = world.start(&[]);
    program.serves().await;
    assert_eq!(world.images_on_disk(), images);
    assert!(world.staging().is_empty(), "{:?}", world.staging());
    // The kills hit work: some images were fetched, not answered.
    let requests = world.sims.iter().flat_map(|sim| sim.requests());
    let fetched = requests.filter(|it| it.path.starts_with("/file="));
    assert!(fetched.count() > 0);
}
