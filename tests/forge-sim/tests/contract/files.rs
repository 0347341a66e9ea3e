//! Saved files: names against exchange 14/05, stealth text, grid, fetch by `/file=`.

use std::{fs, io::Read};

use serde_json::{Value, json};

use crate::{
    exchange::{bytes, recorded},
    generation::decode,
    server::{BOUND, Server, small_with},
};

fn saving(id: &str, pattern: &str, more: &Value) -> Value {
    let mut body = small_with(
        id,
        &json!({
            "seed": 1,
            "save_images": true,
            "override_settings": {
                "samples_filename_pattern": pattern,
                "save_images_add_number": false,
                "save_to_dirs": true,
                "directories_filename_pattern": "jobs",
                "grid_save": false,
                "return_grid": false,
            },
        }),
    );
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    body
}

#[tokio::test]
async fn files_are_named_as_in_exchange_14_05() {
    let cases: Vec<Value> = serde_json::from_slice(&bytes(
        "14-dispatcher-restart-recovery/05-filename-patterns.json",
    ))
    .unwrap();
    for case in cases {
        let server = Server::start(|config| config).await;
        let pattern = case["pattern"].as_str().unwrap();
        let (answer, info) = server
            .txt2img(saving("name", pattern, &case["params"]))
            .await;
        assert_eq!(
            answer["images"].as_array().unwrap().len(),
            case["images"].as_u64().unwrap() as usize,
            "{pattern}"
        );
        assert_eq!(info["all_seeds"], case["all_seeds"], "{pattern}");
        let folder = server.folder.path().join("outputs/txt2img-images/jobs");
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(json!(names), case["new_files"], "{pattern}");
    }
}

#[tokio::test]
async fn a_saved_picture_is_fetched_by_its_path_and_equals_the_answer() {
    let server = Server::start(|config| config).await;
    let (answer, info) = server
        .txt2img(saving("fetch", "id-[seed]-[generation_number]", &json!({})))
        .await;
    let fetched = server
        .send("GET", "/file=outputs/txt2img-images/jobs/id-1.png", None)
        .await;
    assert_eq!(fetched.status(), 200);
    assert_eq!(fetched.headers()["content-type"], "image/png");
    let file = fetched.bytes().await.unwrap().to_vec();
    assert_eq!(file, decode(&answer["images"][0]));
    assert_eq!(
        server.sim.log()[0].files,
        ["outputs/txt2img-images/jobs/id-1.png"]
    );
    assert_eq!(stealth_text(&file), info["infotexts"][0].as_str().unwrap());
}

#[tokio::test]
async fn the_stealth_reader_of_these_tests_reads_the_recorded_file_14_03() {
    let text = stealth_text(&bytes(
        "14-dispatcher-restart-recovery/03-fetched-job-5f3a9c-1.png",
    ));
    assert!(
        text.starts_with("recover me\nSteps: 40, Sampler: Euler"),
        "{text}"
    );
}

/// Reads the alpha bits down the columns: mark, length in bits, gzip.
fn stealth_text(file: &[u8]) -> String {
    let picture = image::load_from_memory(file).unwrap().into_rgba8();
    let columns = (0..picture.width()).flat_map(|x| (0..picture.height()).map(move |y| (x, y)));
    let bits: Vec<u8> = columns
        .map(|(x, y)| picture.get_pixel(x, y)[3] & 1)
        .collect();
    let stream: Vec<u8> = bits
        .chunks_exact(8)
        .map(|byte| byte.iter().fold(0, |all, bit| all << 1 | bit))
        .collect();
    assert_eq!(&stream[..15], b"stealth_pngcomp");
    let length = u32::from_be_bytes(stream[15..19].try_into().unwrap()) as usize / 8;
    let mut text = String::new();
    flate2::read::GzDecoder::new(&stream[19..19 + length])
        .read_to_string(&mut text)
        .unwrap();
    text
}

#[tokio::test]
async fn paths_outside_the_data_folder_are_not_served() {
    let server = Server::start(|config| config).await;
    let outside = tempfile::NamedTempFile::new().unwrap();
    for path in [
        outside.path().display().to_string(),
        "../etc".to_owned(),
        "outputs/none.png".to_owned(),
    ] {
        let answer = server.send("GET", &format!("/file={path}"), None).await;
        assert!(matches!(answer.status().as_u16(), 403 | 404), "{path}");
    }
}

#[tokio::test]
async fn a_replaced_file_keeps_its_name_and_a_numbered_one_gets_the_next() {
    let server = Server::start(|config| config).await;
    for _ in 0..2 {
        server.txt2img(saving("same", "same", &json!({}))).await;
    }
    assert_eq!(server.sim.log()[0].files, server.sim.log()[1].files);
    for _ in 0..2 {
        server
            .txt2img(saving("numbered", "A-[generation_number]", &json!({})))
            .await;
    }
    let files: Vec<_> = server.sim.log()[2..]
        .iter()
        .flat_map(|generation| generation.files.clone())
        .collect();
    let folder = "outputs/txt2img-images/jobs";
    assert_eq!(
        files,
        [format!("{folder}/00000.png"), format!("{folder}/00001.png")]
    );
}

#[tokio::test]
async fn an_interrupted_batch_is_not_saved_but_its_grid_is_as_exchange_05_03() {
    let server = Server::gated().await;
    server.sim.gate().load(1);
    server.sim.gate().step(1);
    let job = server.submit(small_with(
        "int-3",
        &json!({ "batch_size": 2, "steps": 40, "save_images": true }),
    ));
    server
        .sim
        .wait_for(|log| log.last().is_some_and(|it| it.steps_done == 1), BOUND)
        .await
        .unwrap();
    server.send("POST", "/sdapi/v1/interrupt", None).await;
    let answer: Value = job.await.unwrap().unwrap().json().await.unwrap();
    let info: Value = serde_json::from_str(answer["info"].as_str().unwrap()).unwrap();
    let exchange =
        recorded("05-interrupt-skip/03-interrupt-batch_size-2-save_images.txt2img").json();
    let wanted: Value = serde_json::from_str(exchange["info"].as_str().unwrap()).unwrap();
    let count = |body: &Value| body["images"].as_array().unwrap().len();
    assert_eq!(count(&answer), count(&exchange));
    assert_eq!(info["index_of_first_image"], wanted["index_of_first_image"]);
    assert_eq!(info["infotexts"][0], info["infotexts"][1]);
    let files = server.sim.log()[0].files.clone();
    assert_eq!(files.len(), 1);
    assert!(
        files[0].starts_with("outputs/txt2img-grids/") && files[0].ends_with("/grid-0000.png"),
        "{files:?}"
    );
}
