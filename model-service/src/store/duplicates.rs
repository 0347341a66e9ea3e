//! Owns the statements that find files with the same content.

use std::collections::HashSet;

use chrono::DateTime;
use diesel::prelude::*;
use diesel::result::QueryResult;
use diesel::sql_types::{BigInt, Nullable, Text};
use service_kit::page::PAGE_BYTES_MAX;

use super::tables::library_files;
use crate::library::duplicates::{DuplicateFile, DuplicateGroup, DuplicateTotals, FILES_SHOWN_MAX};
use crate::model::{LibraryFile, SHA256_DIGITS};

/// The groups behind the hash ?2, in the root ?1 if that is one. A hash counts
/// that was taken of the file as it is.
pub(super) const GROUPS: &str = "
    SELECT hash_sha256 AS sha256, max(size_bytes) AS size_bytes, count(*) AS file_count,
           count(DISTINCT device || ':' || inode) AS content_count
    FROM library_files
    WHERE hash_sha256 > ?2 AND (?1 IS NULL OR root = ?1) AND missing_since IS NULL
      AND hashed_size_bytes = size_bytes AND hashed_modified_ns = modified_ns
    GROUP BY hash_sha256 HAVING count(*) > 1
    ORDER BY hash_sha256 LIMIT ?3";

const UNHASHED: &str = "
    SELECT count(*) AS sum FROM library_files
    WHERE (?1 IS NULL OR root = ?1) AND missing_since IS NULL
      AND (hash_sha256 IS NULL OR hashed_size_bytes IS NOT size_bytes
           OR hashed_modified_ns IS NOT modified_ns)";

#[derive(QueryableByName)]
struct Group {
    #[diesel(sql_type = Text)]
    sha256: String,
    #[diesel(sql_type = BigInt)]
    size_bytes: i64,
    #[diesel(sql_type = BigInt)]
    file_count: i64,
    /// Links to one file are one.
    #[diesel(sql_type = BigInt)]
    content_count: i64,
}

#[derive(QueryableByName)]
struct Sum {
    #[diesel(sql_type = BigInt)]
    sum: i64,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = library_files, check_for_backend(diesel::sqlite::Sqlite))]
struct Row {
    root: String,
    path: Vec<u8>,
    model_id: Option<i64>,
    size_bytes: i64,
    modified_ns: i64,
    device: i64,
    inode: i64,
    header_problem: Option<String>,
}

/// At most `limit` groups behind the hash `after`, by hash; fewer when they are
/// more than fits into one message already.
pub(crate) fn groups(
    connection: &mut SqliteConnection,
    root: Option<&str>,
    after: &str,
    limit: usize,
) -> QueryResult<Vec<DuplicateGroup>> {
    let rows: Vec<Group> = diesel::sql_query(GROUPS)
        .bind::<Nullable<Text>, _>(root)
        .bind::<Text, _>(after)
        .bind::<BigInt, _>(i64::try_from(limit).unwrap_or(i64::MAX))
        .load(connection)?;
    let mut groups = Vec::with_capacity(rows.len());
    let mut bytes = 0;
    for row in rows {
        if bytes > PAGE_BYTES_MAX {
            break;
        }
        let files = files(connection, root, &row.sha256)?;
        // Less than what it takes in a message.
        let taken = files.iter().map(|it| it.file.path.len() + SHA256_DIGITS);
        bytes += taken.sum::<usize>();
        groups.push(DuplicateGroup {
            wasted_bytes: (row.content_count - 1).saturating_mul(row.size_bytes),
            sha256: row.sha256,
            size_bytes: row.size_bytes,
            files,
            file_count: row.file_count,
        });
    }
    Ok(groups)
}

fn files(
    connection: &mut SqliteConnection,
    root: Option<&str>,
    sha256: &str,
) -> QueryResult<Vec<DuplicateFile>> {
    let limit = i64::try_from(FILES_SHOWN_MAX).unwrap_or(i64::MAX);
    let mut query = library_files::table
        .filter(library_files::hash_sha256.eq(sha256))
        .filter(library_files::missing_since.is_null())
        .filter(library_files::hashed_size_bytes.eq(library_files::size_bytes.nullable()))
        .filter(library_files::hashed_modified_ns.eq(library_files::modified_ns.nullable()))
        .order((library_files::modified_ns, library_files::id))
        .limit(limit)
        .select(Row::as_select())
        .into_boxed();
    if let Some(root) = root {
        query = query.filter(library_files::root.eq(root));
    }
    let rows: Vec<Row> = query.load(connection)?;
    let mut seen = HashSet::new();
    let file = |row: Row| DuplicateFile {
        cost_bytes: match seen.insert((row.device, row.inode)) {
            true => row.size_bytes,
            false => 0,
        },
        model_id: row.model_id,
        file: LibraryFile {
            root: row.root,
            path: String::from_utf8_lossy(&row.path).into_owned(),
            size_bytes: row.size_bytes,
            modified_at: Some(DateTime::from_timestamp_nanos(row.modified_ns)),
            sha256: Some(sha256.to_owned()),
            missing_since: None,
            header_problem: row.header_problem,
        },
    };
    Ok(rows.into_iter().map(file).collect())
}

/// What there is in all.
pub(crate) fn totals(
    connection: &mut SqliteConnection,
    root: Option<&str>,
) -> QueryResult<DuplicateTotals> {
    let wasted =
        format!("SELECT ifnull(sum((content_count - 1) * size_bytes), 0) AS sum FROM ({GROUPS})");
    let wasted: Sum = diesel::sql_query(wasted)
        .bind::<Nullable<Text>, _>(root)
        .bind::<Text, _>("")
        .bind::<BigInt, _>(-1)
        .get_result(connection)?;
    let unhashed: Sum = diesel::sql_query(UNHASHED)
        .bind::<Nullable<Text>, _>(root)
        .get_result(connection)?;
    Ok(DuplicateTotals {
        wasted_bytes: wasted.sum,
        unhashed_count: unhashed.sum,
    })
}
