//! Memory that runs out, checkpoints that do not load, the poison they leave, hashes that are wrong.

use forge_sim::{Device, Fault, Outcome, Rule, SimConfig, SimModel, Stage, Times, When};
use serde_json::{Value, json};

use crate::{
    exchange::recorded,
    server::{Server, flags, small, small_with},
};

const MINI: &str = "sd15-random-mini.safetensors";
const FULL: &str = "sd15-random-full.safetensors";

fn with(id: &str, checkpoint: &str) -> Value {
    let wanted = json!({ "override_settings": { "sd_model_checkpoint": checkpoint } });
    small_with(id, &wanted)
}

async fn answer(server: &Server, body: Value) -> (u16, String) {
    let response = server
        .send("POST", "/sdapi/v1/txt2img", Some(&body.to_string()))
        .await;
    (response.status().as_u16(), response.text().await.unwrap())
}

/// Holds that the server is poisoned for one checkpoint and is healed by another.
async fn is_poisoned_for(server: &Server, poisoned: &str, other: &str) {
    let exchange = recorded("13-more/04-mini-after-failed-load");
    assert!(server.sim.is_poisoned());
    for attempt in ["first", "second"] {
        let got = answer(server, with("poisoned", poisoned)).await;
        let wanted = (exchange.status, exchange.body.clone());
        assert_eq!(got, wanted, "{attempt}");
    }
    server.txt2img(with("heal", other)).await;
    assert!(!server.sim.is_poisoned());
    let (_, info) = server.txt2img(with("after", poisoned)).await;
    assert_eq!(
        info["sd_model_name"],
        poisoned.trim_end_matches(".safetensors")
    );
}

#[tokio::test]
async fn memory_that_runs_out_while_sampling_is_told_as_exchange_03_29_and_the_next_job_works() {
    let exchange = recorded("03-errors/29-allocation-failure-huge-image");
    for stage in [Stage::Sampling, Stage::Decoding] {
        let server = Server::start(|config| SimConfig {
            max_pixels: u64::MAX,
            ..config
        })
        .await;
        server.sim.script(Fault::OutOfMemory {
            device: Device::Cpu,
            stage,
        });
        let request = exchange.request.as_deref();
        let huge = server.send("POST", &exchange.path, request).await;
        assert_eq!(huge.status(), exchange.status);
        assert_eq!(huge.text().await.unwrap(), exchange.body);
        let failed = server.sim.log().remove(0);
        assert_eq!((failed.outcome, failed.stage), (Outcome::Failed, stage));
        assert_eq!(flags(&server.track("e29").await), [true, false, false]);
        assert_eq!(server.progress().await["state"]["job"], "");
        server.txt2img(small("next")).await;
    }
}

#[tokio::test]
async fn a_card_runs_out_of_memory_only_above_its_size_in_either_pass() {
    let server = Server::start(|config| SimConfig {
        max_pixels: 128 * 128,
        device: Device::Cuda,
        ..config
    })
    .await;
    server
        .txt2img(small_with("fits", &json!({ "width": 128, "height": 128 })))
        .await;
    let hires = json!({
        "enable_hr": true, "hr_scale": 4, "hr_upscaler": "Latent", "denoising_strength": 0.5,
        "hr_additional_modules": ["Use same choices"],
    });
    let cases = [
        (json!({ "width": 136, "height": 128 }), 0),
        (hires, small("x")["steps"].as_u64().unwrap()),
    ];
    for (more, steps) in cases {
        let (status, body) = server
            .post("/sdapi/v1/txt2img", small_with("big", &more))
            .await;
        assert_eq!((status, &body["error"]), (500, &json!("OutOfMemoryError")));
        let message = body["message"].as_str().unwrap();
        assert!(message.starts_with("CUDA out of memory. Tried to allocate "));
        let failed = server.sim.log().pop().unwrap();
        assert_eq!(failed.steps_done, steps, "{more}");
        assert!(failed.error.unwrap().contains("CUDA out of memory"));
    }
    server.txt2img(small("next")).await;
}

#[tokio::test]
async fn a_scripted_shortage_can_spare_small_pictures() {
    let server = Server::start(|config| config).await;
    server.sim.script_rule(Rule {
        when: When {
            above_pixels: Some(64 * 64),
            ..When::default()
        },
        times: Times::Always,
        ..Rule::once(Fault::OutOfMemory {
            device: Device::Cuda,
            stage: Stage::Sampling,
        })
    });
    server.txt2img(small("fits")).await;
    let (status, _) = answer(&server, small_with("big", &json!({ "width": 128 }))).await;
    assert_eq!(status, 500);
}

#[tokio::test]
async fn a_shortage_while_loading_poisons_the_server() {
    let server = Server::start(|config| config).await;
    server.txt2img(with("first", FULL)).await;
    server.sim.script(Fault::OutOfMemory {
        device: Device::Cuda,
        stage: Stage::Loading,
    });
    let (status, body) = answer(&server, with("big", MINI)).await;
    assert!(status == 500 && body.contains("OutOfMemoryError"), "{body}");
    is_poisoned_for(&server, FULL, MINI).await;
}

