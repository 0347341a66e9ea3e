//! Answers of finished generations against exchanges 02, 03, 04, 09 and 13: echo, info and infotext, with the
//! volatile parts (drawn seeds, time, hashes of other files) put in explicitly.

use base64::Engine as _;
use forge_sim::SimConfig;
use serde_json::{Value, json};

use crate::{
    exchange::{Exchange, recorded, shape},
    server::{Server, small_with},
};

/// Requests whose recorded answer is a 200, with the checkpoint that was selected then.
const SUCCEEDING: [&str; 20] = [
    "02-txt2img/01-first-with-model-load",
    "02-txt2img/03-empty-object-body-small",
    "02-txt2img/04-batch-size-2",
    "02-txt2img/05-n-iter-2",
    "02-txt2img/06-send-images-false",
    "02-txt2img/08-lora",
    "02-txt2img/09-lora-unknown",
    "03-errors/01-unknown-checkpoint-override",
    "03-errors/02-unknown-sampler",
    "03-errors/03-unknown-scheduler",
    "03-errors/09-no-content-type",
    "03-errors/10-unknown-field",
    "03-errors/12-width-65",
    "03-errors/18b-hr-with-additional-modules",
    "03-errors/26-additional-module-unknown",
    "04-progress/03-txt2img-hires",
    "13-more/20-hr-no-upscaler-name",
    "13-more/21-override-null-checkpoint",
    "13-more/22-sampler-with-scheduler-suffix",
    "13-more/23-sampler-lowercase",
];

#[tokio::test]
async fn answers_equal_the_recorded_ones_but_for_seeds_time_and_hashes() {
    let mini = |config| SimConfig {
        loaded: Some("sd15-random-mini.safetensors".to_owned()),
        ..config
    };
    let server = Server::start(mini).await;
    for name in SUCCEEDING {
        let exchange = recorded(name);
        let answer = server
            .send("POST", "/sdapi/v1/txt2img", exchange.request.as_deref())
            .await;
        assert_eq!(answer.status(), 200, "{name}");
        compare(name, &exchange, &answer.json().await.unwrap());
    }
}

#[tokio::test]
async fn img2img_answers_as_exchange_13_11() {
    let server = Server::start(|config| config).await;
    let exchange = recorded("13-more/11-img2img-ok");
    let answer = server
        .send("POST", "/sdapi/v1/img2img", exchange.request.as_deref())
        .await;
    assert_eq!(answer.status(), 200);
    compare(
        "13-more/11-img2img-ok",
        &exchange,
        &answer.json().await.unwrap(),
    );
}

fn compare(name: &str, exchange: &Exchange, answer: &Value) {
    let wanted = exchange.json();
    assert_eq!(shape(answer), shape(&wanted), "{name}");
    assert_eq!(
        answer["parameters"].to_string(),
        wanted["parameters"].to_string(),
        "{name}"
    );
    assert_eq!(
        answer["images"].as_array().unwrap().len(),
        wanted["images"].as_array().unwrap().len(),
        "{name}"
    );
    let [got, wanted] = [answer, &wanted].map(|body| body["info"].as_str().unwrap().to_owned());
    let replaced = with_values_of(&wanted, &got);
    assert_eq!(got, replaced, "{name}");
}

/// The recorded info text with the volatile values of another one put in.
fn with_values_of(recorded: &str, got: &str) -> String {
    let [old, new]: [Value; 2] = [recorded, got].map(|text| serde_json::from_str(text).unwrap());
    let mut text = recorded.to_owned();
    for key in ["job_timestamp", "sd_model_hash"] {
        text = text.replace(old[key].as_str().unwrap(), new[key].as_str().unwrap());
    }
    for list in ["all_seeds", "all_subseeds"] {
        for (old, new) in old[list]
            .as_array()
            .unwrap()
            .iter()
            .zip(new[list].as_array().unwrap())
        {
            if old != new {
                text = text.replace(&old.to_string(), &new.to_string());
            }
        }
    }
    let hashes = |info: &Value| {
        info["extra_generation_params"]["Lora hashes"]
            .as_str()
            .map(str::to_owned)
    };
    if let (Some(old), Some(new)) = (hashes(&old), hashes(&new)) {
        text = text.replace(&old, &new);
    }
    text
}

