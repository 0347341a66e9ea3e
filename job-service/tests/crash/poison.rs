//! A job that ends the program, or panics, each time it is worked on: it is
//! given up in the end, and takes no other job with it.

use job_service::{dispatch::supervise::RECOVERIES_MAX, stop_point};
use stablequeue_proto::jobs::v1::{self as jobs, AttemptOutcome, JobState};

use crate::{
    program::Program,
    world::{Client, World},
};

/// Where the attempt on the first stand-in ends the program.
fn poisoned() -> String {
    format!("{}/gpu-0", stop_point::IN_RECOVERY)
}

/// Two jobs that run on two stand-ins, and a program that was killed
/// meanwhile: the ids of the one on the first stand-in and of the other.
async fn two_under_way() -> (World, String, String) {
    let world = World::with_sims(2, |config| config.gated = true).await;
    let program = world.start(&[]);
    let mut client = Client::of(&program).await;
    let ids = [client.submit("one").await, client.submit("two").await];
    for sim in &world.sims {
        sim.wait_for(|all| !all.is_empty(), crate::program::BOUND)
            .await
            .unwrap();
    }
    let job = client.job(&ids[0]).await;
    program.kill();
    let [one, two] = ids;
    let on_first = job.current_attempt.unwrap().server == "gpu-0";
    if on_first {
        (world, one, two)
    } else {
        (world, two, one)
    }
}

async fn killed_in_recovery(world: &World) {
    let program = world.start(&["--stop-at", &poisoned()]);
    program.says(&format!("stopped at {}", poisoned())).await;
    program.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_ends_the_program_each_time_is_given_up_and_others_are_recovered_meanwhile() {
    let (world, poison, other) = two_under_way().await;
    for sim in &world.sims {
        sim.gate().open();
    }
    for _ in 0..RECOVERIES_MAX {
        killed_in_recovery(&world).await;
    }
    // The other one has come through although the program never lived to serve.
    let generations = world.generations().len();
    assert_eq!(generations, 2);
    let program = world.start(&["--stop-at", &poisoned()]);
    let mut client = Client::of(&program).await;
    let done = client.completed(&other).await;
    assert_eq!(done.attempts.len(), 1, "{done:#?}");
    let given_up = client.ended(&poison).await;
    assert_eq!(given_up.state(), JobState::Failed, "{given_up:#?}");
    assert_eq!(given_up.error.unwrap().code, "CRASHED_REPEATEDLY");
    let outcomes: Vec<_> = given_up.attempts.iter().map(|it| it.outcome()).collect();
    assert_eq!(outcomes, [AttemptOutcome::Crashed]);
    assert_eq!(world.generations().len(), 2, "nothing was made again");
    // Its server works for others again.
    assert_eq!(next(&mut client).await.state(), JobState::Completed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_gets_through_clears_a_job_of_suspicion() {
    let (world, suspect, other) = two_under_way().await;
    for _ in 0..3 {
        killed_in_recovery(&world).await;
    }
    let since = world.sims[0].requests().len();
    let program = world.start(&[]);
    let mut client = Client::of(&program).await;
    world.requests("/internal/progress", since, 3).await;
    let job = client.job(&suspect).await;
    assert_eq!(job.current_attempt.unwrap().recoveries, 0);
    for sim in &world.sims {
        sim.gate().open();
    }
    for id in [&suspect, &other] {
        assert_eq!(client.completed(id).await.attempts.len(), 1);
    }
    assert_eq!(world.generations().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_an_attempt_costs_neither_its_image_nor_the_program() {
    let world = World::new().await;
    let point = format!("panic:{}", stop_point::AFTER_ANSWER);
    let program: Program = world.start(&["--stop-at", &point]);
    let mut client = Client::of(&program).await;
    for prompt in ["first", "second"] {
        let id = client.submit(prompt).await;
        let job = client.completed(&id).await;
        assert_eq!(job.attempts.len(), 1, "{job:#?}");
    }
    assert!(program.said().contains("told to panic at after_answer"));
    assert_eq!(world.generations().len(), 2, "each was fetched");
}

async fn next(client: &mut Client) -> jobs::Job {
    let id = client.submit("next").await;
    client.completed(&id).await
}
