//! The `jobs` table: insert, read, list, cancel. What choosing reads is in
//! `queue`, and what attempts write in `attempts`.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use service_kit::clock::to_text;

use super::{
    events::{self, NewEvent},
    json, optional_time,
    schema::jobs,
    time, to_json, word,
};
use crate::{
    error::Error,
    job::{
        AppType, Endpoint, EventType, Hold, HoldReason, Job, JobError, JobState, ModelRole,
        Requirement,
    },
    policy::JobPolicy,
};

mod cancel;
mod change;
mod delete;
mod expire;
mod list;
mod retry;

pub use cancel::{cancel_pending, mark_cancel};
pub use change::{NewInput, RowChange, update};
pub use delete::delete;
pub use expire::{
    Due, NEXT_DEADLINE, OVERDUE, OVERDUE_AT_WORK, WAIT_DEADLINE_EXCEEDED, WAITED, due, expire,
    fail_pending, next_deadline,
};
pub use list::{Cursor, JobFilter, JobOrder, cursor_of, list};
pub use retry::{
    Asked, ENDED, ENDED_IN_BATCH, RetryFilter, RetryPlace, Seeds, asked, begin_run, copy, ended,
};

const TABLE: &str = "jobs";

/// A job to insert.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// Its id.
    pub id: String,
    /// The request in Forge's words, as JSON text.
    pub request_json: String,
    /// Which of Forge's calls it uses.
    pub endpoint: Endpoint,
    /// The alias asked for; empty for any.
    pub target_server: String,
    /// -100 to 100.
    pub priority: i32,
    /// How many attempts it may spend.
    pub attempts_max: i32,
    /// The seed of its first image.
    pub seed: i64,
    /// The variation seed of its first image.
    pub subseed: i64,
    /// The models it needs.
    pub models: Vec<Requirement>,
    /// The caller's labels.
    pub labels: BTreeMap<String, String>,
    /// Where it came from.
    pub app_type: AppType,
    /// More about where it came from.
    pub source_info: String,
    /// The batch it was submitted in.
    pub batch_id: Option<String>,
    /// The key that submitted it.
    pub key_id: Option<String>,
    /// Bytes of its request with its pictures.
    pub request_bytes: i64,
    /// Pixels of its largest pass: width by height by batch size.
    pub pixels: i64,
    /// What happens when something goes wrong.
    pub policy: JobPolicy,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = jobs)]
pub(super) struct Row {
    mobilesd_job_id: String,
    status: String,
    creation_timestamp: String,
    last_updated_timestamp: String,
    completion_timestamp: Option<String>,
    target_server_alias: String,
    result_details_json: Option<String>,
    app_type: Option<String>,
    source_info: Option<String>,
    revision: i32,
    endpoint: String,
    priority: i32,
    models_json: String,
    resolved_checkpoint: Option<String>,
    resolved_seed: i64,
    resolved_subseed: i64,
    run: i32,
    attempt_number: i32,
    attempts_spent: i32,
    attempts_max: i32,
    not_before: Option<String>,
    hold_reason: Option<String>,
    hold_message: Option<String>,
    hold_since: Option<String>,
    hold_until: Option<String>,
    cancel_requested_at: Option<String>,
    error_code: Option<String>,
    labels_json: String,
    batch_id: Option<String>,
    api_key_id: Option<String>,
    policy_json: String,
    run_began_at: Option<String>,
    wait_until: Option<String>,
    deadline_at: Option<String>,
}

