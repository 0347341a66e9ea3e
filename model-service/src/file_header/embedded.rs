//! Owns what the metadata inside a model file means for the fields of a model: kohya's `ss_*`,
//! ModelSpec's `modelspec.*` and GGUF's `general.*`. It does not read files.

use super::Header;
use crate::findings::{Field, Finding, Source, Value};

mod family;
mod guess;
#[cfg(test)]
mod tests;

/// What a header says of a model. What only the names of training folders suggest is there when
/// `guess_from_names` asks for it, as [`Source::FileName`].
///
/// The base model is not among it: trainers name the model that they start from in words of their
/// own, and a "SDXL" there would keep out Civitai's "Illustrious".
pub fn findings(header: &Header, guess_from_names: bool) -> Vec<Finding> {
    let said = |name: &str| said(header, name);
    let mut found = Vec::new();
    let mut text = |field, value: Option<&str>| {
        let finding = value.and_then(|value| Finding::text(field, value, Source::Embedded));
        found.extend(finding);
    };
    text(Field::Name, said("modelspec.title"));
    text(Field::Name, said("general.name"));
    text(Field::Description, said("modelspec.description"));
    text(Field::Description, said("general.description"));
    text(Field::ActivationText, said("modelspec.trigger_phrase"));
    text(Field::Notes, said("modelspec.usage_hint"));
    text(Field::Notes, said("ss_training_comment"));
    text(Field::SdVersion, family::family(header).as_deref());
    if guess_from_names {
        let words = Some(guess::words(header)).filter(|words| !words.is_empty());
        found.extend(words.and_then(|words| {
            Finding::new(Field::TrainedWords, Value::Words(words), Source::FileName)
        }));
    }
    found
}

/// A value that says something: trainers write "None" where they have nothing to say.
fn said<'a>(header: &'a Header, name: &str) -> Option<&'a str> {
    let value = header.metadata.get(name)?.trim();
    let nothing = value.is_empty() || value.eq_ignore_ascii_case("none");
    (!nothing).then_some(value)
}
