//! From what a caller sends (typed parameters or a complete Forge body) to a
//! checked [`GenerationRequest`]. Limits are the request's own; here are only
//! the names by which the caller knows its fields.

mod json;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use stablequeue_proto::jobs::v1 as proto;

use crate::job::Endpoint;
use crate::request::{CFG_SCALE_DEFAULT, GenerationRequest, Violation};

/// Where each field of Forge's body stands in `GenerationParams`.
const PLACES: &[(&str, &str)] = &[
    ("prompt", "prompt"),
    ("negative_prompt", "negative_prompt"),
    ("steps", "steps"),
    ("sampler_name", "sampler"),
    ("scheduler", "scheduler"),
    ("cfg_scale", "cfg_scale"),
    ("distilled_cfg_scale", "distilled_cfg_scale"),
    ("width", "width"),
    ("height", "height"),
    ("seed", "seed"),
    ("subseed", "subseed"),
    ("subseed_strength", "subseed_strength"),
    ("batch_size", "batch_size"),
    ("n_iter", "iterations"),
    ("denoising_strength", "denoising_strength"),
    ("enable_hr", "hires_fix"),
    ("hr_scale", "hires_fix.scale"),
    ("hr_upscaler", "hires_fix.upscaler"),
    ("hr_second_pass_steps", "hires_fix.steps"),
    ("hr_resize_x", "hires_fix.width"),
    ("hr_resize_y", "hires_fix.height"),
    ("hr_checkpoint_name", "hires_fix.checkpoint"),
    ("hr_sampler_name", "hires_fix.sampler"),
    ("hr_scheduler", "hires_fix.scheduler"),
    ("hr_prompt", "hires_fix.prompt"),
    ("hr_negative_prompt", "hires_fix.negative_prompt"),
    ("hr_cfg", "hires_fix.cfg_scale"),
    ("hr_distilled_cfg", "hires_fix.distilled_cfg_scale"),
    ("refiner_checkpoint", "refiner.checkpoint"),
    ("refiner_switch_at", "refiner.switch_at"),
    ("init_images", "init_images"),
    ("mask", "mask"),
    ("styles", "styles"),
    ("override_settings.sd_model_checkpoint", "checkpoint"),
    (
        "override_settings.forge_additional_modules",
        "additional_modules",
    ),
    ("override_settings.CLIP_stop_at_last_layers", "clip_skip"),
];

/// What `params` of a submission asks for, or all that is wrong with it.
pub(crate) fn from_params(
    params: proto::GenerationParams,
) -> Result<GenerationRequest, Vec<Violation>> {
    let mut violations = Vec::new();
    let request = params_request(params, &mut violations);
    finish(request, violations, &params_path)
}

/// What `forge_payload` of a submission asks for, or all that is wrong with
/// it.
pub(crate) fn from_forge_payload(
    payload: proto::ForgePayload,
) -> Result<GenerationRequest, Vec<Violation>> {
    let proto::ForgePayload { endpoint, body } = payload;
    let mut violations = Vec::new();
    let endpoint = match proto::Endpoint::try_from(endpoint) {
        Ok(proto::Endpoint::Txt2img) => Endpoint::Txt2img,
        Ok(proto::Endpoint::Img2img) => Endpoint::Img2img,
        Ok(proto::Endpoint::Unspecified) | Err(_) => {
            violations.push(Violation::new(
                "forge_payload.endpoint",
                "must be ENDPOINT_TXT2IMG or ENDPOINT_IMG2IMG",
            ));
            return Err(violations);
        }
    };
    let (base, body) = match body {
        Some(proto::forge_payload::Body::Object(object)) => {
            let base = "forge_payload.object";
            let remedy = "use forge_payload.json";
            (
                base,
                json::object_from_struct(object, base, remedy, &mut violations),
            )
        }
        Some(proto::forge_payload::Body::Json(text)) => {
            let base = "forge_payload.json";
            match json::object_from_text(&text) {
                Ok(body) => (base, body),
                Err(fault) => return Err(vec![Violation::new(base, fault)]),
            }
        }
        None => {
            let text = "must have a body: object or json";
            return Err(vec![Violation::new("forge_payload.body", text)]);
        }
    };
    let request = GenerationRequest { endpoint, body };
    finish(request, violations, &|path| match path {
        "" => base.to_owned(),
        path => format!("{base}.{path}"),
    })
}

