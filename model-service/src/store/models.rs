//! Owns the rows of `models` as callers write and read them; how a row is read is in `model_row.rs`,
//! which rows a filter lets through in `filtered.rs`.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::result::QueryResult;
use diesel::sql_types::{BigInt, Nullable, Text};

use super::model_row::Row;
use super::tables::models;
use super::{BIND_MAX, files_of_models, from_second_text, library_files, second_text};
use crate::model::{AutoV2, CivitaiMetadata, Details, Model, ModelKind, NewModel, Sha256, Weight};
use crate::names;

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
    description: Option<&'a str>,
    activation_text: Option<&'a str>,
    preferred_weight: Option<f64>,
    negative_text: Option<&'a str>,
    notes: Option<&'a str>,
    sd_version: Option<&'a str>,
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
        details,
    } = model;
    let Details {
        description,
        activation_text,
        preferred_weight,
        negative_text,
        notes,
        sd_version,
    } = details;
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
        description: description.as_deref(),
        activation_text: activation_text.as_deref(),
        preferred_weight: preferred_weight.map(Weight::get),
        negative_text: negative_text.as_deref(),
        notes: notes.as_deref(),
        sd_version: sd_version.as_deref(),
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

/// The other digests, and what Civitai said by them, are of the content that the model had before
/// its SHA-256 became this one. What the library computed with the new one is true of it.
pub(crate) fn forget_former_hash(
    connection: &mut SqliteConnection,
    id: i64,
    sha256: Option<&Sha256>,
) -> QueryResult<()> {
    diesel::sql_query(
        "UPDATE models SET
            (hash_autov1, hash_autov3, hash_blake3) =
                (SELECT hash_autov1, hash_autov3, hash_blake3 FROM library_files
                 WHERE model_id = ?1 AND hash_sha256 = ?2 LIMIT 1),
            civitai_checked = NULL, civitai_matched_by = NULL, civitai_error = NULL,
            enriched_at = NULL
         WHERE id = ?1",
    )
    .bind::<BigInt, _>(id)
    .bind::<Nullable<Text>, _>(sha256.map(Sha256::as_str))
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
    let mut found: Vec<Model> = row.into_iter().map(Model::from).collect();
    files_of_models::set_states(connection, &mut found)?;
    Ok(found.pop())
}

/// Whether there is such a model.
pub(crate) fn exists(connection: &mut SqliteConnection, id: i64) -> QueryResult<bool> {
    diesel::select(diesel::dsl::exists(models::table.find(id))).get_result(connection)
}

/// Whether another model of the kind than the one with this SHA-256 has that file name, in either
/// case of letters.
pub(crate) fn is_name_of_another(
    connection: &mut SqliteConnection,
    filename: &str,
    kind: ModelKind,
    sha256: &str,
) -> QueryResult<bool> {
    let others = models::table
        .filter(models::filename_key.eq(names::key(filename)))
        .filter(models::kind.eq(kind.as_str()))
        .filter(
            models::hash_sha256
                .is_null()
                .or(models::hash_sha256.ne(sha256)),
        );
    diesel::select(diesel::dsl::exists(others)).get_result(connection)
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
    files_of_models::set_states(connection, &mut found)?;
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

/// Removes a model; its aliases, servers' files and availability go with it. The
/// next scan makes new models for its files in the library.
pub(crate) fn delete(connection: &mut SqliteConnection, id: i64) -> QueryResult<bool> {
    library_files::read_again(connection, id)?;
    let gone = diesel::delete(models::table.find(id)).execute(connection)?;
    Ok(gone > 0)
}
