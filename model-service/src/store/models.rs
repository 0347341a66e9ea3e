//! Owns the rows of `models`.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::result::QueryResult;
use diesel::sqlite::Sqlite;

use super::tables::{model_server_availability, models};
use super::{BIND_MAX, from_second_text, second_text};
use crate::model::{
    AutoV2, CivitaiMetadata, MetadataStatus, Model, ModelFilter, ModelKind, NewModel, Sha256,
};

/// Sorts after every hexadecimal digit.
const AFTER_HEX: char = 'g';

#[derive(Queryable, Selectable)]
#[diesel(table_name = models, check_for_backend(Sqlite))]
struct Row {
    id: i64,
    name: String,
    kind: String,
    local_path: String,
    filename: String,
    civitai_id: Option<String>,
    civitai_version_id: Option<String>,
    forge_format: Option<String>,
    hash_autov2: Option<String>,
    hash_sha256: Option<String>,
    civitai_model_name: Option<String>,
    civitai_model_base: Option<String>,
    civitai_model_type: Option<String>,
    civitai_model_version_name: Option<String>,
    civitai_model_version_desc: Option<String>,
    civitai_model_version_date: Option<String>,
    civitai_download_url: Option<String>,
    civitai_trained_words: Option<String>,
    civitai_file_size_kb: Option<i32>,
    metadata_status: String,
    last_used: Option<String>,
    created_at: Option<String>,
    revision: i64,
}

impl From<Row> for Model {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            facts: NewModel {
                name: row.name,
                // The checks of the table allow no other word.
                kind: ModelKind::from_word(&row.kind).unwrap_or(ModelKind::Checkpoint),
                local_path: row.local_path,
                filename: row.filename,
                forge_format: row.forge_format,
                autov2: row.hash_autov2.as_deref().and_then(AutoV2::parse),
                sha256: row.hash_sha256.as_deref().and_then(Sha256::parse),
                civitai: CivitaiMetadata {
                    model_id: row.civitai_id,
                    version_id: row.civitai_version_id,
                    model_name: row.civitai_model_name,
                    base_model: row.civitai_model_base,
                    model_type: row.civitai_model_type,
                    version_name: row.civitai_model_version_name,
                    version_description: row.civitai_model_version_desc,
                    version_date: row.civitai_model_version_date,
                    download_url: row.civitai_download_url,
                    trained_words: row.civitai_trained_words.map(words).unwrap_or_default(),
                    file_size_kib: row.civitai_file_size_kb,
                },
                metadata_status: MetadataStatus::from_word(&row.metadata_status)
                    .unwrap_or(MetadataStatus::Incomplete),
            },
            last_used_at: row.last_used.as_deref().and_then(from_second_text),
            created_at: row.created_at.as_deref().and_then(from_second_text),
            revision: row.revision,
            aliases: Vec::new(),
            servers: Vec::new(),
        }
    }
}

/// Trigger words are a JSON list; a text that is none is words between commas.
fn words(text: String) -> Vec<String> {
    serde_json::from_str(&text).unwrap_or_else(|_| {
        let words = text
            .split(',')
            .map(str::trim)
            .filter(|word| !word.is_empty());
        words.map(str::to_owned).collect()
    })
}

/// The columns of a model that callers write.
#[derive(Insertable, AsChangeset)]
#[diesel(table_name = models, treat_none_as_null = true)]
struct Facts<'a> {
    name: &'a str,
    kind: &'a str,
    local_path: &'a str,
    filename: &'a str,
    civitai_id: Option<&'a str>,
    civitai_version_id: Option<&'a str>,
    forge_format: Option<&'a str>,
    hash_autov2: Option<&'a str>,
    hash_sha256: Option<&'a str>,
    civitai_model_name: Option<&'a str>,
    civitai_model_base: Option<&'a str>,
    civitai_model_type: Option<&'a str>,
    civitai_model_version_name: Option<&'a str>,
    civitai_model_version_desc: Option<&'a str>,
    civitai_model_version_date: Option<&'a str>,
    civitai_download_url: Option<&'a str>,
    civitai_trained_words: Option<String>,
    civitai_file_size_kb: Option<i32>,
    metadata_status: &'a str,
}

#[derive(Insertable)]
#[diesel(table_name = models)]
struct NewRow<'a> {
    id: Option<i64>,
    created_at: String,
    #[diesel(embed)]
    facts: Facts<'a>,
}

fn facts(model: &NewModel) -> Facts<'_> {
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
    } = model;
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
    let trained_words = (!trained_words.is_empty()).then(|| serde_json::json!(trained_words));
    Facts {
        name,
        kind: kind.as_str(),
        local_path,
        filename,
        civitai_id: model_id.as_deref(),
        civitai_version_id: version_id.as_deref(),
        forge_format: forge_format.as_deref(),
        hash_autov2: autov2.as_ref().map(AutoV2::as_str),
        hash_sha256: sha256.as_ref().map(Sha256::as_str),
        civitai_model_name: model_name.as_deref(),
        civitai_model_base: base_model.as_deref(),
        civitai_model_type: model_type.as_deref(),
        civitai_model_version_name: version_name.as_deref(),
        civitai_model_version_desc: version_description.as_deref(),
        civitai_model_version_date: version_date.as_deref(),
        civitai_download_url: download_url.as_deref(),
        civitai_trained_words: trained_words.map(|words| words.to_string()),
        civitai_file_size_kb: *file_size_kib,
        metadata_status: metadata_status.as_str(),
    }
}

