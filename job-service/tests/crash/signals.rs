//! SIGTERM while a server works: the program ends in time, and the next start
//! takes up what goes on there.

use std::time::{Duration, Instant};

use stablequeue_proto::jobs::v1::AttemptOutcome;

use crate::world::{Client, World};

/// What the end may take beyond the grace on a slow machine.
const SLACK: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn a_generation_that_outlives_the_grace_is_taken_up_by_the_next_start() {
    let world = World::gated().await;
    let mut program = world.start(&["--grace-seconds=1"]);
    let id = Client::of(&program).await.submit("a lighthouse").await;
    world.at_work().await;
    let asked = Instant::now();
    program.terminate();
    assert_eq!(program.ends().await.code(), Some(0), "{}", program.said());
    assert!(asked.elapsed() < Duration::from_secs(1) + SLACK);
    let program = world.start(&[]);
    world.sims[0].gate().open();
    let job = Client::of(&program).await.completed(&id).await;
    assert_eq!(job.attempts_spent, 1);
    assert_eq!(job.attempts.len(), 1, "{job:#?}");
    assert_eq!(job.attempts[0].outcome(), AttemptOutcome::Completed);
    assert_eq!(world.generations().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generation_that_ends_within_the_grace_is_kept_before_the_end() {
    let world = World::gated().await;
    let mut program = world.start(&["--grace-seconds=30"]);
    let id = Client::of(&program).await.submit("a lighthouse").await;
    world.at_work().await;
    let asked = Instant::now();
    program.terminate();
    program
        .says("stopping; a second signal stops at once")
        .await;
    world.sims[0].gate().open();
    assert_eq!(program.ends().await.code(), Some(0), "{}", program.said());
    assert!(asked.elapsed() < Duration::from_secs(30));
    assert_eq!(world.images_on_disk().len(), 1);
    let since = world.sims[0].requests().len();
    let program = world.start(&[]);
    let job = Client::of(&program).await.completed(&id).await;
    assert_eq!(job.attempts.len(), 1, "{job:#?}");
    let fetched = world.sims[0].requests();
    let fetched = fetched.iter().skip(since);
    let fetched = fetched.filter(|it| it.path.starts_with("/file=")).count();
    assert_eq!(fetched, 0, "nothing was left to fetch");
    assert_eq!(world.generations().len(), 1);
}