#[tokio::test]
async fn a_load_that_fails_once_is_told_as_exchange_13_03_and_poisons_the_server() {
    let exchange = recorded("13-more/03-not-a-model");
    let server = Server::start(|config| config).await;
    server.txt2img(with("first", FULL)).await;
    server.sim.script(Fault::LoadFails);
    let got = answer(&server, with("bad", MINI)).await;
    assert_eq!(got, (exchange.status, exchange.body));
    assert_eq!(server.sim.log()[1].checkpoint, None, "no model was used");
    is_poisoned_for(&server, FULL, MINI).await;
}

#[tokio::test]
async fn a_file_goes_bad_while_the_server_runs_and_is_mended() {
    let server = Server::start(|config| config).await;
    server.txt2img(with("good", MINI)).await;
    server.sim.break_checkpoint(MINI);
    server.txt2img(with("in memory", MINI)).await;
    server.txt2img(with("other", FULL)).await;
    for _ in 0..2 {
        assert_eq!(answer(&server, with("bad", MINI)).await.0, 500);
    }
    server.sim.mend_checkpoint(MINI);
    server.txt2img(with("mended", MINI)).await;
}

#[tokio::test]
async fn poison_can_be_put_there_and_another_model_heals_it() {
    let server = Server::start(|config| config).await;
    assert!(!server.sim.is_poisoned());
    server.sim.poison();
    is_poisoned_for(&server, FULL, MINI).await;
}

#[tokio::test]
async fn a_title_gains_its_hash_with_the_first_load_and_keeps_it() {
    let mut server = Server::start(|config| config).await;
    let title = async |server: &Server| {
        let models = server.get("/sdapi/v1/sd-models").await;
        models[1]["title"].as_str().unwrap().to_owned()
    };
    assert_eq!(title(&server).await, MINI);
    let (_, info) = server.txt2img(with("first", MINI)).await;
    let hash = info["sd_model_hash"].as_str().unwrap();
    assert_eq!(title(&server).await, format!("{MINI} [{hash}]"));
    // Old and new title select it.
    for name in [MINI.to_owned(), title(&server).await] {
        let (_, info) = server.txt2img(with("again", &name)).await;
        assert_eq!(info["sd_model_name"], "sd15-random-mini");
    }
    server.sim.restart().await.unwrap();
    assert_eq!(title(&server).await, format!("{MINI} [{hash}]"));
}

#[tokio::test]
async fn a_wrong_hash_is_listed_and_written_while_the_log_tells_the_truth() {
    let wrong = "0".repeat(64);
    let server = Server::start(|mut config: SimConfig| {
        config.checkpoints[1].listed_sha256 = Some(wrong.clone());
        config.hashes_cached = true;
        config
    })
    .await;
    assert_eq!(server.get("/sdapi/v1/sd-models").await[1]["sha256"], *wrong);
    let (_, info) = server.txt2img(with("stale", MINI)).await;
    assert_eq!(info["sd_model_hash"], wrong[..10]);
    let truth = SimModel::named(MINI).sha256();
    assert_eq!(server.sim.log()[0].sha256.as_ref(), Some(&truth));
    server.sim.script(Fault::WrongHash);
    let (_, info) = server.txt2img(with("lie", FULL)).await;
    let (hash, name) = (&info["sd_model_hash"], &info["sd_model_name"]);
    assert_eq!(name, "sd15-random-full");
    assert_ne!(*hash, SimModel::named(FULL).short_hash());
    let text = info["infotexts"][0].as_str().unwrap();
    assert!(text.contains(&format!("Model hash: {}", hash.as_str().unwrap())));
}

#[tokio::test]
async fn a_dropped_checkpoint_and_skipped_loras_look_as_unknown_ones_do() {
    let server = Server::start(|config| config).await;
    server.sim.script(Fault::DropsCheckpoint);
    let (answer, info) = server.txt2img(with("dropped", MINI)).await;
    assert_eq!(info["sd_model_name"], "sd15-random-full");
    assert_eq!(answer["parameters"]["override_settings"], json!({}));
    let generation = server.sim.log().remove(0);
    assert_eq!(generation.asked_checkpoint.as_deref(), Some(MINI));
    assert!(generation.checkpoint.unwrap().starts_with(FULL));
    let lora = json!({ "prompt": "x <lora:tiny-a:1>" });
    server.sim.script(Fault::SkipsLoras);
    let (_, skipped) = server.txt2img(small_with("skipped", &lora)).await;
    let (_, used) = server.txt2img(small_with("used", &lora)).await;
    let names = |info: &Value| {
        info["infotexts"][0]
            .as_str()
            .unwrap()
            .contains("Lora hashes")
    };
    assert_eq!((names(&skipped), names(&used)), (false, true));
}
