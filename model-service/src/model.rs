//! Owns what a model is: its kind, hashes and metadata.
//! It does not own where models are (`availability.rs`) nor how jobs name them
//! (`reference.rs`).

mod details;
mod discovered;
mod facet;
mod search_words;

use chrono::{DateTime, Utc};

use crate::findings::{Field, Source};

pub use details::{Details, Weight};
pub use discovered::{CivitaiMatch, Discovered, LibraryFile};
pub use facet::{Facet, FacetField};
pub use search_words::{SEARCH_WORDS_MAX, SearchFault, SearchWords};

/// Length of a SHA-256 in hexadecimal digits.
pub const SHA256_DIGITS: usize = 64;
/// Length of an AutoV2 hash in hexadecimal digits: the beginning of the SHA-256.
pub const AUTOV2_DIGITS: usize = 10;

/// Digits of AutoV3, and of the short hash that Forge writes for a LoRA.
pub const TWELVE_DIGITS: usize = 12;

/// Longest file name of a model, in bytes.
pub const FILENAME_BYTES_MAX: usize = 512;

/// What kind of file a model is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ModelKind {
    /// A full model.
    Checkpoint,
    /// A low-rank adaptation.
    Lora,
}

impl ModelKind {
    /// The word in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Checkpoint => "checkpoint",
            Self::Lora => "lora",
        }
    }

    /// Reads the word in the database.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Checkpoint, Self::Lora]
            .into_iter()
            .find(|kind| kind.as_str() == word)
    }
}

/// How much of a model's Civitai metadata is known; the documented three.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MetadataStatus {
    /// All of it.
    Complete,
    /// Some or none of it.
    Incomplete,
    /// Fetching it failed.
    Error,
}

impl MetadataStatus {
    /// The word in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Incomplete => "incomplete",
            Self::Error => "error",
        }
    }

    /// Reads the word in the database.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Complete, Self::Incomplete, Self::Error]
            .into_iter()
            .find(|status| status.as_str() == word)
    }
}

/// The SHA-256 of a whole file: 64 hexadecimal digits, lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sha256(String);

impl Sha256 {
    /// Reads 64 hexadecimal digits in either case.
    pub fn parse(text: &str) -> Option<Self> {
        hex_digits(text, SHA256_DIGITS).map(Self)
    }

