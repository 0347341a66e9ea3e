//! Facts a dispatcher builds on: order, stopping, memory of tasks, disconnects.

use forge_sim::{Outcome, SimModel};
use serde_json::{Value, json};

use crate::{
    exchange::recorded,
    server::{BOUND, Server, flags, small, small_with},
};

#[tokio::test]
async fn jobs_run_one_at_a_time_in_the_order_they_came() {
    let server = Server::gated().await;
    let mut jobs = vec![server.submit(small("a"))];
    server.started(1).await;
    for (waiting, id) in [(1, "b"), (2, "c"), (3, "d")] {
        jobs.push(server.submit(small(id)));
        server.queued(waiting).await;
    }
    server.sim.gate().open();
    for job in jobs {
        assert_eq!(job.await.unwrap().unwrap().status(), 200);
    }
    let log = server.sim.log();
    let order: Vec<_> = log
        .iter()
        .map(|generation| generation.task_id.as_str())
        .collect();
    assert_eq!(order, ["a", "b", "c", "d"]);
    assert!(
        log.windows(2)
            .all(|pair| pair[0].ended.unwrap() < pair[1].started),
        "two ran at once"
    );
}

#[tokio::test]
async fn an_interrupted_job_answers_200_with_partial_images_as_exchange_05_02() {
    let server = Server::gated().await;
    server.sim.gate().load(1);
    server.sim.gate().step(4);
    let job = server.submit(small_with(
        "int-2",
        &json!({ "n_iter": 3, "steps": 3, "seed": 1 }),
    ));
    server.steps_done(4).await;
    server.send("POST", "/sdapi/v1/interrupt", None).await;
    let answer = job.await.unwrap().unwrap();
    assert_eq!(answer.status(), 200);
    let answer: Value = answer.json().await.unwrap();
    let exchange = recorded("05-interrupt-skip/02-interrupt-n_iter-3-in-second.txt2img").json();
    let counts = |body: &Value| {
        let info: Value = serde_json::from_str(body["info"].as_str().unwrap()).unwrap();
        let infotexts = info["infotexts"].as_array().unwrap().len();
        (
            body["images"].as_array().unwrap().len(),
            infotexts,
            info["all_seeds"].clone(),
        )
    };
    assert_eq!(counts(&answer), counts(&exchange));
    let state = server.progress().await["state"].clone();
    assert_eq!(
        (&state["interrupted"], &state["job"], &state["job_no"]),
        (&json!(true), &json!(""), &json!(2))
    );
    assert_eq!(flags(&server.track("int-2").await), [false, false, true]);
    assert_eq!(server.sim.log()[0].outcome, Outcome::Interrupted);
}

#[tokio::test]
async fn the_interrupted_flag_stays_until_the_next_job_which_is_clean() {
    let server = Server::start(|config| config).await;
    server.send("POST", "/sdapi/v1/interrupt", None).await;
    assert_eq!(server.progress().await["state"]["interrupted"], true);
    let (answer, _) = server.txt2img(small("next")).await;
    assert_eq!(answer["images"].as_array().unwrap().len(), 1);
    assert_eq!(server.progress().await["state"]["interrupted"], false);
    assert_eq!(server.sim.log()[0].outcome, Outcome::Completed);
}

#[tokio::test]
async fn an_interrupt_hits_the_running_job_and_the_queued_one_runs() {
    let server = Server::gated().await;
    server.sim.gate().load(1);
    server.sim.gate().step(1);
    let first = server.submit(small_with("q-1", &json!({ "steps": 60 })));
    server.steps_done(1).await;
    let second = server.submit(small("q-2"));
    server.queued(1).await;
    server.send("POST", "/sdapi/v1/interrupt", None).await;
    first.await.unwrap().unwrap();
    server.sim.gate().open();
    second.await.unwrap().unwrap();
    let outcomes: Vec<_> = server
        .sim
        .log()
        .iter()
        .map(|generation| generation.outcome)
        .collect();
    assert_eq!(outcomes, [Outcome::Interrupted, Outcome::Completed]);
}

#[tokio::test]
async fn a_skip_ends_one_batch_only() {
    let server = Server::gated().await;
    server.sim.gate().load(1);
    server.sim.gate().step(1);
    let job = server.submit(small_with("skip", &json!({ "n_iter": 2, "steps": 3 })));
    server.steps_done(1).await;
    server.send("POST", "/sdapi/v1/skip", None).await;
    server.sim.gate().open();
    let answer: Value = job.await.unwrap().unwrap().json().await.unwrap();
    assert_eq!(answer["images"].as_array().unwrap().len(), 2);
    assert_eq!(server.sim.log()[0].steps_done, 4);
}

#[tokio::test]
async fn an_ended_id_shows_as_exchange_02_01b() {
    let server = Server::start(|config| config).await;
    server.txt2img(small("job-0001")).await;
    let exchange = recorded("02-txt2img/01b-internal-progress-after");
    assert_eq!(server.track("job-0001").await, exchange.json());
}

#[tokio::test]
async fn only_the_last_16_ended_ids_are_remembered() {
    let server = Server::start(|config| config).await;
    for number in 0..17 {
        server
            .txt2img(small_with(&format!("id-{number}"), &json!({ "steps": 1 })))
            .await;
    }
    assert_eq!(flags(&server.track("id-0").await), [false, false, false]);
    assert_eq!(flags(&server.track("id-1").await), [false, false, true]);
    assert_eq!(flags(&server.track("id-16").await), [false, false, true]);
}