#[tokio::test]
async fn seed_0_and_cfg_0_arrive_as_0() {
    let server = Server::start(|config| config).await;
    let (answer, info) = server
        .txt2img(small_with("zero", &json!({ "seed": 0, "cfg_scale": 0 })))
        .await;
    assert_eq!(
        (&info["seed"], &info["cfg_scale"]),
        (&json!(0), &json!(0.0))
    );
    assert!(
        info["infotexts"][0]
            .as_str()
            .unwrap()
            .contains("CFG scale: 0.0, Seed: 0, ")
    );
    assert_eq!(answer["parameters"]["seed"], 0);
    let log = server.sim.log();
    assert_eq!((log[0].seed, log[0].cfg), (Some(0), 0.0));
}

#[tokio::test]
async fn the_largest_seed_keeps_all_its_digits() {
    let server = Server::start(|config| config).await;
    let (_, info) = server
        .txt2img(small_with("big", &json!({ "seed": u64::MAX })))
        .await;
    assert_eq!(info["seed"], u64::MAX);
    let too_big = small_with("too big", &json!({ "seed": 1.0e30 }));
    let (_, info) = server
        .txt2img(small_with("negative", &json!({ "seed": -5 })))
        .await;
    assert_eq!(info["seed"], -5);
    let (status, _) = server.post("/sdapi/v1/txt2img", too_big).await;
    assert_ne!(status, 500, "a whole float is clamped, never a crash");
}

#[tokio::test]
async fn the_picture_has_the_size_asked_for_floored_to_8_and_the_infotext_in_it() {
    let server = Server::start(|config| config).await;
    for (prompt, utf8) in [("a cat", false), ("a 猫", true)] {
        let body = small_with(
            "png",
            &json!({ "prompt": prompt, "width": 70, "height": 129 }),
        );
        let (answer, info) = server.txt2img(body).await;
        let bytes = decode(&answer["images"][0]);
        let reader = png::Decoder::new(std::io::Cursor::new(bytes))
            .read_info()
            .unwrap();
        let png = reader.info();
        assert_eq!(
            (png.width, png.height, png.color_type),
            (64, 128, png::ColorType::Rgb)
        );
        let text = match utf8 {
            true => png.utf8_text[0].get_text().unwrap(),
            false => png.uncompressed_latin1_text[0].text.clone(),
        };
        assert_eq!(text, info["infotexts"][0].as_str().unwrap());
        assert!(text.starts_with(prompt));
    }
}

#[tokio::test]
async fn equal_requests_make_equal_bytes_and_another_seed_another_picture() {
    let server = Server::start(|config| config).await;
    let mut pictures = Vec::new();
    for seed in [1, 1, 2] {
        let (answer, _) = server
            .txt2img(small_with("same", &json!({ "seed": seed })))
            .await;
        pictures.push(decode(&answer["images"][0]));
    }
    assert_eq!(pictures[0], pictures[1]);
    assert_ne!(pictures[0], pictures[2]);
}

#[tokio::test]
async fn png_info_reads_what_was_written_as_exchange_09_12_does() {
    let server = Server::start(|config| config).await;
    let (answer, info) = server
        .txt2img(small_with("info", &json!({ "negative_prompt": "blurry" })))
        .await;
    let (status, read) = server
        .post(
            "/sdapi/v1/png-info",
            json!({ "image": answer["images"][0] }),
        )
        .await;
    assert_eq!(status, 200);
    assert_eq!(read["info"], info["infotexts"][0]);
    assert_eq!(read["parameters"]["Negative prompt"], "blurry");
    assert_eq!(
        (&read["parameters"]["Size-1"], &read["parameters"]["Seed"]),
        (&json!("64"), &json!("5"))
    );
}

pub(crate) fn decode(image: &Value) -> Vec<u8> {
    base64::engine::general_purpose::STANDARD
        .decode(image.as_str().unwrap())
        .unwrap()
}
