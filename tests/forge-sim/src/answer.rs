//! Words the answer of a generation: echo of the parameters, the `info` object, the infotext of each image
//! (exchanges 02/01, 03/18b, 13/11).

use serde_json::{Value, json};

use crate::{
    faults::Fault,
    generate::{Job, Made},
    generation::Endpoint,
    infotext::{self, VERSION, python_float, python_json},
    picture,
    plan::Plan,
    state::Engine,
};

/// Valid base64 of something that is no picture.
const NO_PICTURE: &[u8] = b"this is not a picture";

/// The body of the 200.
pub(crate) fn body(job: &Job, info: &Value, made: &Made) -> Value {
    let mut images: Vec<String> = made
        .images
        .iter()
        .map(|bytes| picture::to_base64(bytes))
        .collect();
    if job.faults.has(&Fault::EmptyImages) || !job.fields.flag("send_images") {
        images.clear();
    } else if job.faults.has(&Fault::BrokenImage) {
        images.fill(picture::to_base64(NO_PICTURE));
    }
    let mut parameters = job.fields.0.clone();
    if job.endpoint == Endpoint::Img2img && !job.fields.flag("include_init_images") {
        parameters["init_images"] = Value::Null;
        parameters["mask"] = Value::Null;
    }
    json!({ "images": images, "parameters": parameters, "info": python_json(info) })
}

/// The object that `info` holds as a string.
pub(crate) fn info(engine: &Engine, job: &Job, plan: &Plan, made: &Made) -> Value {
    let count = plan.seeds.len();
    let numbers = |all: &[i128]| Value::from(all.iter().copied().map(number).collect::<Vec<_>>());
    let memory = engine.memory();
    let subseed_strength = job.fields.get("subseed_strength").clone();
    json!({
        "prompt": plan.raw_prompt,
        "all_prompts": vec![&plan.prompt; count],
        "negative_prompt": plan.raw_negative,
        "all_negative_prompts": vec![&plan.negative; count],
        "seed": number(plan.seeds[0]),
        "all_seeds": numbers(&plan.seeds),
        "subseed": number(plan.subseeds[0]),
        "all_subseeds": numbers(&plan.subseeds),
        "subseed_strength": subseed_strength,
        "width": plan.width,
        "height": plan.height,
        "sampler_name": plan.sampling.sampler,
        "cfg_scale": plan.cfg,
        "steps": plan.steps,
        "batch_size": plan.batch_size,
        "restore_faces": job.fields.flag("restore_faces"),
        "face_restoration_model": null,
        "sd_model_name": plan.used.stem,
        "sd_model_hash": plan.used.sha256[..10],
        "sd_vae_name": null,
        "sd_vae_hash": null,
        "seed_resize_from_w": job.fields.get("seed_resize_from_w"),
        "seed_resize_from_h": job.fields.get("seed_resize_from_h"),
        "denoising_strength": plan.denoising,
        "extra_generation_params": plan.extra,
        "index_of_first_image": made.index_of_first_image,
        "infotexts": made.infotexts,
        "styles": job.fields.get("styles").as_array().cloned().unwrap_or_default(),
        "job_timestamp": memory.progress.timestamp(),
        "clip_skip": whole(memory.options.number("CLIP_stop_at_last_layers")),
        "is_using_inpainting_conditioning": false,
        "version": VERSION,
    })
}

/// The infotext of image `index`.
pub(crate) fn infotext(engine: &Engine, job: &Job, plan: &Plan, index: usize) -> String {
    let memory = engine.memory();
    let option = |name: &str| memory.options.number(name);
    let given = |condition: bool, value: String| condition.then_some(value);
    let clip_skip = option("CLIP_stop_at_last_layers");
    let delta = option("eta_noise_seed_delta");
    let strength = job.fields.float("subseed_strength").unwrap_or(0.0);
    let varied = strength != 0.0;
    let schedule = plan
        .sampling
        .schedule
        .clone()
        .unwrap_or_else(|| "Automatic".to_owned());
    let mut entries = vec![
        ("Steps", Some(plan.steps.to_string())),
        ("Sampler", Some(plan.sampling.sampler.clone())),
        ("Schedule type", Some(schedule)),
        ("CFG scale", Some(python_float(plan.cfg))),
        ("Seed", Some(plan.seeds[index].to_string())),
        ("Size", Some(format!("{}x{}", plan.width, plan.height))),
        ("Model hash", Some(plan.used.sha256[..10].to_owned())),
        ("Model", Some(plan.used.stem.replace([',', ':'], ""))),
        (
            "Variation seed",
            given(varied, plan.subseeds[index].to_string()),
        ),
        (
            "Variation seed strength",
            given(varied, python_float(strength)),
        ),
        (
            "Denoising strength",
            plan.extra.get("Denoising strength").and_then(python_text),
        ),
        (
            "Clip skip",
            given(clip_skip > 1.0, whole(clip_skip).to_string()),
        ),
        (
            "ENSD",
            given(
                plan.sampling.uses_ensd && delta != 0.0,
                whole(delta).to_string(),
            ),
        ),
        (
            "Tiling",
            given(job.fields.flag("tiling"), "True".to_owned()),
        ),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect::<Vec<_>>();
    let extras = plan
        .extra
        .iter()
        .filter(|(key, _)| !matches!(key.as_str(), "Denoising strength" | "Schedule type"));
    entries.extend(extras.map(|(key, value)| (key.clone(), python_text(value))));
    entries.push(("Version".to_owned(), Some(VERSION.to_owned())));
    let modules = plan.modules.iter().enumerate();
    entries
        .extend(modules.map(|(place, stem)| (format!("Module {}", place + 1), Some(stem.clone()))));
    infotext::infotext(&plan.prompt, &plan.negative, &entries)
}

/// `str()` of a value in a Python f-string; `None` for null, which is left out.
fn python_text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::Bool(flag) => Some(if *flag { "True" } else { "False" }.to_owned()),
        Value::Number(number) if number.is_f64() => number.as_f64().map(python_float),
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// Seeds reach from −2^63 to 2^64−1.
fn number(seed: i128) -> Value {
    u64::try_from(seed)
        .map(Value::from)
        .or_else(|_| i64::try_from(seed).map(Value::from))
        .unwrap_or(Value::Null)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "option values that are whole numbers"
)]
fn whole(number: f64) -> i64 {
    number as i64
}