#[tokio::test]
async fn a_failed_id_stays_active_until_another_job_starts_as_exchange_03_04b() {
    let server = Server::start(|config| config).await;
    let failing = recorded("03-errors/04-unknown-override-key");
    server
        .send("POST", &failing.path, failing.request.as_deref())
        .await;
    let exchange = recorded("03-errors/04b-internal-progress-after-failure");
    let answer = server
        .send("POST", &exchange.path, exchange.request.as_deref())
        .await;
    assert_eq!(answer.text().await.unwrap(), exchange.body);
    let idle = server.progress().await;
    let mut wanted = recorded("03-errors/04c-progress-after-failure").json();
    // The recorded server had sampled one step before; this one never has. The time differs.
    wanted["state"]["sampling_steps"] = json!(0);
    wanted["state"]["job_timestamp"] = idle["state"]["job_timestamp"].clone();
    assert_eq!(idle, wanted);
    server.txt2img(small("next")).await;
    assert_eq!(flags(&server.track("e4").await), [false, false, false]);
    assert_eq!(server.sim.log()[0].outcome, Outcome::Failed);
}

#[tokio::test]
async fn bad_base64_leaves_the_id_queued_for_ever_as_exchanges_03_22b_and_22c() {
    let server = Server::start(|config| config).await;
    let failing = recorded("03-errors/22-img2img-bad-base64");
    server
        .send("POST", &failing.path, failing.request.as_deref())
        .await;
    server.txt2img(small("next")).await;
    for name in [
        "03-errors/22b-pending-after-bad-base64",
        "03-errors/22c-internal-progress-after-bad-base64",
    ] {
        let exchange = recorded(name);
        let answer = server
            .send(
                &exchange.method,
                &exchange.path,
                exchange.request.as_deref(),
            )
            .await;
        assert_eq!(answer.text().await.unwrap(), exchange.body, "{name}");
    }
    assert_eq!(server.sim.log().len(), 1, "the bad one never started");
}

#[tokio::test]
async fn a_client_that_leaves_cancels_nothing() {
    let server = Server::gated().await;
    server.sim.gate().load(1);
    let running = server.submit(small("running"));
    server.started(1).await;
    let queued = server.submit(small("queued"));
    server.queued(1).await;
    for job in [running, queued] {
        job.abort();
        assert!(job.await.unwrap_err().is_cancelled());
    }
    server.sim.gate().open();
    let log = server.all_ended(2).await;
    assert!(
        log.iter()
            .all(|generation| generation.outcome == Outcome::Completed)
    );
    for id in ["running", "queued"] {
        assert_eq!(flags(&server.track(id).await), [false, false, true], "{id}");
    }
}

#[tokio::test]
async fn a_checkpoint_refresh_waits_behind_the_running_job() {
    let server = Server::gated().await;
    server.sim.gate().load(1);
    let job = server.submit(small("running"));
    server.started(1).await;
    server
        .sim
        .add_checkpoint(SimModel::named("late.safetensors"));
    let refresh = server
        .client
        .post(format!("{}/sdapi/v1/refresh-checkpoints", server.sim.url()))
        .send();
    #[expect(
        clippy::disallowed_methods,
        reason = "the test awaits the handle itself"
    )]
    let refresh = tokio::spawn(refresh);
    let arrived = |path: &str| path.ends_with("refresh-checkpoints");
    server
        .sim
        .wait_for_requests(
            |all| all.iter().any(|request| arrived(&request.path)),
            BOUND,
        )
        .await
        .unwrap();
    assert!(
        !server
            .get("/sdapi/v1/sd-models")
            .await
            .to_string()
            .contains("late")
    );
    assert!(!refresh.is_finished());
    server.sim.gate().open();
    job.await.unwrap().unwrap();
    assert_eq!(
        refresh.await.unwrap().unwrap().text().await.unwrap(),
        "null"
    );
    assert!(
        server
            .get("/sdapi/v1/sd-models")
            .await
            .to_string()
            .contains("late")
    );
}

#[tokio::test]
async fn forty_requests_in_flight_block_the_synchronous_endpoints_only() {
    let server = Server::gated().await;
    let jobs: Vec<_> = (0..40)
        .map(|number| server.submit(small(&format!("many-{number}"))))
        .collect();
    let generations = |all: &[forge_sim::LoggedRequest]| {
        all.iter().filter(|it| it.path.ends_with("txt2img")).count()
    };
    server
        .sim
        .wait_for_requests(|all| generations(all) == 40, BOUND)
        .await
        .unwrap();
    server.started(1).await;
    assert!(
        server.get("/sdapi/v1/loras").await.is_array(),
        "an async endpoint answers"
    );
    let ping = server
        .client
        .get(format!("{}/internal/ping", server.sim.url()))
        .send();
    #[expect(
        clippy::disallowed_methods,
        reason = "the test awaits the handle itself"
    )]
    let ping = tokio::spawn(ping);
    server
        .sim
        .wait_for_requests(
            |all| all.iter().any(|it| it.path == "/internal/ping"),
            BOUND,
        )
        .await
        .unwrap();
    assert!(server.get("/sdapi/v1/loras").await.is_array());
    assert!(!ping.is_finished());
    server.sim.gate().open();
    assert_eq!(ping.await.unwrap().unwrap().status(), 200);
    for job in jobs {
        assert_eq!(job.await.unwrap().unwrap().status(), 200);
    }
}
