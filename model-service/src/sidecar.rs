//! Owns the reading of the files that other programs leave beside a model: what kind each is, by
//! its content, what it says, and for which file it was written. It does not look for them.

use std::io::Read;

use crate::findings::{Field, Finding, Source};
use crate::infotext;
use crate::model::Sha256;

mod fault;
mod json;
mod lenient;
mod lora_manager;
mod stability_matrix;
#[cfg(test)]
mod tests;
mod user;
mod version;
mod weighing;

pub use fault::SidecarFault;
pub use weighing::{Weighed, weigh};

/// Longest sidecar in bytes.
pub const BYTES_MAX: usize = 8 * 1024 * 1024;
/// Most values in a sidecar, those aside that nobody here reads.
pub const VALUES_MAX: usize = 100_000;
/// How deep a sidecar may be nested.
pub const DEPTH_MAX: usize = 32;
/// Most versions of a model that are looked at.
const VERSIONS_MAX: usize = 100;
/// Longest text beside a model that is taken for its description, in bytes.
const TEXT_BYTES_MAX: usize = infotext::TEXT_BYTES_MAX;

/// Who wrote a sidecar, in the order in which they are believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// LoRA Manager's `.metadata.json`.
    LoraManager,
    /// Stability Matrix's `.cm-info.json`.
    StabilityMatrix,
    /// Civitai's answer for one version, as Civitai Helper and others keep it.
    CivitaiVersion,
    /// Civitai's answer for a model with all its versions.
    CivitaiModel,
    /// What was typed into A1111 or Forge, or what Civitai Browser+ writes there.
    UserMetadata,
    /// Somebody asked Civitai, which did not know the file.
    NothingFound,
    /// Something else; it says nothing here.
    Unknown,
}

/// For which file a sidecar was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claims {
    /// The SHA-256 of any of the files that it may be; empty when it does not say.
    pub sha256: Vec<Sha256>,
}

/// What a sidecar says, if it is for the file that has one of the claimed hashes.
#[derive(Debug, Clone, Default, PartialEq)]
struct Part {
    claims: Claims,
    findings: Vec<Finding>,
}

/// What a sidecar says.
#[derive(Debug, Clone, PartialEq)]
pub struct Sidecar {
    /// Who wrote it.
    pub kind: Kind,
    /// One, but for a model with several versions.
    parts: Vec<Part>,
}

impl Sidecar {
    /// One that says this.
    fn new(kind: Kind, sha256: Vec<Sha256>, findings: Vec<Finding>) -> Self {
        let claims = Claims { sha256 };
        Self {
            kind,
            parts: vec![Part { claims, findings }],
        }
    }

    /// The SHA-256 of all files that it may be for.
    pub fn claimed(&self) -> impl Iterator<Item = &Sha256> {
        self.parts.iter().flat_map(|part| &part.claims.sha256)
    }
}

/// Reads a sidecar, at most [`BYTES_MAX`] of it.
///
/// # Errors
///
/// [`SidecarFault`] when it is too large, no JSON object, or cannot be read.
pub fn read_from(file: &mut impl Read) -> Result<Sidecar, SidecarFault> {
    let mut bytes = Vec::new();
    file.take(BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| SidecarFault::Io {
            message: error.to_string(),
        })?;
    read(&bytes)
}

/// Reads a sidecar.
///
/// # Errors
///
/// [`SidecarFault`] when it is too large or no JSON object.
pub fn read(bytes: &[u8]) -> Result<Sidecar, SidecarFault> {
    let object = json::object(bytes)?;
    let has = |name: &str| object.contains_key(name);
    Ok(if object.is_empty() {
        Sidecar::new(Kind::NothingFound, Vec::new(), Vec::new())
    } else if let Some(versions) = object.get("modelVersions").and_then(|list| list.as_array()) {
        version::sidecar_of_model(&object, versions)
    } else if has("file_name") && (has("file_path") || has("model_name")) {
        lora_manager::sidecar(&object)
    } else if has("ModelName") && (has("VersionId") || has("ModelId")) {
        stability_matrix::sidecar(&object)
    } else if has("modelId") && ["files", "model", "baseModel"].into_iter().any(has) {
        version::sidecar(&object)
    } else if user::is_one(&object) {
        user::sidecar(&object)
    } else {
        Sidecar::new(Kind::Unknown, Vec::new(), Vec::new())
    })
}

/// What a `.txt` or `.description.txt` beside a model says: its description, as A1111 reads it.
/// `None` when it is longer than 1 MiB, not UTF-8, or the settings of a picture.
pub fn read_text(bytes: &[u8]) -> Option<Finding> {
    if bytes.len() > TEXT_BYTES_MAX {
        return None;
    }
    let text = std::str::from_utf8(bytes).ok()?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if infotext::read(text).is_some() {
        return None;
    }
    Finding::text(Field::Description, text, Source::Sidecar)
}
