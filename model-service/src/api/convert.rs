//! Owns the conversion between the domain and the wire, field by field. Rules
//! of request fields are in `request.rs`.

use chrono::{DateTime, Utc};
use prost_types::Timestamp;
use service_kit::clock;
use service_kit::status::Violations;
use stablequeue_proto::models::v1 as wire;

use crate::availability::{Availability, Found, Inventory, Presence};
use crate::events::{Event, EventKind, NewEvent};
use crate::inventories::ServerPresence;
use crate::model::{CivitaiMetadata, MetadataStatus, Model, ModelAlias, ModelKind, NewModel};
use crate::reference::MatchKind;

/// Longest title, in bytes.
pub(super) const TITLE_BYTES_MAX: usize = 1024;

/// The kind of a model; absent when not set.
pub(super) fn kind(kind: wire::ModelType) -> Option<ModelKind> {
    match kind {
        wire::ModelType::Unspecified => None,
        wire::ModelType::Checkpoint => Some(ModelKind::Checkpoint),
        wire::ModelType::Lora => Some(ModelKind::Lora),
    }
}

fn to_kind(kind: ModelKind) -> i32 {
    match kind {
        ModelKind::Checkpoint => wire::ModelType::Checkpoint,
        ModelKind::Lora => wire::ModelType::Lora,
    }
    .into()
}

/// The metadata status; absent when not set.
pub(super) fn metadata_status(
    violations: &mut Violations,
    field: &str,
    value: i32,
) -> Option<MetadataStatus> {
    match wire::MetadataStatus::try_from(value) {
        Ok(wire::MetadataStatus::Unspecified) => None,
        Ok(wire::MetadataStatus::Complete) => Some(MetadataStatus::Complete),
        Ok(wire::MetadataStatus::Incomplete) => Some(MetadataStatus::Incomplete),
        Ok(wire::MetadataStatus::Error) => Some(MetadataStatus::Error),
        Err(_) => {
            violations.add(field, format!("{value} is not a metadata status"));
            None
        }
    }
}

fn to_metadata_status(status: MetadataStatus) -> i32 {
    match status {
        MetadataStatus::Complete => wire::MetadataStatus::Complete,
        MetadataStatus::Incomplete => wire::MetadataStatus::Incomplete,
        MetadataStatus::Error => wire::MetadataStatus::Error,
    }
    .into()
}

/// How a reference was matched.
pub(super) fn to_match(kind: MatchKind) -> i32 {
    match kind {
        MatchKind::Sha256 => wire::MatchKind::Sha256,
        MatchKind::AutoV2 => wire::MatchKind::Autov2,
        MatchKind::Alias => wire::MatchKind::Alias,
        MatchKind::Path => wire::MatchKind::Path,
        MatchKind::Title => wire::MatchKind::Title,
        MatchKind::Filename => wire::MatchKind::Filename,
    }
    .into()
}

/// An instant, when it is known.
pub(super) fn to_time(time: Option<DateTime<Utc>>) -> Option<Timestamp> {
    time.map(clock::to_timestamp)
}

/// A model as it is on disk.
pub(super) fn to_model(model: Model) -> wire::Model {
    let etag = model.etag();
    let Model {
        id,
        facts,
        last_used_at,
        created_at,
        revision: _,
        aliases,
        servers,
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
    } = facts;
    wire::Model {
        model_id: id.to_string(),
        name,
        r#type: to_kind(kind),
        local_path,
        filename,
        forge_format: forge_format.unwrap_or_default(),
        hash_autov2: autov2
            .map(|hash| hash.as_str().to_owned())
            .unwrap_or_default(),
        hash_sha256: sha256
            .map(|hash| hash.as_str().to_owned())
            .unwrap_or_default(),
        civitai: (!civitai.is_empty()).then(|| to_civitai(civitai)),
        metadata_status: to_metadata_status(metadata_status),
        last_used_time: to_time(last_used_at),
        create_time: to_time(created_at),
        aliases: aliases.into_iter().map(to_alias).collect(),
        servers,
        etag,
    }
}

fn to_civitai(civitai: CivitaiMetadata) -> wire::CivitaiMetadata {
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

/// A fact on file.
pub(super) fn to_availability(availability: Availability) -> wire::Availability {
    let Availability {
        id: _,
        server,
        model_id,
        kind,
        title,
        seen_at,
    } = availability;
    wire::Availability {
        server,
        model_id: model_id.to_string(),
        title,
        seen_time: to_time(seen_at),
        r#type: to_kind(kind),
    }
}

/// The last inventory of a server.
pub(super) fn to_inventory(inventory: Inventory) -> wire::Inventory {
    let Inventory {
        server,
        generation,
        synced_at,
        checkpoint_count,
        lora_count,
        asset_count,
    } = inventory;
    wire::Inventory {
        server,
        generation,
        sync_time: to_time(Some(synced_at)),
        checkpoint_count,
        lora_count,
        asset_count,
    }
}

/// What one server has.
pub(super) fn to_server(server: ServerPresence) -> wire::ServerAvailability {
    let ServerPresence {
        server,
        inventory,
        presences,
    } = server;
    wire::ServerAvailability {
        server,
        references: presences.into_iter().map(to_presence).collect(),
        sync_time: to_time(inventory.map(|inventory| inventory.synced_at)),
    }
}

fn to_presence(presence: Presence) -> wire::ReferenceAvailability {
    use wire::AvailabilityState as State;
    let bare = |state: State| wire::ReferenceAvailability {
        state: state.into(),
        ..wire::ReferenceAvailability::default()
    };
    match presence {
        Presence::Missing => bare(State::Missing),
        Presence::Unknown => bare(State::Unknown),
        Presence::Ambiguous(candidates) => wire::ReferenceAvailability {
            candidates,
            ..bare(State::Ambiguous)
        },
        Presence::Seen(found) => {
            let Found {
                stale,
                title,
                model_id,
                sha256,
                seen_at,
                kind,
            } = *found;
            wire::ReferenceAvailability {
                state: if stale {
                    State::Stale
                } else {
                    State::Available
                }
                .into(),
                title,
                model_id: model_id.to_string(),
                sha256: sha256.unwrap_or_default(),
                seen_time: to_time(seen_at),
                r#match: to_match(kind),
                candidates: Vec::new(),
            }
        }
    }
}

/// A change that is on disk.
pub(super) fn to_event(event: Event) -> wire::AvailabilityEvent {
    use wire::AvailabilityEventType as Type;
    let Event {
        sequence: _,
        what,
        created_at,
    } = event;
    let NewEvent {
        kind,
        server,
        model_id,
    } = what;
    let r#type = match kind {
        EventKind::Added => Type::Added,
        EventKind::Removed => Type::Removed,
        EventKind::InventoryChanged => Type::InventoryChanged,
        EventKind::RegistryChanged => Type::RegistryChanged,
    };
    wire::AvailabilityEvent {
        r#type: r#type.into(),
        server,
        model_id: model_id.map(|id| id.to_string()).unwrap_or_default(),
        create_time: to_time(Some(created_at)),
    }
}
