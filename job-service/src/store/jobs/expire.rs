//! Jobs that end without an attempt: those whose time is up, which two indexes
//! know, and those that can go nowhere.

use chrono::{DateTime, Utc};
use diesel::{
    prelude::*,
    sql_types::{BigInt, Integer, Nullable, Text},
};
use serde_json::json;
use service_kit::clock::to_text;

use crate::{
    error::Error,
    job::{EventType, JobState},
    store::{
        attempts::DEADLINE_EXCEEDED,
        events::{self, NewEvent},
        optional_time,
        schema::jobs,
    },
};

/// The code of a job that waited too long for its first attempt.
pub const WAIT_DEADLINE_EXCEEDED: &str = "WAIT_DEADLINE_EXCEEDED";

/// Pending jobs that have waited too long.
pub const WAITED: &str = "\
    SELECT mobilesd_job_id AS id, attempt_number AS attempt \
    FROM jobs INDEXED BY idx_jobs_wait_until \
    WHERE status = 'pending' AND wait_until IS NOT NULL AND wait_until <= ?1 \
    ORDER BY wait_until LIMIT ?2";
/// Pending jobs that have taken too long. The list of states is that of the
/// index.
pub const OVERDUE: &str = "\
    SELECT mobilesd_job_id AS id, attempt_number AS attempt \
    FROM jobs INDEXED BY idx_jobs_deadline \
    WHERE status = 'pending' AND status IN ('pending', 'processing') \
        AND deadline_at IS NOT NULL AND deadline_at <= ?1 \
    ORDER BY deadline_at LIMIT ?2";
/// Processing jobs that have taken too long.
pub const OVERDUE_AT_WORK: &str = "\
    SELECT mobilesd_job_id AS id, attempt_number AS attempt \
    FROM jobs INDEXED BY idx_jobs_deadline \
    WHERE status = 'processing' AND status IN ('pending', 'processing') \
        AND deadline_at IS NOT NULL AND deadline_at <= ?1 \
    ORDER BY deadline_at LIMIT ?2";
/// The next moment at which one of them grows.
pub const NEXT_DEADLINE: &str = "\
    SELECT min(at) AS at FROM ( \
    SELECT * FROM (SELECT wait_until AS at FROM jobs INDEXED BY idx_jobs_wait_until \
        WHERE status = 'pending' AND wait_until IS NOT NULL AND wait_until > ?1 \
        ORDER BY wait_until LIMIT 1) \
    UNION ALL \
    SELECT * FROM (SELECT deadline_at AS at FROM jobs INDEXED BY idx_jobs_deadline \
        WHERE status = 'pending' AND status IN ('pending', 'processing') \
            AND deadline_at IS NOT NULL AND deadline_at > ?1 \
        ORDER BY deadline_at LIMIT 1) \
    UNION ALL \
    SELECT * FROM (SELECT deadline_at AS at FROM jobs INDEXED BY idx_jobs_deadline \
        WHERE status = 'processing' AND status IN ('pending', 'processing') \
            AND deadline_at IS NOT NULL AND deadline_at > ?1 \
        ORDER BY deadline_at LIMIT 1))";

/// Jobs whose time is up, at most so many of each kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// They wait for the first attempt of their run, or for another one.
    pub pending: Vec<String>,
    /// They have an attempt under way, of this number.
    pub processing: Vec<(String, i32)>,
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    id: String,
    #[diesel(sql_type = Integer)]
    attempt: i32,
}

/// The jobs whose time is up, the longest due first, at most `limit` of those
/// that wait for an attempt, of those that wait for another one, and of those
/// at work.
pub fn due(conn: &mut SqliteConnection, now: DateTime<Utc>, limit: i64) -> Result<Due, Error> {
    let mut rows = |statement: &str| -> Result<Vec<(String, i32)>, Error> {
        let rows: Vec<Row> = diesel::sql_query(statement)
            .bind::<Text, _>(to_text(now))
            .bind::<BigInt, _>(limit)
            .load(conn)?;
        Ok(rows.into_iter().map(|row| (row.id, row.attempt)).collect())
    };
    let mut pending: Vec<String> = rows(WAITED)?.into_iter().map(|(id, _)| id).collect();
    for (id, _) in rows(OVERDUE)? {
        if !pending.contains(&id) {
            pending.push(id);
        }
    }
    let processing = rows(OVERDUE_AT_WORK)?;
    Ok(Due {
        pending,
        processing,
    })
}

/// The next moment after `now` at which the time of a job is up.
pub fn next_deadline(
    conn: &mut SqliteConnection,
    now: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>, Error> {
    #[derive(QueryableByName)]
    struct At {
        #[diesel(sql_type = Nullable<Text>)]
        at: Option<String>,
    }
    let next: At = diesel::sql_query(NEXT_DEADLINE)
        .bind::<Text, _>(to_text(now))
        .get_result(conn)?;
    optional_time("jobs", "deadline_at", next.at.as_deref())
}

/// Fails a pending job whose time is up, with why it waited. `false` when it is
/// not pending any more or has got more time.
pub fn expire(
    conn: &mut SqliteConnection,
    id: &str,
    why: &str,
    now: DateTime<Utc>,
) -> Result<bool, Error> {
    let times: Option<(Option<String>, Option<String>)> = jobs::table
        .find(id)
        .select((jobs::wait_until, jobs::deadline_at))
        .first(conn)
        .optional()?;
    let Some((wait_until, deadline_at)) = times else {
        return Ok(false);
    };
    let now_text = to_text(now);
    let is_past = |at: &String| *at <= now_text;
    let (code, message) = if let Some(at) = deadline_at.filter(is_past) {
        let message = format!("it was not done at {at}, the end of its time; {why}");
        (DEADLINE_EXCEEDED, message)
    } else if let Some(at) = wait_until.filter(is_past) {
        let message = format!("it had no attempt until {at}, as long as it may wait; {why}");
        (WAIT_DEADLINE_EXCEEDED, message)
    } else {
        return Ok(false);
    };
    fail_pending(conn, id, code, &message, now)
}

/// Fails a pending job. `false` when it is not pending.
pub fn fail_pending(
    conn: &mut SqliteConnection,
    id: &str,
    code: &str,
    message: &str,
    now: DateTime<Utc>,
) -> Result<bool, Error> {
    let at = to_text(now);
    let result = json!({"error": message, "message": message});
    let changed = diesel::update(
        jobs::table
            .find(id)
            .filter(jobs::status.eq(JobState::Pending.as_str())),
    )
    .set((
        jobs::status.eq(JobState::Failed.as_str()),
        jobs::error_code.eq(code),
        jobs::result_details_json.eq(result.to_string()),
        jobs::completion_timestamp.eq(&at),
        jobs::last_updated_timestamp.eq(&at),
        jobs::revision.eq(jobs::revision + 1),
        jobs::hold_reason.eq(None::<String>),
        jobs::hold_message.eq(None::<String>),
        jobs::hold_since.eq(None::<String>),
        jobs::hold_until.eq(None::<String>),
        jobs::not_before.eq(None::<String>),
    ))
    .execute(conn)?;
    if changed == 1 {
        let event = NewEvent {
            message,
            ..NewEvent::of_job(id, EventType::Failed, JobState::Failed, now)
        };
        events::append(conn, &event)?;
    }
    Ok(changed == 1)
}
