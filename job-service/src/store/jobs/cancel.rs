//! The wish to cancel a job, which ends one that waits. What it does to an
//! attempt is the attempt's business.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use service_kit::clock::to_text;

use crate::{
    error::Error,
    job::{EventType, JobState},
    store::{
        events::{self, NewEvent},
        schema::jobs,
    },
};

/// Cancels a pending job. `false` when it is not pending.
pub fn cancel_pending(
    conn: &mut SqliteConnection,
    id: &str,
    now: DateTime<Utc>,
) -> Result<bool, Error> {
    let at = to_text(now);
    let changed = diesel::update(
        jobs::table
            .find(id)
            .filter(jobs::status.eq(JobState::Pending.as_str())),
    )
    .set((
        jobs::status.eq(JobState::Cancelled.as_str()),
        jobs::cancel_requested_at.eq(&at),
        jobs::completion_timestamp.eq(&at),
        jobs::last_updated_timestamp.eq(&at),
        jobs::revision.eq(jobs::revision + 1),
        jobs::hold_reason.eq(None::<String>),
        jobs::hold_message.eq(None::<String>),
        jobs::hold_since.eq(None::<String>),
        jobs::not_before.eq(None::<String>),
    ))
    .execute(conn)?;
    if changed == 1 {
        let event = NewEvent::of_job(id, EventType::Cancelled, JobState::Cancelled, now);
        events::append(conn, &event)?;
    }
    Ok(changed == 1)
}

/// Marks the wish to cancel a processing job. `false` when it is not
/// processing or the wish is marked already.
pub fn mark_cancel(
    conn: &mut SqliteConnection,
    id: &str,
    now: DateTime<Utc>,
) -> Result<bool, Error> {
    let at = to_text(now);
    let changed = diesel::update(
        jobs::table
            .find(id)
            .filter(jobs::status.eq(JobState::Processing.as_str()))
            .filter(jobs::cancel_requested_at.is_null()),
    )
    .set((
        jobs::cancel_requested_at.eq(&at),
        jobs::last_updated_timestamp.eq(&at),
        jobs::revision.eq(jobs::revision + 1),
    ))
    .execute(conn)?;
    if changed == 1 {
        let event = NewEvent::of_job(id, EventType::CancelRequested, JobState::Processing, now);
        events::append(conn, &event)?;
    }
    Ok(changed == 1)
}
