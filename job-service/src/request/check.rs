//! Checks a request against every limit, and tells all violations at once.
//! Forge answers a mistake with a 500, or ignores it silently, or does
//! something else instead (`forge/forge-api.md` §1): so nothing unknown
//! passes.

mod models;

use std::fmt::Display;

use serde_json::Value;

use super::fields::{self, FIELDS, FORBIDDEN_SCRIPTS, Kind, Of, RESERVED};
use super::limits::*;
use super::options::{self, OWN_OPTIONS, OptionKind};
use super::size::{depth, json_bytes};
use super::{GenerationRequest, pictures};
use crate::job::Endpoint;

/// A field that is wrong, named as the caller knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The field's path in the caller's request.
    pub path: String,
    /// What is wrong and what to do.
    pub description: String,
}

impl Violation {
    /// A violation at a path.
    pub fn new(path: impl Into<String>, description: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            description: description.into(),
        }
    }
}

impl GenerationRequest {
    /// Everything that is wrong with it, at most [`VIOLATIONS_MAX`] items.
    /// `name_of` turns a path in Forge's body (`hr_scale`, `init_images[0]`,
    /// `override_settings.rho`) into the caller's own.
    #[must_use]
    pub fn check(&self, name_of: &dyn Fn(&str) -> String) -> Vec<Violation> {
        let mut check = Check {
            request: self,
            name_of,
            found: Vec::new(),
        };
        check.size();
        // A body that is too deep is not looked into.
        if check.found.is_empty() {
            check.fields();
            check.combinations();
            check.models();
            check.pixels();
        }
        check.found.truncate(VIOLATIONS_MAX);
        check.found
    }
}

/// A check under way.
struct Check<'r> {
    request: &'r GenerationRequest,
    name_of: &'r dyn Fn(&str) -> String,
    found: Vec<Violation>,
}

