//! The `job_attempts` table and what an attempt writes to its job. Every
//! write is guarded by job, number, token and expected state, so that a late
//! one changes nothing.

use chrono::{DateTime, Utc};
use diesel::{
    prelude::*,
    result::{DatabaseErrorKind, Error as DieselError},
};
use service_kit::clock::to_text;

use super::{
    events::{self, NewEvent},
    jobs::models_to_json,
    json, optional_time,
    schema::{forge_servers, job_attempts, jobs},
    time, to_json, word,
};
use crate::{
    error::Error,
    job::{
        Attempt, AttemptOutcome, AttemptPhase, EventType, Fence, HoldReason, JobState, Requirement,
        ResolvedModel,
    },
};

mod earlier;
mod end;
mod under_way;

pub use earlier::{
    Abandoned, abandoned, failed_alike, servers_lacking, spent_on, unspent_in_a_row,
};
pub use end::{AttemptEnd, DEADLINE_EXCEEDED, Next, end};
pub use under_way::{crashed_claims, looked, note_process, note_trouble, take_up};

const TABLE: &str = "job_attempts";

/// An attempt to begin.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The job, the number that its attempt gets, and a fresh token.
    pub fence: Fence,
    /// The run it belongs to.
    pub run: i32,
    /// The server's alias.
    pub server: String,
    /// The server process it will be sent to.
    pub server_process: Option<String>,
    /// The models as the server knows them.
    pub models: Vec<ResolvedModel>,
    /// The alias that the job asked for when it was judged.
    pub target_server: String,
    /// The models that it needed then.
    pub needs: Vec<Requirement>,
    /// The checkpoint that a job which names none keeps from now on.
    pub resolved_checkpoint: Option<String>,
    /// Whether an earlier attempt of the job may still be running.
    pub possible_repeat: bool,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = job_attempts)]
struct Row {
    job_id: String,
    number: i32,
    run: i32,
    token: String,
    server_alias: String,
    server_process: Option<String>,
    phase: String,
    outcome: Option<String>,
    spent: bool,
    claimed_at: String,
    sent_at: Option<String>,
    ended_at: Option<String>,
    error_code: Option<String>,
    http_status: Option<i32>,
    message: Option<String>,
    models_json: String,
    last_phase: Option<String>,
    loading_ms: Option<i64>,
    generating_ms: Option<i64>,
    possible_repeat: bool,
    recoveries: i32,
}

/// Begins an attempt: the job is still pending and as it was judged, becomes processing, and its
/// attempt is written, in one. `None` when the job, or the server, is not to
/// be had any more.
pub fn claim(
    conn: &mut SqliteConnection,
    claim: &Claim,
    now: DateTime<Utc>,
) -> Result<Option<Attempt>, Error> {
    let Fence {
        job_id,
        number,
        token,
    } = &claim.fence;
    let usable: bool = diesel::select(diesel::dsl::exists(
        forge_servers::table
            .find(&claim.server)
            .filter(forge_servers::enabled.eq(true))
            .filter(forge_servers::cordoned.eq(false)),
    ))
    .get_result(conn)?;
    let busy: bool = diesel::select(diesel::dsl::exists(
        job_attempts::table
            .filter(job_attempts::server_alias.eq(&claim.server))
            .filter(job_attempts::ended_at.is_null()),
    ))
    .get_result(conn)?;
    if !usable || busy {
        return Ok(None);
    }
    let at = to_text(now);
    let taken = diesel::update(
        jobs::table
            .find(job_id)
            .filter(jobs::status.eq(JobState::Pending.as_str()))
            .filter(jobs::attempt_number.eq(number - 1))
            .filter(jobs::run.eq(claim.run))
            .filter(jobs::target_server_alias.eq(&claim.target_server))
            .filter(jobs::hold_reason.is_not(HoldReason::AdoptedStale.as_str()))
            .filter(jobs::hold_reason.is_not(HoldReason::AdoptedUnreadable.as_str()))
            .filter(jobs::models_json.eq(models_to_json(&claim.needs)?))
            // Its time may be up before the dispatcher has come round to it.
            .filter(jobs::wait_until.is_null().or(jobs::wait_until.gt(&at)))
            .filter(jobs::deadline_at.is_null().or(jobs::deadline_at.gt(&at))),
    )
    .set((
        jobs::status.eq(JobState::Processing.as_str()),
        jobs::attempt_number.eq(number),
        jobs::attempts_spent.eq(jobs::attempts_spent + 1),
        jobs::retry_count.eq(jobs::attempts_spent.nullable()),
        jobs::forge_internal_task_id.eq(token),
        jobs::resolved_checkpoint.eq(&claim.resolved_checkpoint),
        jobs::not_before.eq(None::<String>),
        // It has waited for the first attempt of its run.
        jobs::wait_until.eq(None::<String>),
        jobs::hold_reason.eq(None::<String>),
        jobs::hold_message.eq(None::<String>),
        jobs::hold_since.eq(None::<String>),
        jobs::last_updated_timestamp.eq(&at),
        jobs::revision.eq(jobs::revision + 1),
    ))
    .execute(conn)?;
    if taken == 0 {
        return Ok(None);
    }
    insert(conn, claim, &at)?;
    let event = NewEvent {
        phase: Some(AttemptPhase::Claimed),
        ..NewEvent::of_attempt(
            &claim.fence,
            &claim.server,
            EventType::Claimed,
            JobState::Processing,
            now,
        )
    };
    events::append(conn, &event)?;
    current(conn, job_id)
}

