//! What remains when the tables are ours: the pending jobs get their places in
//! the queue, their requests and their holds. Runs in the transaction of the
//! adoption.

use chrono::{DateTime, TimeDelta, Utc};
use diesel::{
    dsl::sql,
    prelude::*,
    result::Error as DieselError,
    sql_types::{BigInt, Bool, Text},
};
use service_kit::{clock::to_text, migrate::AdoptionReport};

use super::super::{
    jobs::models_to_json,
    schema::{job_attempts, jobs},
};
use super::keys;
use crate::{
    job::{AttemptPhase, HoldReason, JobState},
    request::{GenerationRequest, SEED_MAX, adopted},
};

/// A pending job that is older at the adoption is held: its sender has given
/// up long ago.
const STALE_AFTER: TimeDelta = TimeDelta::hours(24);
/// Pending jobs that are read together.
const PAGE: i64 = 100;
/// The error code of jobs that failed in the earlier application.
pub(super) const FAILED_EARLIER: &str = "EARLIER_APPLICATION";

/// The pending jobs after one in the order of the earlier application; whether
/// each was under way there stands in what was replaced.
const PENDING: &str = "SELECT jobs.rowid AS row_number, mobilesd_job_id AS id, \
        creation_timestamp AS created_at, target_server_alias AS server, \
        generation_params_json AS kept, EXISTS (SELECT 1 FROM adoption_values AS older \
            WHERE older.table_name = 'jobs' AND older.column_name = 'status' \
                AND older.row_id = jobs.mobilesd_job_id AND older.kind = 'replaced' \
                AND lower(trim(CAST(older.value AS TEXT))) = 'processing') AS was_processing \
    FROM jobs WHERE status = 'pending' AND (creation_timestamp, jobs.rowid) > (?, ?) \
    ORDER BY creation_timestamp, jobs.rowid LIMIT ?";

/// A pending job.
#[derive(QueryableByName)]
pub(super) struct Pending {
    #[diesel(sql_type = BigInt)]
    pub(super) row_number: i64,
    #[diesel(sql_type = Text)]
    pub(super) id: String,
    #[diesel(sql_type = Text)]
    pub(super) created_at: String,
    #[diesel(sql_type = Text)]
    pub(super) server: String,
    #[diesel(sql_type = Text)]
    pub(super) kept: String,
    #[diesel(sql_type = Bool)]
    pub(super) was_processing: bool,
}

/// How many jobs wait, and for what.
#[derive(Default)]
pub(super) struct Counts {
    run: usize,
    stale: usize,
    processing: usize,
    unreadable: usize,
}

/// What remains to be done when all migrations are applied.
///
/// # Errors
/// Those of the database.
pub fn finish(
    conn: &mut SqliteConnection,
    now: DateTime<Utc>,
    report: &mut AdoptionReport,
) -> Result<(), DieselError> {
    diesel::sql_query("INSERT INTO adoption (id, adopted_at) VALUES (1, ?)")
        .bind::<Text, _>(to_text(now))
        .execute(conn)?;
    // Every job that there is: none of ours came before this.
    diesel::update(jobs::table)
        .set(jobs::adopted.eq(true))
        .execute(conn)?;
    diesel::update(jobs::table.filter(jobs::status.eq(JobState::Failed.as_str())))
        .set(jobs::error_code.eq(FAILED_EARLIER))
        .execute(conn)?;
    let counts = pending(conn, now)?;
    report.notes.extend(counts.notes());
    report.notes.extend(keys::settle(conn)?);
    Ok(())
}

/// Gives the pending jobs their places, below those of all that come later:
/// places of new jobs are those of their events, which are positive.
fn pending(conn: &mut SqliteConnection, now: DateTime<Utc>) -> Result<Counts, DieselError> {
    let waiting = "SELECT count(*) FROM jobs WHERE status = 'pending'";
    let waiting: i64 = sql::<BigInt>(waiting).get_result(conn)?;
    let mut counts = Counts::default();
    let mut rank = -waiting;
    let (mut after, mut row) = (String::new(), i64::MIN);
    loop {
        let page: Vec<Pending> = diesel::sql_query(PENDING)
            .bind::<Text, _>(&after)
            .bind::<BigInt, _>(row)
            .bind::<BigInt, _>(PAGE)
            .load(conn)?;
        let Some(last) = page.last() else { break };
        (after, row) = (last.created_at.clone(), last.row_number);
        for job in &page {
            settle(conn, job, rank, now, &mut counts)?;
            rank += 1;
        }
    }
    Ok(counts)
}

