//! Owns how an inventory is read from its stream: the header first, then items,
//! whole or not at all. It does not own what an inventory changes.

use std::pin::pin;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::{Stream, StreamExt as _};
use prost::Message as _;
use service_kit::clock::{self, Clock};
use service_kit::status::{Failure, Violations};
use stablequeue_proto::models::v1 as wire;
use tonic::Status;
use wire::inventory_item::Kind;
use wire::sync_server_inventory_request::Part;

use super::convert::TITLE_BYTES_MAX;
use super::new_model;
use super::request::{self, text};
use crate::inventory::{Asset, AssetKind, InventoryMode, InventoryUpdate, ListedModel};

/// Most items of an inventory.
const ITEMS_MAX: usize = 100_000;
/// Most items in one message.
const ITEMS_PER_MESSAGE_MAX: usize = 10_000;
/// Most bytes of an inventory, as encoded.
const INVENTORY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long the next message may take.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest name of a generation, in bytes.
const GENERATION_BYTES_MAX: usize = 128;
/// Most assets that one request can ask for.
const NEEDED_ASSETS_MAX: usize = 64;
/// Longest path on a server, in bytes.
const PATH_BYTES_MAX: usize = 4096;

/// How far the clock that a listing is dated by may be ahead of this one.
const LISTED_AHEAD_MAX: TimeDelta = TimeDelta::minutes(5);

type Incoming = Result<wire::SyncServerInventoryRequest, Status>;

/// Reads a whole inventory. Violations are those of one message at once.
pub(super) async fn read(
    clock: &Clock,
    stream: impl Stream<Item = Incoming>,
) -> Result<InventoryUpdate, Status> {
    let mut stream = pin!(stream);
    let mut update: Option<InventoryUpdate> = None;
    let mut expected = None;
    let (mut items, mut bytes) = (0, 0);
    loop {
        let next = clock.timeout(MESSAGE_TIMEOUT, stream.next()).await;
        let next = next.map_err(|_| Failure::deadline())?;
        let Some(message) = next.transpose()? else {
            break;
        };
        bytes += message.encoded_len();
        if bytes > INVENTORY_BYTES_MAX {
            return Err(too_large(format!("more than {INVENTORY_BYTES_MAX} bytes")).into());
        }
        let mut violations = Violations::new();
        match (message.part, &mut update) {
            (Some(Part::Header(header)), None) => {
                expected = header.item_count;
                update = Some(read_header(
                    &mut violations.at("header"),
                    header,
                    clock.now(),
                ));
            }
            (Some(Part::Items(part)), Some(update)) => {
                items += part.items.len();
                if items > ITEMS_MAX {
                    return Err(too_large(format!("more than {ITEMS_MAX} items")).into());
                }
                read_items(&mut violations.at("items"), part.items, update);
            }
            (Some(Part::Header(_)), Some(_)) => {
                violations.add("header", "must come once only");
            }
            (Some(Part::Items(_)), None) => {
                violations.add("header", "must be the first message");
            }
            (None, _) => violations.add("part", "must be set"),
        }
        violations.finish()?;
    }
    // tonic shows a stream that the client cancelled as one that ended. The call
    // itself is dropped then, as soon as it waits for something.
    tokio::task::yield_now().await;
    let mut violations = Violations::new();
    if update.is_none() {
        violations.add("header", "must be the first message");
    } else if expected.is_some_and(|expected| usize::try_from(expected) != Ok(items)) {
        violations.add(
            "header.item_count",
            format!("is not the {items} items that came"),
        );
    }
    violations.finish()?;
    Ok(update.ok_or_else(Failure::internal)?)
}

fn too_large(what: String) -> Failure {
    Failure::exhausted("INVENTORY_TOO_LARGE", "inventory", what, None)
}

