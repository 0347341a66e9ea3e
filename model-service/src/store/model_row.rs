//! Owns how a row of `models` is read. It does not fetch any.

use diesel::prelude::*;
use diesel::sqlite::Sqlite;

use super::tables::models;
use super::{from_any_text, from_second_text};
use crate::model::{
    AutoV2, CivitaiMatch, CivitaiMetadata, Details, Discovered, MetadataStatus, Model, ModelKind,
    NewModel, Sha256, Weight,
};

#[derive(Queryable, Selectable)]
#[diesel(table_name = models, check_for_backend(Sqlite))]
pub(super) struct Row {
    id: i64,
    name: String,
    kind: String,
    local_path: String,
    filename: String,
    civitai_id: Option<String>,
    civitai_version_id: Option<String>,
    forge_format: Option<String>,
    hash_autov2: Option<String>,
    hash_sha256: Option<String>,
    civitai_model_name: Option<String>,
    civitai_model_base: Option<String>,
    civitai_model_type: Option<String>,
    civitai_model_version_name: Option<String>,
    civitai_model_version_desc: Option<String>,
    civitai_model_version_date: Option<String>,
    civitai_download_url: Option<String>,
    civitai_trained_words: Option<String>,
    civitai_file_size_kb: Option<i32>,
    metadata_status: String,
    last_used: Option<String>,
    created_at: Option<String>,
    revision: i64,
    #[diesel(embed)]
    details: DetailsRow,
    #[diesel(embed)]
    discovered: DiscoveredRow,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = models, check_for_backend(Sqlite))]
pub(super) struct DetailsRow {
    description: Option<String>,
    activation_text: Option<String>,
    preferred_weight: Option<f64>,
    negative_text: Option<String>,
    notes: Option<String>,
    sd_version: Option<String>,
}

impl From<DetailsRow> for Details {
    fn from(row: DetailsRow) -> Self {
        Self {
            description: row.description,
            activation_text: row.activation_text,
            preferred_weight: row.preferred_weight.and_then(Weight::new),
            negative_text: row.negative_text,
            notes: row.notes,
            sd_version: row.sd_version,
        }
    }
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = models, check_for_backend(Sqlite))]
pub(super) struct DiscoveredRow {
    hash_autov1: Option<String>,
    hash_autov3: Option<String>,
    hash_blake3: Option<String>,
    file_size_bytes: Option<i64>,
    file_modified_at: Option<String>,
    civitai_nsfw: Option<bool>,
    civitai_blurhash: Option<String>,
    preview_url: Option<String>,
    civitai_matched_by: Option<String>,
    civitai_error: Option<String>,
}

impl From<DiscoveredRow> for Discovered {
    fn from(row: DiscoveredRow) -> Self {
        let matched_by = row.civitai_matched_by.as_deref();
        Self {
            autov1: row.hash_autov1,
            autov3: row.hash_autov3,
            blake3: row.hash_blake3,
            size_bytes: row.file_size_bytes,
            modified_at: row.file_modified_at.as_deref().and_then(from_any_text),
            civitai_nsfw: row.civitai_nsfw,
            civitai_blurhash: row.civitai_blurhash,
            preview_url: row.preview_url,
            civitai_match: matched_by.and_then(CivitaiMatch::from_word),
            civitai_error: row.civitai_error,
        }
    }
}

impl From<Row> for Model {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            facts: NewModel {
                name: row.name,
                // The checks of the table allow no other word.
                kind: ModelKind::from_word(&row.kind).unwrap_or(ModelKind::Checkpoint),
                local_path: row.local_path,
                filename: row.filename,
                forge_format: row.forge_format,
                autov2: row.hash_autov2.as_deref().and_then(AutoV2::parse),
                sha256: row.hash_sha256.as_deref().and_then(Sha256::parse),
                civitai: CivitaiMetadata {
                    model_id: row.civitai_id,
                    version_id: row.civitai_version_id,
                    model_name: row.civitai_model_name,
                    base_model: row.civitai_model_base,
                    model_type: row.civitai_model_type,
                    version_name: row.civitai_model_version_name,
                    version_description: row.civitai_model_version_desc,
                    version_date: row.civitai_model_version_date,
                    download_url: row.civitai_download_url,
                    trained_words: row.civitai_trained_words.map(words).unwrap_or_default(),
                    file_size_kib: row.civitai_file_size_kb,
                },
                metadata_status: MetadataStatus::from_word(&row.metadata_status)
                    .unwrap_or(MetadataStatus::Incomplete),
                details: row.details.into(),
            },
            last_used_at: row.last_used.as_deref().and_then(from_second_text),
            created_at: row.created_at.as_deref().and_then(from_second_text),
            revision: row.revision,
            discovered: row.discovered.into(),
            has_preview: false,
            missing: false,
            aliases: Vec::new(),
            servers: Vec::new(),
            files: Vec::new(),
            sources: Vec::new(),
        }
    }
}

/// Trigger words are the texts of a JSON list; a text that is no list is words between commas.
pub(super) fn words(text: String) -> Vec<String> {
    match serde_json::from_str::<Vec<serde_json::Value>>(&text) {
        Ok(list) => {
            let texts = list.into_iter();
            texts
                .filter_map(|value| Some(value.as_str()?.to_owned()))
                .collect()
        }
        Err(_) => {
            let words = text.split(',').map(str::trim);
            words
                .filter(|word| !word.is_empty())
                .map(str::to_owned)
                .collect()
        }
    }
}