/// A body as it is shown; `None` when it is no object.
pub(crate) fn to_struct(body: &Value) -> Option<prost_types::Struct> {
    body.is_object().then(|| json::struct_from_value(body))
}

/// Checks a request and brings it into its stored form.
fn finish(
    mut request: GenerationRequest,
    mut violations: Vec<Violation>,
    name_of: &dyn Fn(&str) -> String,
) -> Result<GenerationRequest, Vec<Violation>> {
    for violation in request.check(name_of) {
        // One word about a field is enough; the first knows best.
        if violations.iter().all(|known| known.path != violation.path) {
            violations.push(violation);
        }
    }
    if !violations.is_empty() {
        return Err(violations);
    }
    request.normalise();
    Ok(request)
}

/// A path in Forge's body as a path in the submission's `params`.
fn params_path(path: &str) -> String {
    let matched = PLACES.iter().find_map(|(body, params)| {
        let rest = path.strip_prefix(body)?;
        (rest.is_empty() || rest.starts_with('[')).then(|| format!("params.{params}{rest}"))
    });
    match (matched, path) {
        (Some(matched), _) => matched,
        (None, "") => "params".to_owned(),
        (None, path) => format!("params.extra.{path}"),
    }
}

/// Writes the fields of a body, leaving out what is absent.
#[derive(Default)]
struct Body(Map<String, Value>);

impl Body {
    fn set(&mut self, field: &str, value: impl Into<Value>) {
        self.0.insert(field.to_owned(), value.into());
    }

    fn text(&mut self, field: &str, value: String) {
        if !value.is_empty() {
            self.set(field, value);
        }
    }

    fn integer(&mut self, field: &str, value: Option<impl Into<i64>>) {
        if let Some(value) = value {
            self.set(field, value.into());
        }
    }

    fn number(&mut self, field: &str, value: Option<f64>, violations: &mut Vec<Violation>) {
        let Some(value) = value else {
            return;
        };
        match json::exact_number(value) {
            Ok(number) => self.set(field, Value::Number(number)),
            Err(fault) => violations.push(Violation::new(params_path(field), fault)),
        }
    }

    fn option(&mut self, option: &str, value: impl Into<Value>) {
        let settings = self
            .0
            .entry("override_settings")
            .or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(settings) = settings {
            settings.insert(option.to_owned(), value.into());
        }
    }
}

fn params_request(
    params: proto::GenerationParams,
    violations: &mut Vec<Violation>,
) -> GenerationRequest {
    let proto::GenerationParams {
        prompt,
        negative_prompt,
        steps,
        sampler,
        scheduler,
        cfg_scale,
        distilled_cfg_scale,
        width,
        height,
        seed,
        subseed,
        subseed_strength,
        batch_size,
        iterations,
        denoising_strength,
        hires_fix,
        refiner,
        init_images,
        mask,
        styles,
        checkpoint,
        additional_modules,
        clip_skip,
        extra,
    } = params;
    let endpoint = if init_images.is_empty() {
        Endpoint::Txt2img
    } else {
        Endpoint::Img2img
    };
    let mut body = Body::default();
    body.text("prompt", prompt);
    body.text("negative_prompt", negative_prompt);
    body.integer("steps", steps);
    body.text("sampler_name", sampler);
    body.text("scheduler", scheduler);
    body.number("cfg_scale", cfg_scale, violations);
    body.number("distilled_cfg_scale", distilled_cfg_scale, violations);
    body.integer("width", width);
    body.integer("height", height);
    body.integer("seed", seed);
    body.integer("subseed", subseed);
    body.number("subseed_strength", subseed_strength, violations);
    body.integer("batch_size", batch_size);
    body.integer("n_iter", iterations);
    body.number("denoising_strength", denoising_strength, violations);
    pictures(&mut body, init_images, &mask, violations);
    if !styles.is_empty() {
        body.set("styles", styles);
    }
    if let Some(hires) = hires_fix {
        if endpoint == Endpoint::Txt2img {
            hires_fields(
                &mut body,
                hires,
                (cfg_scale, distilled_cfg_scale),
                violations,
            );
        } else {
            let text = "belongs to txt2img; leave it out when there are init_images";
            violations.push(Violation::new("params.hires_fix", text));
        }
    }
    if let Some(refiner) = refiner {
        refiner_fields(&mut body, refiner, violations);
    }
    // Further fields first, so that their options lie below ours.
    if let Some(extra) = extra {
        extra_fields(&mut body, extra, violations);
    }
    if !checkpoint.is_empty() {
        body.option("sd_model_checkpoint", checkpoint);
    }
    if !additional_modules.is_empty() {
        body.option("forge_additional_modules", additional_modules);
    }
    if let Some(layers) = clip_skip {
        body.option("CLIP_stop_at_last_layers", layers);
    }
    GenerationRequest {
        endpoint,
        body: body.0,
    }
}

