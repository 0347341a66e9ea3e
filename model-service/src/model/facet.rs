//! Owns what is counted of a list of models. It does not count (`store/facets.rs`).

/// How the values of one field are spread over models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facet {
    /// The field.
    pub field: FacetField,
    /// Values with how many models have each, the most frequent first; at most 50.
    pub counts: Vec<(String, i64)>,
}

/// A field whose values are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FacetField {
    /// The kind.
    Type,
    /// How much of Civitai's metadata is known.
    MetadataStatus,
    /// The base model in Civitai's word.
    BaseModel,
    /// The servers that have the model.
    Server,
    /// The trigger words.
    TrainedWords,
}

impl FacetField {
    /// Its name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Type => "type",
            Self::MetadataStatus => "metadata_status",
            Self::BaseModel => "civitai.base_model",
            Self::Server => "server",
            Self::TrainedWords => "civitai.trained_words",
        }
    }
}
