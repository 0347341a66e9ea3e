//! The history of jobs: appended with every change, read by watchers. Kept
//! when its job is gone.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use service_kit::clock::to_text;

use super::{schema::job_events, time, word};
use crate::{
    error::Error,
    job::{AttemptOutcome, AttemptPhase, Event, EventType, Fence, HoldReason, JobState},
};

const TABLE: &str = "job_events";

/// An event to append.
#[derive(Clone, Debug)]
pub struct NewEvent<'a> {
    /// The job.
    pub job_id: &'a str,
    /// What happened.
    pub kind: EventType,
    /// When.
    pub now: DateTime<Utc>,
    /// The state the job has since then.
    pub state: JobState,
    /// The attempt; 0 when in none.
    pub attempt: i32,
    /// The attempt's server; empty when in none.
    pub server: &'a str,
    /// The attempt's phase.
    pub phase: Option<AttemptPhase>,
    /// How the attempt ended.
    pub outcome: Option<AttemptOutcome>,
    /// Why the job waits.
    pub hold: Option<HoldReason>,
    /// The same in words.
    pub message: &'a str,
}

impl<'a> NewEvent<'a> {
    /// An event outside any attempt.
    #[must_use]
    pub fn of_job(job_id: &'a str, kind: EventType, state: JobState, now: DateTime<Utc>) -> Self {
        Self {
            job_id,
            kind,
            now,
            state,
            attempt: 0,
            server: "",
            phase: None,
            outcome: None,
            hold: None,
            message: "",
        }
    }

    /// An event of an attempt.
    #[must_use]
    pub fn of_attempt(
        fence: &'a Fence,
        server: &'a str,
        kind: EventType,
        state: JobState,
        now: DateTime<Utc>,
    ) -> Self {
        Self {
            attempt: fence.number,
            server,
            ..Self::of_job(&fence.job_id, kind, state, now)
        }
    }
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = job_events)]
struct Row {
    sequence: i64,
    job_id: String,
    kind: String,
    created_at: String,
    state: String,
    attempt: i32,
    server_alias: String,
    phase: Option<String>,
    outcome: Option<String>,
    hold_reason: Option<String>,
    message: String,
}

/// Appends an event and answers its place in the history.
pub fn append(conn: &mut SqliteConnection, event: &NewEvent<'_>) -> Result<i64, Error> {
    let sequence = diesel::insert_into(job_events::table)
        .values((
            job_events::job_id.eq(event.job_id),
            job_events::kind.eq(event.kind.as_str()),
            job_events::created_at.eq(to_text(event.now)),
            job_events::state.eq(event.state.as_str()),
            job_events::attempt.eq(event.attempt),
            job_events::server_alias.eq(event.server),
            job_events::phase.eq(event.phase.map(AttemptPhase::as_str)),
            job_events::outcome.eq(event.outcome.map(AttemptOutcome::as_str)),
            job_events::hold_reason.eq(event.hold.map(HoldReason::as_str)),
            job_events::message.eq(event.message),
        ))
        .returning(job_events::sequence)
        .get_result(conn)?;
    Ok(sequence)
}

/// The events of a job after a place in the history, oldest first.
pub fn of_job_after(
    conn: &mut SqliteConnection,
    job_id: &str,
    after: i64,
    limit: i64,
) -> Result<Vec<Event>, Error> {
    job_events::table
        .filter(job_events::job_id.eq(job_id))
        .filter(job_events::sequence.gt(after))
        .order(job_events::sequence)
        .limit(limit)
        .select(Row::as_select())
        .load(conn)?
        .into_iter()
        .map(from_row)
        .collect()
}

/// The place of the newest event; 0 when there was none.
pub fn last_sequence(conn: &mut SqliteConnection) -> Result<i64, Error> {
    let last: Option<i64> = job_events::table
        .order(job_events::sequence.desc())
        .select(job_events::sequence)
        .first(conn)
        .optional()?;
    Ok(last.unwrap_or(0))
}

/// The place of the oldest event that is kept; `None` when there is none.
pub fn first_sequence(conn: &mut SqliteConnection) -> Result<Option<i64>, Error> {
    Ok(job_events::table
        .order(job_events::sequence)
        .select(job_events::sequence)
        .first(conn)
        .optional()?)
}

/// Removes events older than `before`, at most `limit` of them, oldest first,
/// and answers how many went. The newest one always stays, so that the history
/// knows how far it goes.
pub fn prune(
    conn: &mut SqliteConnection,
    before: DateTime<Utc>,
    limit: i64,
) -> Result<usize, Error> {
    let newest = last_sequence(conn)?;
    let old: Vec<(i64, String)> = job_events::table
        .filter(job_events::sequence.lt(newest))
        .order(job_events::sequence)
        .limit(limit)
        .select((job_events::sequence, job_events::created_at))
        .load(conn)?;
    let before = to_text(before);
    let Some((last, _)) = old.iter().take_while(|(_, at)| *at < before).last() else {
        return Ok(0);
    };
    let gone =
        diesel::delete(job_events::table.filter(job_events::sequence.le(last))).execute(conn)?;
    Ok(gone)
}

fn from_row(row: Row) -> Result<Event, Error> {
    let id = row.sequence.to_string();
    Ok(Event {
        sequence: row.sequence,
        kind: word(TABLE, &id, &row.kind, EventType::parse)?,
        created_at: time(TABLE, &id, &row.created_at)?,
        state: word(TABLE, &id, &row.state, JobState::parse)?,
        attempt: row.attempt,
        server: row.server_alias,
        phase: row
            .phase
            .map(|text| word(TABLE, &id, &text, AttemptPhase::parse))
            .transpose()?,
        outcome: row
            .outcome
            .map(|text| word(TABLE, &id, &text, AttemptOutcome::parse))
            .transpose()?,
        hold: row
            .hold_reason
            .map(|text| word(TABLE, &id, &text, HoldReason::parse))
            .transpose()?,
        message: row.message,
        job_id: row.job_id,
    })
}
