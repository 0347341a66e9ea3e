//! The models that a request names: each by a name that can be looked up, and
//! not too many.

use super::*;

#[test]
fn a_model_that_nobody_can_look_up_is_told_by_its_field() {
    let long = "n".repeat(NAME_BYTES_MAX + 1);
    let request = txt2img(json!({
        "prompt": "<lora: :1> <lora:fits:1>",
        "negative_prompt": format!("<lora:{long}:1>"),
        "hr_prompt": "<lora:\t:1>",
        "enable_hr": true,
        "denoising_strength": 0.5,
        "hr_checkpoint_name": "  ",
        "refiner_checkpoint": " ",
        "refiner_switch_at": 0.5,
        "override_settings": {"sd_model_checkpoint": " "},
    }));
    assert_eq!(
        faults(&request),
        [
            "override_settings.sd_model_checkpoint",
            "hr_checkpoint_name",
            "refiner_checkpoint",
            "prompt",
            "negative_prompt",
            "hr_prompt",
        ]
    );
    // What does not count is not looked at.
    let off = txt2img(json!({"hr_prompt": "<lora: :1>", "hr_checkpoint_name": " "}));
    assert_eq!(faults(&off), [""; 0]);
    let off = txt2img(json!({"prompt": "<lora: :1>", "disable_extra_networks": true}));
    assert_eq!(faults(&off), [""; 0]);
}

#[test]
fn the_models_of_a_request_are_counted() {
    let tags = |count: usize| -> String {
        (0..count)
            .map(|number| format!("<lora:l{number}:1>"))
            .collect()
    };
    let with = |count| txt2img(json!({"prompt": tags(count), "negative_prompt": "<lora:l0:1>"}));
    assert_eq!(faults(&with(MODELS_MAX)), [""; 0]);
    assert_eq!(faults(&with(MODELS_MAX + 1)), ["prompt"]);
}
