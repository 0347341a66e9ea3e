use serde_json::json;

use super::*;

#[path = "tests/models.rs"]
mod models;

fn request(endpoint: Endpoint, body: Value) -> GenerationRequest {
    let Value::Object(body) = body else {
        panic!("no object");
    };
    GenerationRequest { endpoint, body }
}

fn txt2img(body: Value) -> GenerationRequest {
    request(Endpoint::Txt2img, body)
}

/// The paths of everything that is wrong.
fn faults(request: &GenerationRequest) -> Vec<String> {
    let found = request.check(&str::to_owned);
    found.into_iter().map(|violation| violation.path).collect()
}

/// A picture of one pixel size as base64.
fn picture(side: u32) -> String {
    use base64::Engine as _;
    let mut bytes = std::io::Cursor::new(Vec::new());
    image::RgbImage::new(side, 8)
        .write_to(&mut bytes, image::ImageFormat::Png)
        .unwrap();
    base64::engine::general_purpose::STANDARD.encode(bytes.get_ref())
}

#[test]
fn zero_is_a_value_and_absent_stays_absent() {
    let mut request = txt2img(json!({"prompt": "a", "seed": 0, "cfg_scale": 0, "styles": null}));
    assert_eq!(faults(&request), [""; 0]);
    request.normalise();
    assert_eq!(request.seed(), Some(0));
    assert_eq!(
        Value::Object(request.body),
        json!({"prompt": "a", "seed": 0, "cfg_scale": 0})
    );
}

#[test]
fn every_number_has_its_limits() {
    let cases = [
        ("steps", json!(0), json!(1), json!(150), json!(151)),
        ("width", json!(56), json!(64), json!(4096), json!(4104)),
        ("batch_size", json!(0), json!(1), json!(16), json!(17)),
        ("n_iter", json!(0), json!(1), json!(64), json!(65)),
        ("cfg_scale", json!(-0.1), json!(0), json!(100), json!(100.1)),
        (
            "denoising_strength",
            json!(-0.1),
            json!(0),
            json!(1),
            json!(1.01),
        ),
        (
            "seed",
            json!(-2),
            json!(-1),
            json!(4_294_967_295_i64),
            json!(4_294_967_296_i64),
        ),
        (
            "subseed_strength",
            json!(-1),
            json!(0.0),
            json!(1.0),
            json!(2),
        ),
    ];
    for (field, below, least, most, above) in cases {
        for bad in [below, above] {
            assert_eq!(
                faults(&txt2img(json!({field: bad.clone()}))),
                [field],
                "{bad}"
            );
        }
        for good in [least, most] {
            assert_eq!(
                faults(&txt2img(json!({field: good.clone()}))),
                [""; 0],
                "{good}"
            );
        }
    }
}

#[test]
fn all_violations_come_at_once() {
    let request = txt2img(json!({
        "prompt": 5,
        "steps": "many",
        "width": 65,
        "tiling": 1,
        "styles": "a",
        "no_such_field": 1,
        "force_task_id": "mine",
        "save_images": true,
        "override_settings": {"samples_format": "jpg", "outdir_samples": "x", "rho": "much"},
        "alwayson_scripts": {"Custom Code": {"args": []}, "x": {"args": ["https://a/b.png"]}},
    }));
    assert_eq!(
        faults(&request),
        [
            "prompt",
            "steps",
            "width",
            "tiling",
            "styles",
            "no_such_field",
            "force_task_id",
            "save_images",
            "override_settings.samples_format",
            "override_settings.outdir_samples",
            "override_settings.rho",
            "alwayson_scripts.Custom Code",
            "alwayson_scripts.x.args[0]",
        ]
    );
}

#[test]
fn a_misplaced_field_is_told_its_place() {
    let found = txt2img(json!({"rho": 7, "Steps": 20})).check(&str::to_owned);
    assert!(found[0].description.contains("override_settings.rho"));
    assert!(found[1].description.contains("did you mean steps"));
}

#[test]
fn floats_are_integers_only_when_whole() {
    let mut request = txt2img(json!({
        "steps": 20.0,
        "cfg_scale": 7.0,
        "override_settings": {"uni_pc_order": 2.0, "rho": 7.0},
    }));
    assert_eq!(faults(&request), [""; 0]);
    request.normalise();
    let text = request.to_json();
    assert_eq!(
        text,
        r#"{"steps":20,"cfg_scale":7.0,"override_settings":{"uni_pc_order":2,"rho":7.0}}"#
    );
    assert_eq!(
        GenerationRequest::from_json(Endpoint::Txt2img, &text).unwrap(),
        request
    );
    assert_eq!(faults(&txt2img(json!({"steps": 20.5}))), ["steps"]);
}

