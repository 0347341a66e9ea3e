//! Owns sidecars that hold an answer of Civitai: for a version, or for a model with its versions.
//! What such an answer says of a model is `civitai/version.rs`.

use serde_json::{Map, Value};

use super::lenient::{id, object, text, word, words};
use super::{Claims, Kind, Part, Sidecar, VERSIONS_MAX};
use crate::civitai::version::Version;
use crate::findings::{Field, Finding, Source};
use crate::model::Sha256;

/// A sidecar that holds the answer for one version. Civitai Helper writes one without ids for a
/// file that Civitai does not know; its words are only guessed.
pub(super) fn sidecar(answer: &Map<String, Value>) -> Sidecar {
    if let Some(part) = part(answer) {
        return Sidecar {
            kind: Kind::CivitaiVersion,
            parts: vec![part],
        };
    }
    let files = answer.get("files").and_then(Value::as_array);
    let files = files.into_iter().flatten().filter_map(Value::as_object);
    let hashes = files.filter_map(|file| object(file, "hashes"));
    let hashes = hashes.filter_map(|hashes| super::lenient::sha256(hashes.get("SHA256")));
    Sidecar::new(Kind::NothingFound, hashes.collect(), Vec::new())
}

/// A sidecar that holds the answer for a model: a part for each of its versions.
pub(super) fn sidecar_of_model(model: &Map<String, Value>, versions: &[Value]) -> Sidecar {
    let mut about = model.clone();
    about.remove("modelVersions");
    let about = Value::Object(about);
    let versions = versions.iter().filter_map(Value::as_object);
    let parts = versions.take(VERSIONS_MAX).filter_map(|version| {
        // There a version does not repeat what is said of its model.
        let mut answer = version.clone();
        answer.insert("modelId".to_owned(), model.get("id")?.clone());
        answer.insert("model".to_owned(), about.clone());
        part(&answer)
    });
    Sidecar {
        kind: Kind::CivitaiModel,
        parts: parts.collect(),
    }
}

/// What the answer for one version says, and for which files; `None` when it has no id.
fn part(answer: &Map<String, Value>) -> Option<Part> {
    let version = version(answer)?;
    let files = version.files();
    Some(Part {
        claims: Claims {
            sha256: files.into_iter().filter_map(|file| file.sha256).collect(),
        },
        findings: findings(answer, None)?,
    })
}

/// What the answer for a version says of the file with this SHA-256; `None` when it has no id.
pub(super) fn findings(
    answer: &Map<String, Value>,
    sha256: Option<&Sha256>,
) -> Option<Vec<Finding>> {
    let mut found = version(answer)?.findings(Source::Sidecar, sha256.map(Sha256::as_str));
    // Civitai itself does not say that there; the programs that keep its answer ask for it.
    let model = object(answer, "model");
    let description = text(model.and_then(|model| model.get("description")));
    found.extend(
        description.and_then(|description| {
            Finding::text(Field::Description, &description, Source::Sidecar)
        }),
    );
    Some(found)
}

/// The answer in the types that Civitai has, without what says nothing: a sidecar must not keep out
/// a later answer.
fn version(answer: &Map<String, Value>) -> Option<Version> {
    let mut plain = answer.clone();
    let texts = [
        ("id", id(answer.get("id"))),
        ("modelId", id(answer.get("modelId"))),
        ("name", text(answer.get("name"))),
        ("baseModel", word(answer.get("baseModel"))),
    ];
    for (key, text) in texts {
        plain.insert(key.to_owned(), text.map_or(Value::Null, Value::String));
    }
    match words(answer.get("trainedWords")).filter(|words| !words.is_empty()) {
        Some(words) => plain.insert("trainedWords".to_owned(), words.into()),
        None => plain.remove("trainedWords"),
    };
    Version::read(Value::Object(plain))
}
