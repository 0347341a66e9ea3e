//! Owns the rows of `library_files` but their hashes: which files there are,
//! what they looked like, and since when they are gone.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error, QueryResult};
use diesel::sqlite::Sqlite;
use service_kit::clock;

use super::BIND_MAX;
use super::tables::{library_files, library_roots};
use crate::library::digests::Digests;
use crate::library::found::{FileNow, KnownFile};
use crate::library::stamp::FileStamp;
use crate::model::Sha256;
use crate::names;

mod moved;
pub(crate) use moved::settle_moved;

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

/// Where a file lies that was hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HashedPlace {
    pub(crate) model_id: i64,
    pub(crate) sha256: String,
    /// With the path that its root had when it was scanned last, and `/` between
    /// folders.
    pub(crate) path: String,
}

/// Where the hashed files of some models lie, at most `BIND_MAX` models.
pub(crate) fn hashed_places(
    connection: &mut SqliteConnection,
    model_ids: &[i64],
) -> QueryResult<Vec<HashedPlace>> {
    type Row = (Option<i64>, Option<String>, String, Vec<u8>);
    let rows: Vec<Row> = library_files::table
        .inner_join(library_roots::table.on(library_roots::name.eq(library_files::root)))
        .filter(library_files::model_id.eq_any(model_ids))
        .filter(library_files::hash_sha256.is_not_null())
        .select((
            library_files::model_id,
            library_files::hash_sha256,
            library_roots::path,
            library_files::path,
        ))
        .load(connection)?;
    let place = |(model_id, sha256, root, path): Row| {
        let path = Path::new(&root).join(OsStr::from_bytes(&path));
        Some(HashedPlace {
            model_id: model_id?,
            sha256: sha256?,
            path: names::with_slashes(&path.to_string_lossy()),
        })
    };
    Ok(rows.into_iter().filter_map(place).collect())
}

/// How a file was when it was hashed, and its hashes; `None` when it was not, or
/// is another by now.
pub(crate) fn hashed(
    connection: &mut SqliteConnection,
    id: i64,
) -> QueryResult<Option<(FileStamp, Digests)>> {
    type Texts = (
        Option<String>,
        Option<String>,
        Option<String>,
        Option<String>,
    );
    let row: Option<(Row, Texts)> = library_files::table
        .find(id)
        .filter(library_files::hashed_size_bytes.eq(library_files::size_bytes.nullable()))
        .filter(library_files::hashed_modified_ns.eq(library_files::modified_ns.nullable()))
        .select((
            Row::as_select(),
            (
                library_files::hash_sha256,
                library_files::hash_autov1,
                library_files::hash_autov3,
                library_files::hash_blake3,
            ),
        ))
        .first(connection)
        .optional()?;
    Ok(row.and_then(|(row, (sha256, autov1, autov3, blake3))| {
        let digests = Digests {
            sha256: Sha256::parse(&sha256?)?,
            autov1,
            autov3,
            blake3: blake3?,
        };
        Some((KnownFile::from(row).stamp, digests))
    }))
}

/// The files with this SHA-256 that are not gone, the oldest first, at most `limit`.
pub(crate) fn with_sha256(
    connection: &mut SqliteConnection,
    sha256: &str,
    limit: i64,
) -> QueryResult<Vec<KnownFile>> {
    let rows: Vec<Row> = library_files::table
        .filter(library_files::hash_sha256.eq(sha256))
        .filter(library_files::missing_since.is_null())
        .order(library_files::id)
        .limit(limit)
        .select(Row::as_select())
        .load(connection)?;
    Ok(rows.into_iter().map(KnownFile::from).collect())
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
    seen_at: &'a str,
    missing_since: Option<&'a str>,
}

fn seen<'a>(new: &'a SeenFile<'_>, now: &'a str) -> Seen<'a> {
    let SeenFile {
        file,
        beside_stamp,
        model_id,
    } = new;
    Seen {
        root: &file.root,
        path: &file.path,
        model_id: *model_id,
        size_bytes: file.stamp.size_bytes,
        modified_ns: file.stamp.modified_ns,
        device: file.stamp.device,
        inode: file.stamp.inode,
        beside_stamp,
        preview_path: file.preview_path.as_deref(),
        header_problem: file.header_problem.as_deref(),
        seen_at: now,
        missing_since: None,
    }
}

