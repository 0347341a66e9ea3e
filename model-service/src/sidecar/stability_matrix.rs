//! Owns Stability Matrix's `.cm-info.json`. It does not read its defaults for pictures.

use serde_json::{Map, Value};

use super::lenient::{address, flag, id, object, sha256, text, word, words};
use super::{Kind, Sidecar};
use crate::findings::{self, Field, Finding, Source};

/// What it says. Civitai's fields only when it says that Civitai is the source.
pub(super) fn sidecar(from: &Map<String, Value>) -> Sidecar {
    let hashes = object(from, "Hashes");
    let claimed = hashes.and_then(|hashes| sha256(hashes.get("SHA256")));
    let of_civitai = matches!(from.get("Source"), None | Some(Value::Null))
        || from.get("Source").and_then(Value::as_u64) == Some(0);
    let mut found = Vec::new();
    let mut add = |field, value: Option<String>| {
        let finding = value.and_then(|text| Finding::text(field, &text, Source::Sidecar));
        found.extend(finding);
    };
    add(Field::Name, text(from.get("UserTitle")));
    add(Field::Name, text(from.get("ModelName")));
    add(Field::Description, text(from.get("ModelDescription")));
    add(Field::BaseModel, word(from.get("BaseModel")));
    if of_civitai {
        add(Field::CivitaiModelId, id(from.get("ModelId")));
        add(Field::CivitaiVersionId, id(from.get("VersionId")));
        add(Field::CivitaiModelName, text(from.get("ModelName")));
        add(Field::CivitaiModelType, text(from.get("ModelType")));
        add(Field::CivitaiVersionName, text(from.get("VersionName")));
        let description = text(from.get("VersionDescription"));
        add(Field::CivitaiVersionDescription, description);
        add(Field::PreviewUrl, address(from.get("ThumbnailImageUrl")));
        let nsfw = flag(from.get("Nsfw")).map(findings::Value::Flag);
        found.extend(nsfw.and_then(|nsfw| Finding::new(Field::CivitaiNsfw, nsfw, Source::Sidecar)));
    }
    let words = words(from.get("TrainedWords")).filter(|words| !words.is_empty());
    found.extend(words.and_then(|words| {
        let words = findings::Value::Words(words);
        Finding::new(Field::TrainedWords, words, Source::Sidecar)
    }));
    Sidecar::new(Kind::StabilityMatrix, claimed.into_iter().collect(), found)
}
