use std::fs;
use std::path::Path;

use super::*;
use crate::job::Endpoint;

/// The options of a real server as it lists them.
fn recorded_options() -> Value {
    let file = "../tests/fixtures/forge/01-cold-listings/options.response.txt";
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    serde_json::from_str(&text[text.find('{').unwrap()..]).unwrap()
}

fn profile(usage: Usage) -> ServerProfile {
    ServerProfile {
        usage,
        baseline: baseline_from_options(&recorded_options()),
        ui_mode: true,
    }
}

fn request(body: Value) -> GenerationRequest {
    let Value::Object(body) = body else {
        panic!("no object");
    };
    GenerationRequest {
        endpoint: Endpoint::Txt2img,
        body,
    }
}

fn attempt() -> AttemptIdentity {
    AttemptIdentity {
        job_id: "01981f7e-8a6b-7c3d-9e2f-0123456789ab".to_owned(),
        number: 2,
        token: "01981f7e-0000-7000-8000-aaaabbbbcccc".to_owned(),
    }
}

fn built(request: &GenerationRequest, profile: &ServerProfile) -> Map<String, Value> {
    let titles = ModelTitles::new();
    build(
        request,
        "x.safetensors [e3a7fe4d8c]",
        &titles,
        7,
        8,
        profile,
        &attempt(),
    )
    .unwrap()
}

fn options(body: &Map<String, Value>) -> &Map<String, Value> {
    body["override_settings"].as_object().unwrap()
}

#[test]
fn whole_floats_of_integer_options_become_integers() {
    let baseline = baseline_from_options(&recorded_options());
    assert_eq!(baseline["uni_pc_order"].to_string(), "3");
    assert_eq!(baseline["CLIP_stop_at_last_layers"].to_string(), "1");
    assert_eq!(baseline["eta_ancestral"].to_string(), "1.0");
    assert_eq!(baseline["outdir_txt2img_samples"], "outputs/txt2img-images");
    assert!(!baseline.contains_key("jpeg_quality"));
}

#[test]
fn a_real_server_has_every_option_that_can_be_set() {
    let baseline = baseline_from_options(&recorded_options());
    for option in SETTABLE_OPTIONS {
        assert!(baseline.contains_key(*option), "{option}");
    }
}

#[test]
fn every_option_is_sent_and_only_the_jobs_differ_from_the_baseline() {
    let profile = profile(Usage::Shared);
    let request = request(json!({"override_settings": {"uni_pc_order": 5}}));
    let body = built(&request, &profile);
    let sent = options(&body);
    for (name, _) in OPTIONS {
        let expected = match *name {
            "uni_pc_order" => json!(5),
            "sd_model_checkpoint" => json!("x.safetensors [e3a7fe4d8c]"),
            "forge_additional_modules" => json!([]),
            other => profile.baseline[other].clone(),
        };
        assert_eq!(sent[*name], expected, "{name}");
    }
    assert_eq!(sent.len(), OPTIONS.len());
}

#[test]
fn the_jobs_own_fields_go_as_they_are() {
    let request = request(json!({"prompt": "a", "cfg_scale": 0, "seed": 0, "tiling": false}));
    let body = built(&request, &profile(Usage::Shared));
    assert_eq!(body["cfg_scale"], json!(0));
    assert_eq!(body["tiling"], json!(false));
    assert_eq!((&body["seed"], &body["subseed"]), (&json!(7), &json!(8)));
    assert_eq!(body["force_task_id"], json!(attempt().token));
    assert!(!body.contains_key("steps"));
}

#[test]
fn a_shared_server_saves_nothing_and_restores() {
    let body = built(&request(json!({})), &profile(Usage::Shared));
    assert_eq!(body["save_images"], json!(false));
    assert_eq!(body["override_settings_restore_afterwards"], json!(true));
    for option in crate::request::OWN_OPTIONS {
        assert!(!options(&body).contains_key(*option), "{option}");
    }
}

#[test]
fn a_dedicated_server_saves_under_the_attempts_name() {
    let body = built(&request(json!({})), &profile(Usage::Dedicated));
    assert_eq!(body["save_images"], json!(true));
    assert_eq!(body["override_settings_restore_afterwards"], json!(false));
    let sent = options(&body);
    assert_eq!(
        sent["samples_filename_pattern"],
        json!("01981f7e-8a6b-7c3d-9e2f-0123456789ab-2-aaaabbbbcccc-[seed]-[generation_number]")
    );
    assert_eq!(sent["directories_filename_pattern"], json!(FILES_FOLDER));
    assert_eq!(sent["save_images_add_number"], json!(false));
    assert_eq!(sent["return_grid"], json!(false));
}

