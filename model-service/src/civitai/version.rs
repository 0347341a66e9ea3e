//! Owns which version and which file of Civitai a hash means. It reads leniently: of a version only
//! the id must be there, fields come and go every few months, and unknown words stay as they are.
//! What the fields say of a model is `version/facts.rs`.

use std::collections::HashSet;

use serde_json::{Map, Value};

use crate::model::Sha256;

mod facts;
#[cfg(test)]
mod tests;

/// Kinds of files that are not the model, even beside it.
const NOT_MODELS: [&str; 4] = ["VAE", "Config", "Training Data", "Archive"];

/// A version as Civitai gave it.
#[derive(Debug, Clone, PartialEq)]
pub struct Version {
    id: String,
    json: Value,
}

/// A file of a version.
#[derive(Debug, Clone, PartialEq)]
pub struct VersionFile {
    /// Its id, a decimal number.
    pub id: Option<String>,
    /// The name that Civitai gives it.
    pub name: Option<String>,
    /// What it is, in Civitai's word.
    pub kind: Option<String>,
    /// Its size as Civitai says, which is sometimes wrong.
    pub size_bytes: Option<u64>,
    /// Its SHA-256; absent when it was not scanned yet.
    pub sha256: Option<Sha256>,
    /// Whether it is the one that is downloaded where none is named.
    pub primary: bool,
}

/// That a hash is one of a file of a version.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KnownHash {
    /// The hash.
    pub sha256: Sha256,
    /// The version's id.
    pub version_id: String,
}

/// What a local file has in common with a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MatchedBy {
    /// It is a file of the version.
    File,
    /// The version is known to have had it, or to have it in an archive.
    Version,
}

impl MatchedBy {
    /// The word in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Version => "version",
        }
    }
}

impl Version {
    /// Reads an object with an id.
    pub fn read(json: Value) -> Option<Self> {
        let id = id_text(json.as_object()?.get("id")?)?;
        Some(Self { id, json })
    }

    /// Its id, a decimal number.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The id of its model.
    pub fn model_id(&self) -> Option<String> {
        id_text(self.field("modelId")?)
    }

    /// The whole object.
    pub fn json(&self) -> &Value {
        &self.json
    }

    /// Its files.
    pub fn files(&self) -> Vec<VersionFile> {
        let files = self.field("files").and_then(Value::as_array);
        let files = files.into_iter().flatten();
        files
            .filter_map(Value::as_object)
            .map(VersionFile::read)
            .collect()
    }

    /// Whether it can be downloaded at all: not archived, and not for generation only.
    pub fn downloadable(&self) -> bool {
        let usage = self.field("usageControl").and_then(Value::as_str);
        let model = self.field("model");
        let mode = model.and_then(|model| model.get("mode")?.as_str());
        usage.is_none_or(|usage| usage == "Download") && mode != Some("Archived")
    }

    /// The address of its first picture that is no video.
    pub fn picture_url(&self) -> Option<&str> {
        let images = self.field("images")?.as_array()?;
        images.iter().find(is_picture)?.get("url")?.as_str()
    }

    /// What a file has in common with this version, which was found by the file's hash. `digits`
    /// are those of its SHA-256, or the first of them.
    pub fn matched_by(&self, digits: &str) -> MatchedBy {
        match self.file_of(digits) {
            Some(_) => MatchedBy::File,
            None => MatchedBy::Version,
        }
    }

    /// Its model file whose SHA-256 begins with these digits, in lower case.
    pub fn file_of(&self, digits: &str) -> Option<VersionFile> {
        let has = |file: &VersionFile| {
            let sha256 = file.sha256.as_ref().map(Sha256::as_str);
            sha256.is_some_and(|sha256| sha256.starts_with(digits))
        };
        let mut files = self.files().into_iter();
        files.find(|file| file.is_model() && has(file))
    }

    /// Its model file where no hash says which: the primary one, else the first.
    pub fn model_file(&self) -> Option<VersionFile> {
        let files: Vec<VersionFile> = self.files();
        let files = files.into_iter().filter(VersionFile::is_model);
        files.min_by_key(|file| {
            let kind = file.kind.as_deref() != Some("Model");
            (!file.primary || kind, kind, !file.primary)
        })
    }

