//! What choosing reads and writes: the pending jobs in the order of dispatch,
//! and why each of them waits. Reads one covering index, never the rows with
//! their large parameters.

use chrono::{DateTime, Utc};
use diesel::{
    prelude::*,
    sql_types::{BigInt, Integer, Nullable, Text},
};
use service_kit::clock::to_text;

use super::{
    events::{self, NewEvent},
    jobs::models_from_json,
    json, optional_time,
    schema::{jobs, key_totals, queue_totals},
    word,
};
use crate::{
    error::Error,
    job::{EventType, HoldReason, JobState, Requirement},
    policy::JobPolicy,
};

const TABLE: &str = "jobs";

/// A pending job as choosing sees it.
#[derive(Clone, Debug)]
pub struct QueuedJob {
    /// Its id.
    pub id: String,
    /// Its place in the queue.
    pub place: Place,
    /// The alias asked for; empty for any.
    pub target_server: String,
    /// The models it needs.
    pub models: Vec<Requirement>,
    /// The checkpoint it was given earlier when it named none.
    pub resolved_checkpoint: Option<String>,
    /// Not to be claimed before this time.
    pub not_before: Option<DateTime<Utc>>,
    /// The reason it was last found to wait for.
    pub hold: Option<(HoldReason, String)>,
    /// The number of its newest attempt.
    pub attempt_number: i32,
    /// The series of attempts it is in.
    pub run: i32,
    /// What happens when something goes wrong.
    pub policy: JobPolicy,
    /// Pixels of its largest pass; `None` when nobody counted them.
    pub pixels: Option<i64>,
}

/// A place in the order of dispatch: the highest priority first, and within
/// it the lowest rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// -100 to 100.
    pub priority: i32,
    /// The order of submission.
    pub rank: i64,
}

/// Why a job is now found to wait; `None` when nothing holds it any more.
#[derive(Clone, Debug)]
pub struct HoldChange {
    /// The job.
    pub job_id: String,
    /// The reason and its words.
    pub hold: Option<(HoldReason, String)>,
    /// When it is over, where that is known.
    pub until: Option<DateTime<Utc>>,
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    mobilesd_job_id: String,
    #[diesel(sql_type = Integer)]
    priority: i32,
    #[diesel(sql_type = BigInt)]
    queue_rank: i64,
    #[diesel(sql_type = Text)]
    target_server_alias: String,
    #[diesel(sql_type = Text)]
    models_json: String,
    #[diesel(sql_type = Nullable<Text>)]
    resolved_checkpoint: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    not_before: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    hold_reason: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    hold_message: Option<String>,
    #[diesel(sql_type = Integer)]
    attempt_number: i32,
    #[diesel(sql_type = Integer)]
    run: i32,
    #[diesel(sql_type = Text)]
    policy_json: String,
    #[diesel(sql_type = Nullable<BigInt>)]
    pixels: Option<i64>,
}

/// The statement of `page`: the rest of a priority, then the lower ones, both
/// read in order, so that a later page passes over nothing. Without the name
/// of the index the planner would take the documented one on the status, which
/// does not cover it. Jobs that wait for a decision are in neither.
pub const PAGE: &str = "\
    SELECT mobilesd_job_id, priority, queue_rank, target_server_alias, models_json, \
           resolved_checkpoint, not_before, hold_reason, hold_message, attempt_number, run, \
           policy_json, pixels \
    FROM jobs INDEXED BY idx_jobs_queue \
    WHERE status = 'pending' AND priority = ?1 AND queue_rank > ?2 \
        AND coalesce(hold_reason, '') NOT IN ('adopted_stale', 'adopted_unreadable') \
    UNION ALL \
    SELECT mobilesd_job_id, priority, queue_rank, target_server_alias, models_json, \
           resolved_checkpoint, not_before, hold_reason, hold_message, attempt_number, run, \
           policy_json, pixels \
    FROM jobs INDEXED BY idx_jobs_queue \
    WHERE status = 'pending' AND priority < ?1 \
        AND coalesce(hold_reason, '') NOT IN ('adopted_stale', 'adopted_unreadable') \
    ORDER BY priority DESC, queue_rank LIMIT ?3";

/// The statement of `next_due`.
pub const NEXT_DUE: &str = "\
    SELECT not_before AS at FROM jobs INDEXED BY idx_jobs_due \
    WHERE status = 'pending' AND not_before IS NOT NULL AND not_before > ? \
    ORDER BY not_before LIMIT 1";

/// The statement of `processing`.
pub const PROCESSING: &str = "\
    SELECT mobilesd_job_id AS id FROM jobs INDEXED BY idx_jobs_processing \
    WHERE status = 'processing' ORDER BY mobilesd_job_id";

/// A part of the queue.
#[derive(Debug)]
pub struct Page {
    /// Its jobs, soonest first.
    pub jobs: Vec<QueuedJob>,
    /// What is wrong with the rows that cannot be read, which are left out so
    /// that they hold nobody up.
    pub broken: Vec<Error>,
    /// The place of its last row, readable or not; `None` when it has none.
    pub last: Option<Place>,
    /// Whether there may be more behind it.
    pub is_whole: bool,
}

