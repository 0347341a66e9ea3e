//! What a caller asked Forge to do, in Forge's own field names, and what can
//! be read from it. Limits are checked in `request::check`; what StableQueue
//! adds for a server is `payload`'s work.

pub mod adopted;
mod check;
mod fields;
pub mod limits;
mod lora;
mod options;
mod pictures;
mod size;

use std::collections::HashMap;

use serde_json::{Map, Value};

pub use check::Violation;
pub use limits::*;
pub(crate) use lora::{lora_tags, rename_loras};
pub use options::{FOLDER_OPTIONS, OWN_OPTIONS, SETTABLE_OPTIONS};
pub(crate) use options::{OPTIONS, OptionKind};
pub use pictures::InputImage;

use crate::job::{Endpoint, ModelRole, Requirement};

/// The option that selects the checkpoint.
pub const CHECKPOINT_OPTION: &str = "sd_model_checkpoint";
/// The option that selects VAE and text encoders.
pub const MODULES_OPTION: &str = "forge_additional_modules";
/// What hires fix must be told when its modules are those of the first pass
/// (without it Forge fails after that pass, exchange 03/18).
pub const SAME_MODULES: &str = "Use same choices";
/// What stands for "the checkpoint of the first pass".
const SAME_CHECKPOINT: &str = "Use same checkpoint";
/// Images of a batch when the request does not say.
const BATCH_SIZE_DEFAULT: u64 = 1;

/// A request for one of Forge's two generation calls, as the caller made it:
/// what is absent stays absent, zero is a value.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerationRequest {
    /// Which call.
    pub endpoint: Endpoint,
    /// Its body in Forge's field names.
    pub body: Map<String, Value>,
}

impl GenerationRequest {
    /// Parses what [`Self::to_json`] wrote.
    pub fn from_json(endpoint: Endpoint, text: &str) -> Result<Self, serde_json::Error> {
        Ok(Self {
            endpoint,
            body: serde_json::from_str(text)?,
        })
    }

    /// The body as JSON text, keys in the caller's order.
    #[must_use]
    pub fn to_json(&self) -> String {
        Value::Object(self.body.clone()).to_string()
    }

    /// Brings a checked request into its stored form: fields that are null
    /// are left out (null is their default), whole numbers lose their
    /// decimal point where Forge wants integers, and hires fix gets the
    /// modules that it cannot do without.
    pub fn normalise(&mut self) {
        self.body.retain(|_, value| !value.is_null());
        for (name, value) in &mut self.body {
            if fields::is_integer(name) {
                whole(value);
            }
        }
        if let Some(Value::Object(options)) = self.body.get_mut("override_settings") {
            options.retain(|_, value| !value.is_null());
            for (name, value) in options.iter_mut() {
                if options::is_integer(name) {
                    whole(value);
                }
            }
        }
        if self.hires() && !self.body.contains_key("hr_additional_modules") {
            self.body.insert(
                "hr_additional_modules".to_owned(),
                vec![SAME_MODULES].into(),
            );
        }
    }

    /// The models it names, each once: checkpoint, hires checkpoint, refiner,
    /// then LoRAs in the order of the prompts.
    #[must_use]
    pub fn requirements(&self) -> Vec<Requirement> {
        let mut found: Vec<Requirement> = Vec::new();
        let mut need = |role, reference: &str| {
            let requirement = Requirement {
                role,
                reference: reference.to_owned(),
            };
            if !found.contains(&requirement) {
                found.push(requirement);
            }
        };
        if let Some(name) = self.checkpoint() {
            need(ModelRole::Checkpoint, name);
        }
        if let Some(name) = self.hires_checkpoint() {
            need(ModelRole::HiresCheckpoint, name);
        }
        if let Some(name) = self.refiner() {
            need(ModelRole::Refiner, name);
        }
        for name in self.lora_names() {
            need(ModelRole::Lora, name);
        }
        found
    }

    /// The checkpoint it asks for, if it names one.
    #[must_use]
    pub fn checkpoint(&self) -> Option<&str> {
        let options = self.body.get("override_settings")?;
        model_name(options.get(CHECKPOINT_OPTION))
    }

    /// The checkpoint of the second pass, if it is another one.
    #[must_use]
    pub fn hires_checkpoint(&self) -> Option<&str> {
        if !self.hires() {
            return None;
        }
        model_name(self.body.get("hr_checkpoint_name"))
    }

    /// The checkpoint that takes over for the last steps, if there is one.
    #[must_use]
    pub fn refiner(&self) -> Option<&str> {
        model_name(self.body.get("refiner_checkpoint"))
    }

