//! Owns how a model looks on the wire. It does not own the rules of what callers say of one
//! (`new_model.rs`, `model_change.rs`).

use stablequeue_proto::models::v1 as wire;

use super::convert::{to_kind, to_metadata_status, to_time};
use crate::findings::{Field, Source};
use crate::model::{
    AutoV2, CivitaiMatch, CivitaiMetadata, Details, Discovered, Facet, FacetField, LibraryFile,
    MetadataStatus, Model, ModelAlias, ModelKind, NewModel, Sha256, Weight,
};

/// A model as it is on disk.
pub(super) fn to_model(model: Model) -> wire::Model {
    let etag = model.etag();
    let Model {
        id,
        facts,
        last_used_at,
        created_at,
        revision: _,
        discovered,
        has_preview,
        missing,
        aliases,
        servers,
        files,
        sources,
    } = model;
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
    } = facts;
    let civitai = to_civitai(civitai, &discovered);
    let shown = wire::Model {
        model_id: id.to_string(),
        name,
        r#type: to_kind(kind),
        local_path,
        filename,
        forge_format: forge_format.unwrap_or_default(),
        hash_autov2: autov2.as_ref().map_or("", AutoV2::as_str).to_owned(),
        hash_sha256: sha256.as_ref().map_or("", Sha256::as_str).to_owned(),
        civitai: (civitai != wire::CivitaiMetadata::default()).then_some(civitai),
        metadata_status: to_metadata_status(metadata_status),
        last_used_time: to_time(last_used_at),
        create_time: to_time(created_at),
        aliases: aliases.into_iter().map(to_alias).collect(),
        servers,
        etag,
        has_preview,
        missing,
        files: files.into_iter().map(to_file).collect(),
        field_sources: sources.into_iter().map(to_field_source).collect(),
        ..wire::Model::default()
    };
    with_discovered(with_details(shown, details), discovered)
}

fn with_details(shown: wire::Model, details: Details) -> wire::Model {
    let Details {
        description,
        activation_text,
        preferred_weight,
        negative_text,
        notes,
        sd_version,
    } = details;
    wire::Model {
        description: description.unwrap_or_default(),
        activation_text: activation_text.unwrap_or_default(),
        preferred_weight: preferred_weight.map(Weight::get),
        negative_text: negative_text.unwrap_or_default(),
        notes: notes.unwrap_or_default(),
        sd_version: sd_version.unwrap_or_default(),
        ..shown
    }
}

fn with_discovered(shown: wire::Model, discovered: Discovered) -> wire::Model {
    wire::Model {
        hash_autov1: discovered.autov1.unwrap_or_default(),
        hash_autov3: discovered.autov3.unwrap_or_default(),
        hash_blake3: discovered.blake3.unwrap_or_default(),
        file_size_bytes: discovered.size_bytes,
        file_modify_time: to_time(discovered.modified_at),
        ..shown
    }
}

fn to_civitai(civitai: CivitaiMetadata, discovered: &Discovered) -> wire::CivitaiMetadata {
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
    wire::CivitaiMetadata {
        model_id: model_id.unwrap_or_default(),
        version_id: version_id.unwrap_or_default(),
        model_name: model_name.unwrap_or_default(),
        base_model: base_model.unwrap_or_default(),
        model_type: model_type.unwrap_or_default(),
        version_name: version_name.unwrap_or_default(),
        version_description: version_description.unwrap_or_default(),
        version_date: version_date.unwrap_or_default(),
        download_url: download_url.unwrap_or_default(),
        trained_words,
        file_size_kib,
        nsfw: discovered.civitai_nsfw,
        blurhash: discovered.civitai_blurhash.clone().unwrap_or_default(),
        preview_url: discovered.preview_url.clone().unwrap_or_default(),
        file_matched: discovered
            .civitai_match
            .map(|how| how == CivitaiMatch::File),
        error_message: discovered.civitai_error.clone().unwrap_or_default(),
    }
}