/// Adds a model under the given id, or the next one, and answers its id.
pub(crate) fn insert(
    connection: &mut SqliteConnection,
    id: Option<i64>,
    model: &NewModel,
    now: DateTime<Utc>,
) -> QueryResult<i64> {
    diesel::insert_into(models::table)
        .values(NewRow {
            id,
            created_at: second_text(now),
            facts: facts(model),
        })
        .returning(models::id)
        .get_result(connection)
}

/// Changes what is registered of a model, and counts the change.
pub(crate) fn update(
    connection: &mut SqliteConnection,
    id: i64,
    model: &NewModel,
) -> QueryResult<()> {
    diesel::update(models::table.find(id))
        .set((facts(model), models::revision.eq(models::revision + 1)))
        .execute(connection)?;
    Ok(())
}

/// Notes that a job used a model, unless a later use is known; whether there is
/// such a model.
pub(crate) fn touch(
    connection: &mut SqliteConnection,
    id: i64,
    used_at: DateTime<Utc>,
) -> QueryResult<bool> {
    let last_used: Option<Option<String>> = models::table
        .find(id)
        .select(models::last_used)
        .first(connection)
        .optional()?;
    let Some(last_used) = last_used else {
        return Ok(false);
    };
    let known = last_used.as_deref().and_then(from_second_text);
    if known.is_none_or(|known| known < used_at) {
        diesel::update(models::table.find(id))
            .set(models::last_used.eq(second_text(used_at)))
            .execute(connection)?;
    }
    Ok(true)
}

/// One model.
pub(crate) fn get(connection: &mut SqliteConnection, id: i64) -> QueryResult<Option<Model>> {
    let row = models::table
        .find(id)
        .select(Row::as_select())
        .first(connection)
        .optional()?;
    Ok(row.map(Model::from))
}

/// Whether there is such a model.
pub(crate) fn exists(connection: &mut SqliteConnection, id: i64) -> QueryResult<bool> {
    diesel::select(diesel::dsl::exists(models::table.find(id))).get_result(connection)
}

/// The models with these ids, by id.
pub(crate) fn by_ids(connection: &mut SqliteConnection, ids: &[i64]) -> QueryResult<Vec<Model>> {
    let mut found = Vec::with_capacity(ids.len());
    for chunk in ids.chunks(BIND_MAX) {
        let rows: Vec<Row> = models::table
            .filter(models::id.eq_any(chunk))
            .select(Row::as_select())
            .load(connection)?;
        found.extend(rows.into_iter().map(Model::from));
    }
    found.sort_unstable_by_key(|model| model.id);
    Ok(found)
}

/// The model of a kind that has this full hash.
pub(crate) fn id_of_sha256(
    connection: &mut SqliteConnection,
    kind: ModelKind,
    sha256: &Sha256,
) -> QueryResult<Option<i64>> {
    models::table
        .filter(models::hash_sha256.eq(sha256.as_str()))
        .filter(models::kind.eq(kind.as_str()))
        .order(models::id)
        .select(models::id)
        .first(connection)
        .optional()
}

/// Models after the id `after`, by id.
pub(crate) fn list(
    connection: &mut SqliteConnection,
    filter: &ModelFilter,
    after: i64,
    limit: usize,
) -> QueryResult<Vec<Model>> {
    let ModelFilter {
        kind,
        metadata_status,
        hash_prefix,
        base_model,
        server,
        text,
    } = filter;
    let mut query = models::table
        .filter(models::id.gt(after))
        .order(models::id)
        .limit(i64::try_from(limit).unwrap_or(i64::MAX))
        .select(Row::as_select())
        .into_boxed();
    if let Some(kind) = kind {
        query = query.filter(models::kind.eq(kind.as_str()));
    }
    if let Some(status) = metadata_status {
        query = query.filter(models::metadata_status.eq(status.as_str()));
    }
    if let Some(prefix) = hash_prefix {
        let end = format!("{prefix}{AFTER_HEX}");
        let by_sha256 = models::hash_sha256
            .ge(prefix)
            .and(models::hash_sha256.lt(end.clone()));
        let by_autov2 = models::hash_autov2
            .ge(prefix)
            .and(models::hash_autov2.lt(end));
        query = query.filter(by_sha256.or(by_autov2).assume_not_null());
    }
    if let Some(base_model) = base_model {
        query = query.filter(models::civitai_model_base.eq(base_model));
    }
    if let Some(server) = server {
        let there = model_server_availability::table
            .filter(model_server_availability::server_id.eq(server))
            .select(model_server_availability::model_id);
        query = query.filter(models::id.eq_any(there));
    }
    if let Some(text) = text {
        let pattern = format!("%{}%", escape_like(text));
        let by_name = models::name.like(pattern.clone()).escape('\\');
        query = query.filter(by_name.or(models::filename.like(pattern).escape('\\')));
    }
    let rows: Vec<Row> = query.load(connection)?;
    Ok(rows.into_iter().map(Model::from).collect())
}

fn escape_like(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('%', "\\%")
        .replace('_', "\\_")
}

/// Removes a model; its aliases, files and availability go with it.
pub(crate) fn delete(connection: &mut SqliteConnection, id: i64) -> QueryResult<bool> {
    let gone = diesel::delete(models::table.find(id)).execute(connection)?;
    Ok(gone > 0)
}
