//! Files that are not what the answer was: missing, cut short, of another prompt or model.

use base64::Engine as _;
use forge_sim::Fault;
use serde_json::json;

use crate::server::{Server, small_with};

/// What the saved file holds and what the answer held.
async fn saved_and_answered(fault: Fault) -> (Vec<u8>, Vec<u8>) {
    let server = Server::start(|config| config).await;
    server.sim.script(fault);
    let body = small_with("disk", &json!({ "save_images": true, "prompt": "a heron" }));
    let (answer, _) = server.txt2img(body).await;
    let file = server.sim.log()[0].files[0].clone();
    let found = server.send("GET", &format!("/file={file}"), None).await;
    assert_eq!(found.status(), 200);
    let saved = found.bytes().await.unwrap().to_vec();
    (saved, crate::generation::decode(&answer["images"][0]))
}

async fn infotext(png: &[u8]) -> String {
    let server = Server::start(|config| config).await;
    let image = base64::engine::general_purpose::STANDARD.encode(png);
    let (status, read) = server
        .post("/sdapi/v1/png-info", json!({ "image": image }))
        .await;
    assert_eq!(status, 200);
    read["info"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn without_a_fault_the_file_is_the_answer() {
    let (saved, answered) = saved_and_answered(Fault::All(Vec::new())).await;
    assert_eq!(saved, answered);
}

#[tokio::test]
async fn a_truncated_file_is_the_first_half_of_the_answer() {
    let (saved, answered) = saved_and_answered(Fault::FileTruncated).await;
    assert_eq!(saved, answered[..answered.len() / 2]);
    assert!(image::load_from_memory(&saved).is_err());
}

#[tokio::test]
async fn a_file_of_another_prompt_tells_it_and_the_answer_does_not() {
    let (saved, answered) = saved_and_answered(Fault::FileOfOtherPrompt).await;
    let (told, right) = (infotext(&saved).await, infotext(&answered).await);
    assert!(right.starts_with("a heron\n"), "{right}");
    assert_eq!(told, format!("not {right}"));
}

#[tokio::test]
async fn a_file_of_another_model_tells_its_name_and_hash() {
    let (saved, answered) = saved_and_answered(Fault::FileOfOtherModel).await;
    let (told, right) = (infotext(&saved).await, infotext(&answered).await);
    assert!(right.contains("Model: sd15-random-full,"), "{right}");
    assert!(told.contains("Model: other-sd15-random-full,"), "{told}");
    let hash = |text: &str| {
        let (_, rest) = text.split_once("Model hash: ").unwrap();
        rest[..10].to_owned()
    };
    assert_ne!(hash(&told), hash(&right));
}

#[tokio::test]
async fn a_missing_file_is_not_found_although_its_task_completed() {
    let server = Server::start(|config| config).await;
    server.sim.script(Fault::FileMissing);
    let body = small_with("gone", &json!({ "save_images": true }));
    let (answer, _) = server.txt2img(body).await;
    assert_eq!(answer["images"].as_array().unwrap().len(), 1);
    assert!(server.sim.log()[0].files.is_empty());
    assert!(!server.folder.path().join("outputs").exists());
    assert_eq!(server.track("gone").await["completed"], true);
}
