//! The end of a row.

use chrono::{DateTime, Utc};
use diesel::prelude::*;

use super::get;
use crate::{
    error::Error,
    job::{EventType, Image},
    store::{
        events::{self, NewEvent},
        images, input_images,
        schema::jobs,
    },
};

/// Deletes a job that has ended, with its attempts and images, and answers
/// those images: their files may belong to other jobs too. Its history stays.
pub fn delete(
    conn: &mut SqliteConnection,
    id: &str,
    now: DateTime<Utc>,
) -> Result<Vec<Image>, Error> {
    let job = get(conn, id)?;
    if !job.state.is_terminal() {
        return Err(Error::JobNotEnded {
            id: job.id,
            state: job.state,
        });
    }
    let files = images::of_job(conn, id)?;
    input_images::release(conn, id)?;
    // What refers to it goes with it.
    diesel::delete(jobs::table.find(id)).execute(conn)?;
    let event = NewEvent::of_job(id, EventType::Deleted, job.state, now);
    events::append(conn, &event)?;
    Ok(files)
}