impl Check<'_> {
    fn report(&mut self, path: &str, description: impl Into<String>) {
        self.found
            .push(Violation::new((self.name_of)(path), description));
    }

    /// Reports unless a number lies between two others.
    fn between<N: PartialOrd + Display>(&mut self, path: &str, number: N, least: N, most: N) {
        if number < least || number > most {
            self.report(path, format!("must be {least} to {most}, not {number}"));
        }
    }

    fn size(&mut self) {
        let body = &self.request.body;
        if body.values().any(|value| depth(value) >= JSON_DEPTH_MAX) {
            self.report("", format!("is nested deeper than {JSON_DEPTH_MAX} levels"));
            return;
        }
        let bytes = json_bytes(body);
        if bytes > BODY_BYTES_MAX {
            self.report(
                "",
                format!("has {bytes} bytes; {BODY_BYTES_MAX} is the limit"),
            );
        }
    }

    fn fields(&mut self) {
        let request = self.request;
        for (name, value) in &request.body {
            if let Some((_, remedy)) = RESERVED.iter().find(|(reserved, _)| reserved == name) {
                if !value.is_null() {
                    self.report(name, format!("is reserved: {remedy}"));
                }
                continue;
            }
            match fields::field(name) {
                None => self.report(name, unknown_field(name)),
                Some((Of::Txt2img, _)) if request.endpoint == Endpoint::Img2img => {
                    self.report(name, "belongs to txt2img; leave it out of an img2img");
                }
                Some((Of::Img2img, _)) if request.endpoint == Endpoint::Txt2img => {
                    self.report(name, "belongs to img2img; leave it out of a txt2img");
                }
                Some((_, kind)) if !value.is_null() => self.value(name, value, kind),
                Some((_, Kind::Text(PROMPT_BYTES_MAX))) => {
                    self.report(name, "must be text, not null; leave it out for none");
                }
                Some(_) => {}
            }
        }
    }

    fn value(&mut self, path: &str, value: &Value, kind: Kind) {
        match kind {
            Kind::Integer(least, most) => self.integer(path, value, least, most),
            Kind::Side(least, most) => {
                self.integer(path, value, least, most);
                if whole_number(value).is_some_and(|side| side % SIDE_STEP != 0) {
                    self.report(path, format!("must be a multiple of {SIDE_STEP}"));
                }
            }
            Kind::Number(least, most) => self.number(path, value, least, most),
            Kind::Flag if value.is_boolean() => {}
            Kind::Flag => self.report(path, "must be true or false"),
            Kind::Text(bytes_max) => self.text(path, value, bytes_max),
            Kind::Names(most) => self.names(path, value, most),
            Kind::Picture => self.picture(path, value),
            Kind::Pictures(most) => self.pictures(path, value, most),
            Kind::Options => self.options(path, value),
            Kind::Scripts => self.scripts(path, value),
            Kind::Arguments if value.is_array() => self.no_urls(path, value),
            Kind::Arguments => self.report(path, "must be a list"),
        }
    }

    fn integer(&mut self, path: &str, value: &Value, least: i64, most: i64) {
        match whole_number(value) {
            Some(number) => self.between(path, number, least, most),
            None if value.is_number() => {
                self.report(
                    path,
                    format!("must be a whole number from {least} to {most}"),
                );
            }
            None => self.report(path, "must be a whole number"),
        }
    }

    fn number(&mut self, path: &str, value: &Value, least: f64, most: f64) {
        match value.as_f64() {
            Some(number) => self.between(path, number, least, most),
            None => self.report(path, "must be a number"),
        }
    }

    fn text(&mut self, path: &str, value: &Value, bytes_max: usize) {
        match value.as_str() {
            Some(text) if text.len() > bytes_max => {
                let bytes = text.len();
                self.report(path, format!("has {bytes} bytes; {bytes_max} is the limit"));
            }
            Some(text) if text.contains('\0') => self.report(path, "must not hold a NUL"),
            Some(_) => {}
            None => self.report(path, "must be text"),
        }
    }

    fn names(&mut self, path: &str, value: &Value, most: usize) {
        let Some(items) = value.as_array() else {
            return self.report(path, "must be a list of names");
        };
        if items.len() > most {
            self.report(
                path,
                format!("has {} items; {most} is the limit", items.len()),
            );
        }
        for (at, item) in items.iter().enumerate().take(most) {
            self.text(&format!("{path}[{at}]"), item, NAME_BYTES_MAX);
        }
    }

    fn picture(&mut self, path: &str, value: &Value) {
        let fault = match value.as_str() {
            Some(text) => pictures::fault(text),
            None => Some("must be a picture as base64 text".to_owned()),
        };
        if let Some(fault) = fault {
            self.report(path, fault);
        }
    }

    fn pictures(&mut self, path: &str, value: &Value, most: usize) {
        let Some(items) = value.as_array() else {
            return self.report(path, "must be a list of pictures");
        };
        if items.is_empty() || items.len() > most {
            self.report(path, format!("must have 1 to {most} pictures"));
        }
        for (at, item) in items.iter().enumerate().take(most) {
            self.picture(&format!("{path}[{at}]"), item);
        }
    }

    fn options(&mut self, path: &str, value: &Value) {
        let Some(settings) = value.as_object() else {
            return self.report(path, "must be an object");
        };
        for (name, value) in settings {
            let path = format!("{path}.{name}");
            if OWN_OPTIONS.contains(&name.as_str()) {
                self.report(
                    &path,
                    "is reserved: StableQueue decides how pictures are saved",
                );
                continue;
            }
            match options::kind_of(name) {
                None => self.report(&path, "cannot be set per job; set it on the server instead"),
                Some(_) if value.is_null() => {}
                Some(kind) => self.option(&path, value, kind),
            }
        }
    }

    fn option(&mut self, path: &str, value: &Value, kind: OptionKind) {
        match kind {
            OptionKind::Integer(least, most) => self.integer(path, value, least, most),
            OptionKind::Number(least, most) => self.number(path, value, least, most),
            OptionKind::Flag => self.value(path, value, Kind::Flag),
            OptionKind::Text => self.text(path, value, NAME_BYTES_MAX),
            OptionKind::Names(most) => self.names(path, value, most),
        }
    }

    fn scripts(&mut self, path: &str, value: &Value) {
        let Some(scripts) = value.as_object() else {
            return self.report(path, "must be an object of scripts by name");
        };
        for (name, script) in scripts {
            let path = format!("{path}.{name}");
            if !script.get("args").is_none_or(Value::is_array) || !script.is_object() {
                self.report(&path, "must be an object with a list `args`");
            }
            self.allowed_script(&path, name);
            self.no_urls(&path, script);
        }
    }

    fn allowed_script(&mut self, path: &str, name: &str) {
        if FORBIDDEN_SCRIPTS.contains(&name.trim().to_lowercase().as_str()) {
            self.report(path, "runs code of the caller's and is not allowed");
        }
    }

    /// Reports every text that Forge would fetch.
    fn no_urls(&mut self, path: &str, value: &Value) {
        match value {
            Value::String(text) if pictures::is_url(text) => {
                self.report(path, "is a URL; send the picture itself as base64");
            }
            Value::Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    self.no_urls(&format!("{path}[{at}]"), item);
                }
            }
            Value::Object(fields) => {
                for (name, item) in fields {
                    self.no_urls(&format!("{path}.{name}"), item);
                }
            }
            _ => {}
        }
    }

    /// What no field says alone.
    fn combinations(&mut self) {
        let request = self.request;
        let is_set = |field: &str| {
            request
                .body
                .get(field)
                .is_some_and(|value| !value.is_null())
        };
        if request.endpoint == Endpoint::Img2img && !is_set("init_images") {
            self.report("init_images", "an img2img needs at least one picture");
        }
        if request.endpoint == Endpoint::Img2img
            && request
                .body
                .get("denoising_strength")
                .is_some_and(Value::is_null)
        {
            self.report(
                "denoising_strength",
                "must be a number; leave it out for 0.75",
            );
        }
        if request.hires() && !is_set("denoising_strength") {
            self.report(
                "denoising_strength",
                "hires fix needs it: set it, for example to 0.5; Forge fails without",
            );
        }
        if request.refiner().is_some() && !is_set("refiner_switch_at") {
            self.report("refiner_switch_at", "a refiner needs it, for example 0.8");
        }
        if let Some(name) = request.body.get("script_name").and_then(Value::as_str) {
            self.allowed_script("script_name", name);
        }
        // Forge takes "DPM++ 2M Karras" apart for the first pass only.
        let sampler = request.body.get("hr_sampler_name").and_then(Value::as_str);
        if sampler.is_some_and(|name| name.ends_with(" Karras") || name.ends_with(" Exponential")) {
            self.report(
                "hr_sampler_name",
                "must not end in a schedule type; put that into hr_scheduler",
            );
        }
    }

    /// How many images and pixels it asks for.
    fn pixels(&mut self) {
        let request = self.request;
        let images = request.expected_images();
        if images > IMAGES_MAX {
            let text =
                format!("with batch_size asks for {images} images; {IMAGES_MAX} is the limit");
            self.report("n_iter", text);
        }
        let (width, height) = request.output_size();
        let path = if request.hires() { "hr_scale" } else { "width" };
        let pixels = width.saturating_mul(height);
        if pixels > IMAGE_PIXELS_MAX {
            let text = format!(
                "makes images of {width} x {height} pixels; {IMAGE_PIXELS_MAX} pixels is the limit"
            );
            self.report(path, text);
            return;
        }
        let total = pixels.saturating_mul(images as u64);
        if images <= IMAGES_MAX && total > REQUEST_PIXELS_MAX {
            let text = format!(
                "makes {total} pixels in all images; {REQUEST_PIXELS_MAX} is the limit: \
                 submit more jobs with fewer or smaller images"
            );
            self.report(path, text);
        }
    }
}

/// A whole number, written with or without a decimal point.
fn whole_number(value: &Value) -> Option<i64> {
    let mut value = value.clone();
    super::whole(&mut value);
    value.as_i64()
}

/// What to say of a field that Forge would ignore.
fn unknown_field(name: &str) -> String {
    let lower = name.to_lowercase();
    match FIELDS.iter().find(|(known, _, _)| *known == lower) {
        Some((known, _, _)) => format!("is not a field of Forge; did you mean {known}?"),
        None if options::kind_of(name).is_some() => {
            format!("is an option: put it into override_settings.{name}")
        }
        None => "is not a field of Forge, which would ignore it; leave it out".to_owned(),
    }
}