/// Gives a pending job its place, its request and its hold.
pub(super) fn settle(
    conn: &mut SqliteConnection,
    job: &Pending,
    rank: i64,
    now: DateTime<Utc>,
    counts: &mut Counts,
) -> Result<(), DieselError> {
    let read = adopted::from_older(&job.kept);
    let hold = hold(job, read.as_ref().err(), now);
    match &hold {
        None => counts.run += 1,
        Some((HoldReason::AdoptedUnreadable, _)) => counts.unreadable += 1,
        Some(_) if job.was_processing => counts.processing += 1,
        Some(_) => counts.stale += 1,
    }
    let (reason, message) = hold.unzip();
    diesel::update(jobs::table.find(&job.id))
        .set((
            jobs::queue_rank.eq(rank),
            jobs::hold_reason.eq(reason.map(HoldReason::as_str)),
            jobs::hold_message.eq(message),
            jobs::hold_since.eq(reason.map(|_| to_text(now))),
            jobs::attempt_number.eq(i32::from(job.was_processing)),
            jobs::request_bytes.eq(i64::try_from(job.kept.len()).unwrap_or(i64::MAX)),
        ))
        .execute(conn)?;
    if let Ok(request) = read {
        keep_request(conn, &job.id, &request)?;
    }
    if job.was_processing {
        insert_attempt(conn, job, now)?;
    }
    Ok(())
}

/// Why a job waits for somebody to decide; `None` when it runs.
fn hold(
    job: &Pending,
    unreadable: Option<&String>,
    now: DateTime<Utc>,
) -> Option<(HoldReason, String)> {
    if let Some(why) = unreadable {
        let words = format!(
            "what it asks for cannot be understood: {why}; change it with UpdateJob and another \
             input, or cancel it"
        );
        return Some((HoldReason::AdoptedUnreadable, words));
    }
    let since = &job.created_at;
    let words = if job.was_processing {
        "it was under way in the earlier application, and what became of it is not known; \
         UpdateJob with release_hold runs it again, or cancel it"
            .to_owned()
    } else if *since <= to_text(now - STALE_AFTER) {
        format!(
            "it waited in the earlier application since {since}; UpdateJob with release_hold lets \
             it run, or cancel it"
        )
    } else if *since == to_text(now) {
        "the earlier application did not keep since when it waits; UpdateJob with release_hold \
         lets it run, or cancel it"
            .to_owned()
    } else {
        return None;
    };
    Some((HoldReason::AdoptedStale, words))
}

fn keep_request(
    conn: &mut SqliteConnection,
    id: &str,
    request: &GenerationRequest,
) -> Result<(), DieselError> {
    let drawn = || rand::random_range(0..=SEED_MAX);
    let models = models_to_json(&request.requirements())
        .map_err(|error| DieselError::SerializationError(Box::new(error)))?;
    let request_json = request.to_json();
    diesel::update(jobs::table.find(id))
        .set((
            jobs::models_json.eq(models),
            jobs::resolved_seed.eq(request.seed().unwrap_or_else(drawn)),
            jobs::resolved_subseed.eq(request.subseed().unwrap_or_else(drawn)),
            jobs::request_bytes.eq(i64::try_from(request_json.len()).unwrap_or(i64::MAX)),
            jobs::pixels.eq(request.pixels()),
            jobs::adopted_request_json.eq(request_json),
        ))
        .execute(conn)?;
    Ok(())
}

/// The attempt of the earlier application: it ended with it, and its outcome is
/// not known. It counts against no limit.
fn insert_attempt(
    conn: &mut SqliteConnection,
    job: &Pending,
    now: DateTime<Utc>,
) -> Result<(), DieselError> {
    diesel::insert_into(job_attempts::table)
        .values((
            job_attempts::job_id.eq(&job.id),
            job_attempts::number.eq(1),
            job_attempts::run.eq(1),
            job_attempts::token.eq(format!("adopted-{}-1", job.id)),
            job_attempts::server_alias.eq(&job.server),
            job_attempts::phase.eq(AttemptPhase::OutcomeUnknown.as_str()),
            job_attempts::spent.eq(false),
            job_attempts::claimed_at.eq(&job.created_at),
            job_attempts::ended_at.eq(to_text(now)),
            job_attempts::message.eq("of the earlier application, which has ended"),
            job_attempts::models_json.eq("[]"),
        ))
        .execute(conn)?;
    Ok(())
}

impl Counts {
    /// Sentences for the report.
    pub(super) fn notes(&self) -> Vec<String> {
        let hours = STALE_AFTER.num_hours();
        let held = |count: usize, what: String| {
            (count > 0).then(|| format!("{count} jobs are held {what}"))
        };
        let run = (self.run > 0).then(|| {
            let run = self.run;
            format!("{run} pending jobs will run, in the order in which they waited")
        });
        [
            run,
            held(
                self.stale,
                format!(
                    "as ADOPTED_STALE: they waited longer than {hours} hours; UpdateJob with \
                     release_hold lets one run"
                ),
            ),
            held(
                self.processing,
                "as ADOPTED_STALE: they were processing, and what became of them is not known; \
                 UpdateJob with release_hold runs one again"
                    .to_owned(),
            ),
            held(
                self.unreadable,
                "as ADOPTED_UNREADABLE: what they ask for cannot be understood; each says why"
                    .to_owned(),
            ),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}
