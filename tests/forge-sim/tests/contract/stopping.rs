//! What an interrupt does at each stage of a job, and whom the log says it met.

use forge_sim::{Hit, Interruption, Outcome, Stage, StopKind};
use serde_json::{Value, json};

use crate::{
    exchange::{changes, recorded, series},
    server::{BOUND, Server, flags, small, small_with},
};

async fn interrupt(server: &Server) {
    let answer = server.send("POST", "/sdapi/v1/interrupt", None).await;
    assert_eq!(answer.text().await.unwrap(), "{}");
}

async fn at(server: &Server, stage: Stage) {
    let here = |log: &[forge_sim::Generation]| log.last().is_some_and(|it| it.stage == stage);
    server.sim.wait_for(here, BOUND).await.unwrap();
}

fn met(interruption: &Interruption) -> Option<(&str, Stage)> {
    let hit = interruption.hit.as_ref();
    hit.map(|hit| (hit.task_id.as_str(), hit.stage))
}

/// Pictures, infotexts and files of a job that was interrupted when it entered the stage.
async fn interrupted_at(stage: Stage) -> (Server, usize, usize, usize) {
    let server = Server::start(|config| config).await;
    server.sim.gate().hold(stage);
    let body = small_with("stopped", &json!({ "save_images": true }));
    let job = server.submit(body);
    at(&server, stage).await;
    interrupt(&server).await;
    server.sim.gate().release(stage);
    let answer = job.await.unwrap().unwrap();
    assert_eq!(answer.status(), 200);
    let answer: Value = answer.json().await.unwrap();
    let info: Value = serde_json::from_str(answer["info"].as_str().unwrap()).unwrap();
    assert_eq!(flags(&server.track("stopped").await), [false, false, true]);
    let state = server.progress().await["state"].clone();
    assert_eq!(state["interrupted"], true, "until the next job begins");
    assert_eq!(state["job_timestamp"], info["job_timestamp"]);
    let interrupts = server.sim.interrupts();
    assert_eq!(met(&interrupts[0]), Some(("stopped", stage)));
    assert_eq!(server.sim.log()[0].interrupts.len(), 1);
    let counted = |value: &Value| value.as_array().unwrap().len();
    let (images, texts) = (counted(&answer["images"]), counted(&info["infotexts"]));
    let files = server.sim.log()[0].files.len();
    (server, images, texts, files)
}

#[tokio::test]
async fn before_the_first_step_an_interrupt_leaves_no_picture_and_one_infotext() {
    let (server, images, texts, files) = interrupted_at(Stage::Loading).await;
    // As exchange 05/06.
    let wanted = recorded("05-interrupt-skip/06-interrupt-during-model-load.txt2img").json();
    assert_eq!(images, wanted["images"].as_array().unwrap().len());
    assert_eq!((texts, files), (1, 0));
    let generation = server.sim.log().remove(0);
    assert_eq!(generation.outcome, Outcome::Interrupted);
    assert!(generation.checkpoint.is_some(), "the load went to its end");
}

#[tokio::test]
async fn while_sampling_an_interrupt_leaves_a_partial_picture_that_is_not_saved() {
    let (server, images, texts, files) = interrupted_at(Stage::Sampling).await;
    let wanted = recorded("05-interrupt-skip/01-interrupt-single.txt2img").json();
    assert_eq!(images, wanted["images"].as_array().unwrap().len());
    assert_eq!((texts, files), (1, 0));
    let generation = server.sim.log().remove(0);
    assert_eq!(
        (generation.outcome, generation.steps_done),
        (Outcome::Interrupted, 0)
    );
}

#[tokio::test]
async fn while_decoding_an_interrupt_leaves_the_whole_picture_but_no_file() {
    let (server, images, texts, files) = interrupted_at(Stage::Decoding).await;
    assert_eq!((images, texts, files), (1, 1, 0));
    let generation = server.sim.log().remove(0);
    assert_eq!(
        (generation.outcome, generation.steps_done),
        (Outcome::Completed, 2)
    );
}

