//! Owns the fields of a model that can be found out: their columns, their names on the wire and
//! what they hold. It does not say who fills them.

use super::{
    CIVITAI_BYTES_MAX, NAME_BYTES_MAX, SD_VERSION_BYTES_MAX, TEXT_BYTES_MAX,
    VERSION_DESCRIPTION_BYTES_MAX,
};

/// A field of a model that can be found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// Its display name.
    Name,
    /// What somebody wrote of it.
    Description,
    /// What a prompt has to say so that it works.
    ActivationText,
    /// The weight that suits it in a prompt.
    PreferredWeight,
    /// What a negative prompt should say with it.
    NegativeText,
    /// Notes.
    Notes,
    /// Its family, such as SDXL.
    SdVersion,
    /// The model's id at Civitai.
    CivitaiModelId,
    /// The version's id at Civitai.
    CivitaiVersionId,
    /// The model's name at Civitai.
    CivitaiModelName,
    /// The base model in Civitai's word.
    BaseModel,
    /// Civitai's word for the kind of model.
    CivitaiModelType,
    /// The version's name at Civitai.
    CivitaiVersionName,
    /// The version's description at Civitai.
    CivitaiVersionDescription,
    /// The version's date as Civitai writes it.
    CivitaiVersionDate,
    /// Where Civitai has it.
    CivitaiDownloadUrl,
    /// Trigger words.
    TrainedWords,
    /// The file's size in KiB as Civitai says.
    CivitaiFileSizeKib,
    /// Whether Civitai calls the model not safe for work.
    CivitaiNsfw,
    /// The BlurHash of its first picture at Civitai.
    CivitaiBlurhash,
    /// Where its first picture is.
    PreviewUrl,
}

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A text.
    Text,
    /// A number.
    Number,
    /// A whole number that is not negative.
    Integer,
    /// Yes or no.
    Flag,
    /// A list of words; in the database a JSON array.
    Words,
}

impl Field {
    /// All of them.
    pub const ALL: [Self; 21] = [
        Self::Name,
        Self::Description,
        Self::ActivationText,
        Self::PreferredWeight,
        Self::NegativeText,
        Self::Notes,
        Self::SdVersion,
        Self::CivitaiModelId,
        Self::CivitaiVersionId,
        Self::CivitaiModelName,
        Self::BaseModel,
        Self::CivitaiModelType,
        Self::CivitaiVersionName,
        Self::CivitaiVersionDescription,
        Self::CivitaiVersionDate,
        Self::CivitaiDownloadUrl,
        Self::TrainedWords,
        Self::CivitaiFileSizeKib,
        Self::CivitaiNsfw,
        Self::CivitaiBlurhash,
        Self::PreviewUrl,
    ];

    /// Its column of `models`, which is also its word in `model_field_sources`.
    pub const fn column(self) -> &'static str {
        self.names().0
    }

    /// Its path in `models.v1.Model`.
    pub const fn wire_name(self) -> &'static str {
        self.names().1
    }

    /// The field of a column of `models`.
    pub fn from_column(column: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.column() == column)
    }

    /// The field of a path in `models.v1.Model`.
    pub fn from_wire_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|field| field.wire_name() == name)
    }

    /// The column and the path on the wire.
    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Name => ("name", "name"),
            Self::Description => ("description", "description"),
            Self::ActivationText => ("activation_text", "activation_text"),
            Self::PreferredWeight => ("preferred_weight", "preferred_weight"),
            Self::NegativeText => ("negative_text", "negative_text"),
            Self::Notes => ("notes", "notes"),
            Self::SdVersion => ("sd_version", "sd_version"),
            Self::CivitaiModelId => ("civitai_id", "civitai.model_id"),
            Self::CivitaiVersionId => ("civitai_version_id", "civitai.version_id"),
            Self::CivitaiModelName => ("civitai_model_name", "civitai.model_name"),
            Self::BaseModel => ("civitai_model_base", "civitai.base_model"),
            Self::CivitaiModelType => ("civitai_model_type", "civitai.model_type"),
            Self::CivitaiVersionName => ("civitai_model_version_name", "civitai.version_name"),
            Self::CivitaiVersionDescription => {
                ("civitai_model_version_desc", "civitai.version_description")
            }
            Self::CivitaiVersionDate => ("civitai_model_version_date", "civitai.version_date"),
            Self::CivitaiDownloadUrl => ("civitai_download_url", "civitai.download_url"),
            Self::TrainedWords => ("civitai_trained_words", "civitai.trained_words"),
            Self::CivitaiFileSizeKib => ("civitai_file_size_kb", "civitai.file_size_kib"),
            Self::CivitaiNsfw => ("civitai_nsfw", "civitai.nsfw"),
            Self::CivitaiBlurhash => ("civitai_blurhash", "civitai.blurhash"),
            Self::PreviewUrl => ("preview_url", "civitai.preview_url"),
        }
    }

    /// What it holds.
    pub const fn kind(self) -> Kind {
        match self {
            Self::PreferredWeight => Kind::Number,
            Self::CivitaiFileSizeKib => Kind::Integer,
            Self::CivitaiNsfw => Kind::Flag,
            Self::TrainedWords => Kind::Words,
            _ => Kind::Text,
        }
    }

    /// The bytes that its text may have, and whether a longer one is of no use.
    pub(super) const fn bytes_max(self) -> (usize, bool) {
        match self {
            Self::Name => (NAME_BYTES_MAX, false),
            Self::Description | Self::ActivationText | Self::NegativeText | Self::Notes => {
                (TEXT_BYTES_MAX, false)
            }
            Self::SdVersion => (SD_VERSION_BYTES_MAX, false),
            Self::CivitaiVersionDescription => (VERSION_DESCRIPTION_BYTES_MAX, false),
            Self::CivitaiModelId
            | Self::CivitaiVersionId
            | Self::CivitaiVersionDate
            | Self::CivitaiDownloadUrl
            | Self::CivitaiBlurhash
            | Self::PreviewUrl => (CIVITAI_BYTES_MAX, true),
            _ => (CIVITAI_BYTES_MAX, false),
        }
    }
}
