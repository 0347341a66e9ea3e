//! Owns the rows of `library_roots`: where each root is, and what its last scan found.

use std::collections::HashMap;

use diesel::prelude::*;
use diesel::result::QueryResult;
use service_kit::clock;

use super::tables::library_roots;
use crate::library::found::ScannedRoot;

/// What the last scan of each root found, by its name.
pub(crate) fn all(connection: &mut SqliteConnection) -> QueryResult<HashMap<String, ScannedRoot>> {
    type Row = (String, Option<String>, Option<i32>, Option<i32>);
    let rows: Vec<Row> = library_roots::table
        .select((
            library_roots::name,
            library_roots::scanned_at,
            library_roots::file_count,
            library_roots::problem_count,
        ))
        .load(connection)?;
    let scanned = |(name, scanned_at, file_count, problem_count): Row| {
        let scanned_at = clock::from_text(&scanned_at?)?;
        let scanned = ScannedRoot {
            scanned_at,
            file_count: file_count.unwrap_or_default(),
            problem_count: problem_count.unwrap_or_default(),
        };
        Some((name, scanned))
    };
    Ok(rows.into_iter().filter_map(scanned).collect())
}

/// Notes what a scan found in a root.
pub(crate) fn put(
    connection: &mut SqliteConnection,
    name: &str,
    path: &str,
    scanned: &ScannedRoot,
) -> QueryResult<()> {
    diesel::replace_into(library_roots::table)
        .values((
            library_roots::name.eq(name),
            library_roots::path.eq(path),
            library_roots::scanned_at.eq(clock::to_text(scanned.scanned_at)),
            library_roots::file_count.eq(scanned.file_count),
            library_roots::problem_count.eq(scanned.problem_count),
        ))
        .execute(connection)?;
    Ok(())
}

/// Notes where a root is, of which a file came in by another way than a scan.
pub(crate) fn note(connection: &mut SqliteConnection, name: &str, path: &str) -> QueryResult<()> {
    diesel::insert_into(library_roots::table)
        .values((library_roots::name.eq(name), library_roots::path.eq(path)))
        .on_conflict(library_roots::name)
        .do_update()
        .set(library_roots::path.eq(path))
        .execute(connection)?;
    Ok(())
}
