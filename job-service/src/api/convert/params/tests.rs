use serde_json::json;

use super::*;

fn params() -> proto::GenerationParams {
    proto::GenerationParams {
        prompt: "a cat".to_owned(),
        ..Default::default()
    }
}

fn body(params: proto::GenerationParams) -> Value {
    Value::Object(from_params(params).unwrap().body)
}

fn faults(params: proto::GenerationParams) -> Vec<String> {
    paths(from_params(params))
}

fn paths(result: Result<GenerationRequest, Vec<Violation>>) -> Vec<String> {
    let violations = result.unwrap_err();
    violations
        .into_iter()
        .map(|violation| violation.path)
        .collect()
}

fn picture() -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image::RgbImage::new(8, 8)
        .write_to(&mut bytes, image::ImageFormat::Png)
        .unwrap();
    bytes.into_inner()
}

#[test]
fn absent_stays_absent_and_zero_is_a_value() {
    assert_eq!(body(params()), json!({"prompt": "a cat"}));
    let zero = proto::GenerationParams {
        seed: Some(0),
        cfg_scale: Some(0.0),
        subseed_strength: Some(0.0),
        denoising_strength: Some(0.0),
        ..params()
    };
    assert_eq!(
        body(zero),
        json!({
            "prompt": "a cat", "cfg_scale": 0, "seed": 0,
            "subseed_strength": 0, "denoising_strength": 0,
        })
    );
}

#[test]
fn every_field_has_its_place() {
    let hires_fix = proto::HiresFix {
        scale: Some(1.5),
        upscaler: "Latent".to_owned(),
        steps: Some(0),
        ..Default::default()
    };
    let refiner = proto::Refiner {
        checkpoint: "third".to_owned(),
        switch_at: Some(0.8),
    };
    let full = proto::GenerationParams {
        steps: Some(20),
        sampler: "Euler".to_owned(),
        scheduler: "Karras".to_owned(),
        cfg_scale: Some(6.5),
        width: Some(512),
        height: Some(768),
        batch_size: Some(2),
        iterations: Some(3),
        denoising_strength: Some(0.5),
        hires_fix: Some(hires_fix),
        refiner: Some(refiner),
        styles: vec!["s".to_owned()],
        checkpoint: "first".to_owned(),
        additional_modules: vec!["vae.safetensors".to_owned()],
        clip_skip: Some(2),
        ..params()
    };
    assert_eq!(
        body(full),
        json!({
            "prompt": "a cat", "steps": 20, "sampler_name": "Euler", "scheduler": "Karras",
            "cfg_scale": 6.5, "width": 512, "height": 768, "batch_size": 2, "n_iter": 3,
            "denoising_strength": 0.5, "styles": ["s"], "enable_hr": true, "hr_scale": 1.5,
            "hr_upscaler": "Latent", "hr_second_pass_steps": 0, "hr_cfg": 6.5,
            "refiner_checkpoint": "third", "refiner_switch_at": 0.8,
            "override_settings": {
                "sd_model_checkpoint": "first",
                "forge_additional_modules": ["vae.safetensors"],
                "CLIP_stop_at_last_layers": 2,
            },
            "hr_additional_modules": ["Use same choices"],
        })
    );
}

#[test]
fn guidance_of_the_second_pass_is_that_of_the_first() {
    let hires = |cfg_scale, own| {
        let hires_fix = proto::HiresFix {
            cfg_scale: own,
            ..Default::default()
        };
        body(proto::GenerationParams {
            cfg_scale,
            denoising_strength: Some(0.5),
            hires_fix: Some(hires_fix),
            ..params()
        })["hr_cfg"]
            .clone()
    };
    assert_eq!(hires(Some(3.0), None), json!(3));
    assert_eq!(hires(None, None), json!(7));
    assert_eq!(hires(Some(3.0), Some(0.0)), json!(0));
}

#[test]
fn violations_name_the_callers_fields_and_come_at_once() {
    let bad = proto::GenerationParams {
        steps: Some(0),
        width: Some(100),
        cfg_scale: Some(f64::NAN),
        iterations: Some(65),
        hires_fix: Some(proto::HiresFix {
            scale: Some(9.0),
            ..Default::default()
        }),
        refiner: Some(proto::Refiner::default()),
        mask: vec![1],
        clip_skip: Some(13),
        ..params()
    };
    let mut found = faults(bad);
    found.sort_unstable();
    assert_eq!(
        found,
        [
            "params.cfg_scale",
            "params.clip_skip",
            "params.denoising_strength",
            "params.hires_fix.cfg_scale",
            "params.hires_fix.scale",
            "params.iterations",
            "params.mask",
            "params.refiner.checkpoint",
            "params.steps",
            "params.width",
        ]
    );
}