fn pictures(
    body: &mut Body,
    init_images: Vec<Vec<u8>>,
    mask: &[u8],
    violations: &mut Vec<Violation>,
) {
    if !mask.is_empty() {
        if init_images.is_empty() {
            violations.push(Violation::new(
                "params.mask",
                "needs an init image that it belongs to",
            ));
            return;
        }
        body.set("mask", STANDARD.encode(mask));
    }
    if !init_images.is_empty() {
        let encoded: Vec<String> = init_images
            .iter()
            .map(|image| STANDARD.encode(image))
            .collect();
        body.set("init_images", encoded);
    }
}

/// The second pass. Guidance that is absent is that of the first pass, while
/// Forge itself would take 1.
fn hires_fields(
    body: &mut Body,
    hires: proto::HiresFix,
    (cfg_scale, distilled): (Option<f64>, Option<f64>),
    violations: &mut Vec<Violation>,
) {
    let proto::HiresFix {
        scale,
        upscaler,
        steps,
        width,
        height,
        checkpoint,
        sampler,
        scheduler,
        prompt,
        negative_prompt,
        cfg_scale: hires_cfg_scale,
        distilled_cfg_scale: hires_distilled,
    } = hires;
    body.set("enable_hr", true);
    body.number("hr_scale", scale, violations);
    body.text("hr_upscaler", upscaler);
    body.integer("hr_second_pass_steps", steps);
    body.integer("hr_resize_x", width);
    body.integer("hr_resize_y", height);
    body.text("hr_checkpoint_name", checkpoint);
    body.text("hr_sampler_name", sampler);
    body.text("hr_scheduler", scheduler);
    body.text("hr_prompt", prompt);
    body.text("hr_negative_prompt", negative_prompt);
    let guidance = hires_cfg_scale.or(cfg_scale).unwrap_or(CFG_SCALE_DEFAULT);
    body.number("hr_cfg", Some(guidance), violations);
    body.number(
        "hr_distilled_cfg",
        hires_distilled.or(distilled),
        violations,
    );
}

fn refiner_fields(body: &mut Body, refiner: proto::Refiner, violations: &mut Vec<Violation>) {
    let proto::Refiner {
        checkpoint,
        switch_at,
    } = refiner;
    if checkpoint.is_empty() {
        violations.push(Violation::new(
            "params.refiner.checkpoint",
            "must name a checkpoint; leave refiner out for none",
        ));
    }
    body.text("refiner_checkpoint", checkpoint);
    body.number("refiner_switch_at", switch_at, violations);
}

/// Fields that have no place of their own.
fn extra_fields(body: &mut Body, extra: prost_types::Struct, violations: &mut Vec<Violation>) {
    let remedy = "use forge_payload.json";
    let fields = json::object_from_struct(extra, "params.extra", remedy, violations);
    let place_of = |path: &str| PLACES.iter().find(|(body, _)| *body == path);
    let mut placed = |path: &str| {
        let place = place_of(path);
        if let Some((_, place)) = place {
            let text = format!("has a place of its own: use params.{place}");
            violations.push(Violation::new(format!("params.extra.{path}"), text));
        }
        place.is_some()
    };
    for (name, value) in fields {
        match value {
            Value::Object(options) if name == "override_settings" => {
                for (option, value) in options {
                    if !placed(&format!("{name}.{option}")) {
                        body.option(&option, value);
                    }
                }
            }
            value if !placed(&name) => body.set(&name, value),
            _ => {}
        }
    }
}

#[cfg(test)]
#[path = "params/tests.rs"]
mod tests;
