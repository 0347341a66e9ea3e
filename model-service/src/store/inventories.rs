//! Owns the rows of `server_inventories`.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::result::QueryResult;
use diesel::sqlite::Sqlite;
use service_kit::clock;

use super::files;
use super::tables::{server_inventories, server_model_files};
use crate::availability::Inventory;

#[derive(Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = server_inventories, check_for_backend(Sqlite))]
struct Row {
    server_id: String,
    generation: String,
    synced_at: String,
    checkpoint_count: i32,
    lora_count: i32,
    asset_count: i32,
    doubted_count: i32,
    doubted_since: Option<String>,
}

impl From<Row> for Inventory {
    fn from(row: Row) -> Self {
        Self {
            server: row.server_id,
            generation: row.generation,
            // Only this file writes it, always in this shape.
            synced_at: clock::from_text(&row.synced_at).unwrap_or(DateTime::UNIX_EPOCH),
            checkpoint_count: row.checkpoint_count,
            lora_count: row.lora_count,
            asset_count: row.asset_count,
            doubted_count: row.doubted_count,
            doubted_since: row.doubted_since.as_deref().and_then(clock::from_text),
        }
    }
}

/// The last inventory of a server.
pub(crate) fn get(
    connection: &mut SqliteConnection,
    server: &str,
) -> QueryResult<Option<Inventory>> {
    let row = server_inventories::table
        .find(server)
        .select(Row::as_select())
        .first(connection)
        .optional()?;
    Ok(row.map(Inventory::from))
}

/// How many servers have an inventory.
pub(crate) fn count(connection: &mut SqliteConnection) -> QueryResult<i64> {
    server_inventories::table.count().get_result(connection)
}

/// Inventories of servers after `after`, by server.
pub(crate) fn list(
    connection: &mut SqliteConnection,
    after: &str,
    limit: usize,
) -> QueryResult<Vec<Inventory>> {
    let rows: Vec<Row> = server_inventories::table
        .filter(server_inventories::server_id.gt(after))
        .order(server_inventories::server_id)
        .limit(i64::try_from(limit).unwrap_or(i64::MAX))
        .select(Row::as_select())
        .load(connection)?;
    Ok(rows.into_iter().map(Inventory::from).collect())
}

/// Writes the inventory of a server in place of the one before.
pub(crate) fn put(connection: &mut SqliteConnection, inventory: &Inventory) -> QueryResult<()> {
    let Inventory {
        server,
        generation,
        synced_at,
        checkpoint_count,
        lora_count,
        asset_count,
        doubted_count,
        doubted_since,
    } = inventory;
    diesel::replace_into(server_inventories::table)
        .values(Row {
            server_id: server.clone(),
            generation: generation.clone(),
            synced_at: clock::to_text(*synced_at),
            checkpoint_count: *checkpoint_count,
            lora_count: *lora_count,
            asset_count: *asset_count,
            doubted_count: *doubted_count,
            doubted_since: doubted_since.map(clock::to_text),
        })
        .execute(connection)?;
    Ok(())
}

/// Notes that the inventory was taken again and is the same.
pub(crate) fn touch(
    connection: &mut SqliteConnection,
    server: &str,
    now: DateTime<Utc>,
) -> QueryResult<()> {
    diesel::update(server_inventories::table.find(server))
        .set(server_inventories::synced_at.eq(clock::to_text(now)))
        .execute(connection)?;
    Ok(())
}

/// Forgets the generation of a server's inventory, so that the next one takes
/// effect even when it is the same.
pub(crate) fn forget_generation(
    connection: &mut SqliteConnection,
    server: &str,
) -> QueryResult<()> {
    diesel::update(server_inventories::table.find(server))
        .set(server_inventories::generation.eq(""))
        .execute(connection)?;
    Ok(())
}

/// Forgets the generation of every inventory that lists a model, so that the
/// next one takes effect even when it is the same.
pub(crate) fn forget_generations_with(
    connection: &mut SqliteConnection,
    model_id: i64,
) -> QueryResult<()> {
    let servers = server_model_files::table
        .filter(server_model_files::model_id.eq(model_id))
        .filter(server_model_files::source.eq(files::LISTED))
        .select(server_model_files::server_id);
    let listing = server_inventories::table.filter(server_inventories::server_id.eq_any(servers));
    diesel::update(listing)
        .set(server_inventories::generation.eq(""))
        .execute(connection)?;
    Ok(())
}
