//! What a caller asks for is what the server gets: zero is a value, absent
//! stays absent, and nothing of one job is left for the next.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};
use stablequeue_proto::jobs::v1::{
    self as jobs, ForgePayload, GenerationParams, ServerUsage, SubmitJobRequest,
    forge_payload::Body, submit_job_request::Input,
};
use system_tests::{
    Pair, PairOptions, Sim,
    pair::{params, txt2img},
};

fn small(prompt: &str) -> GenerationParams {
    GenerationParams {
        prompt: prompt.to_owned(),
        steps: Some(1),
        width: Some(64),
        height: Some(64),
        ..GenerationParams::default()
    }
}

fn payload(endpoint: jobs::Endpoint, body: Body) -> SubmitJobRequest {
    SubmitJobRequest {
        input: Some(Input::ForgePayload(ForgePayload {
            endpoint: endpoint.into(),
            body: Some(body),
        })),
        ..SubmitJobRequest::default()
    }
}

/// Runs a request and answers the body that arrived.
async fn arrived(pair: &Pair, sim: &Sim, request: SubmitJobRequest) -> Result<Map<String, Value>> {
    let id = pair.submit(request).await?;
    pair.completed(&id).await?;
    let last = sim.log().pop().context("nothing was generated")?;
    Ok(last.request.as_object().context("no object")?.clone())
}

async fn one_server(usage: ServerUsage) -> Result<(Pair, Sim)> {
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::instant().await?;
    pair.add_as("gpu", &sim, usage).await?;
    Ok((pair, sim))
}

