//! Overrides, their restore and its leak, against exchanges 02/10b, 09 and forge/infotext.md.

use forge_sim::{SimConfig, SimModel};
use serde_json::{Value, json};

use crate::{
    exchange::recorded,
    server::{Server, small, small_with},
};

fn overriding(id: &str, overrides: &Value) -> Value {
    small_with(id, &json!({ "override_settings": overrides }))
}

#[tokio::test]
async fn a_key_never_stored_leaks_although_it_should_be_restored() {
    let server = Server::start(|config| config).await;
    let overrides =
        json!({ "samples_filename_pattern": "job-0007-[seed]", "CLIP_stop_at_last_layers": 2 });
    server.txt2img(overriding("leak", &overrides)).await;
    let options = server.get("/sdapi/v1/options").await;
    assert_eq!(options["samples_filename_pattern"], "job-0007-[seed]");
    let (_, info) = server.txt2img(small("next")).await;
    assert!(
        info["infotexts"][0]
            .as_str()
            .unwrap()
            .contains("Clip skip: 2"),
        "the next job inherits it"
    );
}

#[tokio::test]
async fn posting_the_defaults_cures_the_leak_as_exchange_09_02_and_03() {
    let server = Server::start(|config| config).await;
    for name in [
        "09-options/01-post-options",
        "09-options/04-post-options-clear",
    ] {
        let exchange = recorded(name);
        let answer = server
            .send("POST", "/sdapi/v1/options", exchange.request.as_deref())
            .await;
        assert_eq!(
            (answer.status().as_u16(), answer.text().await.unwrap()),
            (200, exchange.body),
            "{name}"
        );
    }
    let before = server.get("/sdapi/v1/options").await;
    let exchange = recorded("09-options/02-override-known-and-unstored-key");
    let answer = server
        .send("POST", &exchange.path, exchange.request.as_deref())
        .await;
    let answer: Value = answer.json().await.unwrap();
    assert!(
        answer["info"].as_str().unwrap().contains("Clip skip: 2"),
        "it had an effect"
    );
    let mut after = server.get("/sdapi/v1/options").await;
    after["sd_checkpoint_hash"] = before["sd_checkpoint_hash"].clone();
    assert_eq!(after, before);
}

#[tokio::test]
async fn without_restore_the_override_stays_and_with_it_the_checkpoint_option_comes_back() {
    let server = Server::start(|config| config).await;
    let mini = json!({ "sd_model_checkpoint": "sd15-random-mini.safetensors" });
    let mut body = overriding("stay", &mini);
    body["override_settings_restore_afterwards"] = json!(false);
    server.txt2img(body).await;
    assert_eq!(
        server.get("/sdapi/v1/options").await["sd_model_checkpoint"],
        "sd15-random-mini.safetensors"
    );
    let full = json!({ "sd_model_checkpoint": "sd15-random-full" });
    let (_, info) = server.txt2img(overriding("restore", &full)).await;
    assert_eq!(info["sd_model_name"], "sd15-random-full");
    // Exchange 02/10b: the option is back, the hash names what is still loaded.
    let options = server.get("/sdapi/v1/options").await;
    assert_eq!(
        options["sd_model_checkpoint"],
        "sd15-random-mini.safetensors"
    );
    assert_eq!(
        options["sd_checkpoint_hash"],
        SimModel::named("sd15-random-full.safetensors").sha256()
    );
    let (_, info) = server.txt2img(small("next")).await;
    assert_eq!(info["sd_model_name"], "sd15-random-mini");
    let loads: Vec<_> = server
        .sim
        .log()
        .iter()
        .map(|generation| generation.loaded_checkpoint)
        .collect();
    assert_eq!(loads, [true, true, true], "alternating loads each time");
}

#[tokio::test]
async fn modules_leak_even_after_the_cure_until_an_empty_list_is_sent() {
    let vae = |config| SimConfig {
        modules: vec![SimModel::named("vae-x.safetensors")],
        ..config
    };
    let server = Server::start(vae).await;
    server
        .post(
            "/sdapi/v1/options",
            json!({ "forge_additional_modules": [] }),
        )
        .await;
    let with = json!({ "forge_additional_modules": ["vae-x.safetensors"] });
    let module = |info: &Value| {
        info["infotexts"][0]
            .as_str()
            .unwrap()
            .contains("Module 1: vae-x")
    };
    assert!(module(&server.txt2img(overriding("with", &with)).await.1));
    assert!(module(&server.txt2img(small("next")).await.1), "it leaked");
    let without = json!({ "forge_additional_modules": [] });
    let mut body = overriding("without", &without);
    body["override_settings_restore_afterwards"] = json!(false);
    assert!(!module(&server.txt2img(body).await.1));
}

#[tokio::test]
async fn checkpoints_are_found_by_each_of_their_ids_and_hashes_count_once_known() {
    let server = Server::start(|config| config).await;
    let model = SimModel::named("sub dir/sd15 mini (v2).safetensors");
    let by = async |id: &str| {
        let (answer, info) = server
            .txt2img(overriding("id", &json!({ "sd_model_checkpoint": id })))
            .await;
        let echoed = !answer["parameters"]["override_settings"]["sd_model_checkpoint"].is_null();
        (info["sd_model_name"] == "sd15 mini (v2)", echoed)
    };
    assert_eq!(
        by(&model.short_hash()).await,
        (false, false),
        "unknown hash: dropped silently, from the echo too"
    );
    for id in [
        "sub dir/sd15 mini (v2).safetensors",
        "sub dir_sd15 mini (v2)",
        "sd15 mini (v2)",
    ] {
        assert_eq!(by(id).await, (true, true), "{id}");
    }
    let (short, sha256) = (model.short_hash(), model.sha256());
    let title = format!("sub dir/sd15 mini (v2).safetensors [{short}]");
    for id in [short.as_str(), &sha256, &title] {
        assert_eq!(by(id).await, (true, true), "{id}");
    }
    assert_eq!(by("SD15 MINI (V2)").await, (false, false));
}

#[tokio::test]
async fn posted_options_survive_a_restart_and_leaked_ones_do_not() {
    let mut server = Server::start(|config| config).await;
    server
        .post(
            "/sdapi/v1/options",
            json!({ "directories_filename_pattern": "kept" }),
        )
        .await;
    server
        .txt2img(overriding(
            "leak",
            &json!({ "samples_filename_pattern": "lost" }),
        ))
        .await;
    server.sim.restart().await.unwrap();
    let options = server.get("/sdapi/v1/options").await;
    assert_eq!(options["directories_filename_pattern"], "kept");
    assert_eq!(options["samples_filename_pattern"], "");
}
