//! How jobs that the earlier application kept in a file come into a database
//! that is ours already: by the rules of its database. The file is read by
//! `older_jobs`.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use diesel::{
    dsl::{exists, sql},
    prelude::*,
    sql_types::BigInt,
};
use serde::Serialize;
use service_kit::migrate::{KeptAs, OlderRows, OlderValue};

use super::{
    super::schema::{job_events, jobs},
    JOBS,
    finish::{Counts, FAILED_EARLIER, Pending, settle},
};
use crate::{
    error::Error,
    job::{EventType, JobState},
    older_jobs::{ColumnValue, Entry, ID, OlderJob},
};

/// In the place of a column for an entry that is no job: all of it.
const WHOLE_ENTRY: &str = "entry";
/// Why an entry is set aside that the table refuses.
const REFUSED: &str = "the table cannot hold it";

/// What became of the entries of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct JobsImport {
    /// The ids of the jobs that are new.
    pub imported: Vec<String>,
    /// The ids that were there already; those jobs are as they were.
    pub present: Vec<String>,
    /// The ids of jobs that were there and deleted; they stay so.
    pub deleted: Vec<String>,
    /// The entries that are no jobs; their text is in `adoption_values`.
    pub refused: Vec<RefusedEntry>,
    /// What an operator should know, a sentence each.
    pub notes: Vec<String>,
}

/// An entry that could not be imported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RefusedEntry {
    /// Its place in the list, from 0.
    pub index: usize,
    /// Why.
    pub reason: String,
}

