//! The end of an attempt and what follows for its job, written in one.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use service_kit::clock::to_text;

use super::guard;
use crate::{
    error::Error,
    job::{AttemptOutcome, AttemptPhase, EventType, Fence, HoldReason, Image, JobState},
    store::{
        events::{self, NewEvent},
        images,
        schema::{job_attempts, jobs},
    },
};

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
