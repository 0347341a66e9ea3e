//! Owns how a repeated request is recognised (AIP-155): by the id that its
//! caller gave it, and by a fingerprint of what it says. It does not own what
//! was made (`store/request_ids.rs`).

use chrono::TimeDelta;
use sha2::Digest as _;

use crate::model::{AutoV2, CivitaiMetadata, Details, NewModel, Sha256};

/// Longest id of a request, in bytes.
pub const REQUEST_ID_BYTES_MAX: usize = 128;
/// How long the id of a request is kept.
pub const REQUEST_IDS_KEPT: TimeDelta = TimeDelta::hours(24);
/// The caller of every request while there are no API keys.
const NO_KEY: &str = "";

/// The id that a caller gave a request: 1 to 128 printable ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(String);

impl RequestId {
    /// Reads an id; `None` when it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let printable = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        let fits = (1..=REQUEST_ID_BYTES_MAX).contains(&text.len());
        (printable && fits).then(|| Self(text.to_owned()))
    }

    /// The characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Which method a request id belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// CreateModel, which makes a model.
    CreateModel,
    /// AddModelAlias, which makes an alias.
    AddModelAlias,
}

impl Method {
    /// The word in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CreateModel => "CreateModel",
            Self::AddModelAlias => "AddModelAlias",
        }
    }
}

/// A request that can be recognised when it comes again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownRequest {
    /// The caller's API key.
    pub api_key: &'static str,
    /// The method.
    pub method: Method,
    /// The id that the caller gave it.
    pub id: RequestId,
    /// SHA-256 over its parsed content, in hexadecimal digits.
    pub fingerprint: String,
}

impl KnownRequest {
    /// A request to register a model.
    pub fn create_model(id: RequestId, model: &NewModel) -> Self {
        let mut content = Content::new();
        content.add_model(model);
        Self::new(Method::CreateModel, id, content)
    }

    /// A request to give a model another path or name.
    pub fn add_model_alias(id: RequestId, model_id: i64, alias: &str) -> Self {
        let mut content = Content::new();
        content.add("model_id", &model_id.to_string());
        content.add("alias_path", alias);
        Self::new(Method::AddModelAlias, id, content)
    }

    fn new(method: Method, id: RequestId, content: Content) -> Self {
        Self {
            api_key: NO_KEY,
            method,
            id,
            fingerprint: hex::encode(content.0.finalize()),
        }
    }
}

/// The content of a request as it is hashed: name and value of each field, with
/// their lengths. What is absent adds nothing, so that a later version with
/// more fields recognises the requests of an earlier one.
struct Content(sha2::Sha256);

impl Content {
    fn new() -> Self {
        Self(sha2::Sha256::new())
    }

    fn add(&mut self, name: &str, value: &str) {
        for part in [name, value] {
            let len = u64::try_from(part.len()).unwrap_or(u64::MAX);
            self.0.update(len.to_be_bytes());
            self.0.update(part);
        }
    }

