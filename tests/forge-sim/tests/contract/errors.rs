//! Error bodies against exchanges 03 and 13: exact status and exact body.

use forge_sim::{SimConfig, SimModel};
use serde_json::json;

use crate::{
    exchange::recorded,
    server::{Server, small_with},
};

/// Requests whose recorded answer is an error; none leaves a trace that changes a later one.
const FAILING: [&str; 23] = [
    "03-errors/04-unknown-override-key",
    "03-errors/05-bad-json",
    "03-errors/06-wrong-type-steps",
    "03-errors/07-no-body",
    "03-errors/08-body-array",
    "03-errors/11-width-0",
    "03-errors/13-steps-0",
    "03-errors/14-negative-batch",
    "03-errors/15-script-unknown",
    "03-errors/16-alwayson-unknown",
    "03-errors/17-hr-unknown-upscaler",
    "03-errors/18-hr-minimal",
    "03-errors/19-refiner-unknown",
    "03-errors/20-prompt-null",
    "03-errors/21-img2img-no-init",
    "03-errors/22-img2img-bad-base64",
    "03-errors/23-options-post-unknown-checkpoint",
    "03-errors/24-options-post-unknown-key",
    "03-errors/25-options-post-bad-type",
    "03-errors/27-additional-module-wrong-type",
    "03-errors/29-allocation-failure-huge-image",
    "13-more/18-hr-without-denoising-strength",
    "13-more/19-force-task-id-int",
];

#[tokio::test]
async fn errors_have_the_recorded_status_and_body() {
    let server = Server::start(|config| config).await;
    for name in FAILING {
        let exchange = recorded(name);
        let answer = server
            .send(
                &exchange.method,
                &exchange.path,
                exchange.request.as_deref(),
            )
            .await;
        assert_eq!(answer.status(), exchange.status, "{name}");
        assert_eq!(answer.text().await.unwrap(), exchange.body, "{name}");
    }
}

#[tokio::test]
async fn the_infotext_field_is_broken_as_in_exchange_13_24() {
    let server = Server::start(|config| config).await;
    let exchange = recorded("13-more/24-infotext");
    let answer = server
        .send("POST", "/sdapi/v1/txt2img", exchange.request.as_deref())
        .await;
    assert_eq!(
        (answer.status().as_u16(), answer.text().await.unwrap()),
        (exchange.status, exchange.body)
    );
    assert!(
        server.sim.log().is_empty(),
        "it fails before the task starts"
    );
}

#[tokio::test]
async fn a_failed_load_poisons_the_server_until_another_model_as_in_exchanges_13_03_to_13_10() {
    let server = Server::start(|mut config: SimConfig| {
        config
            .checkpoints
            .push(SimModel::broken("not-a-model.safetensors"));
        config
    })
    .await;
    let with = |name: &str| {
        small_with(
            "load",
            &json!({ "override_settings": { "sd_model_checkpoint": name } }),
        )
    };
    let mini = "sd15-random-mini.safetensors";
    server.txt2img(with(mini)).await;
    let cases = [
        ("not-a-model.safetensors", "13-more/03-not-a-model"),
        (mini, "13-more/04-mini-after-failed-load"),
        (mini, "13-more/05-mini-again"),
    ];
    for (model, name) in cases {
        let exchange = recorded(name);
        let answer = server
            .send("POST", "/sdapi/v1/txt2img", Some(&with(model).to_string()))
            .await;
        assert_eq!(
            (answer.status().as_u16(), answer.text().await.unwrap()),
            (exchange.status, exchange.body),
            "{name}"
        );
    }
    let (_, info) = server
        .txt2img(with("sub dir/sd15 mini (v2).safetensors"))
        .await;
    assert_eq!(info["sd_model_name"], "sd15 mini (v2)");
    let (_, info) = server.txt2img(with(mini)).await;
    assert_eq!(info["sd_model_name"], "sd15-random-mini");
}

#[tokio::test]
async fn hires_fails_after_the_first_pass() {
    let server = Server::start(|config| config).await;
    let exchange = recorded("03-errors/18-hr-minimal");
    server
        .send("POST", &exchange.path, exchange.request.as_deref())
        .await;
    assert_eq!(server.sim.log()[0].steps_done, 1);
}
