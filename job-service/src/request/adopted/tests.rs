//! What older texts ask for.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn read(kept: Value) -> Result<Value, String> {
    from_older(&kept.to_string()).map(|request| Value::Object(request.body))
}

#[test]
fn the_fields_of_the_earlier_page_become_those_of_forge() {
    let kept = json!({
        "positive_prompt": "a castle", "negative_prompt": "ugly",
        "checkpoint_name": "Pony/x.safetensors", "style_preset": "simple",
        "sampling_category": "Both", "enable_hires_fix": false, "upscaler_model": "None",
        "refiner_model": "None", "num_images": 2, "seed": "", "subseed": "", "width": 512,
        "height": "770", "steps": "20", "cfg_scale": 7, "sampler_name": "Euler",
        "restore_faces": false, "scheduler_or_quality_preset": "Balanced",
        "civitai_version_id": "12", "app_type": "forge",
    });
    let wanted = json!({
        "prompt": "a castle", "negative_prompt": "ugly", "batch_size": 2, "width": 512,
        "height": 768, "steps": 20, "cfg_scale": 7, "sampler_name": "Euler",
        "restore_faces": false,
        "override_settings": {"sd_model_checkpoint": "Pony/x.safetensors"},
    });
    assert_eq!(read(kept), Ok(wanted));
}

#[test]
fn a_second_pass_a_refiner_and_a_schedule_type_are_found_by_their_older_names() {
    let kept = json!({
        "positive_prompt": "p", "enable_hires_fix": true, "upscaler_model": "4x",
        "refiner_model": "r.safetensors", "cfg_scale": "5.5", "seed": "42",
        "scheduler_or_quality_preset": "karras", "num_images": 20,
    });
    let request = from_older(&kept.to_string()).unwrap();
    assert!(request.hires());
    assert_eq!(request.seed(), Some(42));
    assert_eq!(request.refiner(), Some("r.safetensors"));
    let body = Value::Object(request.body);
    assert_eq!(body["hr_cfg"], json!(5.5));
    assert_eq!(body["hr_upscaler"], json!("4x"));
    assert_eq!(body["denoising_strength"], json!(HIRES_DENOISING));
    assert_eq!(body["scheduler"], json!("Karras"));
    assert_eq!(body["n_iter"], json!(20));
}

#[test]
fn a_body_of_forge_is_taken_without_what_forge_does_not_know() {
    let kept = json!({
        "prompt": "p", "negative_prompt": "", "seed": 4242, "subseed": -1, "batch_size": 3,
        "n_iter": 1, "send_images": true, "save_images": true, "script_args": [{}],
        "script_name": "forge_extension_data", "checkpoint_name": null,
        "override_settings": {"sd_model_checkpoint": "Pony\\x.safetensors [abc]"},
        "_original_gradio_payload": {"data": [1]}, "sampler_name": null,
    });
    let wanted = json!({
        "prompt": "p", "negative_prompt": "", "seed": 4242, "subseed": -1, "batch_size": 3,
        "n_iter": 1,
        "override_settings": {"sd_model_checkpoint": "Pony\\x.safetensors [abc]"},
    });
    assert_eq!(read(kept), Ok(wanted));
}

#[test]
fn a_name_counts_before_a_short_hash() {
    let both = json!({"prompt": "p", "checkpoint_name": "a", "model_hash": "1581a8f654"});
    let hash = json!({"prompt": "p", "model_hash": "1581a8f654"});
    for (kept, wanted) in [(both, "a"), (hash, "1581a8f654")] {
        let request = from_older(&kept.to_string()).unwrap();
        assert_eq!(request.checkpoint(), Some(wanted));
    }
}

#[test]
fn the_text_of_a_picture_is_read() {
    let text = "girl, <lora:foo:0.8>,\nforest\nNegative prompt: bad,\nworse\nSteps: 28, \
                Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 5.5, Seed: 12345, \
                Size: 832x1216, Model hash: 9f90c59f3a, Model: Pony\\m, \
                Denoising strength: 0.4, Clip skip: 2, Hires upscale: 1.5, Hires steps: 10, \
                Hires upscaler: 4x, Lora hashes: \"foo: abc\", Version: f2.0";
    let body = read(json!({"raw_generation_info": text})).unwrap();
    assert_eq!(body["prompt"], "girl, <lora:foo:0.8>,\nforest");
    assert_eq!(body["negative_prompt"], "bad,\nworse");
    assert_eq!(body["width"], 832);
    assert_eq!(body["height"], 1216);
    assert_eq!(body["hr_scale"], 1.5);
    assert_eq!(body["hr_cfg"], 5.5);
    assert_eq!(body["enable_hr"], true);
    let wanted = json!({"sd_model_checkpoint": "Pony\\m", "CLIP_stop_at_last_layers": 2});
    assert_eq!(body["override_settings"], wanted);
}

#[test]
fn what_cannot_be_understood_is_said() {
    let line = "Steps: 5, Sampler: Euler, Seed: 1";
    for (kept, wanted) in [
        (json!([1]), "no JSON object"),
        (json!({}), "no prompt"),
        (json!({"prompt": " "}), "no prompt"),
        (json!({"prompt": 3}), "no prompt"),
        (json!({"prompt": "p", "steps": "banana"}), "steps"),
        (json!({"prompt": "p", "width": -5}), "width"),
        (
            json!({"prompt": "p", "checkpoint_name": 123}),
            "checkpoint_name",
        ),
        (json!({"prompt": "p", "model_hash": 12345}), "model_hash"),
        (json!({"prompt": "p", "num_images": "x"}), "num_images"),
        (
            json!({"prompt": "p", "enable_hires_fix": 7}),
            "enable_hires_fix",
        ),
        (
            json!({"prompt": "p", "override_settings": 7}),
            "override_settings",
        ),
        (json!({"raw_generation_info": 7}), "raw_generation_info"),
        (
            json!({"raw_generation_info": "just words"}),
            "no parameters",
        ),
        (
            json!({"raw_generation_info": format!("p\n{line}, Mask blur: 4")}),
            "Mask blur",
        ),
        (
            json!({"raw_generation_info": format!("p\n{line}, Denoising strength: 0.4")}),
            "another picture",
        ),
    ] {
        let fault = read(kept.clone()).unwrap_err();
        assert!(fault.contains(wanted), "{kept}: {fault}");
    }
    assert!(from_older("{broken").unwrap_err().contains("no JSON"));
}

proptest! {
    #[test]
    fn no_text_makes_reading_panic_and_what_is_read_is_sound(
        prompt in ".{0,20}",
        number in any::<i64>(),
        text in ".{0,12}",
        raw in "(?s).{0,80}",
    ) {
        for kept in [
            json!({"prompt": prompt, "steps": number, "seed": text, "width": number}),
            json!({"positive_prompt": prompt, "num_images": text, "cfg_scale": text}),
            json!({"raw_generation_info": raw}),
            json!({"raw_generation_info": format!("{raw}\nSteps: 5, Seed: {number}, Size: {text}")}),
        ] {
            if let Ok(request) = from_older(&kept.to_string()) {
                prop_assert!(request.check(&str::to_owned).is_empty());
            }
        }
        let _unread = from_older(&raw);
    }
}
