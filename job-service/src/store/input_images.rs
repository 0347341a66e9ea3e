//! The tables of the pictures that jobs begin from: each is kept once, however
//! many jobs use it.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use service_kit::clock::to_text;

use super::schema::{input_images, job_input_images};
use crate::{error::Error, request::InputImage};

/// Keeps the pictures of a job.
pub fn insert(
    conn: &mut SqliteConnection,
    job_id: &str,
    images: &[InputImage],
    now: DateTime<Utc>,
) -> Result<(), Error> {
    for image in images {
        diesel::insert_into(input_images::table)
            .values((
                input_images::sha256.eq(&image.sha256),
                input_images::created_at.eq(to_text(now)),
                input_images::bytes.eq(&image.bytes),
            ))
            .on_conflict_do_nothing()
            .execute(conn)?;
        diesel::insert_into(job_input_images::table)
            .values((
                job_input_images::job_id.eq(job_id),
                job_input_images::sha256.eq(&image.sha256),
            ))
            .execute(conn)?;
    }
    Ok(())
}

/// The pictures of a job by digest.
pub fn of_job(
    conn: &mut SqliteConnection,
    job_id: &str,
) -> Result<HashMap<String, Vec<u8>>, Error> {
    let rows: Vec<(String, Vec<u8>)> = job_input_images::table
        .inner_join(input_images::table.on(input_images::sha256.eq(job_input_images::sha256)))
        .filter(job_input_images::job_id.eq(job_id))
        .select((input_images::sha256, input_images::bytes))
        .load(conn)?;
    Ok(rows.into_iter().collect())
}
