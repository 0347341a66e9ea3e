//! What is written of an attempt under way beside its phase: how often it was
//! taken up without getting any further, what it waits for, and which process
//! has it.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use service_kit::clock::to_text;

use super::{current, guard};
use crate::{
    error::Error,
    job::{Attempt, AttemptOutcome, AttemptPhase, EventType, Fence, JobState},
    store::{
        events::{self, NewEvent},
        schema::{job_attempts, job_events, jobs},
    },
};

/// Counts one more take-up and answers the attempt as it stands then.
pub fn take_up(conn: &mut SqliteConnection, fence: &Fence) -> Result<Attempt, Error> {
    guard(conn, fence)?;
    diesel::update(job_attempts::table.find((&fence.job_id, fence.number)))
        .set(job_attempts::recoveries.eq(job_attempts::recoveries + 1))
        .execute(conn)?;
    current(conn, &fence.job_id)?.ok_or_else(|| Error::AttemptOver {
        job_id: fence.job_id.clone(),
        number: fence.number,
    })
}

/// The attempt has got further since it was taken up: counts from zero again.
pub fn looked(conn: &mut SqliteConnection, fence: &Fence) -> Result<(), Error> {
    guard(conn, fence)?;
    diesel::update(job_attempts::table.find((&fence.job_id, fence.number)))
        .set(job_attempts::recoveries.eq(0))
        .execute(conn)?;
    Ok(())
}

/// The process that turned out to have the attempt; it may be another than the
/// newest known when the job was claimed.
pub fn note_process(
    conn: &mut SqliteConnection,
    fence: &Fence,
    process: &str,
) -> Result<(), Error> {
    guard(conn, fence)?;
    diesel::update(job_attempts::table.find((&fence.job_id, fence.number)))
        .set(job_attempts::server_process.eq(process))
        .execute(conn)?;
    Ok(())
}

/// Whether an attempt was in a phase before, as far as its history goes.
pub(super) fn was_in(
    conn: &mut SqliteConnection,
    fence: &Fence,
    phase: AttemptPhase,
) -> Result<bool, Error> {
    Ok(diesel::select(diesel::dsl::exists(
        job_events::table
            .filter(job_events::job_id.eq(&fence.job_id))
            .filter(job_events::attempt.eq(fence.number))
            .filter(job_events::phase.eq(phase.as_str())),
    ))
    .get_result(conn)?)
}

/// How many attempts of a run were handed back since the service ended before
/// anything of them was sent.
pub fn crashed_claims(conn: &mut SqliteConnection, job_id: &str, run: i32) -> Result<i64, Error> {
    Ok(job_attempts::table
        .filter(job_attempts::job_id.eq(job_id))
        .filter(job_attempts::run.eq(run))
        .filter(job_attempts::outcome.eq(AttemptOutcome::HandedBack.as_str()))
        .filter(job_attempts::recoveries.gt(0))
        .count()
        .get_result(conn)?)
}

/// Writes what an attempt under way waits for, a code and words, or that it
/// waits for nothing any more.
pub fn note_trouble(
    conn: &mut SqliteConnection,
    fence: &Fence,
    phase: AttemptPhase,
    trouble: Option<(&str, &str)>,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let server = guard(conn, fence)?;
    let (code, message) = trouble.unzip();
    diesel::update(job_attempts::table.find((&fence.job_id, fence.number)))
        .set((
            job_attempts::phase.eq(phase.as_str()),
            job_attempts::error_code.eq(code),
            job_attempts::message.eq(message),
        ))
        .execute(conn)?;
    diesel::update(jobs::table.find(&fence.job_id))
        .set((
            jobs::last_updated_timestamp.eq(to_text(now)),
            jobs::revision.eq(jobs::revision + 1),
        ))
        .execute(conn)?;
    let event = NewEvent {
        phase: Some(phase),
        message: message.unwrap_or_default(),
        ..NewEvent::of_attempt(
            fence,
            &server,
            EventType::PhaseChanged,
            JobState::Processing,
            now,
        )
    };
    events::append(conn, &event)?;
    Ok(())
}
