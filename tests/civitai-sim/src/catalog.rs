//! The published versions, and who finds them by which hash. It knows no HTTP.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use crate::version::SimVersion;

#[derive(Debug, Default)]
pub(crate) struct Catalog {
    versions: BTreeMap<u64, SimVersion>,
    /// Upper-case hashes of any kind, with the versions that have a file with it.
    by_any: HashMap<String, Vec<u64>>,
    /// The same, of SHA-256 only.
    by_sha256: HashMap<String, Vec<u64>>,
}

impl Catalog {
    pub(crate) fn put(&mut self, version: SimVersion) {
        let id = version.id();
        self.remove(id);
        for (kind, hash) in hashes(&version) {
            enter(&mut self.by_any, &hash, id);
            if kind == "SHA256" {
                enter(&mut self.by_sha256, &hash, id);
            }
        }
        self.versions.insert(id, version);
    }

    pub(crate) fn remove(&mut self, id: u64) {
        if self.versions.remove(&id).is_some() {
            for index in [&mut self.by_any, &mut self.by_sha256] {
                index.retain(|_, ids| {
                    ids.retain(|known| *known != id);
                    !ids.is_empty()
                });
            }
        }
    }

    pub(crate) fn version(&self, id: u64) -> Option<&SimVersion> {
        self.versions.get(&id)
    }

    /// The versions of a model, by id.
    pub(crate) fn of_model(&self, model_id: u64) -> Vec<&SimVersion> {
        let versions = self.versions.values();
        versions
            .filter(|version| version.object.get("modelId") == Some(&Value::from(model_id)))
            .collect()
    }

    /// The version that a hash of any kind finds: the oldest published, then the lowest id.
    pub(crate) fn by_hash(&self, hash: &str) -> Option<&SimVersion> {
        let ids = self.by_any.get(&hash.to_ascii_uppercase())?;
        let versions = ids.iter().filter_map(|id| self.versions.get(id));
        versions.min_by_key(|version| {
            let published = version.object.get("publishedAt").and_then(Value::as_str);
            (published.unwrap_or("9").to_owned(), version.id())
        })
    }

    /// Every version with a file of that SHA-256.
    pub(crate) fn by_sha256(&self, hash: &str) -> Vec<&SimVersion> {
        let ids = self.by_sha256.get(&hash.to_ascii_uppercase());
        let ids = ids.map(Vec::as_slice).unwrap_or_default();
        ids.iter().filter_map(|id| self.versions.get(id)).collect()
    }
}

fn enter(index: &mut HashMap<String, Vec<u64>>, hash: &str, id: u64) {
    let ids = index.entry(hash.to_owned()).or_default();
    if !ids.contains(&id) {
        ids.push(id);
    }
}

/// The hashes that find a version, with their kinds.
fn hashes(version: &SimVersion) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for sha256 in &version.replaced {
        found.push(("SHA256".to_owned(), sha256.clone()));
        found.push(("AutoV2".to_owned(), sha256[..10].to_owned()));
    }
    let files = version.object.get("files").and_then(Value::as_array);
    for file in files.into_iter().flatten() {
        let hashes = file.get("hashes").and_then(Value::as_object);
        for (kind, hash) in hashes.into_iter().flatten() {
            let hash = hash.as_str().unwrap_or_default().to_ascii_uppercase();
            found.push((kind.clone(), hash));
        }
    }
    found
}
