//! Owns how files of the library find their rows of `models`: those that go by
//! their name, and new ones.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use diesel::dsl::exists;
use diesel::prelude::*;
use diesel::result::QueryResult;
use service_kit::clock;

use super::field_sources::{Columns, name};
use super::tables::{library_files, models};
use super::{BIND_MAX, second_text};
use crate::findings::Finding;
use crate::library::stamp::FileStamp;
use crate::model::{MetadataStatus, ModelKind};

/// A model that goes by a file name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Namesake {
    pub(crate) id: i64,
    pub(crate) kind: Option<ModelKind>,
    pub(crate) local_path: String,
    /// Whether a file of the library is of it, there or not.
    pub(crate) has_file: bool,
}

/// The keys of the file names of models that have no file.
pub(crate) fn keys_without_file(connection: &mut SqliteConnection) -> QueryResult<HashSet<String>> {
    let files = library_files::table.filter(library_files::model_id.eq(models::id.nullable()));
    let keys: Vec<String> = models::table
        .filter(diesel::dsl::not(exists(files)))
        .select(models::filename_key)
        .load(connection)?;
    Ok(keys.into_iter().collect())
}

/// The models that go by file names, by their keys.
pub(crate) fn namesakes(
    connection: &mut SqliteConnection,
    keys: &[String],
) -> QueryResult<HashMap<String, Vec<Namesake>>> {
    type Row = (String, i64, String, String, bool);
    let mut found: HashMap<String, Vec<Namesake>> = HashMap::new();
    for chunk in keys.chunks(BIND_MAX) {
        let files = library_files::table.filter(library_files::model_id.eq(models::id.nullable()));
        let rows: Vec<Row> = models::table
            .filter(models::filename_key.eq_any(chunk))
            .order(models::id)
            .select((
                models::filename_key,
                models::id,
                models::kind,
                models::local_path,
                exists(files),
            ))
            .load(connection)?;
        for (key, id, kind, local_path, has_file) in rows {
            found.entry(key).or_default().push(Namesake {
                id,
                kind: ModelKind::from_word(&kind),
                local_path,
                has_file,
            });
        }
    }
    Ok(found)
}

/// A model that a file stands for.
pub(crate) struct NewFileModel<'a> {
    pub(crate) kind: ModelKind,
    /// What it is called when nobody says.
    pub(crate) name: &'a str,
    pub(crate) local_path: &'a str,
    pub(crate) filename: &'a str,
    pub(crate) stamp: FileStamp,
    /// What else was found, one for each field at most.
    pub(crate) findings: &'a [Finding],
}

#[derive(Insertable)]
#[diesel(table_name = models, treat_none_as_default_value = false)]
struct NewRow<'a> {
    name: &'a str,
    kind: &'a str,
    local_path: &'a str,
    filename: &'a str,
    metadata_status: &'a str,
    created_at: String,
    #[diesel(embed)]
    file: FileColumns,
    #[diesel(embed)]
    columns: Columns<'a>,
}

#[derive(Insertable, AsChangeset)]
#[diesel(table_name = models, treat_none_as_null = true, treat_none_as_default_value = false)]
struct FileColumns {
    file_size_bytes: i64,
    file_modified_at: Option<String>,
}

impl FileColumns {
    fn of(stamp: FileStamp) -> Self {
        let modified_at = DateTime::<Utc>::from_timestamp_nanos(stamp.modified_ns);
        Self {
            file_size_bytes: stamp.size_bytes,
            file_modified_at: Some(clock::to_text(modified_at)),
        }
    }
}

/// Adds the model of a file, without who said its fields, and answers its id.
pub(crate) fn insert(
    connection: &mut SqliteConnection,
    model: &NewFileModel<'_>,
    now: DateTime<Utc>,
) -> QueryResult<i64> {
    diesel::insert_into(models::table)
        .values(NewRow {
            name: name(model.findings).unwrap_or(model.name),
            kind: model.kind.as_str(),
            local_path: model.local_path,
            filename: model.filename,
            metadata_status: MetadataStatus::Incomplete.as_str(),
            created_at: second_text(now),
            file: FileColumns::of(model.stamp),
            columns: Columns::of(model.findings),
        })
        .returning(models::id)
        .get_result(connection)
}

/// Writes the size and time of a model's file where they differ.
pub(crate) fn put_file(
    connection: &mut SqliteConnection,
    id: i64,
    stamp: FileStamp,
) -> QueryResult<()> {
    let file = FileColumns::of(stamp);
    let differs = models::file_size_bytes
        .is_not(file.file_size_bytes)
        .or(models::file_modified_at.is_not(file.file_modified_at.clone()));
    diesel::update(models::table.find(id).filter(differs))
        .set((file, models::revision.eq(models::revision + 1)))
        .execute(connection)?;
    Ok(())
}