    fn add_some(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.add(name, value);
        }
    }

    fn add_model(&mut self, model: &NewModel) {
        let NewModel {
            name,
            kind,
            local_path,
            filename,
            forge_format,
            autov2,
            sha256,
            civitai,
            metadata_status,
            details,
        } = model;
        self.add("name", name);
        self.add("type", kind.as_str());
        self.add("local_path", local_path);
        self.add("filename", filename);
        self.add_some("forge_format", forge_format.as_deref());
        self.add_some("hash_autov2", autov2.as_ref().map(AutoV2::as_str));
        self.add_some("hash_sha256", sha256.as_ref().map(Sha256::as_str));
        self.add_civitai(civitai);
        self.add("metadata_status", metadata_status.as_str());
        self.add_details(details);
    }

    fn add_details(&mut self, details: &Details) {
        let Details {
            description,
            activation_text,
            preferred_weight,
            negative_text,
            notes,
            sd_version,
        } = details;
        let texts = [
            ("description", description),
            ("activation_text", activation_text),
            ("negative_text", negative_text),
            ("notes", notes),
            ("sd_version", sd_version),
        ];
        for (name, value) in texts {
            self.add_some(name, value.as_deref());
        }
        let weight = preferred_weight.map(|weight| weight.get().to_string());
        self.add_some("preferred_weight", weight.as_deref());
    }

    fn add_civitai(&mut self, civitai: &CivitaiMetadata) {
        let CivitaiMetadata {
            model_id,
            version_id,
            model_name,
            base_model,
            model_type,
            version_name,
            version_description,
            version_date,
            download_url,
            trained_words,
            file_size_kib,
        } = civitai;
        let texts = [
            ("civitai.model_id", model_id),
            ("civitai.version_id", version_id),
            ("civitai.model_name", model_name),
            ("civitai.base_model", base_model),
            ("civitai.model_type", model_type),
            ("civitai.version_name", version_name),
            ("civitai.version_description", version_description),
            ("civitai.version_date", version_date),
            ("civitai.download_url", download_url),
        ];
        for (name, value) in texts {
            self.add_some(name, value.as_deref());
        }
        for word in trained_words {
            self.add("civitai.trained_words", word);
        }
        let size_kib = file_size_kib.map(|size_kib| size_kib.to_string());
        self.add_some("civitai.file_size_kib", size_kib.as_deref());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{MetadataStatus, ModelKind, Weight};

    fn fingerprint(change: impl FnOnce(&mut NewModel)) -> String {
        let mut model = NewModel {
            name: "n".into(),
            kind: ModelKind::Lora,
            local_path: "/a/b".into(),
            filename: "b".into(),
            forge_format: None,
            autov2: None,
            sha256: None,
            civitai: CivitaiMetadata::default(),
            metadata_status: MetadataStatus::Incomplete,
            details: Details::default(),
        };
        change(&mut model);
        let id = RequestId::parse("x").unwrap();
        KnownRequest::create_model(id, &model).fingerprint
    }

    #[test]
    fn every_field_of_a_model_counts_in_its_fingerprint() {
        type Change = fn(&mut NewModel);
        let changes: [Change; 26] = [
            |_| {},
            |model| model.name = "o".into(),
            |model| model.kind = ModelKind::Checkpoint,
            |model| model.local_path = "/b".into(),
            |model| model.filename = "c".into(),
            |model| model.forge_format = Some("n".into()),
            |model| model.autov2 = AutoV2::parse(&"a".repeat(10)),
            |model| model.sha256 = Sha256::parse(&"a".repeat(64)),
            |model| model.metadata_status = MetadataStatus::Error,
            |model| model.details.description = Some("n".into()),
            |model| model.details.activation_text = Some("n".into()),
            |model| model.details.preferred_weight = Weight::new(0.5),
            |model| model.details.negative_text = Some("n".into()),
            |model| model.details.notes = Some("n".into()),
            |model| model.details.sd_version = Some("n".into()),
            |model| model.civitai.model_id = Some("n".into()),
            |model| model.civitai.version_id = Some("n".into()),
            |model| model.civitai.model_name = Some("n".into()),
            |model| model.civitai.base_model = Some("n".into()),
            |model| model.civitai.model_type = Some("n".into()),
            |model| model.civitai.version_name = Some("n".into()),
            |model| model.civitai.version_description = Some("n".into()),
            |model| model.civitai.version_date = Some("n".into()),
            |model| model.civitai.download_url = Some("n".into()),
            |model| model.civitai.trained_words = vec!["n".into()],
            |model| model.civitai.file_size_kib = Some(0),
        ];
        let all: std::collections::BTreeSet<String> =
            changes.into_iter().map(fingerprint).collect();
        assert_eq!(all.len(), changes.len());
        let words = |words: &[&str]| -> Vec<String> { words.iter().map(|&w| w.into()).collect() };
        assert_ne!(
            fingerprint(|model| model.civitai.trained_words = words(&["a", "b"])),
            fingerprint(|model| model.civitai.trained_words = words(&["ab"])),
        );
    }

    #[test]
    fn an_id_is_printable_and_has_a_length() {
        for id in ["a", " ", "~", &"x".repeat(128)] {
            assert_eq!(RequestId::parse(id).unwrap().as_str(), id);
        }
        for wrong in ["", &"x".repeat(129), "a\tb", "\u{7f}", "ä"] {
            assert_eq!(RequestId::parse(wrong), None, "{wrong:?}");
        }
    }
}
