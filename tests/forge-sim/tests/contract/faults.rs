//! Scripted faults: each one does what it says to the next request it is meant for, once.

use forge_sim::{Fault, Outcome, Target};
use serde_json::{Value, json};

use crate::{
    generation::decode,
    server::{BOUND, Server, small, small_with},
};

#[tokio::test]
async fn a_hanging_request_is_never_answered_and_never_generates() {
    let server = Server::start(|config| config).await;
    server.sim.script(Fault::Hang);
    let hanging = server.submit(small("hang"));
    server
        .sim
        .wait_for_requests(|all| all.len() == 1, BOUND)
        .await
        .unwrap();
    server.txt2img(small("next")).await;
    assert!(!hanging.is_finished());
    let ids: Vec<_> = server
        .sim
        .log()
        .iter()
        .map(|generation| generation.task_id.clone())
        .collect();
    assert_eq!(ids, ["next"]);
    assert_eq!(server.sim.faults_left(), 0);
}

#[tokio::test]
async fn a_cut_before_the_answer_leaves_the_work_done_and_the_file_saved() {
    let server = Server::start(|config| config).await;
    server.sim.script(Fault::CutBeforeAnswer);
    let error = server
        .submit(small_with("cut", &json!({ "save_images": true })))
        .await
        .unwrap()
        .unwrap_err();
    assert!(error.status().is_none());
    let log = server.all_ended(1).await;
    assert_eq!(
        (log[0].outcome, log[0].files.len()),
        (Outcome::Completed, 1)
    );
    assert_eq!(server.track("cut").await["completed"], true);
}

#[tokio::test]
async fn a_cut_in_the_body_sends_the_head_and_then_breaks() {
    let server = Server::start(|config| config).await;
    server.sim.script(Fault::CutMidBody);
    let mut answer = server.submit(small("half")).await.unwrap().unwrap();
    assert_eq!(answer.status(), 200);
    let whole = answer.content_length().unwrap();
    let mut received = 0;
    let broken = loop {
        match answer.chunk().await {
            Ok(Some(chunk)) => received += chunk.len() as u64,
            Ok(None) => break false,
            Err(_) => break true,
        }
    };
    assert!(
        broken && received > 0 && received < whole,
        "{received} of {whole}"
    );
}

#[tokio::test]
async fn broken_answers_are_broken_each_in_its_way() {
    let server = Server::start(|config| config).await;
    server.sim.script(Fault::Garbage);
    let garbage = server.submit(small("garbage")).await.unwrap().unwrap();
    assert_eq!(garbage.status(), 200);
    assert!(serde_json::from_str::<Value>(&garbage.text().await.unwrap()).is_err());
    server.sim.script(Fault::EmptyImages);
    let (answer, info) = server.txt2img(small("empty")).await;
    assert_eq!((&answer["images"], &info["seed"]), (&json!([]), &json!(5)));
    server.sim.script(Fault::BrokenImage);
    let (answer, _) = server.txt2img(small("broken")).await;
    assert!(image::load_from_memory(&decode(&answer["images"][0])).is_err());
    assert!(
        server
            .all_ended(3)
            .await
            .iter()
            .all(|generation| generation.outcome == Outcome::Completed)
    );
}

#[tokio::test]
async fn the_wrong_model_shows_in_info_and_log_only() {
    let server = Server::start(|config| config).await;
    server.sim.script(Fault::WrongModel);
    let wanted = json!({ "override_settings": { "sd_model_checkpoint": "sd15-random-mini" } });
    let (answer, info) = server.txt2img(small_with("wrong", &wanted)).await;
    assert_eq!(
        answer["parameters"]["override_settings"],
        wanted["override_settings"]
    );
    assert_eq!(info["sd_model_name"], "sd15-random-full");
    assert!(
        server.sim.log()[0]
            .checkpoint
            .as_ref()
            .unwrap()
            .starts_with("sd15-random-full.safetensors [")
    );
}

#[tokio::test]
async fn scripted_statuses_and_exceptions_have_their_bodies() {
    let server = Server::start(|config| config).await;
    server.sim.script(Fault::Status {
        code: 502,
        body: r#"{"detail":"Bad Gateway"}"#.to_owned(),
    });
    let message = "CUDA out of memory. Tried to allocate 2.00 GiB";
    server.sim.script(Fault::Error500 {
        error: "OutOfMemoryError".to_owned(),
        message: message.to_owned(),
    });
    let answer = server.post("/sdapi/v1/txt2img", small("status")).await;
    assert_eq!(answer, (502, json!({ "detail": "Bad Gateway" })));
    let answer = server.post("/sdapi/v1/txt2img", small("oom")).await;
    let body = json!({ "error": "OutOfMemoryError", "detail": "", "body": "", "message": message });
    assert_eq!(answer, (500, body));
    let log = server.sim.log();
    assert_eq!((log.len(), log[0].outcome), (1, Outcome::Failed));
    assert_eq!(server.track("oom").await["active"], true);
}

#[tokio::test]
async fn listing_faults_hit_listings_and_path_faults_their_path() {
    let server = Server::start(|config| config).await;
    server.sim.script(Fault::FailListing);
    server.sim.script_on(
        Target::Path("/sdapi/v1/loras".to_owned()),
        Fault::EmptyListing,
    );
    assert_eq!(
        server.progress().await["progress"],
        0.0,
        "no listing, no fault"
    );
    assert_eq!(
        server
            .send("GET", "/sdapi/v1/sd-models", None)
            .await
            .status(),
        500
    );
    assert_eq!(
        server
            .get("/sdapi/v1/sd-models")
            .await
            .as_array()
            .unwrap()
            .len(),
        3
    );
    assert_eq!(server.get("/sdapi/v1/loras").await, json!([]));
    assert_eq!(
        server
            .get("/sdapi/v1/loras")
            .await
            .as_array()
            .unwrap()
            .len(),
        2
    );
}
