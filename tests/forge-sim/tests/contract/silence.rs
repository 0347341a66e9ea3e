//! A server that accepts and does not answer: frozen as a whole or on some routes, or starved of worker threads.

use forge_sim::{Fault, Outcome, Stage, Target};
use serde_json::json;

use crate::server::{BOUND, Server, flags, small, small_with};

/// Sends a GET in the background and waits until it has arrived.
async fn asked(server: &Server, path: &'static str) -> tokio::task::JoinHandle<u16> {
    let before = server.sim.requests().len();
    let request = server
        .client
        .get(format!("{}{path}", server.sim.url()))
        .send();
    #[expect(
        clippy::disallowed_methods,
        reason = "the test awaits the handle itself"
    )]
    let waiting = tokio::spawn(async { request.await.unwrap().status().as_u16() });
    let arrived = |all: &[forge_sim::LoggedRequest]| all.len() > before;
    server.sim.wait_for_requests(arrived, BOUND).await.unwrap();
    waiting
}

#[tokio::test]
async fn held_control_routes_wait_while_generation_goes_on() {
    let server = Server::start(|config| config).await;
    server.sim.hold(Target::Control);
    let waiting = asked(&server, "/sdapi/v1/memory").await;
    server.txt2img(small("works")).await;
    assert!(!waiting.is_finished());
    server.sim.release(&Target::Control);
    assert_eq!(waiting.await.unwrap(), 200);
}

#[tokio::test]
async fn held_generation_keeps_the_answer_back_while_control_routes_answer() {
    let server = Server::gated().await;
    let job = server.submit(small("held"));
    server.started(1).await;
    server.sim.hold(Target::Generate);
    server.sim.gate().open();
    let log = server.all_ended(1).await;
    assert_eq!(log[0].outcome, Outcome::Completed);
    assert_eq!(flags(&server.track("held").await), [false, false, true]);
    let second = server.submit(small("not started"));
    assert_eq!(server.progress().await["state"]["job"], "");
    assert!(!job.is_finished() && !second.is_finished());
    server.sim.release(&Target::Generate);
    for job in [job, second] {
        assert_eq!(job.await.unwrap().unwrap().status(), 200);
    }
}

#[tokio::test]
async fn held_requests_are_let_by_one_by_one() {
    let server = Server::start(|config| config).await;
    let memory = Target::Path("/sdapi/v1/memory".to_owned());
    server.sim.hold(memory.clone());
    let first = asked(&server, "/sdapi/v1/memory").await;
    server.sim.let_by(&memory, 1);
    assert_eq!(first.await.unwrap(), 200);
    let second = asked(&server, "/sdapi/v1/memory").await;
    assert_eq!(server.get("/app_id").await.as_object().unwrap().len(), 1);
    assert!(!second.is_finished());
    server.sim.release(&memory);
    assert_eq!(second.await.unwrap(), 200);
}

#[tokio::test]
async fn a_process_paused_in_the_middle_comes_back_and_finishes_as_exchange_08_07() {
    for stage in [Stage::Sampling, Stage::Decoding] {
        let server = Server::start(|config| config).await;
        server.sim.gate().hold(stage);
        let job = server.submit(small("paused"));
        let here = |log: &[forge_sim::Generation]| log.last().is_some_and(|it| it.stage == stage);
        server.sim.wait_for(here, BOUND).await.unwrap();
        server.sim.freeze();
        server.sim.gate().release(stage);
        let poll = asked(&server, "/sdapi/v1/progress").await;
        let log = server.sim.log();
        assert_eq!((log[0].stage, log[0].outcome), (stage, Outcome::Running));
        assert!(!poll.is_finished() && !job.is_finished());
        server.sim.thaw();
        assert_eq!(poll.await.unwrap(), 200);
        assert_eq!(job.await.unwrap().unwrap().status(), 200);
        assert_eq!(server.sim.log()[0].outcome, Outcome::Completed);
    }
}

#[tokio::test]
async fn taken_threads_starve_the_synchronous_routes_only() {
    let server = Server::start(|config| config).await;
    assert_eq!(server.sim.occupy_threads(100), 40);
    let ping = asked(&server, "/internal/ping").await;
    assert!(server.get("/sdapi/v1/loras").await.is_array());
    assert!(!ping.is_finished());
    server.sim.free_threads();
    assert_eq!(ping.await.unwrap(), 200);
}

#[tokio::test]
async fn an_interrupt_starved_by_forty_calls_meets_the_next_job() {
    let server = Server::gated().await;
    server.sim.gate().load(1);
    let mut jobs = vec![server.submit(small_with("meant", &json!({ "steps": 2 })))];
    server.started(1).await;
    jobs.extend((1..40).map(|number| server.submit(small(&format!("waiting-{number}")))));
    let posted = |all: &[forge_sim::LoggedRequest]| {
        all.iter().filter(|it| it.path.ends_with("txt2img")).count() == 40
    };
    server.sim.wait_for_requests(posted, BOUND).await.unwrap();
    let queued = |all: &[forge_sim::Event]| {
        let queued = |it: &&forge_sim::Event| matches!(it.what, forge_sim::What::Queued { .. });
        all.iter().filter(queued).count() == 40
    };
    server.sim.wait_for_events(queued, BOUND).await.unwrap();
    let interrupt = server
        .client
        .post(format!("{}/sdapi/v1/interrupt", server.sim.url()))
        .send();
    #[expect(
        clippy::disallowed_methods,
        reason = "the test awaits the handle itself"
    )]
    let interrupt = tokio::spawn(interrupt);
    let arrived =
        |all: &[forge_sim::LoggedRequest]| all.iter().any(|it| it.path.ends_with("interrupt"));
    server.sim.wait_for_requests(arrived, BOUND).await.unwrap();
    assert!(server.get("/sdapi/v1/loras").await.is_array());
    assert!(!interrupt.is_finished() && server.sim.interrupts().is_empty());
    // The job that was meant runs to its end, and only then the interrupt gets its thread.
    server.sim.gate().step(2);
    assert_eq!(interrupt.await.unwrap().unwrap().status(), 200);
    server.sim.gate().open();
    for job in jobs {
        assert_eq!(job.await.unwrap().unwrap().status(), 200);
    }
    let log = server.sim.log();
    assert_eq!(log[0].task_id, "meant");
    let hit = server.sim.interrupts()[0].hit.clone().unwrap();
    assert_eq!((hit.generation, &hit.task_id), (1, &log[1].task_id));
    let outcomes: Vec<_> = log.iter().map(|it| it.outcome).collect();
    assert_eq!(outcomes[..2], [Outcome::Completed, Outcome::Interrupted]);
    assert!(outcomes[2..].iter().all(|it| *it == Outcome::Completed));
}

#[tokio::test]
async fn a_call_that_hangs_keeps_its_connection_and_nothing_else() {
    let server = Server::start(|config| config).await;
    server.sim.script_on(Target::Interrupt, Fault::Hang);
    let interrupt = server.submit_to("/sdapi/v1/interrupt");
    server
        .sim
        .wait_for_requests(|all| all.len() == 1, BOUND)
        .await
        .unwrap();
    server.txt2img(small("next")).await;
    assert!(!interrupt.is_finished() && server.sim.interrupts().is_empty());
}
