//! Versions with their files and pictures, in the shape of Civitai's answers. Who finds them is `catalog`.

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

/// The SHA-256 of a text, as Civitai writes it: upper case.
pub fn digest_of(text: &str) -> String {
    hex::encode_upper(Sha256::digest(text.as_bytes()))
}

/// The SHA-256 of a content, as Civitai writes it.
pub(crate) fn digest_of_bytes(content: &[u8]) -> String {
    hex::encode_upper(Sha256::digest(content))
}

/// A version that is published.
#[derive(Clone, Debug)]
pub struct SimVersion {
    pub(crate) object: Map<String, Value>,
    /// SHA-256 of files that were replaced: they still find it and are not shown.
    pub(crate) replaced: Vec<String>,
    /// Whether it has no usable file: 404 "Missing model file", `null` in bulk answers.
    pub(crate) without_file: bool,
}

impl SimVersion {
    /// A LoRA with that id, of the model with ten times that id, and no file yet.
    pub fn new(id: u64) -> Self {
        let object = json!({
            "id": id,
            "modelId": id * 10,
            "name": "v1.0",
            "nsfwLevel": 1,
            "createdAt": "2026-03-02T08:55:00.112Z",
            "updatedAt": "2026-03-02T09:20:12.062Z",
            "status": "Published",
            "publishedAt": "2026-03-02T09:20:12.040Z",
            "trainedWords": [format!("word{id}")],
            "trainingStatus": null,
            "trainingDetails": null,
            "baseModel": "SDXL 1.0",
            "baseModelType": "Standard",
            "description": null,
            "uploadType": "Created",
            "usageControl": "Download",
            "licensingFee": null,
            "paidAccess": null,
            "air": format!("urn:air:sdxl:lora:civitai:{}@{id}", id * 10),
            "stats": { "downloadCount": 4211, "thumbsUpCount": 318 },
            "model": { "name": format!("Model {id}"), "type": "LORA", "nsfw": false, "poi": false },
            "files": [],
            "images": [],
            "downloadUrl": format!("https://civitai.com/api/download/models/{id}"),
        });
        Self::from_json(object)
    }

    /// One from an object of Civitai's shape.
    ///
    /// # Panics
    /// When that is no object with an `id`.
    pub fn from_json(version: Value) -> Self {
        let Value::Object(object) = version else {
            panic!("a version is an object");
        };
        assert!(
            object.get("id").is_some_and(Value::is_u64),
            "a version has an id"
        );
        Self {
            object,
            replaced: Vec::new(),
            without_file: false,
        }
    }

    /// With another value of one of its fields.
    #[must_use]
    pub fn with(mut self, field: &str, value: Value) -> Self {
        self.object.insert(field.to_owned(), value);
        self
    }

    /// Without one of its fields.
    #[must_use]
    pub fn without(mut self, field: &str) -> Self {
        self.object.shift_remove(field);
        self
    }

    /// With another value of one of the fields of `model`.
    #[must_use]
    pub fn with_model(mut self, field: &str, value: Value) -> Self {
        self.object["model"][field] = value;
        self
    }

    /// With a further file.
    #[must_use]
    pub fn file(mut self, file: SimFile) -> Self {
        push(&mut self.object, "files", file.0);
        self
    }

    /// With a further picture.
    #[must_use]
    pub fn image(mut self, image: SimImage) -> Self {
        push(&mut self.object, "images", image.0);
        self
    }

    /// Also found by the SHA-256 of a file that was replaced.
    #[must_use]
    pub fn replaced(mut self, sha256: &str) -> Self {
        self.replaced.push(sha256.to_ascii_uppercase());
        self
    }

    /// Known by this SHA-256, with no usable file left.
    #[must_use]
    pub fn file_missing(mut self, sha256: &str) -> Self {
        self.without_file = true;
        self.replaced(sha256)
    }

    /// Its id.
    pub fn id(&self) -> u64 {
        self.object["id"].as_u64().unwrap_or_default()
    }

    /// The object as the look-ups answer it.
    pub fn json(&self) -> Value {
        Value::Object(self.object.clone())
    }
}

fn push(object: &mut Map<String, Value>, field: &str, value: Value) {
    match object.get_mut(field) {
        Some(Value::Array(list)) => list.push(value),
        _ => {
            object.insert(field.to_owned(), json!([value]));
        }
    }
}

/// A file of a version.
#[derive(Clone, Debug)]
pub struct SimFile(Value);

impl SimFile {
    /// The primary model file with that SHA-256, of 1 MiB and a half KiB.
    pub fn new(id: u64, sha256: &str) -> Self {
        let sha256 = sha256.to_ascii_uppercase();
        Self(json!({
            "id": id,
            "sizeKB": 1024.5,
            "name": format!("model_{id}.safetensors"),
            "overrideName": null,
            "type": "Model",
            "pickleScanResult": "Success",
            "pickleScanMessage": "No Pickle imports",
            "virusScanResult": "Success",
            "virusScanMessage": null,
            "scannedAt": "2026-03-02T09:14:55.417Z",
            "metadata": { "format": "SafeTensor", "size": null, "fp": null },
            "hashes": { "AutoV2": sha256[..10], "SHA256": sha256 },
            "primary": true,
            "downloadUrl": "https://civitai.com/api/download/models/1",
        }))
    }

    /// The primary model file with that content, by its hash and size.
    pub fn of(id: u64, content: &[u8]) -> Self {
        let kib = content.len() as f64 / 1024.0;
        Self::new(id, &digest_of_bytes(content)).with("sizeKB", kib.into())
    }

    /// With another value of one of its fields.
    #[must_use]
    pub fn with(mut self, field: &str, value: Value) -> Self {
        self.0[field] = value;
        self
    }
}

/// A picture of a version.
#[derive(Clone, Debug)]
pub struct SimImage(Value);

impl SimImage {
    /// A picture with that BlurHash at that address.
    pub fn new(url: &str, blurhash: Option<&str>) -> Self {
        Self(json!({
            "url": url,
            "nsfwLevel": 1,
            "width": 832,
            "height": 1216,
            "hash": blurhash,
            "type": "image",
            "metadata": { "hash": blurhash, "size": 1361590, "width": 832, "height": 1216 },
            "meta": null,
        }))
    }

    /// With another value of one of its fields.
    #[must_use]
    pub fn with(mut self, field: &str, value: Value) -> Self {
        self.0[field] = value;
        self
    }
}
