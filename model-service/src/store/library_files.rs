//! Owns the rows of `library_files` but their hashes: which files there are,
//! what they looked like, and since when they are gone.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::result::QueryResult;
use diesel::sqlite::Sqlite;
use service_kit::clock;

use super::BIND_MAX;
use super::tables::library_files;
use crate::library::found::{FileNow, KnownFile};
use crate::library::stamp::FileStamp;

#[derive(Queryable, Selectable)]
#[diesel(table_name = library_files, check_for_backend(Sqlite))]
struct Row {
    id: i64,
    root: String,
    path: Vec<u8>,
    model_id: Option<i64>,
    size_bytes: i64,
    modified_ns: i64,
    device: i64,
    inode: i64,
    beside_stamp: String,
    missing_since: Option<String>,
    hash_sha256: Option<String>,
}

impl From<Row> for KnownFile {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            root: row.root,
            path: row.path,
            stamp: FileStamp {
                size_bytes: row.size_bytes,
                modified_ns: row.modified_ns,
                device: row.device,
                inode: row.inode,
            },
            beside_stamp: row.beside_stamp,
            model_id: row.model_id,
            missing: row.missing_since.is_some(),
            sha256: row.hash_sha256,
        }
    }
}

/// All files, those that are gone included.
pub(crate) fn all(connection: &mut SqliteConnection) -> QueryResult<Vec<KnownFile>> {
    let rows: Vec<Row> = library_files::table
        .select(Row::as_select())
        .load(connection)?;
    Ok(rows.into_iter().map(KnownFile::from).collect())
}

/// The file at a path, gone or not.
pub(crate) fn at(
    connection: &mut SqliteConnection,
    root: &str,
    path: &[u8],
) -> QueryResult<Option<KnownFile>> {
    let row: Option<Row> = library_files::table
        .filter(library_files::root.eq(root))
        .filter(library_files::path.eq(path))
        .select(Row::as_select())
        .first(connection)
        .optional()?;
    Ok(row.map(KnownFile::from))
}

/// The columns that a scan writes.
#[derive(Insertable, AsChangeset)]
#[diesel(table_name = library_files, treat_none_as_null = true, treat_none_as_default_value = false)]
struct Seen<'a> {
    root: &'a str,
    path: &'a [u8],
    model_id: Option<i64>,
    size_bytes: i64,
    modified_ns: i64,
    device: i64,
    inode: i64,
    beside_stamp: &'a str,
    preview_path: Option<&'a [u8]>,
    header_problem: Option<&'a str>,
    seen_at: String,
    missing_since: Option<&'a str>,
}

fn seen(file: &FileNow, model_id: Option<i64>, now: DateTime<Utc>) -> Seen<'_> {
    Seen {
        root: &file.root,
        path: &file.path,
        model_id,
        size_bytes: file.stamp.size_bytes,
        modified_ns: file.stamp.modified_ns,
        device: file.stamp.device,
        inode: file.stamp.inode,
        beside_stamp: &file.beside_stamp,
        preview_path: file.preview_path.as_deref(),
        header_problem: file.header_problem.as_deref(),
        seen_at: clock::to_text(now),
        missing_since: None,
    }
}

/// Adds a file, or writes how it is now when something else has added it
/// meanwhile.
pub(crate) fn put(
    connection: &mut SqliteConnection,
    file: &FileNow,
    model_id: Option<i64>,
    now: DateTime<Utc>,
) -> QueryResult<()> {
    diesel::insert_into(library_files::table)
        .values((
            seen(file, model_id, now),
            library_files::first_seen_at.eq(clock::to_text(now)),
        ))
        .on_conflict((library_files::root, library_files::path))
        .do_update()
        .set(seen(file, model_id, now))
        .execute(connection)?;
    Ok(())
}

