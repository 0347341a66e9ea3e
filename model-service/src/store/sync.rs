//! Owns how an inventory takes effect: fetches what planning needs, and does
//! what the plan says, all inside one command of the writer.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::result::QueryResult;
use diesel::sql_types::Bool;
use diesel::sqlite::Sqlite;

use super::tables::models;
use super::{BIND_MAX, assets, availability, files, inventories, merge, models as model_rows};
use crate::availability::Inventory;
use crate::events::{EventKind, NewEvent};
use crate::inventory::{
    Before, Change, InventoryMode, InventoryUpdate, ListedModel, ModelRow, Plan, plan,
};
use crate::model::{ModelKind, Sha256};

/// More models than this coming or going at once are told as one change of the
/// inventory.
pub(crate) const EVENTS_PER_SYNC_MAX: usize = 1000;

type Condition<'a> = Box<dyn BoxableExpression<models::table, Sqlite, SqlType = Bool> + 'a>;

/// What an inventory changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Applied {
    /// The inventory as it is now.
    pub(crate) inventory: Inventory,
    /// Models that were not on the server before.
    pub(crate) added_count: usize,
    /// Models that are gone from the server.
    pub(crate) removed_count: usize,
    /// Models that the registry did not know.
    pub(crate) created_count: usize,
    /// What watchers are to be told.
    pub(crate) events: Vec<NewEvent>,
}

/// Lets an inventory take effect. `on_file` is the one before.
pub(crate) fn apply(
    connection: &mut SqliteConnection,
    update: &InventoryUpdate,
    on_file: Option<&Inventory>,
    now: DateTime<Utc>,
) -> QueryResult<Applied> {
    let server = update.server.as_str();
    let plan = plan(update, fetch(connection, update)?);
    let names_changed = carry_out(connection, server, &plan, now)?;
    availability::touch_listed(connection, server, now)?;
    let (asset_count, assets_changed) = apply_assets(connection, update)?;
    let inventory = counted(connection, update, asset_count, now)?;
    inventories::put(connection, &inventory)?;

    let added: Vec<i64> = difference(&plan.available, &plan.was_available);
    let removed: Vec<i64> = difference(&plan.was_available, &plan.available);
    let mut events = Vec::new();
    if !plan.created.is_empty() || !plan.merged.is_empty() {
        events.push(NewEvent::registry(None));
    }
    let listable = added.len() + removed.len() <= EVENTS_PER_SYNC_MAX;
    if listable {
        let each = |ids: &[i64], kind| -> Vec<NewEvent> {
            ids.iter()
                .map(|id| NewEvent::presence(kind, server, *id))
                .collect()
        };
        events.extend(each(&removed, EventKind::Removed));
        events.extend(each(&added, EventKind::Added));
    }
    if !listable || names_changed || assets_changed || on_file.is_none() {
        events.push(NewEvent::inventory(server));
    }
    Ok(Applied {
        inventory,
        added_count: added.len(),
        removed_count: removed.len(),
        created_count: plan.created.len(),
        events,
    })
}

fn difference(
    one: &BTreeMap<i64, Option<String>>,
    other: &BTreeMap<i64, Option<String>>,
) -> Vec<i64> {
    one.keys()
        .filter(|id| !other.contains_key(id))
        .copied()
        .collect()
}

/// Does what the plan says; whether it did more than let models come and go.
fn carry_out(
    connection: &mut SqliteConnection,
    server: &str,
    plan: &Plan,
    now: DateTime<Utc>,
) -> QueryResult<bool> {
    let Plan {
        created,
        merged,
        learned,
        new_files,
        changed_files,
        gone_files,
        available,
        was_available,
    } = plan;
    for (stays, goes) in merged {
        merge::merge(connection, *stays, *goes)?;
    }
    for row in learned {
        learn(connection, row)?;
    }
    for (id, model) in created {
        model_rows::insert(connection, Some(*id), model, now)?;
    }
    for (id, _) in gone_files {
        files::delete(connection, *id)?;
    }
    for (id, model_id, file) in changed_files {
        files::update_listed(connection, server, *id, *model_id, file)?;
    }
    for (model_id, file) in new_files {
        files::insert_listed(connection, server, *model_id, file)?;
    }
    for id in was_available
        .keys()
        .filter(|id| !available.contains_key(id))
    {
        availability::delete(connection, server, *id)?;
    }
    for (id, title) in available {
        if was_available.get(id) != Some(title) {
            availability::put(connection, server, *id, title.as_deref(), now)?;
        }
    }
    let stayed = |id: &i64| was_available.contains_key(id) && available.contains_key(id);
    Ok(!changed_files.is_empty()
        || !merged.is_empty()
        || new_files.iter().any(|(model_id, _)| stayed(model_id))
        || gone_files.iter().any(|(_, model_id)| stayed(model_id)))
}