fn read_header(
    violations: &mut Violations,
    header: wire::InventoryHeader,
    now: DateTime<Utc>,
) -> InventoryUpdate {
    let wire::InventoryHeader {
        server,
        generation,
        mode,
        base_generation,
        item_count,
        list_time,
    } = header;
    request::server(violations, "server", &server);
    text(
        violations,
        "generation",
        &generation,
        1..=GENERATION_BYTES_MAX,
    );
    text(
        violations,
        "base_generation",
        &base_generation,
        0..=GENERATION_BYTES_MAX,
    );
    let countable = i32::try_from(ITEMS_MAX).unwrap_or(i32::MAX);
    if item_count.is_some_and(|count| !(0..=countable).contains(&count)) {
        violations.add("item_count", format!("must be 0 to {ITEMS_MAX}"));
    }
    let mode = match wire::InventoryMode::try_from(mode) {
        Ok(wire::InventoryMode::Unspecified | wire::InventoryMode::Full) => {
            if !base_generation.is_empty() {
                violations.add("base_generation", "is for a delta only");
            }
            InventoryMode::Full
        }
        Ok(wire::InventoryMode::Delta) => {
            if base_generation.is_empty() {
                violations.add("base_generation", "must be set for a delta");
            }
            InventoryMode::Delta {
                base: base_generation,
            }
        }
        Err(_) => {
            violations.add("mode", format!("{mode} is not a mode"));
            InventoryMode::Full
        }
    };
    InventoryUpdate {
        listed_at: list_time.and_then(|time| read_list_time(violations, &time, now)),
        ..InventoryUpdate::new(server, generation, mode)
    }
}

/// One that lies far in the future would keep what it lacks in doubt until then.
fn read_list_time(
    violations: &mut Violations,
    time: &prost_types::Timestamp,
    now: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    let listed_at = clock::from_timestamp(time);
    if listed_at.is_none() {
        violations.add("list_time", "is not a time of the years 1 to 9999");
    }
    listed_at.map(|listed_at| listed_at.min(now + LISTED_AHEAD_MAX))
}

fn read_items(
    violations: &mut Violations,
    items: Vec<wire::InventoryItem>,
    update: &mut InventoryUpdate,
) {
    if items.len() > ITEMS_PER_MESSAGE_MAX {
        violations.add(
            "items",
            format!("must be at most {ITEMS_PER_MESSAGE_MAX} in one message"),
        );
        return;
    }
    for (index, wire::InventoryItem { kind, removed }) in items.into_iter().enumerate() {
        let mut at = violations.at_index("items", index);
        if removed && update.mode == InventoryMode::Full {
            at.add("removed", "is for a delta only");
        }
        match kind {
            None => at.add("kind", "must be set"),
            Some(Kind::Model(model)) => {
                if let Some(model) = read_model(&mut at.at("model"), model) {
                    update.add_model(model, removed);
                }
            }
            Some(Kind::Asset(asset)) => {
                if let Some(asset) = read_asset(&mut at.at("asset"), asset) {
                    update.add_asset(asset, removed);
                }
            }
        }
    }
}

fn read_model(violations: &mut Violations, model: wire::InventoryModel) -> Option<ListedModel> {
    let wire::InventoryModel {
        r#type,
        title,
        path,
        sha256,
        alias,
    } = model;
    let kind = request::kind(violations, "type", r#type);
    text(violations, "title", &title, 1..=TITLE_BYTES_MAX);
    text(violations, "path", &path, 0..=PATH_BYTES_MAX);
    text(violations, "alias", &alias, 0..=TITLE_BYTES_MAX);
    let sha256 = new_model::sha256(violations, "sha256", &sha256);
    Some(ListedModel {
        kind: kind?,
        title,
        path,
        sha256,
        alias,
    })
}

/// Reads the assets that a job needs.
pub(super) fn needed_assets(
    violations: &mut Violations,
    assets: Vec<wire::ServerAsset>,
) -> Vec<Asset> {
    if assets.len() > NEEDED_ASSETS_MAX {
        violations.add("assets", format!("must be at most {NEEDED_ASSETS_MAX}"));
        return Vec::new();
    }
    let read = |(index, asset)| read_asset(&mut violations.at_index("assets", index), asset);
    assets.into_iter().enumerate().filter_map(read).collect()
}

fn read_asset(violations: &mut Violations, asset: wire::ServerAsset) -> Option<Asset> {
    let wire::ServerAsset { kind, name } = asset;
    text(violations, "name", &name, 1..=TITLE_BYTES_MAX);
    let kind = match wire::AssetKind::try_from(kind) {
        Ok(wire::AssetKind::Module) => AssetKind::Module,
        Ok(wire::AssetKind::Upscaler) => AssetKind::Upscaler,
        Ok(wire::AssetKind::Sampler) => AssetKind::Sampler,
        Ok(wire::AssetKind::Scheduler) => AssetKind::Scheduler,
        Ok(wire::AssetKind::Script) => AssetKind::Script,
        Ok(wire::AssetKind::Unspecified) => {
            violations.add("kind", "must be set");
            return None;
        }
        Err(_) => {
            violations.add("kind", format!("{kind} is not an asset kind"));
            return None;
        }
    };
    Some(Asset { kind, name })
}