fn insert(conn: &mut SqliteConnection, claim: &Claim, at: &str) -> Result<(), Error> {
    let inserted = diesel::insert_into(job_attempts::table)
        .values((
            job_attempts::job_id.eq(&claim.fence.job_id),
            job_attempts::number.eq(claim.fence.number),
            job_attempts::run.eq(claim.run),
            job_attempts::token.eq(&claim.fence.token),
            job_attempts::server_alias.eq(&claim.server),
            job_attempts::server_process.eq(&claim.server_process),
            job_attempts::phase.eq(AttemptPhase::Claimed.as_str()),
            job_attempts::claimed_at.eq(at),
            job_attempts::models_json.eq(to_json(&claim.models)?),
            job_attempts::possible_repeat.eq(claim.possible_repeat),
        ))
        .execute(conn);
    match inserted {
        Ok(_) => Ok(()),
        // The indexes on open attempts are the last guard; reaching them is an
        // error in code, since the writer looked first.
        Err(DieselError::DatabaseError(DatabaseErrorKind::UniqueViolation, _)) => {
            Err(Error::AttemptOver {
                job_id: claim.fence.job_id.clone(),
                number: claim.fence.number,
            })
        }
        Err(error) => Err(error.into()),
    }
}

/// The attempt of a job that is under way.
pub fn current(conn: &mut SqliteConnection, job_id: &str) -> Result<Option<Attempt>, Error> {
    job_attempts::table
        .filter(job_attempts::job_id.eq(job_id))
        .filter(job_attempts::ended_at.is_null())
        .select(Row::as_select())
        .first(conn)
        .optional()?
        .map(from_row)
        .transpose()
}

/// What the columns by which it is known say of the attempt of a job that is
/// under way, for one whose others cannot be read: enough to end it.
pub fn known_by(conn: &mut SqliteConnection, job_id: &str) -> Result<Option<Attempt>, Error> {
    let row: Option<(i32, i32, String, String, Option<String>)> = job_attempts::table
        .filter(job_attempts::job_id.eq(job_id))
        .filter(job_attempts::ended_at.is_null())
        .select((
            job_attempts::number,
            job_attempts::run,
            job_attempts::token,
            job_attempts::server_alias,
            job_attempts::server_process,
        ))
        .first(conn)
        .optional()?;
    let known = |(number, run, token, server, server_process)| Attempt {
        job_id: job_id.to_owned(),
        number,
        run,
        token,
        server,
        server_process,
        phase: AttemptPhase::OutcomeUnknown,
        outcome: None,
        spent: true,
        claimed_at: DateTime::UNIX_EPOCH,
        sent_at: None,
        ended_at: None,
        error_code: None,
        http_status: None,
        message: None,
        models: Vec::new(),
        last_phase: None,
        loading_ms: None,
        generating_ms: None,
        possible_repeat: false,
        recoveries: 0,
    };
    Ok(row.map(known))
}

