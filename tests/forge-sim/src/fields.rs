//! The fields of txt2img and img2img in Forge's order with their defaults (the `parameters` of exchanges 02/01
//! and 13/11), and pydantic's checks of a body against them.

use serde_json::{Map, Value, json};

use crate::{errors::Failure, generation::Endpoint};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Int,
    Float,
    Text,
    Flag,
    Texts,
    List,
    Object,
}

/// Name, kind and default as JSON text.
type Field = (&'static str, Kind, &'static str);

use Kind::{Flag, Float, Int, List, Object, Text, Texts};

const COMMON: [Field; 33] = [
    ("prompt", Text, "\"\""),
    ("negative_prompt", Text, "\"\""),
    ("styles", Texts, "null"),
    ("seed", Int, "-1"),
    ("subseed", Int, "-1"),
    ("subseed_strength", Float, "0"),
    ("seed_resize_from_h", Int, "-1"),
    ("seed_resize_from_w", Int, "-1"),
    ("sampler_name", Text, "null"),
    ("scheduler", Text, "null"),
    ("batch_size", Int, "1"),
    ("n_iter", Int, "1"),
    ("steps", Int, "50"),
    ("cfg_scale", Float, "7.0"),
    ("distilled_cfg_scale", Float, "3.5"),
    ("width", Int, "512"),
    ("height", Int, "512"),
    ("restore_faces", Flag, "null"),
    ("tiling", Flag, "null"),
    ("do_not_save_samples", Flag, "false"),
    ("do_not_save_grid", Flag, "false"),
    ("eta", Float, "null"),
    ("denoising_strength", Float, "null"),
    ("s_min_uncond", Float, "null"),
    ("s_churn", Float, "null"),
    ("s_tmax", Float, "null"),
    ("s_tmin", Float, "null"),
    ("s_noise", Float, "null"),
    ("override_settings", Object, "null"),
    ("override_settings_restore_afterwards", Flag, "true"),
    ("refiner_checkpoint", Text, "null"),
    ("refiner_switch_at", Float, "null"),
    ("disable_extra_networks", Flag, "false"),
];

const MIDDLE: [Field; 2] = [
    ("firstpass_image", Text, "null"),
    ("comments", Object, "null"),
];

const TXT2IMG: [Field; 17] = [
    ("enable_hr", Flag, "false"),
    ("firstphase_width", Int, "0"),
    ("firstphase_height", Int, "0"),
    ("hr_scale", Float, "2.0"),
    ("hr_upscaler", Text, "null"),
    ("hr_second_pass_steps", Int, "0"),
    ("hr_resize_x", Int, "0"),
    ("hr_resize_y", Int, "0"),
    ("hr_checkpoint_name", Text, "null"),
    ("hr_additional_modules", Texts, "null"),
    ("hr_sampler_name", Text, "null"),
    ("hr_scheduler", Text, "null"),
    ("hr_prompt", Text, "\"\""),
    ("hr_negative_prompt", Text, "\"\""),
    ("hr_cfg", Float, "1.0"),
    ("hr_distilled_cfg", Float, "3.5"),
    ("force_task_id", Text, "null"),
];

const IMG2IMG: [Field; 16] = [
    ("init_images", List, "null"),
    ("resize_mode", Int, "0"),
    ("image_cfg_scale", Float, "null"),
    ("mask", Text, "null"),
    ("mask_blur_x", Int, "4"),
    ("mask_blur_y", Int, "4"),
    ("mask_blur", Int, "null"),
    ("mask_round", Flag, "true"),
    ("inpainting_fill", Int, "0"),
    ("inpaint_full_res", Flag, "true"),
    ("inpaint_full_res_padding", Int, "0"),
    ("inpainting_mask_invert", Int, "0"),
    ("initial_noise_multiplier", Float, "null"),
    ("latent_mask", Text, "null"),
    ("force_task_id", Text, "null"),
    ("hr_distilled_cfg", Float, "3.5"),
];

const INCLUDE_INIT: [Field; 1] = [("include_init_images", Flag, "false")];

const SAMPLER_INDEX: [Field; 1] = [("sampler_index", Text, "\"Euler\"")];

const TAIL: [Field; 6] = [
    ("script_name", Text, "null"),
    ("script_args", List, "[]"),
    ("send_images", Flag, "true"),
    ("save_images", Flag, "false"),
    ("alwayson_scripts", Object, "{}"),
    ("infotext", Text, "null"),
];

