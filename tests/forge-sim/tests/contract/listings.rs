//! Listings against exchange 01 (cold) and 02/12 (after a load).

use serde_json::Value;

use crate::{
    exchange::{recorded, shape},
    server::{Server, small_with},
};

/// Answers that must equal the recorded ones word for word, status and headers included.
const EXACT: [&str; 26] = [
    "cmd-flags",
    "embeddings",
    "extensions",
    "face-restorers",
    "hypernetworks",
    "internal-pending-tasks",
    "internal-ping",
    "internal-progress-notask",
    "internal-progress-unknown",
    "latent-upscale-modes",
    "options",
    "progress-idle",
    "progress-idle-skip",
    "samplers",
    "schedulers",
    "scripts",
    "sd-modules",
    "sd-vae",
    "startup-events",
    "unknown-path",
    "upscalers",
    "wrong-method",
    "refresh-checkpoints",
    "refresh-loras",
    "refresh-embeddings",
    "refresh-vae",
];

#[tokio::test]
async fn cold_answers_equal_exchange_01_word_for_word() {
    let server = Server::start(|config| config).await;
    for name in EXACT {
        let exchange = recorded(&format!("01-cold-listings/{name}"));
        let answer = server
            .send(
                &exchange.method,
                &exchange.path,
                exchange.request.as_deref(),
            )
            .await;
        assert_eq!(answer.status(), exchange.status, "{name}");
        for (header, value) in exchange
            .headers
            .iter()
            .filter(|(key, _)| key != "date" && key != "content-length")
        {
            assert_eq!(
                answer.headers()[header.as_str()],
                value.as_str(),
                "{name}: {header}"
            );
        }
        assert_eq!(answer.text().await.unwrap(), exchange.body, "{name}");
    }
}

#[tokio::test]
async fn idle_interrupt_and_skip_answer_as_in_exchange_01() {
    let server = Server::start(|config| config).await;
    for name in ["interrupt-idle", "skip-idle"] {
        let exchange = recorded(&format!("01-cold-listings/{name}"));
        let answer = server.send(&exchange.method, &exchange.path, None).await;
        assert_eq!(
            (answer.status().as_u16(), answer.text().await.unwrap()),
            (exchange.status, exchange.body),
            "{name}"
        );
    }
}

#[tokio::test]
async fn lists_of_the_machine_have_the_keys_and_types_of_exchange_01() {
    let server = Server::start(|config| config).await;
    for name in ["memory", "sd-models"] {
        let exchange = recorded(&format!("01-cold-listings/{name}"));
        let answer = server.get(&exchange.path).await;
        assert_eq!(shape(&answer), shape(&exchange.json()), "{name}");
    }
    let exchange = recorded("01-cold-listings/loras");
    let answer = server.get(&exchange.path).await;
    let without_metadata = |mut list: Value| {
        for item in list.as_array_mut().unwrap() {
            assert!(item["metadata"].is_object());
            item["metadata"] = Value::Null;
        }
        shape(&list)
    };
    assert_eq!(without_metadata(answer), without_metadata(exchange.json()));
}

#[tokio::test]
async fn names_in_lists_are_made_as_in_exchange_01() {
    let server = Server::start(|config| config).await;
    for (path, keys) in [
        ("sd-models", ["title", "model_name", "hash"]),
        ("loras", ["name", "alias", "name"]),
    ] {
        let exchange = recorded(&format!("01-cold-listings/{path}"));
        let answer = server.get(&exchange.path).await;
        let picked = |list: &Value| {
            let items = list.as_array().unwrap();
            items
                .iter()
                .map(|item| keys.map(|key| item[key].clone()))
                .collect::<Vec<_>>()
        };
        assert_eq!(picked(&answer), picked(&exchange.json()), "{path}");
    }
}

#[tokio::test]
async fn hashes_are_null_until_the_first_load_as_in_exchange_02_12() {
    let server = Server::start(|config| config).await;
    for checkpoint in ["sd15-random-mini.safetensors", "sd15-random-full"] {
        let overrides =
            serde_json::json!({ "override_settings": { "sd_model_checkpoint": checkpoint } });
        server.txt2img(small_with("load", &overrides)).await;
    }
    let answer = server.get("/sdapi/v1/sd-models").await;
    let exchange = recorded("02-txt2img/12-sd-models-after-load").json();
    assert_eq!(shape(&answer), shape(&exchange));
    for model in answer.as_array().unwrap() {
        let title = model["title"].as_str().unwrap();
        match model["sha256"].as_str() {
            Some(sha256) => {
                assert_eq!(model["hash"], sha256[..10]);
                assert!(title.ends_with(&format!(" [{}]", &sha256[..10])), "{title}");
            }
            None => assert!(title.ends_with(".safetensors"), "{title}"),
        }
    }
}

#[tokio::test]
async fn a_new_file_is_listed_after_a_refresh_only() {
    let server = Server::start(|config| config).await;
    server
        .sim
        .add_checkpoint(forge_sim::SimModel::named("new.safetensors"));
    server
        .sim
        .add_lora(forge_sim::SimModel::named("new-lora.safetensors"));
    let listed = async |path: &str, name: &str| server.get(path).await.to_string().contains(name);
    assert!(!listed("/sdapi/v1/sd-models", "new.safetensors").await);
    assert!(!listed("/sdapi/v1/loras", "new-lora").await);
    server
        .send("POST", "/sdapi/v1/refresh-checkpoints", None)
        .await;
    server.send("POST", "/sdapi/v1/refresh-loras", None).await;
    assert!(listed("/sdapi/v1/sd-models", "new.safetensors").await);
    assert!(listed("/sdapi/v1/loras", "new-lora").await);
}
