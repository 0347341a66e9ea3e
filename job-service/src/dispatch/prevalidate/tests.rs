use serde_json::json;

use super::*;
use crate::dispatch::forge::ListedModule;

fn listing() -> Listing {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Listing {
        samplers: names(&["Euler a", "DPM++ 2M"]),
        schedulers: names(&["karras", "Karras", "automatic", "Automatic"]),
        upscalers: names(&["None", "Latent", "R-ESRGAN 4x+"]),
        scripts: names(&["x/y/z plot", "freeu integrated"]),
        modules: vec![ListedModule {
            model_name: "ae.safetensors".to_owned(),
            filename: "/models/VAE/ae.safetensors".to_owned(),
        }],
        ..Listing::default()
    }
}

fn code(body: Value) -> Option<&'static str> {
    let Value::Object(body) = body else {
        panic!("an object")
    };
    lack(Endpoint::Txt2img, &body, &listing()).map(|lack| lack.code)
}

#[test]
fn what_the_server_lists_is_taken_as_forge_takes_it() {
    for body in [
        json!({}),
        json!({"sampler_name": "Euler a", "scheduler": "Karras"}),
        json!({"sampler_name": "DPM++ 2M Karras", "scheduler": "karras"}),
        json!({"scheduler": "AUTOMATIC"}),
        json!({"sampler_name": "", "scheduler": ""}),
        json!({"script_name": "X/Y/Z Plot", "alwayson_scripts": {"FreeU Integrated": {}}}),
        json!({"override_settings": {"forge_additional_modules": ["/elsewhere/ae.safetensors"]}}),
        json!({"override_settings": {"forge_additional_modules": []}}),
        json!({"enable_hr": true, "hr_upscaler": "Latent", "hr_sampler_name": "Use same sampler",
               "hr_scheduler": "Use same scheduler", "hr_additional_modules": ["Use same choices"]}),
        // Without a second pass its fields do nothing.
        json!({"hr_upscaler": "nope", "hr_sampler_name": "nope", "enable_hr": false}),
    ] {
        assert_eq!(code(body.clone()), None, "{body}");
    }
}

#[test]
fn what_forge_would_replace_or_refuse_is_lacking() {
    for (body, wanted) in [
        (json!({"sampler_name": "euler a"}), "LACKS_SAMPLER"),
        (json!({"sampler_name": "Euler a Exotic"}), "LACKS_SAMPLER"),
        (json!({"sampler_name": "Euler aKarras"}), "LACKS_SAMPLER"),
        (json!({"scheduler": "KARRAS"}), "LACKS_SCHEDULER"),
        (json!({"script_name": "nope"}), "LACKS_SCRIPT"),
        (json!({"alwayson_scripts": {"nope": {}}}), "LACKS_SCRIPT"),
        (
            json!({"override_settings": {"forge_additional_modules": ["AE.safetensors"]}}),
            "LACKS_MODULE",
        ),
        (
            json!({"enable_hr": true, "hr_upscaler": "latent"}),
            "LACKS_UPSCALER",
        ),
        (
            json!({"enable_hr": true, "hr_sampler_name": "DPM++ 2M Karras"}),
            "LACKS_SAMPLER",
        ),
        (
            json!({"enable_hr": true, "hr_scheduler": "nope"}),
            "LACKS_SCHEDULER",
        ),
        (
            json!({"enable_hr": true, "hr_additional_modules": ["nope.safetensors"]}),
            "LACKS_MODULE",
        ),
    ] {
        assert_eq!(code(body.clone()), Some(wanted), "{body}");
    }
}

#[test]
fn lists_that_were_not_read_refuse_nothing() {
    let Value::Object(body) = json!({
        "sampler_name": "nope", "scheduler": "nope", "script_name": "nope",
        "enable_hr": true, "hr_upscaler": "nope",
    }) else {
        panic!("an object")
    };
    assert_eq!(lack(Endpoint::Txt2img, &body, &Listing::default()), None);
}

#[test]
fn the_words_name_the_field_the_server_and_what_it_has() {
    let Value::Object(body) = json!({"sampler_name": "euler a"}) else {
        panic!("an object")
    };
    let lack = lack(Endpoint::Img2img, &body, &listing()).unwrap();
    let failure = failure("gpu", &lack);
    assert_eq!(failure.outcome, AttemptOutcome::ServerLacksFeature);
    assert_eq!(
        failure.message,
        r#"sampler_name: gpu does not list "euler a"; it has Euler a, DPM++ 2M"#
    );
}