    /// The hash that these bytes are.
    pub fn of(bytes: [u8; 32]) -> Self {
        Self(hex::encode(bytes))
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The AutoV2 hash that belongs to it.
    pub fn autov2(&self) -> AutoV2 {
        AutoV2(self.0[..AUTOV2_DIGITS].to_owned())
    }
}

/// The AutoV2 hash: the first ten hexadecimal digits of the SHA-256, lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AutoV2(String);

impl AutoV2 {
    /// Reads 10 hexadecimal digits in either case.
    pub fn parse(text: &str) -> Option<Self> {
        hex_digits(text, AUTOV2_DIGITS).map(Self)
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Twelve hexadecimal digits, lower case: an AutoV3, or the beginning of a SHA-256. Forge writes
/// either for a LoRA: the one where the header names its own hash, else the other.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TwelveDigits(String);

impl TwelveDigits {
    /// Reads 12 hexadecimal digits in either case.
    pub fn parse(text: &str) -> Option<Self> {
        hex_digits(text, TWELVE_DIGITS).map(Self)
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn hex_digits(text: &str, count: usize) -> Option<String> {
    (text.len() == count && text.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .then(|| text.to_ascii_lowercase())
}

/// What Civitai says of a model. Absent means unknown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CivitaiMetadata {
    /// The model's id there.
    pub model_id: Option<String>,
    /// The version's id there.
    pub version_id: Option<String>,
    /// The model's name.
    pub model_name: Option<String>,
    /// The base model.
    pub base_model: Option<String>,
    /// Civitai's word for the kind of model.
    pub model_type: Option<String>,
    /// The version's name.
    pub version_name: Option<String>,
    /// The version's description.
    pub version_description: Option<String>,
    /// The version's date as Civitai writes it.
    pub version_date: Option<String>,
    /// Where it can be downloaded.
    pub download_url: Option<String>,
    /// Trigger words.
    pub trained_words: Vec<String>,
    /// The file's size in KiB as Civitai says.
    pub file_size_kib: Option<i32>,
}

impl CivitaiMetadata {
    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A model to register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewModel {
    /// Its display name.
    pub name: String,
    /// Its kind.
    pub kind: ModelKind,
    /// Its path where it was first seen; may be empty.
    pub local_path: String,
    /// The last part of its path.
    pub filename: String,
    /// The title that Forge shows for it.
    pub forge_format: Option<String>,
    /// Its AutoV2 hash.
    pub autov2: Option<AutoV2>,
    /// Its SHA-256.
    pub sha256: Option<Sha256>,
    /// What Civitai says.
    pub civitai: CivitaiMetadata,
    /// How much of that is known.
    pub metadata_status: MetadataStatus,
    /// What else is said of it.
    pub details: Details,
}

impl NewModel {
    /// The fields that can be found out and hold a value.
    #[must_use]
    pub fn said(&self) -> Vec<Field> {
        let (civitai, details) = (&self.civitai, &self.details);
        let holds = [
            (Field::Name, true),
            (Field::Description, details.description.is_some()),
            (Field::ActivationText, details.activation_text.is_some()),
            (Field::PreferredWeight, details.preferred_weight.is_some()),
            (Field::NegativeText, details.negative_text.is_some()),
            (Field::Notes, details.notes.is_some()),
            (Field::SdVersion, details.sd_version.is_some()),
            (Field::CivitaiModelId, civitai.model_id.is_some()),
            (Field::CivitaiVersionId, civitai.version_id.is_some()),
            (Field::CivitaiModelName, civitai.model_name.is_some()),
            (Field::BaseModel, civitai.base_model.is_some()),
            (Field::CivitaiModelType, civitai.model_type.is_some()),
            (Field::CivitaiVersionName, civitai.version_name.is_some()),
            (
                Field::CivitaiVersionDescription,
                civitai.version_description.is_some(),
            ),
            (Field::CivitaiVersionDate, civitai.version_date.is_some()),
            (Field::CivitaiDownloadUrl, civitai.download_url.is_some()),
            (Field::TrainedWords, !civitai.trained_words.is_empty()),
            (Field::CivitaiFileSizeKib, civitai.file_size_kib.is_some()),
        ];
        holds
            .into_iter()
            .filter_map(|(field, holds)| holds.then_some(field))
            .collect()
    }
}

/// A registered model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// Its id.
    pub id: i64,
    /// What was registered.
    pub facts: NewModel,
    /// When a job last used it.
    pub last_used_at: Option<DateTime<Utc>>,
    /// When its row was made.
    pub created_at: Option<DateTime<Utc>>,
    /// Counts the changes of [`Model::facts`].
    pub revision: i64,
    /// What this service found out of it.
    pub discovered: Discovered,
    /// Whether a picture lies beside one of its files.
    pub has_preview: bool,
    /// Whether every file of it that this service knew is gone.
    pub missing: bool,
    /// Other paths and names it goes by; empty unless asked for.
    pub aliases: Vec<ModelAlias>,
    /// The servers it was seen on; empty unless asked for.
    pub servers: Vec<String>,
    /// Its files in the library; empty unless asked for.
    pub files: Vec<LibraryFile>,
    /// Who said the values of its fields; empty unless asked for.
    pub sources: Vec<(Field, Source)>,
}

impl Model {
    /// Names this state of the facts. An id can be given again after its model
    /// was removed, so that the time when the row was made is a part of it.
    pub fn etag(&self) -> String {
        let created_s = self.created_at.map_or(0, |time| time.timestamp());
        format!("{created_s:x}-{}", self.revision)
    }

    /// The bytes of the texts that can be long: less than the whole takes.
    pub fn text_bytes(&self) -> usize {
        let Details {
            description,
            activation_text,
            preferred_weight: _,
            negative_text,
            notes,
            sd_version: _,
        } = &self.facts.details;
        let civitai = &self.facts.civitai;
        let texts = [
            description,
            activation_text,
            negative_text,
            notes,
            &civitai.version_description,
        ];
        let texts = texts.into_iter().flatten().map(String::len);
        let words = civitai.trained_words.iter().map(String::len);
        let aliases = self.aliases.iter().map(|alias| alias.alias_path.len());
        let files = self.files.iter().map(|file| file.path.len());
        texts.chain(words).chain(aliases).chain(files).sum()
    }

    /// Takes away its long texts and its trigger words.
    pub fn leave_out_long_texts(&mut self) {
        let details = &mut self.facts.details;
        details.description = None;
        details.activation_text = None;
        details.negative_text = None;
        details.notes = None;
        self.facts.civitai.version_description = None;
        self.facts.civitai.trained_words = Vec::new();
    }
}

/// Another path or name for a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelAlias {
    /// Its id.
    pub id: i64,
    /// The model's id.
    pub model_id: i64,
    /// The path or name.
    pub alias_path: String,
}

/// Which models a list shows; every filter that is set must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModelFilter {
    /// Of this kind.
    pub kind: Option<ModelKind>,
    /// With this metadata status.
    pub metadata_status: Option<MetadataStatus>,
    /// Whose SHA-256 or AutoV2 begins with these lower-case digits.
    pub hash_prefix: Option<String>,
    /// Of this base model.
    pub base_model: Option<String>,
    /// Seen on this server.
    pub server: Option<String>,
    /// With this text in name or file name, in any ASCII case.
    pub text: Option<String>,
    /// With this trigger word, in any ASCII case.
    pub trained_word: Option<String>,
    /// Of this model of Civitai.
    pub civitai_model_id: Option<String>,
    /// Of this version of Civitai.
    pub civitai_version_id: Option<String>,
    /// With words that begin so.
    pub search: Option<SearchWords>,
    /// Whether every known file of it is gone, or not.
    pub missing: Option<bool>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_kept_in_lower_case_and_their_length_is_exact() {
        let upper = "AB".repeat(32);
        let sha256 = Sha256::parse(&upper).unwrap();
        assert_eq!(sha256.as_str(), upper.to_lowercase());
        assert_eq!(sha256.autov2(), AutoV2::parse("ABABABABAB").unwrap());
        for wrong in ["", "ab", "abababababa", "ababababag", "ababababé"] {
            assert_eq!(AutoV2::parse(wrong), None, "{wrong}");
            assert_eq!(Sha256::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_words_in_the_database_are_the_documented_ones() {
        for kind in [ModelKind::Checkpoint, ModelKind::Lora] {
            assert_eq!(ModelKind::from_word(kind.as_str()), Some(kind));
        }
        for word in ["complete", "incomplete", "error"] {
            assert_eq!(MetadataStatus::from_word(word).unwrap().as_str(), word);
        }
        assert_eq!(ModelKind::from_word("Lora"), None);
        assert_eq!(MetadataStatus::from_word("partial"), None);
    }
}
