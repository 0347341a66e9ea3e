//! The end of an attempt and what follows for its job, written in one.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use service_kit::clock::to_text;

use super::guard;
use crate::{
    error::Error,
    job::{AttemptOutcome, AttemptPhase, EventType, Fence, HoldReason, Image, JobState},
    policy::JobPolicy,
    store::{
        events::{self, NewEvent},
        images, json,
        schema::{job_attempts, jobs},
        time, unneeded_files,
    },
};

/// The table whose rows are named when they cannot be read.
const TABLE: &str = "jobs";

/// The code of a job that did not end in its time.
pub const DEADLINE_EXCEEDED: &str = "DEADLINE_EXCEEDED";
/// Attempts of one job that did not count and are kept, the newest.
const UNSPENT_KEPT: i64 = 20;

/// How an attempt ended and what follows for its job.
#[derive(Clone, Debug)]
pub struct AttemptEnd {
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// Whether it counts against the job's limit.
    pub spent: bool,
    /// What went wrong, in a code.
    pub error_code: Option<String>,
    /// The HTTP status that the server answered with.
    pub http_status: Option<i32>,
    /// What went wrong, in words.
    pub message: Option<String>,
    /// Milliseconds for which the server was seen to load models.
    pub loading_ms: Option<i64>,
    /// Milliseconds for which the server was seen to generate.
    pub generating_ms: Option<i64>,
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
        /// The images it has got.
        images: Vec<Image>,
    },
    /// It was told to end: it is cancelled where its row says so, and failed
    /// where its time was up.
    Cancelled {
        /// The documented result object, as JSON text.
        result_json: String,
        /// The images it has got.
        images: Vec<Image>,
    },
}

/// Ends an attempt and moves its job on, in one; answers how it ended.
pub fn end(
    conn: &mut SqliteConnection,
    fence: &Fence,
    end: &AttemptEnd,
    now: DateTime<Utc>,
) -> Result<AttemptOutcome, Error> {
    let server = guard(conn, fence)?;
    let at = to_text(now);
    let (outcome, next) = decide(conn, fence, end, now)?;
    diesel::update(job_attempts::table.find((&fence.job_id, fence.number)))
        .set((
            job_attempts::last_phase.eq(job_attempts::phase.nullable()),
            job_attempts::phase.eq(AttemptPhase::Ended.as_str()),
            job_attempts::outcome.eq(outcome.as_str()),
            job_attempts::spent.eq(end.spent),
            job_attempts::ended_at.eq(&at),
            job_attempts::error_code.eq(&end.error_code),
            job_attempts::http_status.eq(end.http_status),
            job_attempts::message.eq(&end.message),
            job_attempts::loading_ms.eq(end.loading_ms),
            job_attempts::generating_ms.eq(end.generating_ms),
        ))
        .execute(conn)?;
    if !end.spent {
        drop_old_unspent(conn, &fence.job_id)?;
    }
    let kind = move_job(conn, fence, &next, end.spent, &at)?;
    let (state, hold, message) = match &next {
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
        outcome: Some(outcome),
        hold,
        message,
        ..NewEvent::of_attempt(fence, &server, kind, state, now)
    };
    events::append(conn, &event)?;
    Ok(outcome)
}

/// A server that comes and goes does not fill the table with attempts.
fn drop_old_unspent(conn: &mut SqliteConnection, job_id: &str) -> Result<(), Error> {
    let unspent = job_attempts::table
        .filter(job_attempts::job_id.eq(job_id))
        .filter(job_attempts::spent.eq(false))
        .filter(job_attempts::ended_at.is_not_null());
    let newest_to_go: Option<i32> = unspent
        .order(job_attempts::number.desc())
        .offset(UNSPENT_KEPT)
        .select(job_attempts::number)
        .first(conn)
        .optional()?;
    if let Some(number) = newest_to_go {
        diesel::delete(unspent.filter(job_attempts::number.le(number))).execute(conn)?;
    }
    Ok(())
}

/// What follows, as far as the row of the job has a say: for one that nobody
/// wants any more, or whose time is up, no other attempt. Asked in the
/// transaction of the end, so that a wish to cancel which came first always
/// wins.
fn decide(
    conn: &mut SqliteConnection,
    fence: &Fence,
    end: &AttemptEnd,
    now: DateTime<Utc>,
) -> Result<(AttemptOutcome, Next), Error> {
    let (asked, deadline): (Option<String>, Option<String>) = jobs::table
        .find(&fence.job_id)
        .select((jobs::cancel_requested_at, jobs::deadline_at))
        .first(conn)?;
    if asked.is_some() {
        return Ok(cancelled(end));
    }
    let now = to_text(now);
    let next = match (&end.next, deadline) {
        // Texts of one shape sort as their times do.
        (Next::Pending { .. }, Some(deadline)) if deadline <= now => {
            let last = end.message.as_deref().unwrap_or("nothing was sent");
            let why = format!("its last attempt: {last}");
            expired(&deadline, &why, "{}", Vec::new())
        }
        (
            Next::Cancelled {
                result_json,
                images,
            },
            // Whatever the clock says now: nothing else tells an attempt to end.
            Some(deadline),
        ) => {
            let why = "its attempt was stopped";
            let next = expired(&deadline, why, result_json, images.clone());
            return Ok((AttemptOutcome::Expired, next));
        }
        (next, _) => next.clone(),
    };
    Ok((end.outcome, next))
}

