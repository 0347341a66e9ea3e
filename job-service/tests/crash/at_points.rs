//! SIGKILL at named points of an attempt: after the restart there is one
//! completed job, and no generation was repeated or lost.

use job_service::stop_point;
use stablequeue_proto::jobs::v1::{AttemptOutcome, Job};

use crate::world::{Client, World};

/// Starts the program again and waits for the end of the only job. In every
/// case there is one generation, and no file but the images of the job.
async fn one_job_after_restart(world: &World, id: &str) -> Job {
    let program = world.start(&[]);
    let mut client = Client::of(&program).await;
    let job = client.completed(id).await;
    assert_eq!(client.list().await.len(), 1);
    let generations = world.generations();
    assert_eq!(generations.len(), 1, "{generations:#?}");
    let images = client.images(id).await;
    assert_eq!(images.len(), 1);
    assert_eq!(world.images_on_disk(), images);
    assert!(world.staging().is_empty(), "{:?}", world.staging());
    job
}

fn outcomes(job: &Job) -> Vec<AttemptOutcome> {
    job.attempts.iter().map(|it| it.outcome()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_was_never_sent_is_handed_back_unspent() {
    let world = World::new().await;
    let id = world.kill_at(stop_point::AFTER_CLAIM).await;
    assert!(world.generations().is_empty());
    let job = one_job_after_restart(&world, &id).await;
    let expected = [AttemptOutcome::HandedBack, AttemptOutcome::Completed];
    assert_eq!(outcomes(&job), expected, "{job:#?}");
    assert_eq!(job.attempts_spent, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_never_arrived_is_sent_again() {
    let world = World::new().await;
    let id = world.kill_at(stop_point::AFTER_SENDING).await;
    assert!(world.generations().is_empty());
    let job = one_job_after_restart(&world, &id).await;
    let expected = [AttemptOutcome::Lost, AttemptOutcome::Completed];
    assert_eq!(outcomes(&job), expected, "{job:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generation_under_way_is_followed_and_its_image_fetched() {
    let world = World::gated().await;
    let gate = world.sims[0].gate();
    gate.load(1);
    gate.step(2);
    let program = world.start(&[]);
    let id = Client::of(&program).await.submit("a lighthouse").await;
    let halfway = |all: &[forge_sim::Generation]| all.iter().any(|it| it.steps_done == 2);
    world.sims[0]
        .wait_for(halfway, crate::program::BOUND)
        .await
        .unwrap();
    program.kill();
    let since = world.sims[0].requests().len();
    let program = world.start(&[]);
    // It is followed by its id, and never called gone while it runs.
    world.requests("/internal/progress", since, 3).await;
    gate.open();
    let job = Client::of(&program).await.completed(&id).await;
    assert_eq!(outcomes(&job), [AttemptOutcome::Completed], "{job:#?}");
    assert_eq!(job.attempts_spent, 1);
    program.kill();
    one_job_after_restart(&world, &id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_lost_before_its_commit_is_fetched() {
    let world = World::new().await;
    let id = world.kill_at(stop_point::AFTER_ANSWER).await;
    assert_eq!(world.generations().len(), 1);
    let job = one_job_after_restart(&world, &id).await;
    assert_eq!(outcomes(&job), [AttemptOutcome::Completed], "{job:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_lost_is_made_again_where_no_file_can_be_fetched() {
    let world = World::with_sims(1, |config| config.ui = false).await;
    let id = world.kill_at(stop_point::AFTER_ANSWER).await;
    let program = world.start(&[]);
    let job = Client::of(&program).await.completed(&id).await;
    let expected = [AttemptOutcome::Lost, AttemptOutcome::Completed];
    assert_eq!(outcomes(&job), expected, "{job:#?}");
    let log = world.generations();
    assert_eq!(log.len(), 2, "{log:#?}");
    assert!(log[0].ended.is_some_and(|ended| ended < log[1].started));
}

#[tokio::test(flavor = "multi_thread")]
async fn images_that_were_kept_before_the_commit_are_those_of_the_job() {
    let world = World::new().await;
    let id = world.kill_at(stop_point::AFTER_IMAGES).await;
    assert_eq!(world.images_on_disk().len(), 1);
    let job = one_job_after_restart(&world, &id).await;
    assert_eq!(outcomes(&job), [AttemptOutcome::Completed], "{job:#?}");
}
