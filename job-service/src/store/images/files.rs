//! The files that rows of `job_images` name, each once, and the jobs whose
//! results name pictures of the earlier application.

use diesel::{
    dsl::exists,
    prelude::*,
    sql_types::{BigInt, Text},
};

use super::super::schema::job_images;
use crate::error::Error;

/// A file that rows name.
#[derive(Clone, Debug, PartialEq, Eq, QueryableByName)]
pub struct NamedFile {
    /// SHA-256 of the file, lower-case hexadecimal.
    #[diesel(sql_type = Text)]
    pub sha256: String,
    /// Its media type.
    #[diesel(sql_type = Text)]
    pub media_type: String,
    /// Another one that a row says; the same unless rows differ.
    #[diesel(sql_type = Text)]
    pub other_media_type: String,
    /// The smallest size that a row says, in bytes.
    #[diesel(sql_type = BigInt)]
    pub smallest_bytes: i64,
    /// The largest; the same unless rows differ.
    #[diesel(sql_type = BigInt)]
    pub largest_bytes: i64,
    /// A job that has it.
    #[diesel(sql_type = Text)]
    pub job_id: String,
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

/// How many files rows name.
///
/// # Errors
/// Those of the database.
pub fn count(conn: &mut SqliteConnection) -> Result<u64, Error> {
    let sql = "SELECT count(*) AS count FROM (SELECT 1 FROM job_images GROUP BY sha256)";
    let found: Count = diesel::sql_query(sql).get_result(conn)?;
    Ok(u64::try_from(found.count).unwrap_or(0))
}

/// The files after the one with this SHA-256, at most `limit`.
///
/// # Errors
/// Those of the database.
pub fn page(conn: &mut SqliteConnection, after: &str, limit: i64) -> Result<Vec<NamedFile>, Error> {
    // Grouped by what the index is ordered by, so that a page ends with its limit.
    let page = diesel::sql_query(
        "SELECT sha256, min(media_type) AS media_type, max(media_type) AS other_media_type, \
             min(size_bytes) AS smallest_bytes, max(size_bytes) AS largest_bytes, \
             min(job_id) AS job_id \
         FROM job_images WHERE sha256 > ? GROUP BY sha256 ORDER BY sha256 LIMIT ?",
    )
    .bind::<Text, _>(after)
    .bind::<BigInt, _>(limit)
    .load(conn)?;
    Ok(page)
}

/// Whether any row names this file.
///
/// # Errors
/// Those of the database.
pub fn is_named(
    conn: &mut SqliteConnection,
    sha256: &str,
    media_type: &str,
) -> Result<bool, Error> {
    let rows = job_images::table
        .filter(job_images::sha256.eq(sha256))
        .filter(job_images::media_type.eq(media_type));
    Ok(diesel::select(exists(rows)).get_result(conn)?)
}

/// A job that ended in the earlier application, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, QueryableByName)]
pub struct OlderResult {
    /// The job.
    #[diesel(sql_type = Text)]
    pub job_id: String,
    /// The result object, as JSON text.
    #[diesel(sql_type = Text)]
    pub result_json: String,
}

/// Which jobs these are: they ended, and those that ran here have attempts. The
/// sign keeps SQLite from an index in whose order they are not read.
macro_rules! ended_elsewhere {
    () => {
        "+status IN ('completed', 'failed', 'cancelled') AND attempt_number = 0 \
             AND result_details_json IS NOT NULL"
    };
}

/// The jobs after one that ended before we had them and kept a result, at most
/// `limit`. Those that ran here have attempts.
///
/// # Errors
/// Those of the database.
pub fn older_results(
    conn: &mut SqliteConnection,
    after: &str,
    limit: i64,
) -> Result<Vec<OlderResult>, Error> {
    let found = diesel::sql_query(concat!(
        "SELECT mobilesd_job_id AS job_id, result_details_json AS result_json FROM jobs \
         WHERE mobilesd_job_id > ? AND ",
        ended_elsewhere!(),
        " ORDER BY mobilesd_job_id LIMIT ?"
    ))
    .bind::<Text, _>(after)
    .bind::<BigInt, _>(limit)
    .load(conn)?;
    Ok(found)
}

/// How many such jobs there are.
///
/// # Errors
/// Those of the database.
pub fn older_results_count(conn: &mut SqliteConnection) -> Result<u64, Error> {
    let sql = concat!(
        "SELECT count(*) AS count FROM jobs WHERE ",
        ended_elsewhere!()
    );
    let found: Count = diesel::sql_query(sql).get_result(conn)?;
    Ok(u64::try_from(found.count).unwrap_or(0))
}
