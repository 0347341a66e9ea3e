//! Owns which files of the library have no hash yet, and how much that is. It
//! does not write hashes.

use chrono::{DateTime, Utc};
use diesel::dsl::{count_star, sql};
use diesel::prelude::*;
use diesel::result::QueryResult;
use diesel::sql_types::BigInt;
use diesel::sqlite::Sqlite;
use service_kit::clock::to_text;

use crate::library::FILE_BYTES_MAX;
use crate::library::stamp::FileStamp;
use crate::store::tables::library_files;

/// Which files are to be hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Beneath these roots.
    pub(crate) roots: Vec<String>,
    /// Of these models; none: of all.
    pub(crate) model_ids: Vec<i64>,
    /// Also those that were hashed before this time; `None`: only those without
    /// a hash as they are.
    pub(crate) hashed_before: Option<DateTime<Utc>>,
}

/// How much there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Amount {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

/// A file that is to be hashed, as the last scan found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileToHash {
    pub(crate) id: i64,
    pub(crate) root: String,
    /// Beneath the root, in the bytes of the file system.
    pub(crate) path: Vec<u8>,
    pub(crate) stamp: FileStamp,
}

type Chosen<'a> = library_files::BoxedQuery<'a, Sqlite>;

fn chosen(wanted: &Wanted) -> Chosen<'_> {
    let mut query = library_files::table
        .filter(library_files::missing_since.is_null())
        .filter(library_files::root.eq_any(&wanted.roots))
        .into_boxed();
    if !wanted.model_ids.is_empty() {
        let ids = wanted.model_ids.iter().map(|id| Some(*id));
        query = query.filter(library_files::model_id.eq_any(ids));
    }
    query
}

fn to_hash(wanted: &Wanted) -> Chosen<'_> {
    let other_size = library_files::hashed_size_bytes.is_not(library_files::size_bytes.nullable());
    let other_time =
        library_files::hashed_modified_ns.is_not(library_files::modified_ns.nullable());
    let without = library_files::hash_sha256
        .is_null()
        .or(other_size)
        .or(other_time);
    match wanted.hashed_before {
        None => chosen(wanted).filter(without),
        Some(time) => {
            let before = library_files::hashed_at.lt(to_text(time)).assume_not_null();
            let before = library_files::hashed_at.is_null().or(before);
            chosen(wanted).filter(without.or(before))
        }
    }
}

/// How much is to be hashed, and how much there is in all.
pub(crate) fn amounts(
    connection: &mut SqliteConnection,
    wanted: &Wanted,
) -> QueryResult<(Amount, Amount)> {
    // What is larger is not hashed, and would make a sum that no number holds.
    let bytes = format!("ifnull(sum(min(size_bytes, {FILE_BYTES_MAX})), 0)");
    let mut amount = |query: Chosen<'_>| {
        let bytes = sql::<BigInt>(&bytes);
        let (files, bytes): (i64, i64) = query.select((count_star(), bytes)).first(connection)?;
        let unsigned = |count| u64::try_from(count).unwrap_or_default();
        QueryResult::Ok(Amount {
            files: unsigned(files),
            bytes: unsigned(bytes),
        })
    };
    Ok((amount(to_hash(wanted))?, amount(chosen(wanted))?))
}

/// At most `limit` files that are to be hashed behind the id `after`, by id.
pub(crate) fn next(
    connection: &mut SqliteConnection,
    wanted: &Wanted,
    after: i64,
    limit: i64,
) -> QueryResult<Vec<FileToHash>> {
    type Row = (i64, String, Vec<u8>, i64, i64, i64, i64);
    let rows: Vec<Row> = to_hash(wanted)
        .filter(library_files::id.gt(after))
        .order(library_files::id)
        .limit(limit)
        .select((
            library_files::id,
            library_files::root,
            library_files::path,
            library_files::size_bytes,
            library_files::modified_ns,
            library_files::device,
            library_files::inode,
        ))
        .load(connection)?;
    let file = |(id, root, path, size_bytes, modified_ns, device, inode)| FileToHash {
        id,
        root,
        path,
        stamp: FileStamp {
            size_bytes,
            modified_ns,
            device,
            inode,
        },
    };
    Ok(rows.into_iter().map(file).collect())
}
