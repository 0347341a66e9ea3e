//! The body that goes to a server: the caller's request, completed so that it
//! neither depends on earlier jobs nor changes later ones, with the attempt's
//! id and, on servers that are ours alone, with names for the saved files.
//! Pure; sending it is the client's work.

mod files;

use std::collections::HashMap;

use serde_json::{Map, Value, json};

pub use files::{FILES_FOLDER, file_stem, saved_file_paths};

use crate::job::{ModelRole, Requirement};
use crate::request::{
    CHECKPOINT_OPTION, FOLDER_OPTIONS, GenerationRequest, MODULES_OPTION, OPTIONS, OptionKind,
    PROMPTS, SAME_MODULES, SETTABLE_OPTIONS, rename_loras, whole,
};
pub use crate::server::Usage;

/// The own options without which a saved file could not be found again.
const NEEDED_FOR_FILES: [&str; 4] = [
    "samples_filename_pattern",
    "save_images_add_number",
    "save_to_dirs",
    "directories_filename_pattern",
];

/// What is known of a server that matters for a body.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerProfile {
    /// Who else uses it.
    pub usage: Usage,
    /// Option key to the value that was read from this server before our
    /// first job there: what [`baseline_from_options`] gave.
    pub baseline: Map<String, Value>,
    /// Whether files can be fetched from it.
    pub ui_mode: bool,
}

impl ServerProfile {
    /// Whether jobs save their pictures there, so that a lost answer can be
    /// fetched.
    #[must_use]
    pub fn saves_files(&self) -> bool {
        self.usage == Usage::Dedicated
            && self.ui_mode
            && NEEDED_FOR_FILES
                .iter()
                .all(|option| self.baseline.contains_key(*option))
    }
}

/// Which attempt a body is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptIdentity {
    /// The job.
    pub job_id: String,
    /// The attempt's number, from 1.
    pub number: i32,
    /// Its fencing token, which is also its task id at the server.
    pub token: String,
}

/// What a server calls the models that a job needs.
pub type ModelTitles = HashMap<Requirement, String>;

/// Options that a job sets and this server has no baseline for: they would
/// leak into later jobs there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server does not list the options {}", .keys.join(", "))]
pub struct NoBaseline {
    /// The options, in the job's order.
    pub keys: Vec<String>,
}

/// The part of a server's option listing that bodies need: what StableQueue
/// can set and where pictures are saved. Integers are integers again, since
/// the listing gives floats; options without a value are left out.
#[must_use]
pub fn baseline_from_options(options: &Value) -> Map<String, Value> {
    let mut baseline = Map::new();
    for name in SETTABLE_OPTIONS.iter().chain(FOLDER_OPTIONS) {
        let Some(value) = options.get(name).filter(|value| !value.is_null()) else {
            continue;
        };
        let mut value = value.clone();
        let kind = OPTIONS.iter().find(|(known, _)| known == name);
        if let Some((_, OptionKind::Integer(..))) = kind {
            whole(&mut value);
        }
        baseline.insert((*name).to_owned(), value);
    }
    baseline
}

/// The body for one attempt on one server. `titles` says what the server
/// calls the other models than the checkpoint; a model that is not in it goes
/// as the caller named it.
pub fn build(
    request: &GenerationRequest,
    checkpoint_title: &str,
    titles: &ModelTitles,
    seed: i64,
    subseed: i64,
    profile: &ServerProfile,
    attempt: &AttemptIdentity,
) -> Result<Map<String, Value>, NoBaseline> {
    let mut options = options_for(request, checkpoint_title, profile)?;
    let saves = profile.saves_files();
    if saves {
        own_options(&mut options, profile, attempt);
    }
    let mut body = request.body.clone();
    body.insert("seed".to_owned(), seed.into());
    body.insert("subseed".to_owned(), subseed.into());
    name_models(&mut body, request, titles);
    if request.hires() && !body.contains_key("hr_additional_modules") {
        body.insert("hr_additional_modules".to_owned(), json!([SAME_MODULES]));
    }
    body.insert("override_settings".to_owned(), Value::Object(options));
    body.insert(
        "override_settings_restore_afterwards".to_owned(),
        (profile.usage == Usage::Shared).into(),
    );
    body.insert("force_task_id".to_owned(), attempt.token.clone().into());
    body.insert("send_images".to_owned(), true.into());
    body.insert("save_images".to_owned(), saves.into());
    Ok(body)
}

