//! Another run of a job that has ended, or a job of its own made from it.

use chrono::{DateTime, TimeDelta, Utc};
use diesel::{
    prelude::*,
    sql_types::{BigInt, Nullable, Text},
};
use serde::{Deserialize, Serialize};
use service_kit::clock::to_text;

use super::{NewJob, insert, models_to_json};
use crate::{
    error::Error,
    job::{EventType, Job, JobState},
    request::{GenerationRequest, adopted},
    store::{
        adoption,
        events::{self, NewEvent},
        input_images,
        schema::jobs,
    },
};

/// Before any time of the database, as text.
const EARLIEST: &str = "";
/// After any.
const LATEST: &str = "~";

/// Which jobs to retry; what is `None` or empty does not filter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetryFilter {
    /// Any of these states, which have ended.
    pub states: Vec<JobState>,
    /// Submitted in this batch.
    pub batch_id: String,
    /// Failed with this code.
    pub error_code: String,
    /// Ended at or after.
    pub ended_from: Option<DateTime<Utc>>,
    /// Ended before.
    pub ended_to: Option<DateTime<Utc>>,
    /// Of this key.
    pub key_id: Option<String>,
    /// Behind those of an earlier call.
    pub after: Option<RetryPlace>,
}

/// Behind which job a retry of many goes on, in the order of their ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryPlace {
    /// When that one had ended, as text.
    at: String,
    /// Its id.
    id: String,
    /// The end of the time within which jobs must have ended: that of the first
    /// call, since those that it began end again.
    until: String,
}

/// The shortest time that the database tells apart.
const TICK: TimeDelta = TimeDelta::milliseconds(1);

/// Jobs of one state in the order of their ends. The list of states is that of
/// the index.
pub const ENDED: &str = "\
    SELECT mobilesd_job_id AS id, coalesce(completion_timestamp, last_updated_timestamp) AS at \
    FROM jobs INDEXED BY idx_jobs_retry \
    WHERE status = ?1 AND status IN ('failed', 'cancelled') \
        AND coalesce(completion_timestamp, last_updated_timestamp) >= ?2 \
        AND coalesce(completion_timestamp, last_updated_timestamp) < ?3 \
        AND (coalesce(completion_timestamp, last_updated_timestamp), mobilesd_job_id) > (?2, ?7) \
        AND (?4 = '' OR error_code = ?4) AND (?5 IS NULL OR api_key_id = ?5) \
    ORDER BY coalesce(completion_timestamp, last_updated_timestamp), mobilesd_job_id LIMIT ?6";

/// The same of one batch, which is small.
pub const ENDED_IN_BATCH: &str = "\
    SELECT mobilesd_job_id AS id, coalesce(completion_timestamp, last_updated_timestamp) AS at \
    FROM jobs INDEXED BY idx_jobs_batch \
    WHERE status = ?1 AND batch_id = ?8 \
        AND (coalesce(completion_timestamp, last_updated_timestamp), mobilesd_job_id) > (?2, ?7) \
        AND coalesce(completion_timestamp, last_updated_timestamp) < ?3 \
        AND (?4 = '' OR error_code = ?4) AND (?5 IS NULL OR api_key_id = ?5) \
    ORDER BY at, id LIMIT ?6";

/// What a job asks for, as far as another run needs it.
#[derive(Clone, Debug)]
pub struct Asked {
    request: GenerationRequest,
    request_json: String,
    /// Whether that was made from the text of the earlier application now.
    is_adopted: bool,
    /// Bytes of the request with its pictures.
    pub request_bytes: i64,
}

/// Seeds for a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seeds {
    /// Of the first image.
    pub seed: i64,
    /// The variation seed of the first image.
    pub subseed: i64,
}

