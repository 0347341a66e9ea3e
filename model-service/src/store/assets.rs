//! Owns the rows of `server_assets`.

use std::collections::BTreeSet;

use diesel::prelude::*;
use diesel::result::QueryResult;

use super::tables::server_assets;
use crate::inventory::Asset;

/// The assets of a server: word of the kind, and name.
pub(crate) fn of_server(
    connection: &mut SqliteConnection,
    server: &str,
) -> QueryResult<BTreeSet<(String, String)>> {
    let rows: Vec<(String, String)> = server_assets::table
        .filter(server_assets::server_id.eq(server))
        .select((server_assets::kind, server_assets::name))
        .load(connection)?;
    Ok(rows.into_iter().collect())
}

/// Adds an asset.
pub(crate) fn insert(
    connection: &mut SqliteConnection,
    server: &str,
    Asset { kind, name }: &Asset,
) -> QueryResult<()> {
    diesel::insert_into(server_assets::table)
        .values((
            server_assets::server_id.eq(server),
            server_assets::kind.eq(kind.as_str()),
            server_assets::name.eq(name),
        ))
        .execute(connection)?;
    Ok(())
}

/// Removes an asset.
pub(crate) fn delete(
    connection: &mut SqliteConnection,
    server: &str,
    kind: &str,
    name: &str,
) -> QueryResult<()> {
    diesel::delete(server_assets::table.find((server, kind, name))).execute(connection)?;
    Ok(())
}
