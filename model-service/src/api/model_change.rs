//! Owns the rules of a change of a model: which fields it may name, and their
//! values. It does not own what the change does (`model_change.rs` of the
//! domain).

use prost_types::FieldMask;
use service_kit::status::Violations;
use stablequeue_proto::models::v1 as wire;

use super::convert::{self, TITLE_BYTES_MAX};
use super::new_model::{
    self, CIVITAI_BYTES_MAX, DESCRIPTION_BYTES_MAX, DETAIL_BYTES_MAX, PATH_BYTES_MAX,
    SD_VERSION_BYTES_MAX,
};
use super::request::text;
use crate::model::{AutoV2, FILENAME_BYTES_MAX, MetadataStatus};
use crate::model_change::{CivitaiChange, DetailsChange, ModelChange};

/// Most paths of one mask; there are fewer fields.
const PATHS_MAX: usize = 64;
/// The fields that can be changed.
const CHANGEABLE: [&str; 25] = [
    "name",
    "local_path",
    "filename",
    "forge_format",
    "hash_autov2",
    "hash_sha256",
    "metadata_status",
    "description",
    "activation_text",
    "preferred_weight",
    "negative_text",
    "notes",
    "sd_version",
    CIVITAI,
    "civitai.model_id",
    "civitai.version_id",
    "civitai.model_name",
    "civitai.base_model",
    "civitai.model_type",
    "civitai.version_name",
    "civitai.version_description",
    "civitai.version_date",
    "civitai.download_url",
    "civitai.trained_words",
    "civitai.file_size_kib",
];
const CIVITAI: &str = "civitai";

/// Which fields a change takes.
enum Mask {
    /// Those that are set.
    Set,
    /// These.
    Paths(Vec<String>),
}

impl Mask {
    fn read(violations: &mut Violations, mask: Option<FieldMask>) -> Self {
        let paths = mask.map(|mask| mask.paths).unwrap_or_default();
        if paths.is_empty() {
            return Self::Set;
        }
        if paths.len() > PATHS_MAX {
            let rule = format!("must be at most {PATHS_MAX} fields");
            violations.add("update_mask.paths", rule);
            return Self::Paths(Vec::new());
        }
        for (index, path) in paths.iter().enumerate() {
            if !CHANGEABLE.contains(&path.as_str()) {
                violations.add(
                    &format!("update_mask.paths[{index}]"),
                    "is not a field that can be changed: name, local_path, filename, \
                     forge_format, hash_autov2, hash_sha256, metadata_status, description, \
                     activation_text, preferred_weight, negative_text, notes, sd_version, civitai \
                     and its fields",
                );
            }
        }
        Self::Paths(paths)
    }

    fn takes(&self, path: &str, is_set: bool) -> bool {
        match self {
            Self::Set => is_set,
            Self::Paths(paths) => paths.iter().any(|one| {
                let whole = one == CIVITAI && path.starts_with("civitai.");
                whole || one == path
            }),
        }
    }
}

/// Takes the texts that a change asks for, below one prefix.
struct Texts<'a> {
    violations: &'a mut Violations,
    mask: &'a Mask,
    /// Before the name of each field in the mask.
    prefix: &'static str,
}

impl Texts<'_> {
    fn take(
        &mut self,
        field: &str,
        value: String,
        bytes: std::ops::RangeInclusive<usize>,
    ) -> Option<String> {
        let path = format!("{}{field}", self.prefix);
        if !self.mask.takes(&path, !value.is_empty()) {
            return None;
        }
        text(self.violations, field, &value, bytes);
        Some(value)
    }

    /// A text that is absent when empty.
    fn optional(&mut self, field: &str, value: String, bytes_max: usize) -> Option<Option<String>> {
        self.take(field, value, 0..=bytes_max).map(new_model::some)
    }
}