/// The pending jobs after a place, soonest first, at most `limit`.
pub fn page(conn: &mut SqliteConnection, after: Option<Place>, limit: i64) -> Result<Page, Error> {
    let after = after.unwrap_or(Place {
        priority: i32::MAX,
        rank: i64::MIN,
    });
    let rows: Vec<Row> = diesel::sql_query(PAGE)
        .bind::<Integer, _>(after.priority)
        .bind::<BigInt, _>(after.rank)
        .bind::<BigInt, _>(limit)
        .load(conn)?;
    let last = rows.last().map(|row| Place {
        priority: row.priority,
        rank: row.queue_rank,
    });
    let is_whole = i64::try_from(rows.len()).is_ok_and(|rows| rows >= limit);
    let (mut jobs, mut broken) = (Vec::new(), Vec::new());
    for row in rows {
        match from_row(row) {
            Ok(job) => jobs.push(job),
            Err(error) => broken.push(error),
        }
    }
    Ok(Page {
        jobs,
        broken,
        last,
        is_whole,
    })
}

/// How much waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueTotals {
    /// Pending jobs.
    pub jobs: i64,
    /// Bytes of their requests with their pictures.
    pub request_bytes: i64,
}

/// How much waits, this transaction included.
pub fn totals(conn: &mut SqliteConnection) -> Result<QueueTotals, Error> {
    let (jobs, request_bytes) = queue_totals::table
        .find(1)
        .select((queue_totals::jobs, queue_totals::request_bytes))
        .first(conn)?;
    Ok(QueueTotals {
        jobs,
        request_bytes,
    })
}

/// How many jobs of a key wait, this transaction included.
pub fn jobs_of_key(conn: &mut SqliteConnection, key_id: &str) -> Result<i64, Error> {
    let jobs = key_totals::table
        .find(key_id)
        .select(key_totals::jobs)
        .first(conn)
        .optional()?;
    Ok(jobs.unwrap_or(0))
}

/// When the next job that waits for a time becomes due.
pub fn next_due(
    conn: &mut SqliteConnection,
    now: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>, Error> {
    #[derive(QueryableByName)]
    struct At {
        #[diesel(sql_type = Text)]
        at: String,
    }
    let first: Vec<At> = diesel::sql_query(NEXT_DUE)
        .bind::<Text, _>(to_text(now))
        .load(conn)?;
    optional_time(
        TABLE,
        "not_before",
        first.first().map(|row| row.at.as_str()),
    )
}

/// The ids of all jobs that have an attempt under way.
pub fn processing(conn: &mut SqliteConnection) -> Result<Vec<String>, Error> {
    #[derive(QueryableByName)]
    struct Id {
        #[diesel(sql_type = Text)]
        id: String,
    }
    let rows: Vec<Id> = diesel::sql_query(PROCESSING).load(conn)?;
    Ok(rows.into_iter().map(|row| row.id).collect())
}

/// Writes why jobs wait; those that are not pending any more stay as they are.
pub fn set_holds(
    conn: &mut SqliteConnection,
    changes: &[HoldChange],
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let at = to_text(now);
    for change in changes {
        let (reason, message) = change.hold.clone().unzip();
        let changed = diesel::update(
            jobs::table
                .find(&change.job_id)
                .filter(jobs::status.eq(JobState::Pending.as_str())),
        )
        .set((
            jobs::hold_reason.eq(reason.map(HoldReason::as_str)),
            jobs::hold_message.eq(message.as_deref()),
            jobs::hold_until.eq(change.until.map(to_text)),
            jobs::hold_since.eq(reason.map(|_| at.as_str())),
            jobs::last_updated_timestamp.eq(&at),
            jobs::revision.eq(jobs::revision + 1),
        ))
        .execute(conn)?;
        if changed == 1 {
            let event = NewEvent {
                hold: reason,
                message: message.as_deref().unwrap_or_default(),
                ..NewEvent::of_job(&change.job_id, EventType::Held, JobState::Pending, now)
            };
            events::append(conn, &event)?;
        }
    }
    Ok(())
}

fn from_row(row: Row) -> Result<QueuedJob, Error> {
    let id = row.mobilesd_job_id;
    Ok(QueuedJob {
        place: Place {
            priority: row.priority,
            rank: row.queue_rank,
        },
        target_server: row.target_server_alias,
        models: models_from_json(&id, &row.models_json)?,
        resolved_checkpoint: row.resolved_checkpoint,
        not_before: optional_time(TABLE, &id, row.not_before.as_deref())?,
        hold: row
            .hold_reason
            .map(|text| {
                Ok::<_, Error>((
                    word(TABLE, &id, &text, HoldReason::parse)?,
                    row.hold_message.unwrap_or_default(),
                ))
            })
            .transpose()?,
        attempt_number: row.attempt_number,
        run: row.run,
        policy: json(TABLE, &id, &row.policy_json)?,
        pixels: row.pixels,
        id,
    })
}
