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
    keep(conn, images, now)?;
    link(conn, job_id, images)
}

/// Keeps pictures for jobs that are to be linked to them.
pub fn keep(
    conn: &mut SqliteConnection,
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
    }
    Ok(())
}

/// Links a job to pictures that are kept.
pub fn link(conn: &mut SqliteConnection, job_id: &str, images: &[InputImage]) -> Result<(), Error> {
    for image in images {
        diesel::insert_into(job_input_images::table)
            .values((
                job_input_images::job_id.eq(job_id),
                job_input_images::sha256.eq(&image.sha256),
            ))
            .execute(conn)?;
    }
    Ok(())
}

/// Links a job to the pictures of another one.
pub fn share(conn: &mut SqliteConnection, of: &str, with: &str) -> Result<(), Error> {
    let digests: Vec<String> = job_input_images::table
        .filter(job_input_images::job_id.eq(of))
        .select(job_input_images::sha256)
        .load(conn)?;
    for sha256 in digests {
        diesel::insert_into(job_input_images::table)
            .values((
                job_input_images::job_id.eq(with),
                job_input_images::sha256.eq(sha256),
            ))
            .execute(conn)?;
    }
    Ok(())
}

/// Takes the pictures of a job away from it; those that no other job uses go.
pub fn release(conn: &mut SqliteConnection, job_id: &str) -> Result<(), Error> {
    let mine = job_input_images::table.filter(job_input_images::job_id.eq(job_id));
    let digests: Vec<String> = mine.select(job_input_images::sha256).load(conn)?;
    diesel::delete(mine).execute(conn)?;
    for sha256 in digests {
        let others = job_input_images::table.filter(job_input_images::sha256.eq(&sha256));
        let used: bool = diesel::select(diesel::dsl::exists(others)).get_result(conn)?;
        if !used {
            diesel::delete(input_images::table.find(&sha256)).execute(conn)?;
        }
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