/// Writes how a file is now, and where. Its hashes are forgotten when its
/// content may have changed.
pub(crate) fn update(
    connection: &mut SqliteConnection,
    id: i64,
    file: &FileNow,
    model_id: Option<i64>,
    content_differs: bool,
    now: DateTime<Utc>,
) -> QueryResult<()> {
    diesel::update(library_files::table.find(id))
        .set(seen(file, model_id, now))
        .execute(connection)?;
    if content_differs {
        forget_hashes(connection, id)?;
    }
    Ok(())
}

fn forget_hashes(connection: &mut SqliteConnection, id: i64) -> QueryResult<()> {
    let (text, number) = (None::<String>, None::<i64>);
    diesel::update(library_files::table.find(id))
        .set((
            library_files::hash_sha256.eq(&text),
            library_files::hash_autov1.eq(&text),
            library_files::hash_autov3.eq(&text),
            library_files::hash_blake3.eq(&text),
            library_files::hashed_size_bytes.eq(number),
            library_files::hashed_modified_ns.eq(number),
            library_files::hashed_at.eq(&text),
        ))
        .execute(connection)?;
    Ok(())
}

/// Marks files as gone since now, or as there again.
pub(crate) fn mark(
    connection: &mut SqliteConnection,
    ids: &[i64],
    missing: bool,
    now: DateTime<Utc>,
) -> QueryResult<()> {
    let since = missing.then(|| clock::to_text(now));
    for chunk in ids.chunks(BIND_MAX) {
        diesel::update(library_files::table)
            .filter(library_files::id.eq_any(chunk))
            .set(library_files::missing_since.eq(&since))
            .execute(connection)?;
    }
    Ok(())
}

/// Recognises a file that was just hashed as one that vanished: the row of the
/// vanished one goes on as that of this file, and the row `file_id` is removed.
/// Whether that was so. Of several that vanished it is the last.
pub(crate) fn settle_moved(
    connection: &mut SqliteConnection,
    file_id: i64,
    sha256: &str,
    now: DateTime<Utc>,
) -> QueryResult<bool> {
    let here: Option<MovedRow> = library_files::table
        .find(file_id)
        .filter(library_files::missing_since.is_null())
        .select(MovedRow::as_select())
        .first(connection)
        .optional()?;
    let Some(here) = here else {
        return Ok(false);
    };
    let gone: Option<(i64, Option<i64>)> = library_files::table
        .filter(library_files::hash_sha256.eq(sha256))
        .filter(library_files::size_bytes.eq(here.size_bytes))
        .filter(library_files::missing_since.is_not_null())
        .order((
            library_files::missing_since.desc(),
            library_files::id.desc(),
        ))
        .select((library_files::id, library_files::model_id))
        .first(connection)
        .optional()?;
    let Some((gone, model_id)) = gone else {
        return Ok(false);
    };
    diesel::delete(library_files::table.find(file_id)).execute(connection)?;
    diesel::update(library_files::table.find(gone))
        .set((
            MovedRow {
                model_id: model_id.or(here.model_id),
                missing_since: None,
                seen_at: clock::to_text(now),
                ..here
            },
            library_files::hash_sha256.eq(sha256),
        ))
        .execute(connection)?;
    Ok(true)
}

/// What a row takes over from the one at the new place.
#[derive(Queryable, Selectable, AsChangeset)]
#[diesel(table_name = library_files, treat_none_as_null = true, check_for_backend(Sqlite))]
struct MovedRow {
    root: String,
    path: Vec<u8>,
    model_id: Option<i64>,
    size_bytes: i64,
    modified_ns: i64,
    device: i64,
    inode: i64,
    beside_stamp: String,
    preview_path: Option<Vec<u8>>,
    header_problem: Option<String>,
    seen_at: String,
    missing_since: Option<String>,
    hash_autov1: Option<String>,
    hash_autov3: Option<String>,
    hash_blake3: Option<String>,
    hashed_size_bytes: Option<i64>,
    hashed_modified_ns: Option<i64>,
    hashed_at: Option<String>,
}
