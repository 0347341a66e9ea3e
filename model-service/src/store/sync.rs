//! Owns how an inventory takes effect: fetches what planning needs, and does
//! what the plan says, all inside one command of the writer.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::result::QueryResult;
use diesel::sql_types::Bool;
use diesel::sqlite::Sqlite;

use super::tables::models;
use super::{BIND_MAX, assets, availability, files, inventories, merge, second_text};
use crate::availability::Inventory;
use crate::events::{EventKind, NewEvent};
use crate::inventory::{
    Before, Change, InventoryMode, InventoryUpdate, ListedModel, ModelRow, Plan, plan,
};
use crate::model::{AutoV2, ModelKind, NewModel, Sha256};

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
    let doubted_since = on_file.and_then(|inventory| inventory.doubted_since);
    let before = fetch(connection, update, doubted_since)?;
    let looked_at = update.looked_at(now);
    let plan = plan(update, before, looked_at);
    let names_changed = carry_out(connection, server, &plan, now)?;
    files::doubt(connection, &plan.doubted_files, Some(looked_at))?;
    files::doubt(connection, &plan.cleared_files, None)?;
    if !plan.was_available.is_empty() {
        availability::touch_listed(connection, server, now)?;
    }
    let in_doubt = plan.doubted_since.is_some();
    let (asset_count, assets_changed) = apply_assets(connection, update, in_doubt)?;
    let inventory = inventory_of(update, &plan, asset_count, now);
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
    let doubted_before = on_file.map_or(0, |on_file| on_file.doubted_count);
    let doubt_changed = doubted_before != inventory.doubted_count;
    if !listable || names_changed || assets_changed || doubt_changed || on_file.is_none() {
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

/// Does what the plan says, but for doubts; whether it did more than let models come and go.
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
        ..
    } = plan;
    for (stays, goes) in merged {
        merge::merge(connection, *stays, *goes)?;
    }
    for row in learned {
        learn(connection, row)?;
    }
    for (id, model) in created {
        insert_found(connection, *id, model, now)?;
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
    let seen = second_text(now);
    for (id, title) in available {
        match was_available.get(id) {
            None => availability::insert(connection, server, *id, title.as_deref(), &seen)?,
            Some(before) if before != title => {
                availability::put(connection, server, *id, title.as_deref(), now)?;
            }
            Some(_) => {}
        }
    }
    let stayed = |id: &i64| was_available.contains_key(id) && available.contains_key(id);
    Ok(!changed_files.is_empty()
        || !merged.is_empty()
        || new_files.iter().any(|(model_id, _)| stayed(model_id))
        || gone_files.iter().any(|(_, model_id)| stayed(model_id)))
}

/// Adds a model of which a listing is all that is known. One statement for all
/// of them, unlike that for models with every field.
fn insert_found(
    connection: &mut SqliteConnection,
    id: i64,
    model: &NewModel,
    now: DateTime<Utc>,
) -> QueryResult<()> {
    diesel::insert_into(models::table)
        .values((
            models::id.eq(id),
            models::name.eq(&model.name),
            models::kind.eq(model.kind.as_str()),
            models::local_path.eq(&model.local_path),
            models::filename.eq(&model.filename),
            models::forge_format.eq(model.forge_format.as_deref()),
            models::hash_autov2.eq(model.autov2.as_ref().map(AutoV2::as_str)),
            models::hash_sha256.eq(model.sha256.as_ref().map(Sha256::as_str)),
            models::metadata_status.eq(model.metadata_status.as_str()),
            models::created_at.eq(second_text(now)),
        ))
        .execute(connection)?;
    Ok(())
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

fn fetch(
    connection: &mut SqliteConnection,
    update: &InventoryUpdate,
    doubted_since: Option<DateTime<Utc>>,
) -> QueryResult<Before> {
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
        doubted_since,
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

/// The number of assets afterwards, and whether any came or went. What a full
/// inventory lacks stays while its models are in doubt.
fn apply_assets(
    connection: &mut SqliteConnection,
    update: &InventoryUpdate,
    in_doubt: bool,
) -> QueryResult<(usize, bool)> {
    let server = update.server.as_str();
    let before = assets::of_server(connection, server)?;
    let mut after = match update.mode {
        InventoryMode::Full if !in_doubt => BTreeSet::new(),
        InventoryMode::Full => before.clone(),
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

fn inventory_of(
    update: &InventoryUpdate,
    plan: &Plan,
    asset_count: usize,
    now: DateTime<Utc>,
) -> Inventory {
    let count = |count| i32::try_from(count).unwrap_or(i32::MAX);
    Inventory {
        server: update.server.clone(),
        generation: update.generation.clone(),
        synced_at: now,
        checkpoint_count: count(plan.checkpoint_count),
        lora_count: count(plan.lora_count),
        asset_count: count(asset_count),
        doubted_count: count(plan.doubted_count),
        doubted_since: plan.doubted_since,
    }
}