/// Rows that one statement adds.
const ROWS_AT_ONCE: usize = 100;

/// A file as it is now, and whose it is.
pub(crate) struct SeenFile<'a> {
    pub(crate) file: &'a FileNow,
    /// In place of that of the file.
    pub(crate) beside_stamp: Cow<'a, str>,
    pub(crate) model_id: Option<i64>,
}

#[derive(Insertable)]
#[diesel(table_name = library_files, treat_none_as_default_value = false)]
struct NewRow<'a> {
    #[diesel(embed)]
    seen: Seen<'a>,
    first_seen_at: &'a str,
}

impl<'a> NewRow<'a> {
    fn of(new: &'a SeenFile<'_>, now: &'a str) -> Self {
        Self {
            seen: seen(new, now),
            first_seen_at: now,
        }
    }
}

/// Adds files, or writes how they are now when something else has added them
/// meanwhile.
pub(crate) fn put(
    connection: &mut SqliteConnection,
    new: &[SeenFile<'_>],
    now: DateTime<Utc>,
) -> QueryResult<()> {
    let now = clock::to_text(now);
    for chunk in new.chunks(ROWS_AT_ONCE) {
        let rows: Vec<_> = chunk.iter().map(|new| NewRow::of(new, &now)).collect();
        let added = diesel::insert_into(library_files::table)
            .values(rows)
            .execute(connection);
        match added {
            Err(Error::DatabaseError(DatabaseErrorKind::UniqueViolation, _)) => {
                put_singly(connection, chunk, &now)?;
            }
            added => drop(added?),
        }
    }
    Ok(())
}

fn put_singly(
    connection: &mut SqliteConnection,
    new: &[SeenFile<'_>],
    now: &str,
) -> QueryResult<()> {
    for new in new {
        diesel::insert_into(library_files::table)
            .values(NewRow::of(new, now))
            .on_conflict((library_files::root, library_files::path))
            .do_update()
            .set(seen(new, now))
            .execute(connection)?;
    }
    Ok(())
}

/// Writes how a file is now, and where. Its hashes are forgotten when its
/// content may have changed.
pub(crate) fn update(
    connection: &mut SqliteConnection,
    id: i64,
    file: &SeenFile<'_>,
    content_differs: bool,
    now: DateTime<Utc>,
) -> QueryResult<()> {
    diesel::update(library_files::table.find(id))
        .set(seen(file, &clock::to_text(now)))
        .execute(connection)?;
    if content_differs {
        forget_hashes(connection, id)?;
    }
    Ok(())
}

/// Has the next scan read the files of a model again, and what lies beside them.
pub(crate) fn read_again(connection: &mut SqliteConnection, model_id: i64) -> QueryResult<()> {
    diesel::update(library_files::table)
        .filter(library_files::model_id.eq(model_id))
        .set(library_files::beside_stamp.eq(""))
        .execute(connection)?;
    Ok(())
}

/// Notes that what lies beside a file was taken in as it is now.
pub(crate) fn put_beside_stamp(
    connection: &mut SqliteConnection,
    root: &str,
    path: &[u8],
    beside_stamp: &str,
) -> QueryResult<()> {
    diesel::update(library_files::table)
        .filter(library_files::root.eq(root))
        .filter(library_files::path.eq(path))
        .set(library_files::beside_stamp.eq(beside_stamp))
        .execute(connection)?;
    Ok(())
}

/// The model that a file is of; `None` when there is none.
pub(crate) fn model_of(connection: &mut SqliteConnection, id: i64) -> QueryResult<Option<i64>> {
    let model_id: Option<Option<i64>> = library_files::table
        .find(id)
        .select(library_files::model_id)
        .first(connection)
        .optional()?;
    Ok(model_id.flatten())
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