#[test]
fn init_images_make_an_img2img() {
    let request = from_params(proto::GenerationParams {
        init_images: vec![picture()],
        mask: picture(),
        ..params()
    })
    .unwrap();
    assert_eq!(request.endpoint, Endpoint::Img2img);
    assert_eq!(
        request.body["init_images"],
        json!([STANDARD.encode(picture())])
    );
    let bad = proto::GenerationParams {
        init_images: vec![picture(), vec![1, 2, 3]],
        hires_fix: Some(proto::HiresFix::default()),
        ..params()
    };
    assert_eq!(faults(bad), ["params.hires_fix", "params.init_images[1]"]);
}

#[test]
fn further_fields_are_merged_unless_they_have_a_place() {
    let extra = |value| Some(json::struct_from_value(&value));
    let good = proto::GenerationParams {
        clip_skip: Some(2),
        extra: extra(json!({"tiling": true, "override_settings": {"rho": 7}})),
        ..params()
    };
    assert_eq!(
        body(good),
        json!({
            "prompt": "a cat",
            "override_settings": {"rho": 7, "CLIP_stop_at_last_layers": 2},
            "tiling": true,
        })
    );
    let bad = proto::GenerationParams {
        extra: extra(json!({
            "steps": 3,
            "save_images": true,
            "nonsense": 1,
            "override_settings": {"sd_model_checkpoint": "x", "grid_save": true},
        })),
        ..params()
    };
    let mut found = faults(bad);
    found.sort_unstable();
    assert_eq!(
        found,
        [
            "params.extra.nonsense",
            "params.extra.override_settings.grid_save",
            "params.extra.override_settings.sd_model_checkpoint",
            "params.extra.save_images",
            "params.extra.steps",
        ]
    );
}

fn payload(text: &str) -> proto::ForgePayload {
    proto::ForgePayload {
        endpoint: proto::Endpoint::Txt2img.into(),
        body: Some(proto::forge_payload::Body::Json(text.to_owned())),
    }
}

#[test]
fn a_json_body_goes_as_it_is() {
    let text = r#"{"prompt":"a","seed":0,"cfg_scale":0,"subseed":4294967295}"#;
    let request = from_forge_payload(payload(text)).unwrap();
    assert_eq!(request.to_json(), text);
    for bad in [r#"{"a":1,"a":2}"#, "{} {}", "[]", "{"] {
        assert_eq!(
            paths(from_forge_payload(payload(bad))),
            ["forge_payload.json"],
            "{bad}"
        );
    }
    let bad = r#"{"steps":0,"hr_scal":2}"#;
    let expected = ["forge_payload.json.steps", "forge_payload.json.hr_scal"];
    assert_eq!(paths(from_forge_payload(payload(bad))), expected);
}

#[test]
fn an_object_body_is_checked_the_same() {
    let with = |value| proto::ForgePayload {
        endpoint: proto::Endpoint::Txt2img.into(),
        body: Some(proto::forge_payload::Body::Object(json::struct_from_value(
            &value,
        ))),
    };
    let request = from_forge_payload(with(json!({"steps": 20, "seed": 0}))).unwrap();
    assert_eq!(request.body["steps"], json!(20));
    assert_eq!(request.seed(), Some(0));
    let beyond = from_forge_payload(with(json!({"seed": 1e17})));
    assert_eq!(paths(beyond), ["forge_payload.object.seed"]);
}

#[test]
fn a_payload_needs_an_endpoint_and_a_body() {
    let mut none = payload("{}");
    none.endpoint = 0;
    assert_eq!(paths(from_forge_payload(none)), ["forge_payload.endpoint"]);
    let mut none = payload("{}");
    none.body = None;
    assert_eq!(paths(from_forge_payload(none)), ["forge_payload.body"]);
    let mut unknown = payload("{}");
    unknown.endpoint = 77;
    assert_eq!(
        paths(from_forge_payload(unknown)),
        ["forge_payload.endpoint"]
    );
}
