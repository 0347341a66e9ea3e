//! What became of earlier attempts of a job, as far as it matters for the next
//! one. What an attempt writes is in `attempts`.

use diesel::prelude::*;

use super::TABLE;
use crate::{
    error::Error,
    job::{Attempt, AttemptOutcome, AttemptPhase},
    store::{schema::job_attempts, word},
};

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

/// The servers on which attempts of this run ended, with how; an attempt that
/// was not spent says nothing about its server.
pub fn spent_on(
    conn: &mut SqliteConnection,
    job_id: &str,
    run: i32,
) -> Result<Vec<(String, AttemptOutcome)>, Error> {
    job_attempts::table
        .filter(job_attempts::job_id.eq(job_id))
        .filter(job_attempts::run.eq(run))
        .filter(job_attempts::outcome.is_not_null())
        .filter(job_attempts::spent.eq(true))
        .select((
            job_attempts::server_alias,
            job_attempts::outcome.assume_not_null(),
        ))
        .load::<(String, String)>(conn)?
        .into_iter()
        .map(|(server, text)| {
            let outcome = word(TABLE, job_id, &text, AttemptOutcome::parse)?;
            Ok((server, outcome))
        })
        .collect()
}

/// An attempt that ended while nobody knew what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Abandoned {
    /// The run it belonged to.
    pub run: i32,
    /// Its server's alias.
    pub server: String,
    /// The process that it was sent to.
    pub server_process: Option<String>,
}

/// The attempts of any run that ended although they may still run: given up,
/// ended on somebody's wish or by the deadline while their server was silent,
/// or given up as what ends the process after they were sent.
pub fn abandoned(conn: &mut SqliteConnection, job_id: &str) -> Result<Vec<Abandoned>, Error> {
    let unknown = job_attempts::last_phase.eq(AttemptPhase::OutcomeUnknown.as_str());
    let wish = [AttemptOutcome::Cancelled, AttemptOutcome::Expired].map(AttemptOutcome::as_str);
    let in_silence = job_attempts::outcome.eq_any(wish).and(unknown);
    let crashed = job_attempts::outcome
        .eq(AttemptOutcome::Crashed.as_str())
        .and(job_attempts::sent_at.is_not_null());
    let abandoned = job_attempts::outcome.eq(AttemptOutcome::Abandoned.as_str());
    let rows: Vec<(i32, String, Option<String>)> = job_attempts::table
        .filter(job_attempts::job_id.eq(job_id))
        .filter(job_attempts::ended_at.is_not_null())
        .filter(abandoned.or(in_silence).or(crashed).assume_not_null())
        .select((
            job_attempts::run,
            job_attempts::server_alias,
            job_attempts::server_process,
        ))
        .load(conn)?;
    let given_up = |(run, server, server_process)| Abandoned {
        run,
        server,
        server_process,
    };
    Ok(rows.into_iter().map(given_up).collect())
}

/// How many attempts of this run did not count, since the last one that did.
pub fn unspent_in_a_row(conn: &mut SqliteConnection, job_id: &str, run: i32) -> Result<i64, Error> {
    let ended = job_attempts::table
        .filter(job_attempts::job_id.eq(job_id))
        .filter(job_attempts::run.eq(run))
        .filter(job_attempts::ended_at.is_not_null());
    let last_spent: Option<i32> = ended
        .filter(job_attempts::spent.eq(true))
        .order(job_attempts::number.desc())
        .select(job_attempts::number)
        .first(conn)
        .optional()?;
    Ok(ended
        .filter(job_attempts::spent.eq(false))
        .filter(job_attempts::number.gt(last_spent.unwrap_or(0)))
        .count()
        .get_result(conn)?)
}

/// Whether an attempt of the same run failed on another server with this code
/// and in these words.
pub fn failed_alike(
    conn: &mut SqliteConnection,
    attempt: &Attempt,
    code: &str,
    message: &str,
) -> Result<bool, Error> {
    Ok(diesel::select(diesel::dsl::exists(
        job_attempts::table
            .filter(job_attempts::job_id.eq(&attempt.job_id))
            .filter(job_attempts::run.eq(attempt.run))
            .filter(job_attempts::server_alias.ne(&attempt.server))
            .filter(job_attempts::error_code.eq(code))
            .filter(job_attempts::message.eq(message)),
    ))
    .get_result(conn)?)
}
