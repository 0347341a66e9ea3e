//! Owns the conversion between the domain and the wire, field by field. Rules
//! of request fields are in `request.rs`, models are in `model_view.rs`.

use chrono::{DateTime, Utc};
use prost_types::Timestamp;
use service_kit::clock;
use service_kit::status::Violations;
use stablequeue_proto::models::v1 as wire;

use crate::availability::{AssetPresence, Availability, Found, Inventory, Presence};
use crate::events::{Event, EventKind, NewEvent};
use crate::inventories::ServerPresence;
use crate::model::{MetadataStatus, ModelKind};
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

/// The kind of a model.
pub(super) fn to_kind(kind: ModelKind) -> i32 {
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

/// How much of Civitai's metadata is known.
pub(super) fn to_metadata_status(status: MetadataStatus) -> i32 {
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
        doubted_count,
        doubted_since: _,
    } = inventory;
    wire::Inventory {
        server,
        generation,
        sync_time: to_time(Some(synced_at)),
        checkpoint_count,
        lora_count,
        asset_count,
        doubted_count,
    }
}

/// What one server has.
pub(super) fn to_server(server: ServerPresence) -> wire::ServerAvailability {
    let ServerPresence {
        server,
        inventory,
        presences,
        assets,
    } = server;
    wire::ServerAvailability {
        server,
        references: presences.into_iter().map(to_presence).collect(),
        sync_time: to_time(inventory.map(|inventory| inventory.synced_at)),
        assets: assets.into_iter().map(to_asset_state).collect(),
    }
}

fn to_asset_state(presence: AssetPresence) -> i32 {
    use wire::AvailabilityState as State;
    let state = match presence {
        AssetPresence::Seen { stale: false } => State::Available,
        AssetPresence::Seen { stale: true } => State::Stale,
        AssetPresence::Missing => State::Missing,
        AssetPresence::Unknown => State::Unknown,
    };
    state.into()
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
            } = found;
            wire::ReferenceAvailability {
                state: if stale {
                    State::Stale
                } else {
                    State::Available
                }
                .into(),
                title: title.as_ref().to_owned(),
                model_id: model_id.to_string(),
                sha256: sha256.as_deref().unwrap_or_default().to_owned(),
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
