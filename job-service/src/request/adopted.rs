//! Reads what the earlier application kept of a job: the fields of its own
//! page, bodies of Forge's API with more beside them, or the text of a picture.
//! What it cannot understand it says, so that nothing else is generated than
//! was asked for. The kept text itself is the store's.

mod picture_text;

use serde_json::{Map, Value, json};

use super::{
    BATCH_SIZE_MAX, CFG_SCALE_DEFAULT, CHECKPOINT_OPTION, GenerationRequest, SIDE_MIN, SIDE_STEP,
    fields::{self, Kind, Of},
};
use crate::job::Endpoint;

/// Faults that are told; one is enough to hold a job.
const FAULTS_SHOWN: usize = 3;
/// Characters of a fault that are told: it may quote what was kept.
const FAULT_CHARS_MAX: usize = 300;
/// How much a second pass changes where the earlier page did not say: what
/// Forge's page begins with.
const HIRES_DENOISING: f64 = 0.7;
/// When a refiner takes over where nobody said (`forge/infotext.md` §4).
const REFINER_SWITCH: f64 = 0.8;
/// The script that stood for the earlier application's own extension.
const EXTENSION_SCRIPT: &str = "forge_extension_data";
/// What the earlier page's choice of a preset could also be: a schedule type,
/// as Forge's page calls them. Other presets changed nothing.
const SCHEDULE_TYPES: [&str; 13] = [
    "Automatic",
    "Uniform",
    "Karras",
    "Exponential",
    "Polyexponential",
    "SGM Uniform",
    "KL Optimal",
    "Align Your Steps",
    "Simple",
    "Normal",
    "DDIM",
    "Beta",
    "Turbo",
];

/// What an older text asks for, checked and in its stored form; or why that
/// cannot be known.
///
/// # Errors
/// What is wrong, in words for whoever decides about the job.
pub fn from_older(text: &str) -> Result<GenerationRequest, String> {
    read(text).map_err(|fault| shortened(&fault))
}

fn read(text: &str) -> Result<GenerationRequest, String> {
    let kept: Value = serde_json::from_str(text).map_err(|_| "it is no JSON".to_owned())?;
    let Value::Object(kept) = kept else {
        return Err("it is no JSON object".to_owned());
    };
    let body = match kept.get("raw_generation_info") {
        Some(Value::String(text)) => picture_text::body(text)?,
        Some(_) => return Err("raw_generation_info is no text".to_owned()),
        None => body(&kept)?,
    };
    let has_prompt = body.get("prompt").and_then(Value::as_str);
    if has_prompt.is_none_or(|prompt| prompt.trim().is_empty()) {
        return Err("it has no prompt".to_owned());
    }
    let mut request = GenerationRequest {
        endpoint: Endpoint::Txt2img,
        body,
    };
    let faults: Vec<String> = request
        .check(&str::to_owned)
        .into_iter()
        .take(FAULTS_SHOWN)
        .map(|fault| format!("{} {}", fault.path, fault.description))
        .collect();
    if !faults.is_empty() {
        return Err(faults.join("; "));
    }
    request.normalise();
    Ok(request)
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(FAULT_CHARS_MAX) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

/// Forge's fields of an object; what Forge's call does not know is left out, as
/// Forge did.
fn body(kept: &Map<String, Value>) -> Result<Map<String, Value>, String> {
    let mut body = Map::new();
    let extension = kept.get("script_name").and_then(Value::as_str) == Some(EXTENSION_SCRIPT);
    for (name, value) in kept {
        let Some((Of::Both | Of::Txt2img, kind)) = fields::field(name) else {
            continue;
        };
        let of_extension = extension && matches!(name.as_str(), "script_name" | "script_args");
        if !of_extension && let Some(value) = understood(kind, value) {
            body.insert(name.clone(), value);
        }
    }
    if !text(&body, "prompt")
        && let Some(prompt) = kept.get("positive_prompt")
    {
        body.insert("prompt".to_owned(), prompt.clone());
    }
    checkpoint(kept, &mut body)?;
    images(kept, &mut body)?;
    hires(kept, &mut body)?;
    if let Some(name) = named(kept, "refiner_model")? {
        body.insert("refiner_checkpoint".to_owned(), name.into());
        body.entry("refiner_switch_at")
            .or_insert(json!(REFINER_SWITCH));
    }
    if let Some(preset) = named(kept, "scheduler_or_quality_preset")? {
        let known = SCHEDULE_TYPES.iter();
        let mut known = known.filter(|label| label.eq_ignore_ascii_case(preset));
        if let Some(label) = known.next() {
            body.entry("scheduler").or_insert(json!(label));
        }
    }
    Ok(body)
}

/// A value as Forge wants it: the earlier page sent numbers as text, and empty
/// text for nothing. What does not fit stays, so that the check says so.
fn understood(kind: Kind, value: &Value) -> Option<Value> {
    let is_number = matches!(kind, Kind::Integer(..) | Kind::Side(..) | Kind::Number(..));
    let value = match value {
        Value::Null => return None,
        Value::String(text) if text.trim().is_empty() && !is_prompt(kind) => return None,
        Value::String(text) if is_number => number(text.trim()),
        Value::String(text) if kind == Kind::Flag => match text.trim() {
            "true" => true.into(),
            "false" => false.into(),
            _ => value.clone(),
        },
        _ => value.clone(),
    };
    Some(match (kind, value.as_i64()) {
        // What Forge would round down to by itself.
        (Kind::Side(..), Some(side)) if side >= SIDE_MIN => (side - side % SIDE_STEP).into(),
        _ => value,
    })
}

fn is_prompt(kind: Kind) -> bool {
    matches!(kind, Kind::Text(super::PROMPT_BYTES_MAX))
}

/// The number that a text is, or the text.
fn number(text: &str) -> Value {
    let whole = text.parse::<i64>().ok().map(Value::from);
    let broken = || text.parse::<f64>().ok().map(|number| json!(number));
    let number = whole.or_else(broken).filter(|number| !number.is_null());
    number.unwrap_or_else(|| text.into())
}

fn text(body: &Map<String, Value>, field: &str) -> bool {
    let value = body.get(field).and_then(Value::as_str);
    value.is_some_and(|text| !text.trim().is_empty())
}

/// A name that is given, and not as "none".
fn named<'a>(kept: &'a Map<String, Value>, field: &str) -> Result<Option<&'a str>, String> {
    match kept.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(name)) => {
            let says_none = name.trim().is_empty() || name.eq_ignore_ascii_case("none");
            Ok((!says_none).then_some(name))
        }
        Some(_) => Err(format!("{field} is no text")),
    }
}