#[test]
fn hires_fix_needs_a_strength_and_gets_its_modules() {
    let mut request = txt2img(json!({"enable_hr": true}));
    assert_eq!(faults(&request), ["denoising_strength"]);
    request
        .body
        .insert("denoising_strength".to_owned(), json!(0.5));
    assert_eq!(faults(&request), [""; 0]);
    request.normalise();
    assert_eq!(request.body["hr_additional_modules"], json!([SAME_MODULES]));
    let mut without = txt2img(json!({"prompt": "a"}));
    without.normalise();
    assert!(!without.body.contains_key("hr_additional_modules"));
}

#[test]
fn pictures_are_base64_of_a_picture() {
    let good = picture(8);
    let uri = format!("data:image/png;base64,{good}");
    for text in [good.as_str(), &uri] {
        let request = request(Endpoint::Img2img, json!({"init_images": [text]}));
        assert_eq!(faults(&request), [""; 0]);
    }
    let large = picture(INPUT_SIDE_MAX + 1);
    let line = format!("{}\n{}", &good[..8], &good[8..]);
    for text in [
        "",
        "AAAA",
        "not base64!",
        "HTTP://host/x.png",
        "data:x",
        &large,
        &line,
    ] {
        let request = request(Endpoint::Img2img, json!({"init_images": [good, text]}));
        assert_eq!(faults(&request), ["init_images[1]"], "{text:.30}");
    }
}

#[test]
fn an_img2img_has_pictures_and_no_second_pass() {
    let request = |body| request(Endpoint::Img2img, body);
    assert_eq!(faults(&request(json!({}))), ["init_images"]);
    assert_eq!(
        faults(&request(json!({"init_images": []}))),
        ["init_images"]
    );
    let body = json!({"init_images": [picture(8)], "enable_hr": true, "hr_scale": 2});
    assert_eq!(faults(&request(body)), ["enable_hr", "hr_scale"]);
    assert_eq!(faults(&txt2img(json!({"mask": picture(8)}))), ["mask"]);
}

#[test]
fn images_and_pixels_are_limited_together() {
    assert_eq!(
        faults(&txt2img(json!({"batch_size": 16, "n_iter": 9}))),
        ["n_iter"]
    );
    assert_eq!(
        faults(&txt2img(json!({"batch_size": 16, "n_iter": 8}))),
        [""; 0]
    );
    let many = json!({"width": 2048, "height": 2048, "batch_size": 16, "n_iter": 8});
    assert_eq!(faults(&txt2img(many)), ["width"]);
    let hires = |scale: f64| {
        txt2img(json!({
            "width": 4096, "height": 4096, "enable_hr": true,
            "denoising_strength": 0.5, "hr_scale": scale,
        }))
    };
    assert_eq!(faults(&hires(2.0)), [""; 0]);
    assert_eq!(faults(&hires(2.1)), ["hr_scale"]);
    let stretched = json!({
        "width": 4096, "height": 64, "enable_hr": true,
        "denoising_strength": 0.5, "hr_resize_y": 8192,
    });
    assert_eq!(faults(&txt2img(stretched)), ["hr_scale"]);
}

#[test]
fn a_deep_or_long_body_is_rejected_whole() {
    let mut deep = json!("x");
    for _ in 0..JSON_DEPTH_MAX {
        deep = json!([deep]);
    }
    assert_eq!(
        faults(&txt2img(json!({"script_args": deep, "steps": 0}))),
        [""]
    );
    let long = "x".repeat(BODY_BYTES_MAX);
    assert_eq!(faults(&txt2img(json!({"script_args": [long]}))), [""]);
    let prompt = "x".repeat(PROMPT_BYTES_MAX + 1);
    assert_eq!(faults(&txt2img(json!({"prompt": prompt}))), ["prompt"]);
}

#[test]
fn many_violations_are_bounded() {
    let body: Map<String, Value> = (0..1000).map(|at| (format!("f{at}"), json!(1))).collect();
    assert_eq!(faults(&txt2img(Value::Object(body))).len(), VIOLATIONS_MAX);
}

