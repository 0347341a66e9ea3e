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
    images, json, optional_time,
    schema::{forge_servers, job_attempts, jobs},
    time, to_json, word,
};
use crate::{
    error::Error,
    job::{
        Attempt, AttemptOutcome, AttemptPhase, EventType, Fence, HoldReason, Image, JobState,
        ResolvedModel,
    },
};

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
    /// The checkpoint that a job which names none keeps from now on.
    pub resolved_checkpoint: Option<String>,
}

/// How an attempt ended and what follows for its job.
#[derive(Clone, Debug)]
pub struct AttemptEnd {
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// What went wrong, in a code.
    pub error_code: Option<String>,
    /// The HTTP status that the server answered with.
    pub http_status: Option<i32>,
    /// What went wrong, in words.
    pub message: Option<String>,
    /// What follows.
    pub next: Next,
}

/// What follows for the job of an attempt that ended.
#[derive(Clone, Debug)]
pub enum Next {
    /// It is completed.
    Completed {
        /// The documented result object, as JSON text.
        result_json: String,
        /// Its images, whose files are on disk.
        images: Vec<Image>,
    },
    /// It waits for another attempt.
    Pending {
        /// Not before this time.
        not_before: Option<DateTime<Utc>>,
        /// Why it waits, when that is known already.
        hold: Option<(HoldReason, String)>,
    },
    /// It failed.
    Failed {
        /// The code of the failure.
        code: String,
        /// What happened and what to do.
        message: String,
        /// The documented result object, as JSON text.
        result_json: String,
    },
    /// It is cancelled.
    Cancelled {
        /// The documented result object, as JSON text.
        result_json: String,
        /// The images it has got.
        images: Vec<Image>,
    },
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
}