impl Asked {
    /// The seeds of the next run: those of the job where it named them, else
    /// the ones that are drawn.
    #[must_use]
    pub fn seeds(&self, job: &Job, drawn: Seeds) -> Seeds {
        let of = |named: Option<i64>, kept, drawn| match (named, self.is_adopted) {
            (None, _) => drawn,
            // Nothing was kept of it beside its text.
            (Some(named), true) => named,
            // A batch counts on from the seed that was named.
            (Some(_), false) => kept,
        };
        Seeds {
            seed: of(self.request.seed(), job.seed, drawn.seed),
            subseed: of(self.request.subseed(), job.subseed, drawn.subseed),
        }
    }
}

/// The ids of the jobs that fit, in the order of their ends, at most `limit`,
/// and behind which of them there are more.
pub fn ended(
    conn: &mut SqliteConnection,
    filter: &RetryFilter,
    limit: i64,
    now: DateTime<Utc>,
) -> Result<(Vec<String>, Option<RetryPlace>), Error> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        id: String,
        #[diesel(sql_type = Text)]
        at: String,
    }
    let statement = match filter.batch_id.is_empty() {
        true => ENDED,
        false => ENDED_IN_BATCH,
    };
    let from = filter.ended_from.map(to_text);
    let from = from.as_deref().unwrap_or(EARLIEST);
    // An id is never empty, and so behind the empty one.
    let (from, behind) = match &filter.after {
        Some(place) => (place.at.as_str().max(from), place.id.as_str()),
        None => (from, ""),
    };
    let to = filter.ended_to.map(to_text);
    let until = filter.after.as_ref().map(|place| place.until.as_str());
    let to = to.as_deref().unwrap_or(LATEST).min(until.unwrap_or(LATEST));
    let mut found: Vec<Row> = Vec::new();
    for state in &filter.states {
        let query = diesel::sql_query(statement)
            .bind::<Text, _>(state.as_str())
            .bind::<Text, _>(from)
            .bind::<Text, _>(to)
            .bind::<Text, _>(&filter.error_code)
            .bind::<Nullable<Text>, _>(filter.key_id.as_deref())
            .bind::<BigInt, _>(limit.saturating_add(1))
            .bind::<Text, _>(behind);
        let rows: Vec<Row> = match filter.batch_id.is_empty() {
            true => query.load(conn)?,
            false => query.bind::<Text, _>(&filter.batch_id).load(conn)?,
        };
        found.extend(rows);
    }
    found.sort_by(|a, b| (&a.at, &a.id).cmp(&(&b.at, &b.id)));
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = found.len() > most;
    found.truncate(most);
    let next = found.last().filter(|_| more).map(|last| RetryPlace {
        at: last.at.clone(),
        id: last.id.clone(),
        until: until.map_or_else(|| to_text(now + TICK), str::to_owned),
    });
    Ok((found.into_iter().map(|row| row.id).collect(), next))
}

/// What a job asks for; `JobRequestUnreadable` where that cannot be known.
pub fn asked(conn: &mut SqliteConnection, job: &Job) -> Result<Asked, Error> {
    let (kept, made, is_adopted, bytes): (String, Option<String>, bool, i64) = jobs::table
        .find(&job.id)
        .select((
            jobs::generation_params_json,
            jobs::adopted_request_json,
            jobs::adopted,
            jobs::request_bytes,
        ))
        .first(conn)?;
    let unreadable = |why: String| Error::JobRequestUnreadable {
        id: job.id.clone(),
        why,
    };
    // A job that had ended in the earlier application was never read, and one
    // that could not be read then still cannot.
    if made.is_none() && is_adopted {
        let request = adopted::from_older(&kept).map_err(unreadable)?;
        let request_json = request.to_json();
        return Ok(Asked {
            request_bytes: i64::try_from(request_json.len()).unwrap_or(i64::MAX),
            request,
            request_json,
            is_adopted: true,
        });
    }
    let request_json = made.unwrap_or(kept);
    let request = GenerationRequest::from_json(job.endpoint, &request_json)
        .map_err(|error| unreadable(error.to_string()))?;
    Ok(Asked {
        request,
        request_bytes: match bytes {
            0 => i64::try_from(request_json.len()).unwrap_or(i64::MAX),
            bytes => bytes,
        },
        request_json,
        is_adopted: false,
    })
}

