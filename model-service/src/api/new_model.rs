//! Owns the rules of a model that is to be registered. It does not own how a
//! model is shown (`convert.rs`).

use service_kit::status::Violations;
use stablequeue_proto::models::v1 as wire;

use super::convert::{self, TITLE_BYTES_MAX};
use super::request::{self, text};
use crate::model::{
    AutoV2, CivitaiMetadata, Details, FILENAME_BYTES_MAX, MetadataStatus, NewModel, Sha256, Weight,
};
use crate::names;

/// Longest path, in bytes.
pub(super) const PATH_BYTES_MAX: usize = 4096;
/// Longest short text of Civitai, in bytes.
pub(super) const CIVITAI_BYTES_MAX: usize = 1024;
/// Longest description of Civitai, in bytes.
pub(super) const DESCRIPTION_BYTES_MAX: usize = 16 * 1024;
/// Longest description, notes, or text for a prompt, in bytes.
pub(super) const DETAIL_BYTES_MAX: usize = 64 * 1024;
/// Longest word for a family, in bytes.
pub(super) const SD_VERSION_BYTES_MAX: usize = 256;
/// Most trigger words.
const WORDS_MAX: usize = 128;

/// A text that is absent when empty.
pub(super) fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// Reads a model to register; `None` only with violations.
pub(super) fn read(violations: &mut Violations, model: wire::Model) -> Option<NewModel> {
    let wire::Model {
        model_id: _,
        name,
        r#type,
        local_path,
        mut filename,
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
    text(violations, "name", &name, 1..=FILENAME_BYTES_MAX);
    let kind = request::kind(violations, "type", r#type);
    text(violations, "local_path", &local_path, 0..=PATH_BYTES_MAX);
    text(
        violations,
        "forge_format",
        &forge_format,
        0..=TITLE_BYTES_MAX,
    );
    let last_part = names::last_part(&local_path);
    if filename.is_empty() {
        last_part.clone_into(&mut filename);
    } else if !local_path.is_empty() && filename != last_part {
        violations.add("filename", "must be the last part of local_path");
    }
    text(violations, "filename", &filename, 1..=FILENAME_BYTES_MAX);
    if filename.contains(['/', '\\']) {
        violations.add("filename", "must not contain a slash");
    }
    let sha256 = sha256(violations, "hash_sha256", &hash_sha256);
    let autov2 = autov2(violations, &hash_autov2, sha256.as_ref());
    let metadata_status = convert::metadata_status(violations, "metadata_status", status);
    let civitai = civitai.map(|civitai| from_civitai(&mut violations.at("civitai"), civitai));
    let texts = [
        ("description", &description, DETAIL_BYTES_MAX),
        ("activation_text", &activation_text, DETAIL_BYTES_MAX),
        ("negative_text", &negative_text, DETAIL_BYTES_MAX),
        ("notes", &notes, DETAIL_BYTES_MAX),
        ("sd_version", &sd_version, SD_VERSION_BYTES_MAX),
    ];
    for (field, value, bytes_max) in texts {
        text(violations, field, value, 0..=bytes_max);
    }
    let details = Details {
        description: some(description),
        activation_text: some(activation_text),
        preferred_weight: weight(violations, preferred_weight),
        negative_text: some(negative_text),
        notes: some(notes),
        sd_version: some(sd_version),
    };
    Some(NewModel {
        name,
        kind: kind?,
        local_path,
        filename,
        forge_format: some(forge_format),
        autov2,
        sha256,
        civitai: civitai.unwrap_or_default(),
        metadata_status: metadata_status.unwrap_or(MetadataStatus::Incomplete),
        details,
    })
}

/// Reads a weight that may be absent.
pub(super) fn weight(violations: &mut Violations, number: Option<f64>) -> Option<Weight> {
    let weight = number.and_then(Weight::new);
    if number.is_some() && weight.is_none() {
        violations.add("preferred_weight", "must be a finite number");
    }
    weight
}

/// Reads a SHA-256 that may be absent.
pub(super) fn sha256(violations: &mut Violations, field: &str, digits: &str) -> Option<Sha256> {
    let parsed = Sha256::parse(digits);
    if parsed.is_none() && !digits.is_empty() {
        violations.add(field, "must be 64 hexadecimal digits");
    }
    parsed
}

fn autov2(violations: &mut Violations, digits: &str, sha256: Option<&Sha256>) -> Option<AutoV2> {
    let derived = sha256.map(Sha256::autov2);
    if digits.is_empty() {
        return derived;
    }
    match (AutoV2::parse(digits), derived) {
        (None, derived) => {
            violations.add("hash_autov2", "must be 10 hexadecimal digits");
            derived
        }
        (Some(given), Some(derived)) if given != derived => {
            violations.add("hash_autov2", "must be the first 10 digits of hash_sha256");
            Some(derived)
        }
        (given, _) => given,
    }
}

/// Checks trigger words.
pub(super) fn check_words(violations: &mut Violations, words: &[String]) {
    if words.len() > WORDS_MAX {
        violations.add("trained_words", format!("must be at most {WORDS_MAX}"));
        return;
    }
    for (index, word) in words.iter().enumerate() {
        text(
            violations,
            &format!("trained_words[{index}]"),
            word,
            1..=CIVITAI_BYTES_MAX,
        );
    }
}

/// Checks the size that Civitai says.
pub(super) fn check_size(violations: &mut Violations, size_kib: Option<i32>) {
    if size_kib.is_some_and(|size_kib| size_kib < 0) {
        violations.add("file_size_kib", "must not be negative");
    }
}

fn from_civitai(violations: &mut Violations, civitai: wire::CivitaiMetadata) -> CivitaiMetadata {
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
    let short = [
        ("model_id", &model_id),
        ("version_id", &version_id),
        ("model_name", &model_name),
        ("base_model", &base_model),
        ("model_type", &model_type),
        ("version_name", &version_name),
        ("version_date", &version_date),
        ("download_url", &download_url),
    ];
    for (field, value) in short {
        text(violations, field, value, 0..=CIVITAI_BYTES_MAX);
    }
    text(
        violations,
        "version_description",
        &version_description,
        0..=DESCRIPTION_BYTES_MAX,
    );
    check_words(violations, &trained_words);
    check_size(violations, file_size_kib);
    CivitaiMetadata {
        model_id: some(model_id),
        version_id: some(version_id),
        model_name: some(model_name),
        base_model: some(base_model),
        model_type: some(model_type),
        version_name: some(version_name),
        version_description: some(version_description),
        version_date: some(version_date),
        download_url: some(download_url),
        trained_words,
        file_size_kib,
    }
}
