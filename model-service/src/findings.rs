//! Owns what was found out about a model: fields, their values, who said them, and which of them
//! are written. It does not read files, nor write rows.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::FILENAME_BYTES_MAX;

mod field;
#[cfg(test)]
mod tests;

pub use field::{Field, Kind};

/// Longest display name, in bytes.
const NAME_BYTES_MAX: usize = FILENAME_BYTES_MAX;
/// Longest description, activation text, negative text and notes, in bytes.
pub const TEXT_BYTES_MAX: usize = 65_536;
/// Longest word for a family of models, in bytes.
pub const SD_VERSION_BYTES_MAX: usize = 256;
/// Longest text of Civitai, its version's description aside, in bytes.
pub const CIVITAI_BYTES_MAX: usize = 1_024;
/// Longest description of a version of Civitai, in bytes.
pub const VERSION_DESCRIPTION_BYTES_MAX: usize = 16 * 1_024;
/// Most trained words of a model.
pub const WORDS_MAX: usize = 128;
/// The largest weight that is believed, either way.
const WEIGHT_MAX: f64 = 100.0;

/// Who said the value of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// Somebody, by a call; nothing fills such a field.
    Manual,
    /// Civitai.
    Civitai,
    /// A file beside the model's.
    Sidecar,
    /// The header of the model's file.
    Embedded,
    /// Guessed from the name of a file or a folder.
    FileName,
}

impl Source {
    /// The word in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::Civitai => "civitai",
            Self::Sidecar => "sidecar",
            Self::Embedded => "embedded",
            Self::FileName => "file_name",
        }
    }

    /// Reads the word in the database.
    pub fn from_word(word: &str) -> Option<Self> {
        [
            Self::Manual,
            Self::Civitai,
            Self::Sidecar,
            Self::Embedded,
            Self::FileName,
        ]
        .into_iter()
        .find(|source| source.as_str() == word)
    }
}

/// The value of a field.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A text, never empty.
    Text(String),
    /// A finite number.
    Number(f64),
    /// A whole number.
    Integer(i64),
    /// Yes or no.
    Flag(bool),
    /// Words in the order in which they were given, repeated ones included.
    Words(Vec<String>),
}

/// What somebody said of one field of a model. Only [`Finding::new`] makes one, so that each fits
/// its field.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    field: Field,
    value: Value,
    source: Source,
}

impl Finding {
    /// What `source` said of `field`: trimmed, and cut to what the field may hold. `None` when
    /// nothing is left, when the value is not of the field's kind, or when only the whole of it
    /// would have been of use (an id, an address).
    pub fn new(field: Field, value: Value, source: Source) -> Option<Self> {
        let value = match (field.kind(), value) {
            (Kind::Text, Value::Text(text)) => Value::Text(fitting(field, &text)?),
            (Kind::Number, Value::Number(number)) if number.abs() <= WEIGHT_MAX => {
                Value::Number(number)
            }
            (Kind::Integer, Value::Integer(number)) if number >= 0 => Value::Integer(number),
            (Kind::Flag, Value::Flag(flag)) => Value::Flag(flag),
            (Kind::Words, Value::Words(words)) => Value::Words(kept_words(words)),
            _ => return None,
        };
        Some(Self {
            field,
            value,
            source,
        })
    }

    /// A text; see [`Finding::new`].
    pub fn text(field: Field, text: &str, source: Source) -> Option<Self> {
        Self::new(field, Value::Text(text.to_owned()), source)
    }

    /// What it is about.
    pub fn field(&self) -> Field {
        self.field
    }

    /// What was said.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// Who said it.
    pub fn source(&self) -> Source {
        self.source
    }
}

/// The text as the field may hold it.
fn fitting(field: Field, text: &str) -> Option<String> {
    let (most, whole) = field.bytes_max();
    // SQLite takes a NUL, but its functions end the text there.
    let text = text.replace('\0', "");
    let text = text.trim();
    if text.is_empty() || (whole && text.len() > most) {
        return None;
    }
    Some(cut(text, most).trim_end().to_owned())
}

/// The beginning of a text, at most `most` bytes, ending between two characters.
pub fn cut(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn kept_words(words: Vec<String>) -> Vec<String> {
    words
        .iter()
        .map(|word| word.replace('\0', ""))
        .map(|word| cut(word.trim(), CIVITAI_BYTES_MAX).trim_end().to_owned())
        .filter(|word| !word.is_empty())
        .take(WORDS_MAX)
        .collect()
}

/// Which of the findings are written, at most one of a field: the first that was found, where the
/// field is empty. What Civitai says also takes the place of what Civitai said before.
///
/// `present` holds the fields that are not free, with who said them where that is known; one that
/// somebody emptied by hand is free again.
pub fn fill(present: &BTreeMap<Field, Option<Source>>, found: Vec<Finding>) -> Vec<Finding> {
    let mut taken = BTreeSet::new();
    let mut written = found;
    written.retain(|finding| {
        let free = match present.get(&finding.field) {
            None => true,
            Some(source) => *source == Some(Source::Civitai) && finding.source == Source::Civitai,
        };
        free && taken.insert(finding.field)
    });
    written
}
