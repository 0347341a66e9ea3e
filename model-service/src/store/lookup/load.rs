//! Owns how models that may fit a reference are read, with all that decides whether one does. It
//! does not find them.

use std::collections::BTreeMap;

use diesel::prelude::*;
use diesel::result::QueryResult;
use diesel::sql_types::BigInt;

use super::super::tables::{model_aliases, model_server_availability, models, server_model_files};
use super::super::{from_second_text, library_files};
use super::key_in::{KEYS_MAX, key_in};
use crate::availability::{FileOnServer, KnownModel, Seen};
use crate::model::ModelKind;

/// The models with these ids, by id, with all that decides whether a reference fits them.
pub(super) fn load(
    connection: &mut SqliteConnection,
    ids: &[i64],
) -> QueryResult<BTreeMap<i64, KnownModel>> {
    let mut known = BTreeMap::new();
    for chunk in ids.chunks(KEYS_MAX) {
        load_models(connection, chunk, &mut known)?;
        load_seen(connection, chunk, &mut known)?;
        load_files(connection, chunk, &mut known)?;
        load_aliases(connection, chunk, &mut known)?;
        load_hashed_places(connection, chunk, &mut known)?;
    }
    Ok(known)
}

fn load_models(
    connection: &mut SqliteConnection,
    ids: &[i64],
    known: &mut BTreeMap<i64, KnownModel>,
) -> QueryResult<()> {
    type Row = (
        i64,
        String,
        Option<String>,
        Option<String>,
        Option<String>,
        String,
        String,
        Option<String>,
        bool,
    );
    let rows: Vec<Row> = models::table
        .filter(key_in::<BigInt, _, _>(models::id, ids))
        .select((
            models::id,
            models::kind,
            models::hash_sha256,
            models::hash_autov2,
            models::hash_autov3,
            models::local_path,
            models::filename,
            models::forge_format,
            // Nobody else tells a BLAKE3.
            models::hash_blake3.is_not_null(),
        ))
        .load(connection)?;
    for (id, kind, sha256, autov2, autov3, local_path, filename, forge_format, hashed_here) in rows
    {
        let model = KnownModel {
            id,
            // The check of the table allows no other word.
            kind: ModelKind::from_word(&kind).unwrap_or(ModelKind::Checkpoint),
            sha256,
            autov2,
            autov3,
            local_path,
            filename,
            forge_format: forge_format.unwrap_or_default(),
            aliases: Vec::new(),
            seen_on: Vec::new(),
            files: Vec::new(),
            hashed_at: hashed_here.then(Vec::new),
        };
        known.insert(id, model);
    }
    Ok(())
}

fn load_seen(
    connection: &mut SqliteConnection,
    ids: &[i64],
    known: &mut BTreeMap<i64, KnownModel>,
) -> QueryResult<()> {
    let rows: Vec<(i64, String, Option<String>, Option<String>)> = model_server_availability::table
        .filter(key_in::<BigInt, _, _>(
            model_server_availability::model_id,
            ids,
        ))
        .select((
            model_server_availability::model_id,
            model_server_availability::server_id,
            model_server_availability::title,
            model_server_availability::last_seen,
        ))
        .load(connection)?;
    for (model_id, server, title, last_seen) in rows {
        if let Some(model) = known.get_mut(&model_id) {
            model.seen_on.push(Seen {
                server,
                title: title.unwrap_or_default(),
                at: last_seen.as_deref().and_then(from_second_text),
            });
        }
    }
    Ok(())
}

fn load_files(
    connection: &mut SqliteConnection,
    ids: &[i64],
    known: &mut BTreeMap<i64, KnownModel>,
) -> QueryResult<()> {
    type Row = (i64, String, String, String, String, Option<String>);
    let rows: Vec<Row> = server_model_files::table
        .filter(key_in::<BigInt, _, _>(server_model_files::model_id, ids))
        .select((
            server_model_files::model_id,
            server_model_files::server_id,
            server_model_files::title,
            server_model_files::path,
            server_model_files::alias,
            server_model_files::sha256,
        ))
        .load(connection)?;
    for (model_id, server, title, path, alias, sha256) in rows {
        if let Some(model) = known.get_mut(&model_id) {
            model.files.push(FileOnServer {
                server,
                title,
                path,
                alias,
                sha256,
            });
        }
    }
    Ok(())
}

fn load_aliases(
    connection: &mut SqliteConnection,
    ids: &[i64],
    known: &mut BTreeMap<i64, KnownModel>,
) -> QueryResult<()> {
    let rows: Vec<(i64, String)> = model_aliases::table
        .filter(key_in::<BigInt, _, _>(model_aliases::model_id, ids))
        .select((model_aliases::model_id, model_aliases::alias_path))
        .load(connection)?;
    for (model_id, alias_path) in rows {
        if let Some(model) = known.get_mut(&model_id) {
            model.aliases.push(alias_path);
        }
    }
    Ok(())
}

/// Where the library's files of these models lie from which their hashes are.
fn load_hashed_places(
    connection: &mut SqliteConnection,
    ids: &[i64],
    known: &mut BTreeMap<i64, KnownModel>,
) -> QueryResult<()> {
    let hashed_here = |id: &i64| known.get(id).is_some_and(|model| model.hashed_at.is_some());
    let ids: Vec<i64> = ids.iter().copied().filter(hashed_here).collect();
    if ids.is_empty() {
        return Ok(());
    }
    for hashed in library_files::hashed_places(connection, &ids)? {
        if let Some(model) = known.get_mut(&hashed.model_id)
            && model.sha256.as_ref() == Some(&hashed.sha256)
            && let Some(places) = &mut model.hashed_at
        {
            places.push(hashed.path);
        }
    }
    Ok(())
}
