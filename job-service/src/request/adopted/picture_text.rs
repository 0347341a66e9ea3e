//! Reads the text of a picture as what a job asked for: the earlier application
//! let people paste one. Grammar: `forge/infotext.md` §2 and §4.

use serde_json::{Map, Value, json};

use super::{number, second_guidance, set_option};
use crate::{
    infotext,
    request::{CHECKPOINT_OPTION, fields},
};

/// Pairs that a parameter line must have to be one.
const PAIRS_MIN: usize = 3;
/// What separates the prompts.
const NEGATIVE: &str = "Negative prompt:";
/// Keys whose value is a field of Forge's call.
const FIELDS: [(&str, &str); 12] = [
    ("Steps", "steps"),
    ("Sampler", "sampler_name"),
    ("Schedule type", "scheduler"),
    ("CFG scale", "cfg_scale"),
    ("Distilled CFG Scale", "distilled_cfg_scale"),
    ("Seed", "seed"),
    ("Variation seed", "subseed"),
    ("Variation seed strength", "subseed_strength"),
    ("Denoising strength", "denoising_strength"),
    ("Hires upscale", "hr_scale"),
    ("Hires steps", "hr_second_pass_steps"),
    ("Hires upscaler", "hr_upscaler"),
];
/// Keys that say what a picture was made with and change nothing.
const SAID_ONLY: [&str; 10] = [
    "Lora hashes",
    "TI hashes",
    "Hashes",
    "Version",
    "User",
    "Created Date",
    "Civitai resources",
    "Civitai metadata",
    "Batch size",
    "Batch pos",
];

/// What a text asks for in Forge's fields, or why that cannot be known.
pub(super) fn body(text: &str) -> Result<Map<String, Value>, String> {
    let mut lines: Vec<&str> = text.trim().lines().collect();
    let pairs = infotext::pairs(lines.pop().unwrap_or_default());
    if pairs.len() < PAIRS_MIN {
        return Err("the last line of raw_generation_info holds no parameters".to_owned());
    }
    let mut body = prompts(&lines);
    let mut model_hash = None;
    for (key, value) in pairs {
        if let Some((_, field)) = FIELDS.iter().find(|(known, _)| *known == key) {
            body.insert((*field).to_owned(), typed(field, value));
            continue;
        }
        match key {
            "Size" => sides(&mut body, ["width", "height"], &value)?,
            "Hires resize" => sides(&mut body, ["hr_resize_x", "hr_resize_y"], &value)?,
            "Model" => set_option(&mut body, CHECKPOINT_OPTION, value.into()),
            "Model hash" => model_hash = Some(value),
            "Clip skip" => set_option(&mut body, "CLIP_stop_at_last_layers", number(&value)),
            "Hires CFG Scale" => {
                body.insert("hr_cfg".to_owned(), number(&value));
            }
            key if SAID_ONLY.contains(&key) => {}
            key => return Err(format!("raw_generation_info says {key}: {value}")),
        }
    }
    let named = body
        .get("override_settings")
        .is_some_and(|options| options.get(CHECKPOINT_OPTION).is_some());
    if !named && let Some(hash) = model_hash {
        set_option(&mut body, CHECKPOINT_OPTION, hash.into());
    }
    second_pass(&mut body)?;
    Ok(body)
}

fn prompts(lines: &[&str]) -> Map<String, Value> {
    let negative = lines.iter().position(|line| line.starts_with(NEGATIVE));
    let (first, second) = lines.split_at(negative.unwrap_or(lines.len()));
    let mut body = Map::new();
    body.insert("prompt".to_owned(), first.join("\n").trim().into());
    let second = second.join("\n");
    let second = second.strip_prefix(NEGATIVE).unwrap_or_default().trim();
    if !second.is_empty() {
        body.insert("negative_prompt".to_owned(), second.into());
    }
    body
}

/// A number where Forge wants one, else the text.
fn typed(field: &str, value: String) -> Value {
    match fields::field(field) {
        Some((_, fields::Kind::Text(_))) | None => value.into(),
        Some(_) => number(&value),
    }
}

fn sides(body: &mut Map<String, Value>, fields: [&str; 2], value: &str) -> Result<(), String> {
    let sides = value.split_once('x');
    let sides = sides.and_then(|(x, y)| Some([x.parse::<i64>().ok()?, y.parse().ok()?]));
    let sides = sides.ok_or_else(|| format!("raw_generation_info says Size: {value}"))?;
    for (field, side) in fields.into_iter().zip(sides) {
        body.insert(field.to_owned(), side.into());
    }
    Ok(())
}

/// A text says how much was changed only of a second pass or of another
/// picture, which it does not hold.
fn second_pass(body: &mut Map<String, Value>) -> Result<(), String> {
    let hires = ["hr_scale", "hr_resize_x", "hr_upscaler"];
    if hires.iter().any(|field| body.contains_key(*field)) {
        body.insert("enable_hr".to_owned(), json!(true));
        second_guidance(body);
    } else if body.contains_key("denoising_strength") {
        return Err("it began from another picture, which is not kept".to_owned());
    }
    Ok(())
}
