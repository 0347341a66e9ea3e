//! Owns how the row of a vanished file goes on as that of the same content at
//! another place.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::result::QueryResult;
use diesel::sqlite::Sqlite;
use service_kit::clock;

use crate::store::tables::library_files;

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