/// A body that makes nothing of value but a loaded checkpoint: 64 x 64 in one
/// step, belonging to no job.
#[must_use]
pub fn loading_body(checkpoint_title: &str, token: &str) -> Map<String, Value> {
    let body = json!({
        "prompt": "",
        "steps": 1,
        "width": 64,
        "height": 64,
        "seed": 0,
        "subseed": 0,
        "send_images": false,
        "save_images": false,
        "force_task_id": token,
        "override_settings": {CHECKPOINT_OPTION: checkpoint_title, MODULES_OPTION: []},
        "override_settings_restore_afterwards": false,
    });
    match body {
        Value::Object(body) => body,
        _ => Map::new(),
    }
}

/// Every option that a caller can set and this server has: the job's value or
/// the baseline.
fn options_for(
    request: &GenerationRequest,
    checkpoint_title: &str,
    profile: &ServerProfile,
) -> Result<Map<String, Value>, NoBaseline> {
    let none = Map::new();
    let asked = match request.body.get("override_settings") {
        Some(Value::Object(asked)) => asked,
        _ => &none,
    };
    let always = |name: &str| name == CHECKPOINT_OPTION || name == MODULES_OPTION;
    let keys: Vec<String> = asked
        .keys()
        .filter(|name| !always(name) && !profile.baseline.contains_key(*name))
        .cloned()
        .collect();
    if !keys.is_empty() {
        return Err(NoBaseline { keys });
    }
    let mut options = Map::new();
    options.insert(CHECKPOINT_OPTION.to_owned(), checkpoint_title.into());
    let modules = asked.get(MODULES_OPTION).cloned();
    options.insert(
        MODULES_OPTION.to_owned(),
        modules.unwrap_or_else(|| json!([])),
    );
    for (name, _) in OPTIONS.iter().filter(|(name, _)| !always(name)) {
        if let Some(value) = asked.get(*name).or_else(|| profile.baseline.get(*name)) {
            options.insert((*name).to_owned(), value.clone());
        }
    }
    Ok(options)
}

/// How pictures are saved, as far as this server has the options for it.
fn own_options(
    options: &mut Map<String, Value>,
    profile: &ServerProfile,
    attempt: &AttemptIdentity,
) {
    let wanted = [
        ("samples_format", json!("png")),
        ("samples_filename_pattern", json!(files::pattern(attempt))),
        ("save_images_add_number", json!(false)),
        ("save_images_replace_action", json!("Replace")),
        ("save_to_dirs", json!(true)),
        ("directories_filename_pattern", json!(FILES_FOLDER)),
        ("grid_save", json!(false)),
        ("return_grid", json!(false)),
        ("enable_pnginfo", json!(true)),
        ("stealth_pnginfo_option", json!("None")),
        ("save_txt", json!(false)),
    ];
    for (name, value) in wanted {
        if profile.baseline.contains_key(name) {
            options.insert(name.to_owned(), value);
        }
    }
}

/// Writes the server's names of the models into the body.
fn name_models(body: &mut Map<String, Value>, request: &GenerationRequest, titles: &ModelTitles) {
    let title = |role, reference: &str| {
        let requirement = Requirement {
            role,
            reference: reference.to_owned(),
        };
        titles.get(&requirement).cloned()
    };
    let hires = request
        .hires_checkpoint()
        .and_then(|name| title(ModelRole::HiresCheckpoint, name));
    if let Some(hires) = hires {
        body.insert("hr_checkpoint_name".to_owned(), hires.into());
    }
    let refiner = request
        .refiner()
        .and_then(|name| title(ModelRole::Refiner, name));
    if let Some(refiner) = refiner {
        body.insert("refiner_checkpoint".to_owned(), refiner.into());
    }
    for field in PROMPTS {
        if let Some(Value::String(prompt)) = body.get_mut(field) {
            let renamed = rename_loras(prompt, &|name| title(ModelRole::Lora, name));
            *prompt = renamed.into_owned();
        }
    }
}

#[cfg(test)]
#[path = "payload/tests.rs"]
mod tests;
