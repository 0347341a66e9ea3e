//! The `job_images` table: which files belong to a job. The files themselves
//! are the image store's.

pub mod files;

use diesel::prelude::*;

use super::{schema::job_images, word};
use crate::{
    error::Error,
    job::{Image, ImageKind, Verification},
};

const TABLE: &str = "job_images";

#[derive(Queryable, Selectable)]
#[diesel(table_name = job_images)]
struct Row {
    job_id: String,
    position: i32,
    sha256: String,
    kind: String,
    size_bytes: i64,
    width: i32,
    height: i32,
    seed: i64,
    infotext: String,
    verification: String,
    media_type: String,
    attempt: i32,
}

/// Adds the images of a job; a job gets its images once.
pub fn insert(conn: &mut SqliteConnection, job_id: &str, images: &[Image]) -> Result<(), Error> {
    for image in images {
        diesel::insert_into(job_images::table)
            .values((
                job_images::job_id.eq(job_id),
                job_images::position.eq(image.position),
                job_images::sha256.eq(&image.sha256),
                job_images::kind.eq(image.kind.as_str()),
                job_images::size_bytes.eq(image.size_bytes),
                job_images::width.eq(image.width),
                job_images::height.eq(image.height),
                job_images::seed.eq(image.seed),
                job_images::infotext.eq(&image.infotext),
                job_images::verification.eq(image.verification.as_str()),
                job_images::media_type.eq(&image.media_type),
                job_images::attempt.eq(image.attempt),
            ))
            .execute(conn)?;
    }
    Ok(())
}

/// Takes the images of a job off.
pub fn remove(conn: &mut SqliteConnection, job_id: &str) -> Result<(), Error> {
    diesel::delete(job_images::table.filter(job_images::job_id.eq(job_id))).execute(conn)?;
    Ok(())
}

/// The images of a job in order.
pub fn of_job(conn: &mut SqliteConnection, job_id: &str) -> Result<Vec<Image>, Error> {
    job_images::table
        .filter(job_images::job_id.eq(job_id))
        .order(job_images::position)
        .select(Row::as_select())
        .load(conn)?
        .into_iter()
        .map(from_row)
        .collect()
}

/// The image of a job at a position.
pub fn get(conn: &mut SqliteConnection, job_id: &str, position: i32) -> Result<Image, Error> {
    job_images::table
        .find((job_id, position))
        .select(Row::as_select())
        .first(conn)
        .optional()?
        .map(from_row)
        .transpose()?
        .ok_or_else(|| Error::ImageNotFound {
            job_id: job_id.to_owned(),
            position,
        })
}

/// Whether any job has this image.
pub fn is_used(conn: &mut SqliteConnection, sha256: &str) -> Result<bool, Error> {
    let of_it = job_images::table.filter(job_images::sha256.eq(sha256));
    Ok(diesel::select(diesel::dsl::exists(of_it)).get_result(conn)?)
}

fn from_row(row: Row) -> Result<Image, Error> {
    let id = format!("{}/{}", row.job_id, row.position);
    Ok(Image {
        position: row.position,
        sha256: row.sha256,
        kind: word(TABLE, &id, &row.kind, ImageKind::parse)?,
        size_bytes: row.size_bytes,
        width: row.width,
        height: row.height,
        seed: row.seed,
        infotext: row.infotext,
        verification: word(TABLE, &id, &row.verification, Verification::parse)?,
        media_type: row.media_type,
        attempt: row.attempt,
    })
}