    /// The prompts whose `<lora:NAME:…>` tags count, by their fields.
    fn lora_prompts(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let prompts: &'static [&'static str] =
            match (self.flag("disable_extra_networks"), self.hires()) {
                (true, _) => &[],
                (false, true) => &PROMPTS,
                (false, false) => &PROMPTS[..2],
            };
        prompts
            .iter()
            .filter_map(|field| Some((*field, self.body.get(*field)?.as_str()?)))
    }

    /// Names in the tags of the prompts; with repetitions.
    fn lora_names(&self) -> impl Iterator<Item = &str> {
        self.lora_prompts()
            .flat_map(|(_, prompt)| lora_tags(prompt))
            .map(|tag| tag.name)
    }

    /// The seed it asks for; `None` when one is to be drawn.
    #[must_use]
    pub fn seed(&self) -> Option<i64> {
        self.integer("seed").filter(|seed| *seed >= 0)
    }

    /// The variation seed it asks for; `None` when one is to be drawn.
    #[must_use]
    pub fn subseed(&self) -> Option<i64> {
        self.integer("subseed").filter(|seed| *seed >= 0)
    }

    /// Fixes the seed.
    pub fn set_seed(&mut self, seed: i64) {
        self.body.insert("seed".to_owned(), seed.into());
    }

    /// Fixes the variation seed.
    pub fn set_subseed(&mut self, subseed: i64) {
        self.body.insert("subseed".to_owned(), subseed.into());
    }

    /// Whether images differ by the variation seed instead of the seed.
    #[must_use]
    pub fn varies_by_subseed(&self) -> bool {
        self.number("subseed_strength")
            .is_some_and(|share| share > 0.0)
    }

    /// How many images it asks for: batch size times iterations.
    #[must_use]
    pub fn expected_images(&self) -> usize {
        let count = |field| {
            self.integer(field)
                .and_then(|count| u64::try_from(count).ok())
                .unwrap_or(BATCH_SIZE_DEFAULT)
        };
        usize::try_from(count("batch_size").saturating_mul(count("n_iter"))).unwrap_or(usize::MAX)
    }

    /// Whether there is a second pass.
    #[must_use]
    pub fn hires(&self) -> bool {
        self.endpoint == Endpoint::Txt2img && self.flag("enable_hr")
    }

    /// Takes the pictures out of a checked request, to be kept beside it; their
    /// digests stand for them from then on.
    pub fn take_pictures(&mut self) -> Vec<InputImage> {
        pictures::take(&mut self.body)
    }

    /// Puts the pictures back, by their digests. The digest of one that is not
    /// there is the error.
    pub fn put_pictures_back(&mut self, images: &HashMap<String, Vec<u8>>) -> Result<(), String> {
        pictures::put_back(&mut self.body, images)
    }

    /// The body with pictures told in words, for showing.
    #[must_use]
    pub fn without_pixels(&self) -> Value {
        let mut shown = self.body.clone();
        for (name, value) in &mut shown {
            if !PROMPTS.contains(&name.as_str()) {
                pictures::describe(value);
            }
        }
        Value::Object(shown)
    }

    fn flag(&self, field: &str) -> bool {
        self.body.get(field).and_then(Value::as_bool) == Some(true)
    }

    fn number(&self, field: &str) -> Option<f64> {
        self.body.get(field).and_then(Value::as_f64)
    }

    fn integer(&self, field: &str) -> Option<i64> {
        let value = self.body.get(field)?;
        value.as_i64().or_else(|| {
            let number = value.as_f64().filter(|number| number.fract() == 0.0)?;
            #[expect(clippy::cast_possible_truncation, reason = "a whole number")]
            Some(number as i64)
        })
    }
}

/// The fields that hold prompts; the last two only count with hires fix.
pub(crate) const PROMPTS: [&str; 4] = [
    "prompt",
    "negative_prompt",
    "hr_prompt",
    "hr_negative_prompt",
];

/// Turns 1.0 into 1.
pub(crate) fn whole(value: &mut Value) {
    let Some(number) = value.as_f64().filter(|_| value.is_f64()) else {
        return;
    };
    if number.fract() == 0.0 && number.abs() <= EXACT_INTEGER_MAX {
        #[expect(clippy::cast_possible_truncation, reason = "whole and in range")]
        let integer = number as i64;
        *value = integer.into();
    }
}

/// A model's name, unless it says "none" or "the same".
fn model_name(value: Option<&Value>) -> Option<&str> {
    let name = value?.as_str()?;
    let says_none = name.is_empty() || name == SAME_CHECKPOINT || name.eq_ignore_ascii_case("none");
    (!says_none).then_some(name)
}

#[cfg(test)]
#[path = "request/tests.rs"]
mod tests;
