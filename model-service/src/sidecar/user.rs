//! Owns the `.json` that A1111 and Forge write when somebody edits a model's card, which Civitai
//! Helper and Civitai Browser+ also write. It does not read the choice of VAE.

use serde_json::{Map, Value};

use super::lenient::{id, number, sha256, text, word};
use super::{Kind, Sidecar};
use crate::findings::{self, Field, Finding, Source};

/// Keys of which it has at least one.
const KEYS: [&str; 9] = [
    "description",
    "activation text",
    "preferred weight",
    "negative text",
    "notes",
    "sd version",
    "sd_version_str",
    "vae_te",
    "modelVersionId",
];

/// Whether an object is one.
pub(super) fn is_one(object: &Map<String, Value>) -> bool {
    KEYS.iter().any(|key| object.contains_key(*key))
}

/// What it says.
pub(super) fn sidecar(object: &Map<String, Value>) -> Sidecar {
    let mut found = Vec::new();
    let mut add = |field, value: Option<String>| {
        let finding = value.and_then(|text| Finding::text(field, &text, Source::Sidecar));
        found.extend(finding);
    };
    add(Field::Description, text(object.get("description")));
    add(Field::ActivationText, text(object.get("activation text")));
    add(Field::NegativeText, text(object.get("negative text")));
    add(Field::Notes, text(object.get("notes")));
    add(Field::SdVersion, word(object.get("sd version")));
    // Forge writes the name of the member of its enumeration.
    let member = text(object.get("sd_version_str")).map(|text| {
        let family = text.strip_prefix("SdVersion.").unwrap_or(&text);
        Value::from(family)
    });
    add(Field::SdVersion, word(member.as_ref()));
    add(Field::CivitaiModelId, id(object.get("modelId")));
    add(Field::CivitaiVersionId, id(object.get("modelVersionId")));
    // 0 is the box that nobody touched.
    let weight = number(object.get("preferred weight")).filter(|weight| *weight != 0.0);
    found.extend(weight.and_then(|weight| {
        let weight = findings::Value::Number(weight);
        Finding::new(Field::PreferredWeight, weight, Source::Sidecar)
    }));
    let claimed = sha256(object.get("sha256"));
    Sidecar::new(Kind::UserMetadata, claimed.into_iter().collect(), found)
}