    fn field(&self, name: &str) -> Option<&Value> {
        self.json.get(name)
    }

    /// What the answer to a single look-up is chosen by: the oldest publication, then the lowest
    /// id.
    fn age(&self) -> (bool, &str, u64) {
        let published = self.field("publishedAt").and_then(Value::as_str);
        let number = self.id.parse().unwrap_or(u64::MAX);
        (published.is_none(), published.unwrap_or_default(), number)
    }
}

impl VersionFile {
    fn read(file: &Map<String, Value>) -> Self {
        let text = |name: &str| file.get(name).and_then(Value::as_str).map(str::to_owned);
        let sha256 = file.get("hashes").and_then(|hashes| hashes.get("SHA256"));
        let size_kib = file.get("sizeKB").and_then(Value::as_f64);
        Self {
            id: file.get("id").and_then(id_text),
            name: text("overrideName").or_else(|| text("name")),
            kind: text("type"),
            size_bytes: size_kib.and_then(size_bytes),
            sha256: sha256.and_then(Value::as_str).and_then(Sha256::parse),
            primary: file.get("primary").and_then(Value::as_bool) == Some(true),
        }
    }

    /// Whether it is the model, or one form of it, and not what goes with it.
    pub(crate) fn is_model(&self) -> bool {
        let kind = self.kind.as_deref().unwrap_or_default();
        !NOT_MODELS.contains(&kind)
    }
}

/// Whether an element of `images` is no video; old answers do not say what they are.
fn is_picture(image: &&Value) -> bool {
    let kind = image.get("type").and_then(Value::as_str);
    kind.is_none_or(|kind| kind == "image")
}

/// The bytes of a size in KiB, which is a fraction.
fn size_bytes(kib: f64) -> Option<u64> {
    // Beyond this a float has no whole bytes any more, and no file is as large.
    const LARGEST: f64 = (1_u64 << 53) as f64;
    let bytes = (kib * 1024.0).round();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it lies between zero and the largest"
    )]
    (0.0..=LARGEST).contains(&bytes).then_some(bytes as u64)
}

/// An id as decimal text; Civitai gives numbers, older copies of its answers texts.
fn id_text(id: &Value) -> Option<String> {
    let text = match id {
        Value::Number(number) => number.as_u64()?.to_string(),
        Value::String(text) => text.trim().to_owned(),
        _ => return None,
    };
    let number = !text.is_empty() && text.len() <= 20 && text.bytes().all(|b| b.is_ascii_digit());
    number.then_some(text)
}

/// Of several versions that one hash finds, the one that is meant: first one that has the file,
/// then as Civitai itself chooses.
pub fn chosen<'a>(
    versions: impl IntoIterator<Item = &'a Version>,
    digits: &str,
) -> Option<&'a Version> {
    let by_file = |version: &Version| version.matched_by(digits) == MatchedBy::Version;
    versions
        .into_iter()
        .min_by(|a, b| (by_file(a), a.age()).cmp(&(by_file(b), b.age())))
}

/// The answer of a look-up in bulk: versions without a usable file are null in it, and one is
/// there for each of its files that match. `None` when there are versions and none can be read.
pub(super) fn versions(json: Value) -> Option<Vec<Version>> {
    let Value::Array(list) = json else {
        return None;
    };
    let any = list.iter().any(|version| !version.is_null());
    let mut seen = HashSet::new();
    let versions = list.into_iter().filter_map(Version::read);
    let once = versions.filter(|version| seen.insert(version.id.clone()));
    let versions: Vec<Version> = once.collect();
    (!any || !versions.is_empty()).then_some(versions)
}

/// The answer of a look-up of ids; `None` when there are rows and none can be read.
pub(super) fn known_hashes(json: Value) -> Option<Vec<KnownHash>> {
    let list = json.as_array()?;
    let read = |row: &Value| {
        Some(KnownHash {
            sha256: Sha256::parse(row.get("hash")?.as_str()?)?,
            version_id: id_text(row.get("modelVersionId")?)?,
        })
    };
    let known: Vec<KnownHash> = list.iter().filter_map(read).collect();
    (list.is_empty() || !known.is_empty()).then_some(known)
}