/// All fields of a request, defaults filled in, in Forge's order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fields(pub(crate) Map<String, Value>);

impl Fields {
    /// Checks a body as FastAPI does; unknown fields are dropped silently.
    pub(crate) fn parse(endpoint: Endpoint, body: &[u8]) -> Result<(Self, Value), Failure> {
        let sent = json_body(body)?;
        let Value::Object(given) = &sent else {
            let msg = "Input should be a valid dictionary or object to extract fields from";
            return Err(Failure::Validation(vec![entry(
                "model_attributes_type",
                &[],
                msg,
                &sent,
            )]));
        };
        let mut fields = Map::new();
        let mut wrong = Vec::new();
        for (name, kind, default) in table(endpoint) {
            let value = match given.get(name) {
                None => serde_json::from_str(default).expect("defaults are JSON"),
                Some(value) => convert(kind, &[Value::from(name)], value, &mut wrong),
            };
            fields.insert(name.to_owned(), value);
        }
        if endpoint == Endpoint::Img2img && !given.contains_key("denoising_strength") {
            fields["denoising_strength"] = Value::from(0.75);
        }
        if wrong.is_empty() {
            Ok((Self(fields), sent))
        } else {
            Err(Failure::Validation(wrong))
        }
    }

    pub(crate) fn get(&self, name: &str) -> &Value {
        self.0.get(name).unwrap_or(&Value::Null)
    }

    pub(crate) fn int(&self, name: &str) -> i64 {
        self.get(name).as_i64().unwrap_or(0)
    }

    pub(crate) fn float(&self, name: &str) -> Option<f64> {
        self.get(name).as_f64()
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.get(name).as_str()
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        self.get(name).as_bool().unwrap_or(false)
    }

    pub(crate) fn object(&self, name: &str) -> Map<String, Value> {
        self.get(name).as_object().cloned().unwrap_or_default()
    }
}

fn table(endpoint: Endpoint) -> Vec<Field> {
    let middle: [&[Field]; 2] = match endpoint {
        Endpoint::Txt2img => [&TXT2IMG, &SAMPLER_INDEX],
        Endpoint::Img2img => [&IMG2IMG, &SAMPLER_INDEX],
    };
    let include: &[Field] = if endpoint == Endpoint::Img2img {
        &INCLUDE_INIT
    } else {
        &[]
    };
    [
        &COMMON[..],
        &MIDDLE[..],
        middle[0],
        middle[1],
        include,
        &TAIL[..],
    ]
    .concat()
}

/// The JSON of a body, or the 422 that FastAPI gives.
pub(crate) fn json_body(body: &[u8]) -> Result<Value, Failure> {
    if body.is_empty() {
        return Err(Failure::Validation(vec![entry(
            "missing",
            &[],
            "Field required",
            &Value::Null,
        )]));
    }
    serde_json::from_slice(body).map_err(|error| {
        let text = String::from_utf8_lossy(body);
        Failure::Validation(vec![json!({
            "type": "json_invalid",
            "loc": ["body", error_position(&text, &error)],
            "msg": "JSON decode error",
            "input": {},
            "ctx": { "error": python_json_error(&text, &error) },
        })])
    })
}

/// One violation in pydantic's shape.
pub(crate) fn entry(kind: &str, loc: &[Value], msg: &str, input: &Value) -> Value {
    let mut path = vec![Value::from("body")];
    path.extend_from_slice(loc);
    let url = format!("https://errors.pydantic.dev/2.8/v/{kind}");
    json!({ "type": kind, "loc": path, "msg": msg, "input": input, "url": url })
}

fn error_position(text: &str, error: &serde_json::Error) -> usize {
    if error.is_eof() {
        return text.chars().count();
    }
    let before: usize = text
        .lines()
        .take(error.line().saturating_sub(1))
        .map(|line| line.chars().count() + 1)
        .sum();
    before + error.column().saturating_sub(1)
}

/// The nearest words of Python's json module.
fn python_json_error(text: &str, error: &serde_json::Error) -> &'static str {
    let message = error.to_string();
    let has = |part: &str| message.contains(part);
    if has("trailing comma") || has("key must be a string") || (error.is_eof() && wants_key(text)) {
        "Expecting property name enclosed in double quotes"
    } else if has("expected `:`") {
        "Expecting ':' delimiter"
    } else if has("expected `,`") {
        "Expecting ',' delimiter"
    } else if has("trailing characters") {
        "Extra data"
    } else if has("EOF while parsing a string") {
        "Unterminated string starting at"
    } else {
        "Expecting value"
    }
}