fn learn(connection: &mut SqliteConnection, row: &ModelRow) -> QueryResult<()> {
    let ModelRow {
        id,
        kind: _,
        local_path: _,
        forge_format,
        autov2,
        sha256,
    } = row;
    diesel::update(models::table.find(id))
        .set((
            models::forge_format.eq(forge_format),
            models::hash_autov2.eq(autov2),
            models::hash_sha256.eq(sha256),
            models::revision.eq(models::revision + 1),
        ))
        .execute(connection)?;
    Ok(())
}

fn fetch(connection: &mut SqliteConnection, update: &InventoryUpdate) -> QueryResult<Before> {
    let server = update.server.as_str();
    let files = files::of_server(connection, server)?;
    let known: BTreeSet<i64> = files.iter().map(|row| row.model_id).collect();
    let known_items: BTreeSet<&str> = files.iter().map(|row| row.item_key.as_str()).collect();
    let mut hashes = BTreeSet::new();
    let mut paths = BTreeSet::new();
    for (key, change) in &update.models {
        let Change::Listed(ListedModel { sha256, path, .. }) = change else {
            continue;
        };
        hashes.extend(sha256.as_ref().map(Sha256::as_str));
        // A known file can need its path too: when its hash speaks against the
        // model that it was.
        if !path.is_empty() && (sha256.is_some() || !known_items.contains(key.as_str())) {
            paths.insert(path.as_str());
        }
    }
    let mut rows = BTreeMap::new();
    for chunk in chunks(&known) {
        model_facts(connection, Box::new(models::id.eq_any(chunk)), &mut rows)?;
    }
    for chunk in chunks(&hashes) {
        let condition = models::hash_sha256.eq_any(chunk).assume_not_null();
        model_facts(connection, Box::new(condition), &mut rows)?;
    }
    for chunk in chunks(&paths) {
        model_facts(
            connection,
            Box::new(models::local_path.eq_any(chunk)),
            &mut rows,
        )?;
    }
    let last: Option<i64> = models::table
        .select(diesel::dsl::max(models::id))
        .get_result(connection)?;
    Ok(Before {
        files,
        available: availability::of_server(connection, server)?,
        models: rows.into_values().collect(),
        next_model_id: last.unwrap_or(0) + 1,
    })
}

fn chunks<T: Copy>(values: &BTreeSet<T>) -> Vec<Vec<T>> {
    let values: Vec<T> = values.iter().copied().collect();
    values.chunks(BIND_MAX).map(<[T]>::to_vec).collect()
}

fn model_facts(
    connection: &mut SqliteConnection,
    condition: Condition<'_>,
    rows: &mut BTreeMap<i64, ModelRow>,
) -> QueryResult<()> {
    type Row = (
        i64,
        String,
        String,
        Option<String>,
        Option<String>,
        Option<String>,
    );
    let found: Vec<Row> = models::table
        .filter(condition)
        .select((
            models::id,
            models::kind,
            models::local_path,
            models::forge_format,
            models::hash_autov2,
            models::hash_sha256,
        ))
        .load(connection)?;
    for (id, kind, local_path, forge_format, autov2, sha256) in found {
        // The check of the table allows no other word.
        let kind = ModelKind::from_word(&kind).unwrap_or(ModelKind::Checkpoint);
        rows.insert(
            id,
            ModelRow {
                id,
                kind,
                local_path,
                forge_format,
                autov2,
                sha256,
            },
        );
    }
    Ok(())
}

/// The number of assets afterwards, and whether any came or went.
fn apply_assets(
    connection: &mut SqliteConnection,
    update: &InventoryUpdate,
) -> QueryResult<(usize, bool)> {
    let server = update.server.as_str();
    let before = assets::of_server(connection, server)?;
    let mut after = match update.mode {
        InventoryMode::Full => BTreeSet::new(),
        InventoryMode::Delta { .. } => before.clone(),
    };
    let mut changed = false;
    for (asset, there) in &update.assets {
        let key = (asset.kind.as_str().to_owned(), asset.name.clone());
        if *there {
            if !before.contains(&key) {
                assets::insert(connection, server, asset)?;
                changed = true;
            }
            after.insert(key);
        } else {
            after.remove(&key);
        }
    }
    for (kind, name) in before.difference(&after) {
        assets::delete(connection, server, kind, name)?;
        changed = true;
    }
    Ok((after.len(), changed))
}

fn counted(
    connection: &mut SqliteConnection,
    update: &InventoryUpdate,
    asset_count: usize,
    now: DateTime<Utc>,
) -> QueryResult<Inventory> {
    let listed = files::of_server(connection, &update.server)?;
    let count = |kind| {
        let files = listed
            .iter()
            .filter(|row| row.listed && row.file.kind == kind);
        i32::try_from(files.count()).unwrap_or(i32::MAX)
    };
    Ok(Inventory {
        server: update.server.clone(),
        generation: update.generation.clone(),
        synced_at: now,
        checkpoint_count: count(ModelKind::Checkpoint),
        lora_count: count(ModelKind::Lora),
        asset_count: i32::try_from(asset_count).unwrap_or(i32::MAX),
    })
}