/// The name of the model; its short hash only where there is no name, since the
/// earlier application computed some of them wrongly: those then fit nothing.
fn checkpoint(kept: &Map<String, Value>, body: &mut Map<String, Value>) -> Result<(), String> {
    let name = match named(kept, "checkpoint_name")? {
        Some(name) => Some(name),
        None => named(kept, "sd_checkpoint")?,
    };
    if let Some(name) = name {
        set_option(body, CHECKPOINT_OPTION, name.into());
    }
    let has_one = body
        .get("override_settings")
        .is_some_and(|options| options.get(CHECKPOINT_OPTION).is_some());
    if !has_one && let Some(hash) = named(kept, "model_hash")? {
        set_option(body, CHECKPOINT_OPTION, hash.into());
    }
    Ok(())
}

fn set_option(body: &mut Map<String, Value>, option: &str, value: Value) {
    let options = body
        .entry("override_settings")
        .or_insert_with(|| Value::Object(Map::new()));
    // Where it is no object, the check says so.
    if let Value::Object(options) = options {
        options.insert(option.to_owned(), value);
    }
}

/// How many images: together where Forge makes so many together.
fn images(kept: &Map<String, Value>, body: &mut Map<String, Value>) -> Result<(), String> {
    let Some(count) = kept.get("num_images").filter(|count| !count.is_null()) else {
        return Ok(());
    };
    if body.contains_key("batch_size") || body.contains_key("n_iter") {
        return Ok(());
    }
    let Some(count) = understood(Kind::Integer(1, BATCH_SIZE_MAX), count) else {
        return Ok(());
    };
    let count = count.as_i64().ok_or("num_images is no whole number")?;
    let field = if count <= BATCH_SIZE_MAX {
        "batch_size"
    } else {
        "n_iter"
    };
    body.insert(field.to_owned(), count.into());
    Ok(())
}

/// The second pass of the earlier page, which asked for it by another name.
fn hires(kept: &Map<String, Value>, body: &mut Map<String, Value>) -> Result<(), String> {
    let asked = kept
        .get("enable_hires_fix")
        .and_then(|value| understood(Kind::Flag, value));
    match asked {
        None | Some(Value::Bool(false)) => return Ok(()),
        Some(Value::Bool(true)) => {}
        Some(_) => return Err("enable_hires_fix is neither true nor false".to_owned()),
    }
    body.insert("enable_hr".to_owned(), true.into());
    if let Some(upscaler) = named(kept, "upscaler_model")? {
        body.insert("hr_upscaler".to_owned(), upscaler.into());
    }
    body.entry("denoising_strength")
        .or_insert(json!(HIRES_DENOISING));
    second_guidance(body);
    Ok(())
}

/// Forge's own default for the second pass would be 1, whatever the first has.
fn second_guidance(body: &mut Map<String, Value>) {
    let first = body.get("cfg_scale").cloned();
    body.entry("hr_cfg")
        .or_insert_with(|| first.unwrap_or(json!(CFG_SCALE_DEFAULT)));
}

#[cfg(test)]
mod tests;