/// Inserts a pending job at the end of the queue and answers it with the
/// place of its event.
pub fn insert(
    conn: &mut SqliteConnection,
    job: &NewJob,
    now: DateTime<Utc>,
) -> Result<(Job, i64), Error> {
    let event = NewEvent::of_job(&job.id, EventType::Submitted, JobState::Pending, now);
    let sequence = events::append(conn, &event)?;
    let at = to_text(now);
    diesel::insert_into(jobs::table)
        .values((
            jobs::mobilesd_job_id.eq(&job.id),
            jobs::status.eq(JobState::Pending.as_str()),
            jobs::creation_timestamp.eq(&at),
            jobs::last_updated_timestamp.eq(&at),
            jobs::target_server_alias.eq(&job.target_server),
            jobs::generation_params_json.eq(&job.request_json),
            jobs::app_type.eq(job.app_type.as_str()),
            jobs::source_info.eq(&job.source_info),
            jobs::endpoint.eq(job.endpoint.as_str()),
            jobs::priority.eq(job.priority),
            // The place of its own event: it grows, whatever the clock does.
            jobs::queue_rank.eq(sequence),
            jobs::models_json.eq(models_to_json(&job.models)?),
            jobs::resolved_seed.eq(job.seed),
            jobs::resolved_subseed.eq(job.subseed),
            jobs::attempts_max.eq(job.attempts_max),
            jobs::labels_json.eq(to_json(&job.labels)?),
            jobs::batch_id.eq(&job.batch_id),
            jobs::api_key_id.eq(&job.key_id),
            jobs::request_bytes.eq(job.request_bytes),
            jobs::pixels.eq(job.pixels),
            jobs::policy_json.eq(to_json(&job.policy)?),
            jobs::wait_until.eq(job.policy.wait_until(now).map(to_text)),
            jobs::deadline_at.eq(job.policy.deadline_at(now).map(to_text)),
        ))
        .execute(conn)?;
    Ok((as_inserted(job, now), sequence))
}

/// The job as `insert` wrote it, so that a submission does not read it back.
fn as_inserted(job: &NewJob, now: DateTime<Utc>) -> Job {
    let now = DateTime::from_timestamp_millis(now.timestamp_millis()).unwrap_or(now);
    Job {
        id: job.id.clone(),
        state: JobState::Pending,
        hold: None,
        run: 1,
        attempt_number: 0,
        attempts_spent: 0,
        attempts_max: job.attempts_max,
        priority: job.priority,
        target_server: job.target_server.clone(),
        created_at: now,
        updated_at: now,
        completed_at: None,
        cancel_requested_at: None,
        not_before: None,
        run_began_at: now,
        wait_until: job.policy.wait_until(now),
        deadline_at: job.policy.deadline_at(now),
        policy: job.policy.clone(),
        error: None,
        result_json: None,
        labels: job.labels.clone(),
        app_type: job.app_type,
        source_info: job.source_info.clone(),
        endpoint: job.endpoint,
        seed: job.seed,
        subseed: job.subseed,
        models: job.models.clone(),
        resolved_checkpoint: None,
        batch_id: job.batch_id.clone(),
        key_id: job.key_id.clone(),
        revision: 1,
    }
}

/// The job with this id.
pub fn get(conn: &mut SqliteConnection, id: &str) -> Result<Job, Error> {
    jobs::table
        .find(id)
        .select(Row::as_select())
        .first(conn)
        .optional()?
        .map(from_row)
        .transpose()?
        .ok_or_else(|| Error::JobNotFound(id.to_owned()))
}

/// The job with this id, of this owner only when one is named. One of another
/// owner costs what one that is not there costs: its row is not read out.
pub fn get_of(conn: &mut SqliteConnection, id: &str, owner: Option<&str>) -> Result<Job, Error> {
    let Some(owner) = owner else {
        return get(conn, id);
    };
    jobs::table
        .find(id)
        .filter(jobs::api_key_id.eq(owner))
        .select(Row::as_select())
        .first(conn)
        .optional()?
        .map(from_row)
        .transpose()?
        .ok_or_else(|| Error::JobNotFound(id.to_owned()))
}

/// The request of a job in Forge's words, as JSON text: for one that was taken
/// over, what was made of the text that is kept.
pub fn request_json(conn: &mut SqliteConnection, id: &str) -> Result<String, Error> {
    jobs::table
        .find(id)
        .select((jobs::generation_params_json, jobs::adopted_request_json))
        .first::<(String, Option<String>)>(conn)
        .optional()?
        .map(|(kept, adopted)| adopted.unwrap_or(kept))
        .ok_or_else(|| Error::JobNotFound(id.to_owned()))
}

/// How many jobs are in each state.
pub fn count_by_state(conn: &mut SqliteConnection) -> Result<Vec<(JobState, i64)>, Error> {
    jobs::table
        .group_by(jobs::status)
        .select((jobs::status, diesel::dsl::count_star()))
        .load::<(String, i64)>(conn)?
        .into_iter()
        .map(|(text, count)| Ok((word(TABLE, &text, &text, JobState::parse)?, count)))
        .collect()
}