#[tokio::test]
async fn while_finishing_an_interrupt_changes_nothing_but_the_flag() {
    let (server, images, texts, files) = interrupted_at(Stage::Finishing).await;
    assert_eq!((images, texts, files), (1, 1, 1));
    assert_eq!(server.sim.log()[0].outcome, Outcome::Completed);
}

#[tokio::test]
async fn a_queued_job_is_never_met_and_runs_unharmed() {
    let server = Server::start(|config| config).await;
    server.sim.gate().hold(Stage::Queued);
    let job = server.submit(small("queued"));
    server.queued(1).await;
    assert_eq!(flags(&server.track("queued").await), [false, true, false]);
    interrupt(&server).await;
    server.sim.gate().release(Stage::Queued);
    assert_eq!(job.await.unwrap().unwrap().status(), 200);
    assert_eq!(server.sim.interrupts()[0].hit, None);
    let generation = server.sim.log().remove(0);
    assert_eq!(generation.outcome, Outcome::Completed);
    assert!(generation.interrupts.is_empty());
}

#[tokio::test]
async fn interrupts_and_skips_tell_whom_they_met_and_who_sent_them() {
    let server = Server::gated().await;
    interrupt(&server).await;
    server.sim.gate().load(1);
    server.sim.gate().step(1);
    let job = server.submit(small("running"));
    server.steps_done(1).await;
    let waiting = server.submit(small("waiting"));
    server.queued(1).await;
    let skip = server
        .client
        .post(format!("{}/sdapi/v1/skip", server.sim.url()))
        .header("user-agent", "someone else");
    skip.send().await.unwrap();
    server.sim.gate().open();
    for job in [job, waiting] {
        job.await.unwrap().unwrap();
    }
    let told = server.sim.interrupts();
    assert_eq!((told[0].kind, met(&told[0])), (StopKind::Interrupt, None));
    let hit = Hit {
        generation: 0,
        task_id: "running".to_owned(),
        stage: Stage::Sampling,
    };
    assert_eq!((told[1].kind, &told[1].hit), (StopKind::Skip, &Some(hit)));
    assert_eq!(told[1].user_agent.as_deref(), Some("someone else"));
    assert!(told[1].peer.starts_with("127.0.0.1:"), "{}", told[1].peer);
    let hits: Vec<_> = server
        .sim
        .log()
        .iter()
        .map(|it| it.interrupts.len())
        .collect();
    assert_eq!(hits, [1, 0]);
}

#[tokio::test]
async fn an_interrupt_in_the_second_pass_ends_as_exchange_05_05() {
    let name = "05-interrupt-skip/05-interrupt-during-hires-second-pass";
    let exchange = recorded(&format!("{name}.txt2img"));
    let server = Server::gated().await;
    server.sim.gate().load(1);
    server.sim.gate().step(21);
    let request: Value = serde_json::from_str(exchange.request.as_deref().unwrap()).unwrap();
    let job = server.submit(request);
    server.steps_done(21).await;
    let state = |json: &Value| {
        let state = &json["state"];
        ["interrupted", "job", "job_count", "job_no", "sampling_step"].map(|key| state[key].clone())
    };
    let mut seen = vec![state(&server.progress().await)];
    interrupt(&server).await;
    let answer: Value = job.await.unwrap().unwrap().json().await.unwrap();
    seen.push(state(&server.progress().await));
    let recorded_states = series(&format!("{name}.poll.jsonl"));
    let all = changes(recorded_states.iter().map(|(_, json)| state(json)));
    // The last poll of the second pass before the interrupt was at step 7, ours is at 11, where it ended.
    let end = all.last().unwrap();
    assert_eq!(&seen[1], end);
    assert!(
        all.iter().any(|state| state[1..] == seen[0][1..]),
        "{:?}",
        seen[0]
    );
    let images = |body: &Value| body["images"].as_array().unwrap().len();
    assert_eq!(images(&answer), images(&exchange.json()));
}
