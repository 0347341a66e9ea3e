//! Owns what models show of their files in the library. It does not write those files
//! (`library_files.rs`).

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::result::QueryResult;
use diesel::sql_types::BigInt;
use diesel::sqlite::Sqlite;

use super::tables::library_files;
use super::{BIND_MAX, from_any_text};
use crate::model::{LibraryFile, Model};

/// Sets of each model whether a picture lies beside a file of it, and whether all its files are
/// gone.
pub(crate) fn set_states(
    connection: &mut SqliteConnection,
    models: &mut [Model],
) -> QueryResult<()> {
    for chunk in models.chunks_mut(BIND_MAX) {
        let ids: Vec<i64> = chunk.iter().map(|model| model.id).collect();
        let rows: Vec<(Option<i64>, i64, i64)> = library_files::table
            .filter(library_files::model_id.eq_any(ids))
            .group_by(library_files::model_id)
            .select((
                library_files::model_id,
                sql::<BigInt>("count(*) FILTER (WHERE missing_since IS NULL)"),
                sql::<BigInt>(
                    "count(*) FILTER (WHERE missing_since IS NULL AND preview_path IS NOT NULL)",
                ),
            ))
            .load(connection)?;
        let mut by_id: HashMap<i64, &mut Model> =
            chunk.iter_mut().map(|model| (model.id, model)).collect();
        for (id, present, with_preview) in rows {
            if let Some(model) = id.and_then(|id| by_id.get_mut(&id)) {
                model.missing = present == 0;
                model.has_preview = with_preview > 0;
            }
        }
    }
    Ok(())
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = library_files, check_for_backend(Sqlite))]
struct Row {
    model_id: Option<i64>,
    root: String,
    path: Vec<u8>,
    size_bytes: i64,
    modified_ns: i64,
    missing_since: Option<String>,
    header_problem: Option<String>,
    hash_sha256: Option<String>,
    hashed_size_bytes: Option<i64>,
    hashed_modified_ns: Option<i64>,
}

impl From<Row> for LibraryFile {
    fn from(row: Row) -> Self {
        let hashed_as_it_is = row.hashed_size_bytes == Some(row.size_bytes)
            && row.hashed_modified_ns == Some(row.modified_ns);
        Self {
            root: row.root,
            path: String::from_utf8_lossy(&row.path).into_owned(),
            size_bytes: row.size_bytes,
            modified_at: Some(DateTime::<Utc>::from_timestamp_nanos(row.modified_ns)),
            sha256: row.hash_sha256.filter(|_| hashed_as_it_is),
            missing_since: row.missing_since.as_deref().and_then(from_any_text),
            header_problem: row.header_problem,
        }
    }
}

/// The files of some models with the models' ids, the oldest row first.
pub(crate) fn of_models(
    connection: &mut SqliteConnection,
    ids: &[i64],
) -> QueryResult<Vec<(i64, LibraryFile)>> {
    let mut found = Vec::new();
    for chunk in ids.chunks(BIND_MAX) {
        let rows: Vec<Row> = library_files::table
            .filter(library_files::model_id.eq_any(chunk))
            .order((library_files::model_id, library_files::id))
            .select(Row::as_select())
            .load(connection)?;
        let rows = rows.into_iter();
        found.extend(rows.filter_map(|row| Some((row.model_id?, LibraryFile::from(row)))));
    }
    Ok(found)
}

/// Where the picture of a model is: the root, and the path beneath it. That of the file that was
/// changed last, where several have one.
pub(crate) fn preview(
    connection: &mut SqliteConnection,
    model_id: i64,
) -> QueryResult<Option<(String, PathBuf)>> {
    let row: Option<(String, Option<Vec<u8>>)> = library_files::table
        .filter(library_files::model_id.eq(model_id))
        .filter(library_files::missing_since.is_null())
        .filter(library_files::preview_path.is_not_null())
        .order((library_files::modified_ns.desc(), library_files::id))
        .select((library_files::root, library_files::preview_path))
        .first(connection)
        .optional()?;
    Ok(row.and_then(|(root, path)| Some((root, PathBuf::from(OsString::from_vec(path?))))))
}
