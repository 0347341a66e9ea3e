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
use crate::civitai::MatchedBy;
use crate::findings::Finding;
use crate::library::stamp::FileStamp;
use crate::model::{MetadataStatus, ModelKind, Sha256};

/// A model that goes by a file name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Namesake {
    pub(crate) id: i64,
    pub(crate) kind: Option<ModelKind>,
    pub(crate) local_path: String,
    /// Whether a file of the library is of it, there or not.
    pub(crate) has_file: bool,
    /// As far as they are known.
    pub(crate) hashes: KnownHashes,
}

/// The hashes of a model as far as they are known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct KnownHashes {
    pub(crate) sha256: Option<String>,
    /// Trusted ones only.
    pub(crate) autov2: Option<String>,
}

impl KnownHashes {
    /// Whether there is any.
    pub(crate) fn any(&self) -> bool {
        self.sha256.is_some() || self.autov2.is_some()
    }

    /// Whether a file with this hash is not the model's.
    pub(crate) fn contradict(&self, sha256: &Sha256) -> bool {
        match (&self.sha256, &self.autov2) {
            (Some(known), _) => known != sha256.as_str(),
            (None, Some(known)) => known != sha256.autov2().as_str(),
            (None, None) => false,
        }
    }
}

/// The hashes of a model; none when it is gone.
pub(crate) fn hashes(connection: &mut SqliteConnection, id: i64) -> QueryResult<KnownHashes> {
    let row: Option<(Option<String>, Option<String>)> = models::table
        .find(id)
        .select((models::hash_sha256, models::hash_autov2))
        .first(connection)
        .optional()?;
    let (sha256, autov2) = row.unwrap_or_default();
    Ok(KnownHashes { sha256, autov2 })
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
    type Row = (
        String,
        i64,
        String,
        String,
        bool,
        Option<String>,
        Option<String>,
    );
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
                models::hash_sha256,
                models::hash_autov2,
            ))
            .load(connection)?;
        for (key, id, kind, local_path, has_file, sha256, autov2) in rows {
            found.entry(key).or_default().push(Namesake {
                id,
                kind: ModelKind::from_word(&kind),
                local_path,
                has_file,
                hashes: KnownHashes { sha256, autov2 },
            });
        }
    }
    Ok(found)
}

/// Rows that one statement adds. Each statement has a savepoint of its own, at
/// which the search index writes what it has gathered.
const ROWS_AT_ONCE: usize = 100;

/// A model that a file stands for.
pub(crate) struct NewFileModel<'a> {
    /// [`next_id`] or one further for each model before it.
    pub(crate) id: i64,
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
    id: i64,
    name: &'a str,
    kind: &'a str,
    local_path: &'a str,
    filename: &'a str,
    metadata_status: &'a str,
    created_at: &'a str,
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

impl<'a> NewRow<'a> {
    fn of(model: &NewFileModel<'a>, created_at: &'a str) -> Self {
        Self {
            id: model.id,
            name: name(model.findings).unwrap_or(model.name),
            kind: model.kind.as_str(),
            local_path: model.local_path,
            filename: model.filename,
            metadata_status: MetadataStatus::Incomplete.as_str(),
            created_at,
            file: FileColumns::of(model.stamp),
            columns: Columns::of(model.findings),
        }
    }
}

/// The id of the next model, as SQLite would choose it.
pub(crate) fn next_id(connection: &mut SqliteConnection) -> QueryResult<i64> {
    let last: Option<i64> = models::table
        .select(diesel::dsl::max(models::id))
        .first(connection)?;
    Ok(last.unwrap_or(0) + 1)
}

/// Adds the models of files, without who said their fields.
pub(crate) fn insert(
    connection: &mut SqliteConnection,
    new: &[NewFileModel<'_>],
    now: DateTime<Utc>,
) -> QueryResult<()> {
    let created_at = second_text(now);
    for chunk in new.chunks(ROWS_AT_ONCE) {
        let rows: Vec<_> = chunk
            .iter()
            .map(|model| NewRow::of(model, &created_at))
            .collect();
        diesel::insert_into(models::table)
            .values(rows)
            .execute(connection)?;
    }
    Ok(())
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

/// Whether Civitai knows the model by its version and not by its file.
pub(crate) fn is_by_version(connection: &mut SqliteConnection, id: i64) -> QueryResult<bool> {
    let matched_by: Option<Option<String>> = models::table
        .find(id)
        .select(models::civitai_matched_by)
        .first(connection)
        .optional()?;
    Ok(matched_by.flatten().as_deref() == Some(MatchedBy::Version.as_str()))
}

/// Has Civitai asked again about a model: what is known of it is not all there is.
pub(crate) fn ask_again(connection: &mut SqliteConnection, id: i64) -> QueryResult<()> {
    diesel::update(models::table.find(id))
        .set(models::metadata_status.eq(MetadataStatus::Incomplete.as_str()))
        .execute(connection)?;
    Ok(())
}