/// The newest attempt of a job.
pub fn newest(conn: &mut SqliteConnection, job_id: &str) -> Result<Option<Attempt>, Error> {
    Ok(of_job(conn, job_id, 1)?.pop())
}

/// The newest attempts of a job, at most `limit`, oldest first.
pub fn of_job(
    conn: &mut SqliteConnection,
    job_id: &str,
    limit: i64,
) -> Result<Vec<Attempt>, Error> {
    let mut attempts: Vec<Attempt> = job_attempts::table
        .filter(job_attempts::job_id.eq(job_id))
        .order(job_attempts::number.desc())
        .limit(limit)
        .select(Row::as_select())
        .load(conn)?
        .into_iter()
        .map(from_row)
        .collect::<Result<_, _>>()?;
    attempts.reverse();
    Ok(attempts)
}

/// Enters a phase. The first time that is `Sending` its time is kept. With a
/// phase that is new to it, an attempt that was taken up has got further.
pub fn enter_phase(
    conn: &mut SqliteConnection,
    fence: &Fence,
    phase: AttemptPhase,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let at = to_text(now);
    let server = guard(conn, fence)?;
    let attempt = job_attempts::table.find((&fence.job_id, fence.number));
    diesel::update(attempt)
        .set((
            job_attempts::phase.eq(phase.as_str()),
            // Whatever it waited for, it goes on.
            job_attempts::error_code.eq(None::<String>),
            job_attempts::message.eq(None::<String>),
        ))
        .execute(conn)?;
    if !under_way::was_in(conn, fence, phase)? {
        diesel::update(attempt)
            .set(job_attempts::recoveries.eq(0))
            .execute(conn)?;
    }
    if phase == AttemptPhase::Sending {
        diesel::update(attempt)
            .set(job_attempts::sent_at.eq(&at))
            .execute(conn)?;
    }
    diesel::update(jobs::table.find(&fence.job_id))
        .set((
            jobs::last_updated_timestamp.eq(&at),
            jobs::revision.eq(jobs::revision + 1),
        ))
        .execute(conn)?;
    let event = NewEvent {
        phase: Some(phase),
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

/// Whether this attempt is the one under way: its server's alias, or
/// `AttemptOver`.
fn guard(conn: &mut SqliteConnection, fence: &Fence) -> Result<String, Error> {
    let over = || Error::AttemptOver {
        job_id: fence.job_id.clone(),
        number: fence.number,
    };
    let server: String = job_attempts::table
        .find((&fence.job_id, fence.number))
        .filter(job_attempts::token.eq(&fence.token))
        .filter(job_attempts::ended_at.is_null())
        .select(job_attempts::server_alias)
        .first(conn)
        .optional()?
        .ok_or_else(over)?;
    let expected: bool = diesel::select(diesel::dsl::exists(
        jobs::table
            .find(&fence.job_id)
            .filter(jobs::status.eq(JobState::Processing.as_str()))
            .filter(jobs::attempt_number.eq(fence.number)),
    ))
    .get_result(conn)?;
    if expected { Ok(server) } else { Err(over()) }
}

fn from_row(row: Row) -> Result<Attempt, Error> {
    let id = format!("{}/{}", row.job_id, row.number);
    Ok(Attempt {
        number: row.number,
        run: row.run,
        token: row.token,
        server: row.server_alias,
        server_process: row.server_process,
        phase: word(TABLE, &id, &row.phase, AttemptPhase::parse)?,
        outcome: row
            .outcome
            .map(|text| word(TABLE, &id, &text, AttemptOutcome::parse))
            .transpose()?,
        spent: row.spent,
        claimed_at: time(TABLE, &id, &row.claimed_at)?,
        sent_at: optional_time(TABLE, &id, row.sent_at.as_deref())?,
        ended_at: optional_time(TABLE, &id, row.ended_at.as_deref())?,
        error_code: row.error_code,
        http_status: row.http_status,
        message: row.message,
        models: json(TABLE, &id, &row.models_json)?,
        last_phase: row
            .last_phase
            .map(|text| word(TABLE, &id, &text, AttemptPhase::parse))
            .transpose()?,
        loading_ms: row.loading_ms,
        generating_ms: row.generating_ms,
        possible_repeat: row.possible_repeat,
        recoveries: row.recoveries,
        job_id: row.job_id,
    })
}