#[tokio::test(flavor = "multi_thread")]
async fn zero_arrives_as_zero() -> Result<()> {
    let (pair, sim) = one_server(ServerUsage::Dedicated).await?;
    let zeros = GenerationParams {
        cfg_scale: Some(0.0),
        distilled_cfg_scale: Some(0.0),
        seed: Some(0),
        subseed: Some(0),
        subseed_strength: Some(0.0),
        denoising_strength: Some(0.0),
        ..small("nothing")
    };
    let body = arrived(&pair, &sim, params(zeros)).await?;
    for field in [
        "cfg_scale",
        "distilled_cfg_scale",
        "seed",
        "subseed",
        "subseed_strength",
        "denoising_strength",
    ] {
        assert_eq!(body[field].as_f64(), Some(0.0), "{field}");
    }
    assert_eq!(body["seed"], json!(0), "a seed is a whole number");
    let log = sim.log();
    assert_eq!((log[0].seed, log[0].cfg), (Some(0), 0.0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_absent_stays_absent() -> Result<()> {
    let (pair, sim) = one_server(ServerUsage::Shared).await?;
    let only_prompt = GenerationParams {
        prompt: "all by default".to_owned(),
        ..GenerationParams::default()
    };
    let body = arrived(&pair, &sim, params(only_prompt)).await?;
    let fields: BTreeSet<&str> = body.keys().map(String::as_str).collect();
    let ours = [
        "prompt",
        "seed",
        "subseed",
        "override_settings",
        "override_settings_restore_afterwards",
        "force_task_id",
        "send_images",
        "save_images",
    ];
    assert_eq!(fields, BTreeSet::from(ours));
    // Forge's own defaults, since nothing else was said.
    assert_eq!(sim.log()[0].steps, 50);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seed_is_drawn_once_and_shown() -> Result<()> {
    let (pair, sim) = one_server(ServerUsage::Dedicated).await?;
    let id = pair.submit(txt2img("any seed")).await?;
    let job = pair.completed(&id).await?;
    assert_eq!(sim.log()[0].seed, Some(i128::from(job.seed)));
    let other = pair.submit(txt2img("any seed")).await?;
    assert_ne!(pair.completed(&other).await?.seed, job.seed);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_override_of_one_job_does_not_reach_the_next() -> Result<()> {
    for usage in [ServerUsage::Dedicated, ServerUsage::Shared] {
        let (pair, sim) = one_server(usage).await?;
        let special = GenerationParams {
            clip_skip: Some(5),
            additional_modules: vec!["demo-vae.safetensors".to_owned()],
            extra: Some(to_struct(json!({
                "override_settings": {"eta_ancestral": 0.25, "uni_pc_order": 2},
            }))),
            ..small("special")
        };
        for request in [
            params(small("before")),
            params(special),
            params(small("after")),
        ] {
            arrived(&pair, &sim, request).await?;
        }
        let options: Vec<Map<String, Value>> = sim
            .log()
            .into_iter()
            .map(|one| {
                let mut options = one.options;
                // Named after the attempt, so different in every job.
                options.shift_remove("samples_filename_pattern");
                // The server's own note on what it has loaded.
                options.shift_remove("sd_checkpoint_hash");
                options
            })
            .collect();
        let [before, special, after] = &options[..] else {
            panic!("{options:#?}");
        };
        assert_eq!(special["CLIP_stop_at_last_layers"], json!(5));
        assert_eq!(special["eta_ancestral"], json!(0.25));
        assert_eq!(special["uni_pc_order"], json!(2));
        let modules = special["forge_additional_modules"].to_string();
        assert!(modules.contains("demo-vae.safetensors"), "{modules}");
        assert_eq!(before, after, "{usage:?}");
        let log = sim.log();
        assert_eq!(
            log[2].request["override_settings"]["CLIP_stop_at_last_layers"],
            json!(1)
        );
        assert_eq!(
            log[2].request["override_settings"]["forge_additional_modules"],
            json!([])
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_img2img_begins_from_the_picture_it_was_given() -> Result<()> {
    let (pair, sim) = one_server(ServerUsage::Dedicated).await?;
    let first = pair.submit(txt2img("a sketch")).await?;
    pair.completed(&first).await?;
    let sketch = pair.images(&first).await?.remove(0);
    let bytes = std::fs::read(pair.image_path(&sketch.sha256))?;
    let encoded = STANDARD.encode(&bytes);
    let typed = params(GenerationParams {
        init_images: vec![bytes],
        denoising_strength: Some(0.4),
        ..small("a painting of it")
    });
    let body = json!({
        "prompt": "a painting of it", "steps": 1, "width": 64, "height": 64,
        "denoising_strength": 0.4,
        "init_images": [format!("data:image/png;base64,{encoded}")],
    });
    let json = payload(jobs::Endpoint::Img2img, Body::Json(body.to_string()));
    for request in [typed, json] {
        let id = pair.submit(request).await?;
        let job = pair.completed(&id).await?;
        assert_eq!(job.endpoint(), jobs::Endpoint::Img2img);
        let shown = format!("{:?}", job.request);
        assert!(!shown.contains(&encoded[..64]), "no pixels in the view");
        let generation = sim.log().pop().context("nothing was generated")?;
        assert_eq!(generation.endpoint, forge_sim::Endpoint::Img2img);
        assert_eq!(generation.request["denoising_strength"], json!(0.4));
        // The stand-in logs a picture as its length.
        let picture = generation.request["init_images"][0].to_string();
        assert!(picture.contains(&encoded.len().to_string()) || picture.contains("characters"));
        let image = pair.images(&id).await?.remove(0);
        assert!(
            image.infotext.contains("Denoising strength: 0.4"),
            "{}",
            image.infotext
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_body_arrives_the_same_as_object_and_as_text() -> Result<()> {
    let (pair, sim) = one_server(ServerUsage::Shared).await?;
    let body = json!({
        "prompt": "both ways", "negative_prompt": "blur", "steps": 2, "width": 64, "height": 64,
        "seed": 7, "subseed": 9, "cfg_scale": 5.5, "sampler_name": "Euler a", "scheduler": "Karras",
        "s_min_uncond": 0.5, "override_settings": {"CLIP_stop_at_last_layers": 2},
    });
    let object = payload(
        jobs::Endpoint::Txt2img,
        Body::Object(to_struct(body.clone())),
    );
    let text = payload(jobs::Endpoint::Txt2img, Body::Json(body.to_string()));
    let mut bodies = Vec::new();
    for request in [object, text] {
        let mut body = arrived(&pair, &sim, request).await?;
        body.shift_remove("force_task_id");
        // Its title carries its hash once a listing was taken after its load.
        if let Some(Value::Object(options)) = body.get_mut("override_settings") {
            options.shift_remove("sd_model_checkpoint");
        }
        bodies.push(Value::Object(body));
    }
    assert_eq!(bodies[0], bodies[1]);
    assert_eq!(
        bodies[0]["steps"].to_string(),
        "2",
        "whole numbers stay whole"
    );
    assert_eq!(
        bodies[0]["override_settings"]["CLIP_stop_at_last_layers"].to_string(),
        "2"
    );
    let last = sim.log().pop().context("nothing was generated")?;
    assert_eq!((last.seed, last.steps, last.cfg), (Some(7), 2, 5.5));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_pass_brings_what_forge_needs_for_it() -> Result<()> {
    let (pair, sim) = one_server(ServerUsage::Dedicated).await?;
    let request = params(GenerationParams {
        denoising_strength: Some(0.5),
        hires_fix: Some(jobs::HiresFix {
            scale: Some(2.0),
            upscaler: "Latent".to_owned(),
            ..jobs::HiresFix::default()
        }),
        ..small("larger")
    });
    let id = pair.submit(request).await?;
    pair.completed(&id).await?;
    let image = pair.images(&id).await?.remove(0);
    assert_eq!((image.width, image.height), (128, 128));
    assert_eq!(sim.log().len(), 1);
    Ok(())
}

fn to_struct(value: Value) -> prost_types::Struct {
    match to_value(value).kind {
        Some(prost_types::value::Kind::StructValue(object)) => object,
        _ => prost_types::Struct::default(),
    }
}

fn to_value(value: Value) -> prost_types::Value {
    use prost_types::value::Kind;
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(flag) => Kind::BoolValue(flag),
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or(f64::NAN)),
        Value::String(text) => Kind::StringValue(text),
        Value::Array(items) => Kind::ListValue(prost_types::ListValue {
            values: items.into_iter().map(to_value).collect(),
        }),
        Value::Object(fields) => Kind::StructValue(prost_types::Struct {
            fields: fields
                .into_iter()
                .map(|(key, value)| (key, to_value(value)))
                .collect(),
        }),
    };
    prost_types::Value { kind: Some(kind) }
}