/// A file of a model.
pub(super) fn to_field_source((field, source): (Field, Source)) -> wire::FieldSource {
    let source = match source {
        Source::Manual => wire::MetadataSource::Manual,
        Source::Civitai => wire::MetadataSource::Civitai,
        Source::Sidecar => wire::MetadataSource::Sidecar,
        Source::Embedded => wire::MetadataSource::Embedded,
        Source::FileName => wire::MetadataSource::FileName,
    };
    wire::FieldSource {
        field: field.wire_name().to_owned(),
        source: source.into(),
    }
}

/// How the values of one field are spread; those of enums by their names.
pub(super) fn to_facet(Facet { field, counts }: Facet) -> wire::ModelFacet {
    let name = |value: String| match field {
        FacetField::Type => ModelKind::from_word(&value)
            .and_then(|kind| wire::ModelType::try_from(to_kind(kind)).ok())
            .map_or(value, |kind| kind.as_str_name().to_owned()),
        FacetField::MetadataStatus => MetadataStatus::from_word(&value)
            .and_then(|status| wire::MetadataStatus::try_from(to_metadata_status(status)).ok())
            .map_or(value, |status| status.as_str_name().to_owned()),
        FacetField::BaseModel | FacetField::Server | FacetField::TrainedWords => value,
    };
    let counts = counts.into_iter().map(|(value, count)| wire::FacetCount {
        value: name(value),
        count,
    });
    wire::ModelFacet {
        field: field.as_str().to_owned(),
        counts: counts.collect(),
    }
}

/// What is left out of an answer that would be larger than clients receive, one after the other:
/// long texts, all but the identity of candidates, all but their ids, all but the id of models.
pub(super) const LEFT_OUT: [fn(&mut wire::ModelResolution); 4] = [
    |resolution| {
        let candidates = &mut resolution.candidates;
        for model in resolution.model.iter_mut().chain(candidates) {
            leave_out_long_texts(model);
        }
    },
    |resolution| resolution.candidates.iter_mut().for_each(leave_identity),
    |resolution| resolution.candidates.iter_mut().for_each(leave_id),
    |resolution| resolution.model.iter_mut().for_each(leave_id),
];

fn leave_out_long_texts(model: &mut wire::Model) {
    model.description = String::new();
    model.activation_text = String::new();
    model.negative_text = String::new();
    model.notes = String::new();
    if let Some(civitai) = &mut model.civitai {
        civitai.version_description = String::new();
        civitai.trained_words = Vec::new();
    }
}

fn leave_identity(model: &mut wire::Model) {
    let whole = std::mem::take(model);
    *model = wire::Model {
        model_id: whole.model_id,
        name: whole.name,
        r#type: whole.r#type,
        local_path: whole.local_path,
        hash_sha256: whole.hash_sha256,
        ..wire::Model::default()
    };
}

fn leave_id(model: &mut wire::Model) {
    *model = wire::Model {
        model_id: std::mem::take(&mut model.model_id),
        ..wire::Model::default()
    };
}

/// A file of the library.
pub(super) fn to_file(file: LibraryFile) -> wire::ModelFile {
    let LibraryFile {
        root,
        path,
        size_bytes,
        modified_at,
        sha256,
        missing_since,
        header_problem,
    } = file;
    wire::ModelFile {
        root,
        path,
        size_bytes,
        modify_time: to_time(modified_at),
        sha256: sha256.unwrap_or_default(),
        missing_time: to_time(missing_since),
        header_problem: header_problem.unwrap_or_default(),
    }
}

/// An alias as it is on disk.
pub(super) fn to_alias(alias: ModelAlias) -> wire::ModelAlias {
    let ModelAlias {
        id,
        model_id,
        alias_path,
    } = alias;
    wire::ModelAlias {
        alias_id: id.to_string(),
        model_id: model_id.to_string(),
        alias_path,
    }
}