/// Begins the next run of a job that failed or was cancelled, at the end of the
/// queue, and answers the place of its event. What the job got in earlier runs
/// stays: attempts, images until there are new ones, and the result that it
/// brought from the earlier application.
pub fn begin_run(
    conn: &mut SqliteConnection,
    job: &Job,
    asked: &Asked,
    seeds: Seeds,
    now: DateTime<Utc>,
) -> Result<i64, Error> {
    if let (true, Some(result)) = (asked.is_adopted, &job.result_json) {
        adoption::keep_result(conn, &job.id, result, now)?;
    }
    let event = NewEvent::of_job(&job.id, EventType::Retried, JobState::Pending, now);
    let sequence = events::append(conn, &event)?;
    let at = to_text(now);
    diesel::update(jobs::table.find(&job.id))
        .set((
            jobs::status.eq(JobState::Pending.as_str()),
            jobs::run.eq(job.run + 1),
            jobs::attempts_spent.eq(0),
            jobs::retry_count.eq(0),
            jobs::queue_rank.eq(sequence),
            jobs::resolved_seed.eq(seeds.seed),
            jobs::resolved_subseed.eq(seeds.subseed),
            jobs::request_bytes.eq(asked.request_bytes),
            jobs::pixels.eq(asked.request.pixels()),
            jobs::run_began_at.eq(&at),
            jobs::wait_until.eq(job.policy.wait_until(now).map(to_text)),
            jobs::deadline_at.eq(job.policy.deadline_at(now).map(to_text)),
            jobs::last_updated_timestamp.eq(&at),
            jobs::revision.eq(jobs::revision + 1),
        ))
        .execute(conn)?;
    diesel::update(jobs::table.find(&job.id))
        .set((
            jobs::cancel_requested_at.eq(None::<String>),
            jobs::completion_timestamp.eq(None::<String>),
            jobs::result_details_json.eq(None::<String>),
            jobs::error_code.eq(None::<String>),
            jobs::not_before.eq(None::<String>),
            jobs::hold_reason.eq(None::<String>),
            jobs::hold_message.eq(None::<String>),
            jobs::hold_since.eq(None::<String>),
            jobs::hold_until.eq(None::<String>),
        ))
        .execute(conn)?;
    if asked.is_adopted {
        diesel::update(jobs::table.find(&job.id))
            .set((
                jobs::adopted_request_json.eq(&asked.request_json),
                jobs::models_json.eq(models_to_json(&asked.request.requirements())?),
            ))
            .execute(conn)?;
    }
    Ok(sequence)
}

/// Makes a job of its own from one that has ended, with the same pictures, and
/// answers it with the place of its event.
pub fn copy(
    conn: &mut SqliteConnection,
    job: &Job,
    asked: &Asked,
    (id, key_id): (String, Option<&str>),
    seeds: Seeds,
    now: DateTime<Utc>,
) -> Result<(Job, i64), Error> {
    let new = NewJob {
        id,
        request_json: asked.request_json.clone(),
        endpoint: job.endpoint,
        target_server: job.target_server.clone(),
        priority: job.priority,
        attempts_max: job.attempts_max,
        seed: seeds.seed,
        subseed: seeds.subseed,
        models: asked.request.requirements(),
        labels: job.labels.clone(),
        app_type: job.app_type,
        source_info: job.source_info.clone(),
        batch_id: None,
        key_id: key_id.map(str::to_owned),
        request_bytes: asked.request_bytes,
        pixels: asked.request.pixels(),
        policy: job.policy.clone(),
    };
    let inserted = insert(conn, &new, now)?;
    input_images::share(conn, &job.id, &new.id)?;
    Ok(inserted)
}