#[test]
fn requirements_are_in_order_and_once() {
    let request = txt2img(json!({
        "prompt": "a <lora:b:1> <lora:dir/c> <lora:b:0.5> <lora:>",
        "negative_prompt": "<lora:d:1:2>",
        "hr_prompt": "<lora:e:1>",
        "enable_hr": true,
        "hr_checkpoint_name": "second",
        "refiner_checkpoint": "third",
        "override_settings": {"sd_model_checkpoint": "first"},
    }));
    let found: Vec<(ModelRole, String)> = request
        .requirements()
        .into_iter()
        .map(|requirement| (requirement.role, requirement.reference))
        .collect();
    let expected = [
        (ModelRole::Checkpoint, "first"),
        (ModelRole::HiresCheckpoint, "second"),
        (ModelRole::Refiner, "third"),
        (ModelRole::Lora, "b"),
        (ModelRole::Lora, "dir/c"),
        (ModelRole::Lora, "d"),
        (ModelRole::Lora, "e"),
    ];
    assert_eq!(found, expected.map(|(role, name)| (role, name.to_owned())));
}

#[test]
fn what_means_no_model_is_no_requirement() {
    let request = txt2img(json!({
        "prompt": "<lora:a:1> <LORA:b:1> <hypernet:c:1>",
        "disable_extra_networks": true,
        "enable_hr": true,
        "hr_checkpoint_name": "Use same checkpoint",
        "refiner_checkpoint": "None",
        "override_settings": {"sd_model_checkpoint": ""},
    }));
    assert_eq!(request.requirements(), []);
    // Without hires fix its fields do nothing.
    let request = txt2img(json!({"hr_checkpoint_name": "x", "hr_prompt": "<lora:a:1>"}));
    assert_eq!(request.requirements(), []);
}

#[test]
fn the_view_has_no_pixels() {
    let picture = picture(8);
    let request = request(
        Endpoint::Img2img,
        json!({
            "prompt": "x".repeat(5000),
            "init_images": [format!("data:image/png;base64,{picture}")],
            "alwayson_scripts": {"ControlNet": {"args": [{"image": "A".repeat(8000), "weight": 1}]}},
        }),
    );
    let shown = request.without_pixels();
    assert_eq!(shown["prompt"], request.body["prompt"]);
    assert_eq!(
        shown["alwayson_scripts"]["ControlNet"]["args"][0]["weight"],
        json!(1)
    );
    assert_eq!(
        shown["alwayson_scripts"]["ControlNet"]["args"][0]["image"],
        json!("<picture of 6000 bytes>")
    );
    assert!(!shown.to_string().contains(&picture));
}

#[test]
fn lora_names_are_replaced_in_place() {
    let rename = |name: &str| (name == "dir/a").then(|| "a".to_owned());
    let prompt = "ü <lora:dir/a:0.5>, <lora:b:1> <lora:dir/a> <lora:open";
    assert_eq!(
        rename_loras(prompt, &rename),
        "ü <lora:a:0.5>, <lora:b:1> <lora:a> <lora:open"
    );
}

#[test]
fn every_option_is_settable_once() {
    let mut names = SETTABLE_OPTIONS.to_vec();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), SETTABLE_OPTIONS.len());
    assert!(names.contains(&"sd_model_checkpoint") && names.contains(&"grid_save"));
}

proptest::proptest! {
    #[test]
    fn no_prompt_breaks_the_tags(prompt in "[<>:lora a-c/ü]{0,60}") {
        for tag in lora_tags(&prompt) {
            proptest::prop_assert!(!tag.name.is_empty());
            proptest::prop_assert!(prompt.contains(tag.name));
        }
        let same = rename_loras(&prompt, &|name| Some(name.to_owned()));
        proptest::prop_assert_eq!(same.as_ref(), prompt.as_str());
    }
}

#[test]
fn pictures_are_kept_apart_and_come_back_as_they_were() {
    let (small, large) = (picture(8), picture(16));
    let uri = format!("data:image/png;base64,{large}");
    let mut request = request(
        Endpoint::Img2img,
        json!({"prompt": "sha256:x", "init_images": [small, uri, small], "mask": large}),
    );
    let taken = request.take_pictures();
    assert_eq!(taken.len(), 2, "each picture is kept once");
    assert!(!request.to_json().contains(&small[..40]));
    let kept = taken
        .into_iter()
        .map(|image| (image.sha256, image.bytes))
        .collect();
    request.put_pictures_back(&kept).unwrap();
    assert_eq!(
        Value::Object(request.body.clone()),
        json!({"prompt": "sha256:x", "init_images": [small, large, small], "mask": large})
    );
    let mut request = request;
    let first = request.take_pictures().remove(0).sha256;
    assert_eq!(
        request.put_pictures_back(&std::collections::HashMap::new()),
        Err(first)
    );
}