/// True if a text that breaks off does so where an object wants its next key.
fn wants_key(text: &str) -> bool {
    let (mut open, mut quoted, mut escaped) = (Vec::new(), false, false);
    for character in text.chars() {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '{' | '[' if !quoted => open.push(character),
            '}' | ']' if !quoted => {
                open.pop();
            }
            _ => {}
        }
    }
    !quoted && open.last() == Some(&'{') && text.trim_end().ends_with(['{', ','])
}

fn convert(kind: Kind, loc: &[Value], value: &Value, wrong: &mut Vec<Value>) -> Value {
    if value.is_null() {
        return Value::Null;
    }
    let checked = match kind {
        Int => int(value),
        Float => float(value),
        Flag => flag(value),
        Text if value.is_string() => Ok(value.clone()),
        Text => Err(("string_type", "Input should be a valid string")),
        List | Texts if value.is_array() => Ok(value.clone()),
        List | Texts => Err(("list_type", "Input should be a valid list")),
        Object if value.is_object() => Ok(value.clone()),
        Object => Err(("dict_type", "Input should be a valid dictionary")),
    };
    match checked {
        Err((kind, msg)) => {
            wrong.push(entry(kind, loc, msg, value));
            Value::Null
        }
        Ok(checked) => {
            if kind == Texts {
                check_texts(loc, value, wrong);
            }
            checked
        }
    }
}

fn check_texts(loc: &[Value], value: &Value, wrong: &mut Vec<Value>) {
    for (index, item) in value
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
        .filter(|(_, item)| !item.is_string())
    {
        let mut loc = loc.to_vec();
        loc.push(Value::from(index));
        wrong.push(entry(
            "string_type",
            &loc,
            "Input should be a valid string",
            item,
        ));
    }
}

type Checked = Result<Value, (&'static str, &'static str)>;

fn int(value: &Value) -> Checked {
    match value {
        Value::Bool(flag) => Ok(Value::from(i64::from(*flag))),
        Value::Number(number) if !number.is_f64() => Ok(value.clone()),
        Value::Number(number) => whole(number.as_f64().unwrap_or(f64::NAN)),
        Value::String(text) => text.trim().parse::<i64>().map(Value::from).map_err(|_| {
            (
                "int_parsing",
                "Input should be a valid integer, unable to parse string as an integer",
            )
        }),
        _ => Err(("int_type", "Input should be a valid integer")),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "checked to be whole and within 2^53 or clamped by the cast"
)]
fn whole(number: f64) -> Checked {
    if number.fract() == 0.0 && number.is_finite() {
        return Ok(Value::from(number as i64));
    }
    Err((
        "int_from_float",
        "Input should be a valid integer, got a number with a fractional part",
    ))
}

fn float(value: &Value) -> Checked {
    let parsed = match value {
        Value::Bool(flag) => Some(f64::from(u8::from(*flag))),
        Value::Number(number) => number.as_f64(),
        Value::String(text) => match text.trim().parse::<f64>() {
            Ok(number) => Some(number),
            Err(_) => {
                return Err((
                    "float_parsing",
                    "Input should be a valid number, unable to parse string as a number",
                ));
            }
        },
        _ => None,
    };
    parsed
        .map(Value::from)
        .ok_or(("float_type", "Input should be a valid number"))
}

fn flag(value: &Value) -> Checked {
    match value {
        Value::Bool(_) => Ok(value.clone()),
        Value::Number(number) if number.as_f64() == Some(0.0) => Ok(Value::from(false)),
        Value::Number(number) if number.as_f64() == Some(1.0) => Ok(Value::from(true)),
        Value::String(text) => match text.to_lowercase().as_str() {
            "true" | "t" | "1" | "yes" | "y" | "on" => Ok(Value::from(true)),
            "false" | "f" | "0" | "no" | "n" | "off" => Ok(Value::from(false)),
            _ => Err((
                "bool_parsing",
                "Input should be a valid boolean, unable to interpret input",
            )),
        },
        _ => Err(("bool_type", "Input should be a valid boolean")),
    }
}