/// A job that nobody wants any more, with the images that it has got. What
/// went wrong with its attempt stays the attempt's.
fn cancelled(end: &AttemptEnd) -> (AttemptOutcome, Next) {
    let outcome = match end.outcome {
        AttemptOutcome::Completed => AttemptOutcome::Cancelled,
        outcome => outcome,
    };
    let (result_json, images) = match &end.next {
        Next::Completed {
            result_json,
            images,
        } => (result_json.as_str(), images.clone()),
        Next::Cancelled { .. } => return (outcome, end.next.clone()),
        Next::Failed { images, .. } => ("{}", images.clone()),
        Next::Pending { .. } => ("{}", Vec::new()),
    };
    let mut result = object(result_json);
    result["cancelled"] = true.into();
    result["message"] = "Cancelled.".into();
    let next = Next::Cancelled {
        result_json: result.to_string(),
        images,
    };
    (outcome, next)
}

/// A result object, empty where the text is none.
fn object(text: &str) -> serde_json::Value {
    match serde_json::from_str(text) {
        Ok(value @ serde_json::Value::Object(_)) => value,
        _ => serde_json::json!({}),
    }
}

/// A job whose time was up, with what its attempt had got.
fn expired(deadline: &str, why: &str, result_json: &str, images: Vec<Image>) -> Next {
    let message = format!("it was not done at {deadline}, the end of its time; {why}");
    let mut result = object(result_json);
    result["error"] = message.as_str().into();
    result["message"] = message.as_str().into();
    result["cancelled"] = false.into();
    Next::Failed {
        code: DEADLINE_EXCEEDED.to_owned(),
        message,
        result_json: result.to_string(),
        images,
    }
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
            replace_images(conn, &fence.job_id, images)?;
            finish(conn, fence, JobState::Completed, result_json, None, at)?;
            Ok(EventType::Completed)
        }
        Next::Cancelled {
            result_json,
            images,
        } => {
            replace_images(conn, &fence.job_id, images)?;
            finish(conn, fence, JobState::Cancelled, result_json, None, at)?;
            Ok(EventType::Cancelled)
        }
        Next::Failed {
            code,
            result_json,
            images,
            ..
        } => {
            replace_images(conn, &fence.job_id, images)?;
            finish(conn, fence, JobState::Failed, result_json, Some(code), at)?;
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
            if !spent {
                wait_again(conn, &fence.job_id)?;
            }
            Ok(EventType::AttemptEnded)
        }
    }
}

/// A job of which nothing was sent in this run waits for its first attempt as
/// before, for no longer than its policy says.
fn wait_again(conn: &mut SqliteConnection, job_id: &str) -> Result<(), Error> {
    let job = jobs::table.find(job_id);
    let (spent, policy, created, began): (i32, String, String, Option<String>) = job
        .select((
            jobs::attempts_spent,
            jobs::policy_json,
            jobs::creation_timestamp,
            jobs::run_began_at,
        ))
        .first(conn)?;
    let began = began.unwrap_or(created);
    if spent > 0 {
        return Ok(());
    }
    // A row that cannot be understood must not keep its attempt from ending.
    let times = json(TABLE, job_id, &policy)
        .and_then(|policy: JobPolicy| Ok(policy.wait_until(time(TABLE, job_id, &began)?)));
    let Ok(wait_until) = times else {
        return Ok(());
    };
    diesel::update(job)
        .set(jobs::wait_until.eq(wait_until.map(to_text)))
        .execute(conn)?;
    Ok(())
}

/// Images of an earlier run stay until there are new ones; then their files
/// are noted, which may belong to other jobs too.
fn replace_images(conn: &mut SqliteConnection, job_id: &str, new: &[Image]) -> Result<(), Error> {
    if new.is_empty() {
        return Ok(());
    }
    let old = images::of_job(conn, job_id)?;
    if !old.is_empty() {
        unneeded_files::add(conn, &old)?;
        images::remove(conn, job_id)?;
    }
    images::insert(conn, job_id, new)
}

fn finish(
    conn: &mut SqliteConnection,
    fence: &Fence,
    state: JobState,
    result_json: &str,
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