/// Begins an attempt: the job is still pending, becomes processing, and its
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
            .filter(jobs::attempt_number.eq(number - 1)),
    )
    .set((
        jobs::status.eq(JobState::Processing.as_str()),
        jobs::attempt_number.eq(number),
        jobs::attempts_spent.eq(jobs::attempts_spent + 1),
        jobs::retry_count.eq(jobs::attempts_spent.nullable()),
        jobs::forge_internal_task_id.eq(token),
        jobs::resolved_checkpoint.eq(&claim.resolved_checkpoint),
        jobs::not_before.eq(None::<String>),
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

/// The servers that refused this run of a job for want of something.
pub fn servers_lacking(
    conn: &mut SqliteConnection,
    job_id: &str,
    run: i32,
) -> Result<Vec<String>, Error> {
    Ok(job_attempts::table
        .filter(job_attempts::job_id.eq(job_id))
        .filter(job_attempts::run.eq(run))
        .filter(job_attempts::outcome.eq(AttemptOutcome::ServerLacksFeature.as_str()))
        .select(job_attempts::server_alias)
        .load(conn)?)
}

/// The jobs that are under way, by server.
pub fn open_by_server(conn: &mut SqliteConnection) -> Result<Vec<(String, String)>, Error> {
    Ok(job_attempts::table
        .filter(job_attempts::ended_at.is_null())
        .select((job_attempts::server_alias, job_attempts::job_id))
        .load(conn)?)
}

/// Enters a phase. The first time that is `Sending` its time is kept.
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
        .set(job_attempts::phase.eq(phase.as_str()))
        .execute(conn)?;
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

/// Ends an attempt and moves its job on, in one.
pub fn end(
    conn: &mut SqliteConnection,
    fence: &Fence,
    end: &AttemptEnd,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let server = guard(conn, fence)?;
    let at = to_text(now);
    let spent = end.outcome.is_spent();
    let next = &unless_cancelled(conn, fence, &end.next)?;
    diesel::update(job_attempts::table.find((&fence.job_id, fence.number)))
        .set((
            job_attempts::phase.eq(AttemptPhase::Ended.as_str()),
            job_attempts::outcome.eq(end.outcome.as_str()),
            job_attempts::spent.eq(spent),
            job_attempts::ended_at.eq(&at),
            job_attempts::error_code.eq(&end.error_code),
            job_attempts::http_status.eq(end.http_status),
            job_attempts::message.eq(&end.message),
        ))
        .execute(conn)?;
    let kind = move_job(conn, fence, next, spent, &at)?;
    let (state, hold, message) = match next {
        Next::Completed { .. } => (JobState::Completed, None, ""),
        Next::Pending { hold, .. } => (
            JobState::Pending,
            hold.as_ref().map(|(reason, _)| *reason),
            hold.as_ref().map_or("", |(_, message)| message.as_str()),
        ),
        Next::Failed { message, .. } => (JobState::Failed, None, message.as_str()),
        Next::Cancelled { .. } => (JobState::Cancelled, None, ""),
    };
    let event = NewEvent {
        phase: Some(AttemptPhase::Ended),
        outcome: Some(end.outcome),
        hold,
        message,
        ..NewEvent::of_attempt(fence, &server, kind, state, now)
    };
    events::append(conn, &event)?;
    Ok(())
}

/// What follows for a job that nobody wants any more: no other attempt.
fn unless_cancelled(
    conn: &mut SqliteConnection,
    fence: &Fence,
    next: &Next,
) -> Result<Next, Error> {
    if let Next::Pending { .. } = next {
        let asked: Option<String> = jobs::table
            .find(&fence.job_id)
            .select(jobs::cancel_requested_at)
            .first(conn)?;
        if asked.is_some() {
            return Ok(Next::Cancelled {
                result_json: r#"{"cancelled":true,"message":"Cancelled."}"#.to_owned(),
                images: Vec::new(),
            });
        }
    }
    Ok(next.clone())
}

/// Writes what follows to the job and answers what to call it in the history.
fn move_job(
    conn: &mut SqliteConnection,
    fence: &Fence,
    next: &Next,
    spent: bool,
    at: &str,
) -> Result<EventType, Error> {
    let job = jobs::table.find(&fence.job_id);
    let handed_back = i32::from(!spent);
    diesel::update(job)
        .set((
            jobs::attempts_spent.eq(jobs::attempts_spent - handed_back),
            jobs::last_updated_timestamp.eq(at),
            jobs::revision.eq(jobs::revision + 1),
        ))
        .execute(conn)?;
    match next {
        Next::Completed {
            result_json,
            images,
        } => {
            images::insert(conn, &fence.job_id, images)?;
            finish(
                conn,
                fence,
                JobState::Completed,
                Some(result_json),
                None,
                at,
            )?;
            Ok(EventType::Completed)
        }
        Next::Cancelled {
            result_json,
            images,
        } => {
            images::insert(conn, &fence.job_id, images)?;
            finish(
                conn,
                fence,
                JobState::Cancelled,
                Some(result_json),
                None,
                at,
            )?;
            Ok(EventType::Cancelled)
        }
        Next::Failed {
            code, result_json, ..
        } => {
            finish(
                conn,
                fence,
                JobState::Failed,
                Some(result_json),
                Some(code),
                at,
            )?;
            Ok(EventType::Failed)
        }
        Next::Pending { not_before, hold } => {
            let (reason, message) = hold.clone().unzip();
            diesel::update(job)
                .set((
                    jobs::status.eq(JobState::Pending.as_str()),
                    jobs::not_before.eq(not_before.map(to_text)),
                    jobs::hold_reason.eq(reason.map(HoldReason::as_str)),
                    jobs::hold_message.eq(message),
                    jobs::hold_since.eq(reason.map(|_| at)),
                ))
                .execute(conn)?;
            Ok(EventType::AttemptEnded)
        }
    }
}

fn finish(
    conn: &mut SqliteConnection,
    fence: &Fence,
    state: JobState,
    result_json: Option<&String>,
    error_code: Option<&String>,
    at: &str,
) -> Result<(), Error> {
    diesel::update(jobs::table.find(&fence.job_id))
        .set((
            jobs::status.eq(state.as_str()),
            jobs::completion_timestamp.eq(at),
            jobs::result_details_json.eq(result_json),
            jobs::error_code.eq(error_code),
        ))
        .execute(conn)?;
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
        job_id: row.job_id,
    })
}