/// Whether pending or processing jobs name this server.
pub fn any_open_with_target(conn: &mut SqliteConnection, alias: &str) -> Result<bool, Error> {
    let open = [JobState::Pending.as_str(), JobState::Processing.as_str()];
    Ok(diesel::select(diesel::dsl::exists(
        jobs::table
            .filter(jobs::status.eq_any(open))
            .filter(jobs::target_server_alias.eq(alias)),
    ))
    .get_result(conn)?)
}

pub(in crate::store) fn models_to_json(models: &[Requirement]) -> Result<String, Error> {
    let pairs: Vec<(&str, &str)> = models
        .iter()
        .map(|model| (model.role.as_str(), model.reference.as_str()))
        .collect();
    to_json(&pairs)
}

pub(super) fn models_from_json(id: &str, text: &str) -> Result<Vec<Requirement>, Error> {
    let pairs: Vec<(String, String)> = json(TABLE, id, text)?;
    pairs
        .into_iter()
        .map(|(role, reference)| {
            Ok(Requirement {
                role: word(TABLE, id, &role, ModelRole::parse)?,
                reference,
            })
        })
        .collect()
}

pub(super) fn from_row(row: Row) -> Result<Job, Error> {
    let id = row.mobilesd_job_id;
    let hold = row
        .hold_reason
        .map(|text| {
            let reason = word(TABLE, &id, &text, HoldReason::parse)?;
            let until = row
                .hold_until
                .as_deref()
                .filter(|_| reason == HoldReason::CoolingDown);
            Ok::<_, Error>(Hold {
                reason,
                until: optional_time(TABLE, &id, until)?,
                message: row.hold_message.unwrap_or_default(),
                since: optional_time(TABLE, &id, row.hold_since.as_deref())?,
            })
        })
        .transpose()?;
    let error = row.error_code.map(|code| {
        let details: serde_json::Value = row
            .result_details_json
            .as_deref()
            .and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_default();
        let text = |key: &str| details[key].as_str().unwrap_or_default().to_owned();
        JobError {
            code,
            message: text("error"),
            server: text("server"),
        }
    });
    let created_at = time(TABLE, &id, &row.creation_timestamp)?;
    Ok(Job {
        state: word(TABLE, &id, &row.status, JobState::parse)?,
        hold,
        run: row.run,
        attempt_number: row.attempt_number,
        attempts_spent: row.attempts_spent,
        attempts_max: row.attempts_max,
        priority: row.priority,
        target_server: row.target_server_alias,
        created_at,
        updated_at: time(TABLE, &id, &row.last_updated_timestamp)?,
        completed_at: optional_time(TABLE, &id, row.completion_timestamp.as_deref())?,
        cancel_requested_at: optional_time(TABLE, &id, row.cancel_requested_at.as_deref())?,
        not_before: optional_time(TABLE, &id, row.not_before.as_deref())?,
        policy: json(TABLE, &id, &row.policy_json)?,
        run_began_at: optional_time(TABLE, &id, row.run_began_at.as_deref())?.unwrap_or(created_at),
        wait_until: optional_time(TABLE, &id, row.wait_until.as_deref())?,
        deadline_at: optional_time(TABLE, &id, row.deadline_at.as_deref())?,
        error,
        result_json: row.result_details_json,
        labels: json(TABLE, &id, &row.labels_json)?,
        // A word of an older program counts as the documented default.
        app_type: row
            .app_type
            .as_deref()
            .and_then(AppType::parse)
            .unwrap_or(AppType::Forge),
        source_info: row.source_info.unwrap_or_default(),
        endpoint: word(TABLE, &id, &row.endpoint, Endpoint::parse)?,
        seed: row.resolved_seed,
        subseed: row.resolved_subseed,
        models: models_from_json(&id, &row.models_json)?,
        resolved_checkpoint: row.resolved_checkpoint,
        batch_id: row.batch_id,
        key_id: row.api_key_id,
        revision: row.revision,
        id,
    })
}