/// Whether an import would change anything, as far as ids tell.
///
/// # Errors
/// Those of the database.
pub fn has_new(conn: &mut SqliteConnection, entries: &[Entry<'_>]) -> Result<bool, Error> {
    for entry in entries {
        match &entry.job {
            Ok(job) if is_there(conn, &job.id)? || was_deleted(conn, &job.id)? => {}
            _ => return Ok(true),
        }
    }
    Ok(false)
}

/// Imports the entries of a list. A job whose id is there stays as it is, one
/// that was deleted stays so as long as the history tells of it, and what cannot be a job is set aside, so that a second import of the same list
/// changes nothing.
///
/// # Errors
/// Those of the database; nothing is imported then.
pub fn import_jobs(
    conn: &mut SqliteConnection,
    entries: &[Entry<'_>],
    now: DateTime<Utc>,
) -> Result<JobsImport, Error> {
    let rows = OlderRows::begin(conn, &JOBS, now)?;
    let first_rank = first_rank(conn)?;
    let mut done = JobsImport::default();
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut waiting = Vec::new();
    for entry in entries {
        let fate = match &entry.job {
            Err(reason) => Fate::Refused(reason.clone()),
            Ok(job) => match places.get(job.id.as_str()) {
                Some(earlier) => Fate::Refused(format!("entry {earlier} has the same id")),
                None => {
                    places.insert(&job.id, entry.index);
                    import(conn, &rows, job)?
                }
            },
        };
        match (fate, &entry.job) {
            (Fate::Refused(reason), _) => {
                set_aside(conn, &rows, entry, &reason)?;
                let index = entry.index;
                done.refused.push(RefusedEntry { index, reason });
            }
            (Fate::Present, Ok(job)) => done.present.push(job.id.clone()),
            (Fate::Deleted, Ok(job)) => done.deleted.push(job.id.clone()),
            (Fate::Imported, Ok(job)) => {
                done.imported.push(job.id.clone());
                waiting.extend(pending(conn, job)?);
            }
            (Fate::Present | Fate::Deleted | Fate::Imported, Err(_)) => {}
        }
    }
    done.notes = queue(conn, waiting, first_rank, now)?.notes();
    Ok(done)
}

/// What became of one entry.
enum Fate {
    Imported,
    Present,
    Deleted,
    Refused(String),
}

fn import(
    conn: &mut SqliteConnection,
    rows: &OlderRows,
    job: &OlderJob<'_>,
) -> Result<Fate, Error> {
    if is_there(conn, &job.id)? {
        return Ok(Fate::Present);
    }
    if was_deleted(conn, &job.id)? {
        return Ok(Fate::Deleted);
    }
    let mut values: Vec<(&str, OlderValue)> = vec![(ID, OlderValue::Text(job.id.clone()))];
    for (name, _, value) in job.columns.iter().filter(|(name, _, _)| *name != ID) {
        values.push((name, older(value)));
    }
    let Some(replaced) = rows.insert(conn, &job.id, &values)? else {
        return Ok(Fate::Refused(REFUSED.to_owned()));
    };
    for (name, json, value) in &job.columns {
        let other_id = *name == ID && older(value) != OlderValue::Text(job.id.clone());
        if other_id || replaced.contains(name) {
            rows.keep(conn, &job.id, name, json, KeptAs::Replaced)?;
        }
    }
    for (name, json) in &job.others {
        rows.keep(conn, &job.id, name, json, KeptAs::Extra)?;
    }
    diesel::update(jobs::table.find(&job.id))
        .set(jobs::adopted.eq(true))
        .execute(conn)?;
    let failed = jobs::table
        .find(&job.id)
        .filter(jobs::status.eq(JobState::Failed.as_str()));
    diesel::update(failed)
        .set(jobs::error_code.eq(FAILED_EARLIER))
        .execute(conn)?;
    Ok(Fate::Imported)
}

fn older(value: &ColumnValue) -> OlderValue {
    match value {
        ColumnValue::Text(text) => OlderValue::Text(text.clone()),
        ColumnValue::Integer(number) => OlderValue::Integer(*number),
    }
}

/// Keeps the text of an entry that has no place in the table.
fn set_aside(
    conn: &mut SqliteConnection,
    rows: &OlderRows,
    entry: &Entry<'_>,
    reason: &str,
) -> Result<(), Error> {
    let place = entry.index.to_string();
    let kept_as = KeptAs::SetAside(reason);
    Ok(rows.keep(conn, &place, WHOLE_ENTRY, entry.text, kept_as)?)
}

fn is_there(conn: &mut SqliteConnection, id: &str) -> Result<bool, Error> {
    Ok(diesel::select(exists(jobs::table.find(id))).get_result(conn)?)
}

fn was_deleted(conn: &mut SqliteConnection, id: &str) -> Result<bool, Error> {
    let told = job_events::table
        .filter(job_events::job_id.eq(id))
        .filter(job_events::kind.eq(EventType::Deleted.as_str()));
    Ok(diesel::select(exists(told)).get_result(conn)?)
}

/// The place before all that wait, or are at work and may wait again: what
/// waited in a file waited longest.
fn first_rank(conn: &mut SqliteConnection) -> Result<i64, Error> {
    let first = "SELECT min(0, coalesce(min(queue_rank), 0)) FROM jobs \
        WHERE status IN ('pending', 'processing')";
    Ok(sql::<BigInt>(first).get_result(conn)?)
}

/// A job that waits: since when, its id, whether it was under way.
type Waiting = (String, String, bool);

fn pending(conn: &mut SqliteConnection, job: &OlderJob<'_>) -> Result<Option<Waiting>, Error> {
    let since: Option<String> = jobs::table
        .find(&job.id)
        .filter(jobs::status.eq(JobState::Pending.as_str()))
        .select(jobs::creation_timestamp)
        .first(conn)
        .optional()?;
    Ok(since.map(|since| (since, job.id.clone(), job.was_processing())))
}

/// Gives the jobs that wait their places, in the order of their times and, for
/// equal ones, of the list.
fn queue(
    conn: &mut SqliteConnection,
    mut waiting: Vec<Waiting>,
    first_rank: i64,
    now: DateTime<Utc>,
) -> Result<Counts, Error> {
    waiting.sort_by(|(one, ..), (other, ..)| one.cmp(other));
    let count = i64::try_from(waiting.len()).unwrap_or(i64::MAX);
    let mut counts = Counts::default();
    for (rank, (created_at, id, was_processing)) in (first_rank - count..).zip(waiting) {
        let (server, kept) = jobs::table
            .find(&id)
            .select((jobs::target_server_alias, jobs::generation_params_json))
            .first(conn)?;
        let job = Pending {
            row_number: 0,
            id,
            created_at,
            server,
            kept,
            was_processing,
        };
        settle(conn, &job, rank, now, &mut counts)?;
    }
    Ok(counts)
}
