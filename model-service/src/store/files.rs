//! Owns the rows of `server_model_files`: each file that a server has.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::result::QueryResult;

use service_kit::clock;

use super::BIND_MAX;
use super::tables::{models, server_model_files};
use crate::inventory::{FileRow, ListedModel};
use crate::model::{ModelKind, Sha256};
use crate::names;

/// The source of a file that an inventory lists.
pub(super) const LISTED: &str = "listed";
/// The source of a file that SetModelAvailability told of.
pub(super) const SET: &str = "set";

#[derive(Insertable, AsChangeset)]
#[diesel(
    table_name = server_model_files,
    treat_none_as_null = true,
    treat_none_as_default_value = false
)]
struct NewRow<'a> {
    server_id: &'a str,
    model_id: i64,
    item_key: String,
    source: &'a str,
    title: &'a str,
    path: &'a str,
    alias: String,
    sha256: Option<&'a str>,
    title_key: String,
    filename_key: String,
    alias_key: String,
    /// A file that is listed or set is in no doubt.
    doubted_since: Option<String>,
}

impl<'a> NewRow<'a> {
    fn new(server: &'a str, model_id: i64, source: &'a str, file: &'a ListedModel) -> Self {
        let alias = file.alias_or_model_name();
        Self {
            server_id: server,
            model_id,
            item_key: file.item_key(),
            source,
            title: &file.title,
            path: &file.path,
            alias_key: names::key(&alias),
            alias,
            sha256: file.sha256.as_ref().map(Sha256::as_str),
            title_key: names::key(file.bare_title()),
            filename_key: names::key(file.filename()),
            doubted_since: None,
        }
    }
}

/// The files of a server.
pub(crate) fn of_server(
    connection: &mut SqliteConnection,
    server: &str,
) -> QueryResult<Vec<FileRow>> {
    type Row = (
        i64,
        i64,
        String,
        String,
        String,
        String,
        String,
        Option<String>,
        Option<String>,
        String,
    );
    let rows: Vec<Row> = server_model_files::table
        .inner_join(models::table)
        .filter(server_model_files::server_id.eq(server))
        .select((
            server_model_files::id,
            server_model_files::model_id,
            server_model_files::item_key,
            server_model_files::source,
            server_model_files::title,
            server_model_files::path,
            server_model_files::alias,
            server_model_files::sha256,
            server_model_files::doubted_since,
            models::kind,
        ))
        .load(connection)?;
    let file_row =
        |(id, model_id, item_key, source, title, path, alias, sha256, doubted, kind): Row| {
            FileRow {
                id,
                model_id,
                item_key,
                listed: source == LISTED,
                doubted_since: doubted.as_deref().and_then(clock::from_text),
                file: ListedModel {
                    // The check of the table allows no other word.
                    kind: ModelKind::from_word(&kind).unwrap_or(ModelKind::Checkpoint),
                    title,
                    path,
                    sha256: sha256.as_deref().and_then(Sha256::parse),
                    alias,
                },
            }
        };
    Ok(rows.into_iter().map(file_row).collect())
}

/// The files of a model: server and file.
pub(crate) fn of_model(
    connection: &mut SqliteConnection,
    model_id: i64,
) -> QueryResult<Vec<(String, ListedModel)>> {
    type Row = (String, String, String, String, Option<String>, String);
    let rows: Vec<Row> = server_model_files::table
        .inner_join(models::table)
        .filter(server_model_files::model_id.eq(model_id))
        .order((server_model_files::server_id, server_model_files::id))
        .select((
            server_model_files::server_id,
            server_model_files::title,
            server_model_files::path,
            server_model_files::alias,
            server_model_files::sha256,
            models::kind,
        ))
        .load(connection)?;
    let file = |(server, title, path, alias, sha256, kind): Row| {
        let file = ListedModel {
            // The check of the table allows no other word.
            kind: ModelKind::from_word(&kind).unwrap_or(ModelKind::Checkpoint),
            title,
            path,
            sha256: sha256.as_deref().and_then(Sha256::parse),
            alias,
        };
        (server, file)
    };
    Ok(rows.into_iter().map(file).collect())
}

/// Adds a file that an inventory lists.
pub(crate) fn insert_listed(
    connection: &mut SqliteConnection,
    server: &str,
    model_id: i64,
    file: &ListedModel,
) -> QueryResult<()> {
    diesel::insert_into(server_model_files::table)
        .values(NewRow::new(server, model_id, LISTED, file))
        .execute(connection)?;
    Ok(())
}

/// Changes a file to what an inventory lists.
pub(crate) fn update_listed(
    connection: &mut SqliteConnection,
    server: &str,
    id: i64,
    model_id: i64,
    file: &ListedModel,
) -> QueryResult<()> {
    diesel::update(server_model_files::table.find(id))
        .set(NewRow::new(server, model_id, LISTED, file))
        .execute(connection)?;
    Ok(())
}

/// Adds a title that somebody told of, unless the model has a file of that
/// title on the server.
pub(crate) fn put_set(
    connection: &mut SqliteConnection,
    server: &str,
    model_id: i64,
    file: &ListedModel,
) -> QueryResult<()> {
    let same = server_model_files::table
        .filter(server_model_files::model_id.eq(model_id))
        .filter(server_model_files::server_id.eq(server))
        .filter(server_model_files::title_key.eq(names::key(file.bare_title())));
    if diesel::select(diesel::dsl::exists(same)).get_result(connection)? {
        return Ok(());
    }
    // Of two models that are said to have one title the later one has it.
    diesel::replace_into(server_model_files::table)
        .values(NewRow::new(server, model_id, SET, file))
        .execute(connection)?;
    Ok(())
}

/// Marks files that the inventory of `since` lacks, until another one agrees;
/// absent: they are in doubt no longer.
pub(crate) fn doubt(
    connection: &mut SqliteConnection,
    ids: &[i64],
    since: Option<DateTime<Utc>>,
) -> QueryResult<()> {
    let since = since.map(clock::to_text);
    for chunk in ids.chunks(BIND_MAX) {
        let rows = server_model_files::table.filter(server_model_files::id.eq_any(chunk));
        diesel::update(rows)
            .set(server_model_files::doubted_since.eq(&since))
            .execute(connection)?;
    }
    Ok(())
}

/// Removes one file.
pub(crate) fn delete(connection: &mut SqliteConnection, id: i64) -> QueryResult<()> {
    diesel::delete(server_model_files::table.find(id)).execute(connection)?;
    Ok(())
}

/// Removes all files of a model on a server.
pub(crate) fn delete_of(
    connection: &mut SqliteConnection,
    server: &str,
    model_id: i64,
) -> QueryResult<()> {
    let there = server_model_files::table
        .filter(server_model_files::model_id.eq(model_id))
        .filter(server_model_files::server_id.eq(server));
    diesel::delete(there).execute(connection)?;
    Ok(())
}
