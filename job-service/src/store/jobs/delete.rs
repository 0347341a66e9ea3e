//! The end of a row.

use chrono::{DateTime, Utc};
use diesel::prelude::*;

use super::get;
use crate::{
    error::Error,
    job::EventType,
    store::{
        events::{self, NewEvent},
        images, input_images,
        schema::jobs,
        unneeded_files,
    },
};

/// Deletes a job that has ended, with its attempts and images, and notes their
/// files, which may belong to other jobs too. Its history stays.
pub fn delete(conn: &mut SqliteConnection, id: &str, now: DateTime<Utc>) -> Result<(), Error> {
    let job = get(conn, id)?;
    if !job.state.is_terminal() {
        return Err(Error::JobNotEnded {
            id: job.id,
            state: job.state,
        });
    }
    let images = images::of_job(conn, id)?;
    unneeded_files::add(conn, &images)?;
    input_images::release(conn, id)?;
    // What refers to it goes with it.
    diesel::delete(jobs::table.find(id)).execute(conn)?;
    let event = NewEvent::of_job(id, EventType::Deleted, job.state, now);
    events::append(conn, &event)?;
    Ok(())
}