/// Reads a change; it counts only without violations. Fields that are not taken
/// are not looked at.
pub(super) fn read(
    violations: &mut Violations,
    model: wire::Model,
    mask: Option<FieldMask>,
) -> ModelChange {
    let mask = Mask::read(violations, mask);
    let wire::Model {
        model_id: _,
        name,
        r#type: _,
        local_path,
        filename,
        forge_format,
        hash_autov2,
        hash_sha256,
        civitai,
        metadata_status: status,
        last_used_time: _,
        create_time: _,
        aliases: _,
        servers: _,
        etag: _,
        hash_autov1: _,
        hash_autov3: _,
        hash_blake3: _,
        file_size_bytes: _,
        file_modify_time: _,
        description,
        activation_text,
        preferred_weight,
        negative_text,
        notes,
        sd_version,
        has_preview: _,
        missing: _,
        field_sources: _,
        files: _,
    } = model;
    let mut violations = violations.at("model");
    let mut texts = Texts {
        violations: &mut violations,
        mask: &mask,
        prefix: "",
    };
    let name = texts.take("name", name, 1..=FILENAME_BYTES_MAX);
    let local_path = texts.take("local_path", local_path, 0..=PATH_BYTES_MAX);
    let filename = texts.take("filename", filename, 0..=FILENAME_BYTES_MAX);
    let forge_format = texts.optional("forge_format", forge_format, TITLE_BYTES_MAX);
    let mut details = DetailsChange {
        description: texts.optional("description", description, DETAIL_BYTES_MAX),
        activation_text: texts.optional("activation_text", activation_text, DETAIL_BYTES_MAX),
        preferred_weight: None,
        negative_text: texts.optional("negative_text", negative_text, DETAIL_BYTES_MAX),
        notes: texts.optional("notes", notes, DETAIL_BYTES_MAX),
        sd_version: texts.optional("sd_version", sd_version, SD_VERSION_BYTES_MAX),
    };
    if mask.takes("preferred_weight", preferred_weight.is_some()) {
        details.preferred_weight = Some(new_model::weight(&mut violations, preferred_weight));
    }
    if filename
        .as_ref()
        .is_some_and(|name| name.contains(['/', '\\']))
    {
        violations.add("filename", "must not contain a slash");
    }
    let autov2 = mask
        .takes("hash_autov2", !hash_autov2.is_empty())
        .then(|| autov2(&mut violations, &hash_autov2));
    let sha256 = mask
        .takes("hash_sha256", !hash_sha256.is_empty())
        .then(|| new_model::sha256(&mut violations, "hash_sha256", &hash_sha256));
    let metadata_status = mask.takes("metadata_status", status != 0).then(|| {
        convert::metadata_status(&mut violations, "metadata_status", status)
            .unwrap_or(MetadataStatus::Incomplete)
    });
    let civitai = civitai.unwrap_or_default();
    ModelChange {
        name,
        local_path,
        filename,
        forge_format,
        autov2,
        sha256,
        metadata_status,
        civitai: read_civitai(&mut violations.at(CIVITAI), civitai, &mask),
        details,
    }
}

fn autov2(violations: &mut Violations, digits: &str) -> Option<AutoV2> {
    let parsed = AutoV2::parse(digits);
    if parsed.is_none() && !digits.is_empty() {
        violations.add("hash_autov2", "must be 10 hexadecimal digits");
    }
    parsed
}

fn read_civitai(
    violations: &mut Violations,
    civitai: wire::CivitaiMetadata,
    mask: &Mask,
) -> CivitaiChange {
    let wire::CivitaiMetadata {
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
        nsfw: _,
        blurhash: _,
        preview_url: _,
        file_matched: _,
        error_message: _,
    } = civitai;
    let trained_words = mask
        .takes("civitai.trained_words", !trained_words.is_empty())
        .then_some(trained_words);
    if let Some(words) = &trained_words {
        new_model::check_words(violations, words);
    }
    let file_size_kib = mask
        .takes("civitai.file_size_kib", file_size_kib.is_some())
        .then_some(file_size_kib);
    new_model::check_size(violations, file_size_kib.flatten());
    let mut texts = Texts {
        violations,
        mask,
        prefix: "civitai.",
    };
    let mut short = |field, value| texts.optional(field, value, CIVITAI_BYTES_MAX);
    CivitaiChange {
        model_id: short("model_id", model_id),
        version_id: short("version_id", version_id),
        model_name: short("model_name", model_name),
        base_model: short("base_model", base_model),
        model_type: short("model_type", model_type),
        version_name: short("version_name", version_name),
        version_date: short("version_date", version_date),
        download_url: short("download_url", download_url),
        version_description: texts.optional(
            "version_description",
            version_description,
            DESCRIPTION_BYTES_MAX,
        ),
        trained_words,
        file_size_kib,
    }
}