#[test]
fn without_files_to_fetch_none_are_saved() {
    let mut profile = profile(Usage::Dedicated);
    profile.ui_mode = false;
    let body = built(&request(json!({})), &profile);
    assert_eq!(body["save_images"], json!(false));
    assert_eq!(body["override_settings_restore_afterwards"], json!(false));
    assert_eq!(
        saved_file_paths(&request(json!({})), 7, &profile, &attempt()),
        [""; 0]
    );
}

#[test]
fn an_option_without_a_baseline_is_refused() {
    let mut profile = profile(Usage::Dedicated);
    profile.baseline.remove("rho");
    profile.baseline.remove("sd_model_checkpoint");
    let settings = json!({"rho": 7, "sd_model_checkpoint": "x", "eta_ddim": 0.5});
    let request = request(json!({"override_settings": settings}));
    let titles = ModelTitles::new();
    let refused = build(&request, "x", &titles, 7, 8, &profile, &attempt());
    assert_eq!(
        refused,
        Err(NoBaseline {
            keys: vec!["rho".to_owned()]
        })
    );
}

#[test]
fn models_go_by_the_servers_names() {
    let hash = "8ff3648af2cc8ff3648af2cc8ff3648af2cc8ff3648af2cc8ff3648af2cc8ff3";
    let mut request = request(json!({
        "prompt": format!("<lora:{hash}:0.8> <lora:other:1>"),
        "enable_hr": true,
        "denoising_strength": 0.5,
        "hr_checkpoint_name": "second",
        "refiner_checkpoint": "third",
    }));
    request.normalise();
    let title = |role, reference: &str, title: &str| {
        let reference = reference.to_owned();
        (Requirement { role, reference }, title.to_owned())
    };
    let titles = ModelTitles::from([
        title(ModelRole::Lora, hash, "tiny-a"),
        title(ModelRole::HiresCheckpoint, "second", "second.safetensors"),
        title(
            ModelRole::Refiner,
            "third",
            "third.safetensors [0123456789]",
        ),
    ]);
    let profile = profile(Usage::Shared);
    let body = build(&request, "x", &titles, 7, 8, &profile, &attempt()).unwrap();
    assert_eq!(body["prompt"], json!("<lora:tiny-a:0.8> <lora:other:1>"));
    assert_eq!(body["hr_checkpoint_name"], json!("second.safetensors"));
    assert_eq!(
        body["refiner_checkpoint"],
        json!("third.safetensors [0123456789]")
    );
    assert_eq!(body["hr_additional_modules"], json!([SAME_MODULES]));
}

#[test]
fn files_lie_where_a_real_server_put_them() {
    let file = "../tests/fixtures/forge/14-dispatcher-restart-recovery/05-filename-patterns.json";
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    let cases: Vec<Value> = serde_json::from_str(&text).unwrap();
    let profile = profile(Usage::Dedicated);
    let mut seen = 0;
    for case in cases {
        let pattern = case["pattern"].as_str().unwrap();
        let Some(name) = pattern.strip_suffix("-[seed]-[generation_number]") else {
            continue;
        };
        seen += 1;
        let paths = saved_file_paths(&request(case["params"].clone()), 1, &profile, &attempt());
        let expected: Vec<String> = case["new_files"]
            .as_array()
            .unwrap()
            .iter()
            .map(|file| file.as_str().unwrap().replace(name, &file_stem(&attempt())))
            .map(|file| format!("outputs/txt2img-images/{FILES_FOLDER}/{file}"))
            .collect();
        assert_eq!(paths, expected, "{pattern}");
    }
    assert_eq!(seen, 6);
}

#[test]
fn the_servers_own_folders_are_used() {
    let mut profile = profile(Usage::Dedicated);
    let mut img2img = request(json!({}));
    img2img.endpoint = Endpoint::Img2img;
    let path = |request: &GenerationRequest, profile: &ServerProfile| {
        saved_file_paths(request, 7, profile, &attempt()).remove(0)
    };
    assert!(path(&img2img, &profile).starts_with("outputs/img2img-images/stablequeue/"));
    profile
        .baseline
        .insert("outdir_samples".to_owned(), json!("/data/out/"));
    assert!(path(&img2img, &profile).starts_with("/data/out/stablequeue/"));
}

#[test]
fn a_strange_job_id_makes_a_plain_file_name() {
    let mut attempt = attempt();
    attempt.job_id = "../[seed]/x y".to_owned();
    attempt.token = "short".to_owned();
    assert_eq!(file_stem(&attempt), "____seed__x_y-2-short");
}

#[test]
fn loading_makes_nothing_but_a_loaded_checkpoint() {
    let body = loading_body("x.safetensors", "t");
    assert_eq!((&body["steps"], &body["width"]), (&json!(1), &json!(64)));
    assert_eq!(body["save_images"], json!(false));
    assert_eq!(
        options(&body)["sd_model_checkpoint"],
        json!("x.safetensors")
    );
}
