//! Owns LoRA Manager's `.metadata.json`. It does not follow the paths in it.

use serde_json::{Map, Value};

use super::lenient::{number, object, sha256, text, word, words};
use super::{Kind, Sidecar, version};
use crate::findings::{self, Field, Finding, Source};

/// What it says: its own fields, then Civitai's answer inside it.
pub(super) fn sidecar(from: &Map<String, Value>) -> Sidecar {
    let claimed = sha256(from.get("sha256"));
    let mut found = Vec::new();
    let mut add = |field, value: Option<String>| {
        let finding = value.and_then(|text| Finding::text(field, &text, Source::Sidecar));
        found.extend(finding);
    };
    add(Field::Name, text(from.get("model_name")));
    add(Field::BaseModel, word(from.get("base_model")));
    add(Field::Notes, text(from.get("notes")));
    add(Field::Description, text(from.get("modelDescription")));
    let weight = text(from.get("usage_tips")).and_then(|tips| strength(&tips));
    found.extend(weight.and_then(|weight| {
        let weight = findings::Value::Number(weight);
        Finding::new(Field::PreferredWeight, weight, Source::Sidecar)
    }));
    let words = words(from.get("trainedWords")).filter(|words| !words.is_empty());
    found.extend(words.and_then(|words| {
        let words = findings::Value::Words(words);
        Finding::new(Field::TrainedWords, words, Source::Sidecar)
    }));
    let answer = object(from, "civitai");
    let said = answer.and_then(|answer| version::findings(answer, claimed.as_ref()));
    found.extend(said.unwrap_or_default());
    Sidecar::new(Kind::LoraManager, claimed.into_iter().collect(), found)
}

/// The strength among the tips, which are JSON inside a text.
fn strength(tips: &str) -> Option<f64> {
    let tips = super::json::object(tips.as_bytes()).ok()?;
    number(tips.get("strength")).filter(|strength| *strength != 0.0)
}
