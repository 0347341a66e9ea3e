//! Lists of jobs: filters, orders and keyset pages.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use diesel::{prelude::*, sqlite::Sqlite};
use service_kit::clock::to_text;

use super::{Row, from_row};
use crate::{
    error::Error,
    job::{AppType, Job, JobState},
    store::schema::jobs,
    viewer::Whose,
};

/// Which jobs to list; what is `None` or empty does not filter.
#[derive(Clone, Debug, Default)]
pub struct JobFilter {
    /// Any of these states.
    pub states: Vec<JobState>,
    /// Asking for this server.
    pub target_server: String,
    /// Submitted in this batch.
    pub batch_id: String,
    /// Of these owners.
    pub whose: Whose,
    /// From here.
    pub app_type: Option<AppType>,
    /// With all of these labels.
    pub labels: BTreeMap<String, String>,
    /// Submitted at or after.
    pub created_from: Option<DateTime<Utc>>,
    /// Submitted before.
    pub created_to: Option<DateTime<Utc>>,
    /// By what, and which way.
    pub order: JobOrder,
}

/// The order of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobOrder {
    /// By the last change instead of the submission.
    pub by_update: bool,
    /// Oldest first.
    pub ascending: bool,
}

/// Where a page ended: the ordering time and the id of its last job.
pub type Cursor = (String, String);

/// A page of jobs after `cursor`.
pub fn list(
    conn: &mut SqliteConnection,
    filter: &JobFilter,
    cursor: Option<&Cursor>,
    limit: i64,
) -> Result<Vec<Job>, Error> {
    if filter.whose == Whose::Nobody {
        return Ok(Vec::new());
    }
    let mut query = filtered(filter);
    query = match (filter.order.by_update, filter.order.ascending) {
        (false, true) => query.order((jobs::creation_timestamp.asc(), jobs::mobilesd_job_id.asc())),
        (false, false) => query.order((
            jobs::creation_timestamp.desc(),
            jobs::mobilesd_job_id.desc(),
        )),
        (true, true) => query.order((
            jobs::last_updated_timestamp.asc(),
            jobs::mobilesd_job_id.asc(),
        )),
        (true, false) => query.order((
            jobs::last_updated_timestamp.desc(),
            jobs::mobilesd_job_id.desc(),
        )),
    };
    if let Some((at, id)) = cursor {
        query = after(query, filter.order, at, id);
    }
    query
        .limit(limit)
        .select(Row::as_select())
        .load(conn)?
        .into_iter()
        .map(from_row)
        .collect()
}

type Listing<'a> = jobs::BoxedQuery<'a, Sqlite>;

fn filtered(filter: &JobFilter) -> Listing<'_> {
    let mut query = jobs::table.into_boxed();
    let states = filter.states.iter().map(|state| state.as_str());
    if !filter.states.is_empty() {
        query = if by_state(filter) {
            query.filter(jobs::status.eq_any(states))
        } else {
            // An expression keeps the planner off the index on the status.
            query.filter(jobs::status.concat("").eq_any(states))
        };
    }
    if !filter.target_server.is_empty() {
        query = query.filter(jobs::target_server_alias.eq(&filter.target_server));
    }
    if !filter.batch_id.is_empty() {
        query = query.filter(jobs::batch_id.eq(&filter.batch_id));
    }
    if let Whose::Key(id) = &filter.whose {
        query = if filter.batch_id.is_empty() {
            query.filter(jobs::api_key_id.eq(id))
        } else {
            // The index on the batch has fewer; an expression keeps the planner
            // off the other.
            query.filter(jobs::api_key_id.concat("").eq(id))
        };
    }
    if let Some(app_type) = filter.app_type {
        query = query.filter(jobs::app_type.eq(app_type.as_str()));
    }
    if let Some(from) = filter.created_from {
        query = query.filter(jobs::creation_timestamp.ge(to_text(from)));
    }
    if let Some(to) = filter.created_to {
        query = query.filter(jobs::creation_timestamp.lt(to_text(to)));
    }
    for (key, value) in &filter.labels {
        query = query.filter(label(jobs::labels_json, label_path(key)).eq(value));
    }
    query
}

/// Whether a list reads by the index on the status: not within a batch or of
/// one key, which have their own, but where that has the order too, or where
/// what must be sorted is few. Elsewhere jobs that ended would be
/// sorted by the million for one page; the index in the order is walked.
fn by_state(filter: &JobFilter) -> bool {
    if !filter.batch_id.is_empty() || filter.whose != Whose::Everybody {
        return false;
    }
    let open = |state: &JobState| matches!(state, JobState::Pending | JobState::Processing);
    filter.states.iter().all(open) || (filter.states.len() == 1 && !filter.order.by_update)
}

#[diesel::declare_sql_function]
extern "SQL" {
    /// The value at a path of a JSON document.
    #[sql_name = "json_extract"]
    fn label(
        document: diesel::sql_types::Text,
        path: diesel::sql_types::Text,
    ) -> diesel::sql_types::Nullable<diesel::sql_types::Text>;
}

/// The path of a label in the JSON object of labels, its key quoted as SQLite
/// wants it (<https://sqlite.org/json1.html>, "Path Arguments").
fn label_path(key: &str) -> String {
    format!("$.\"{key}\"")
}

/// The rest of a list. The bound on the time alone is what the index searches
/// by.
fn after<'a>(query: Listing<'a>, order: JobOrder, at: &'a str, id: &'a str) -> Listing<'a> {
    let (created, updated) = (jobs::creation_timestamp, jobs::last_updated_timestamp);
    let row = jobs::mobilesd_job_id;
    match (order.by_update, order.ascending) {
        (false, true) => query
            .filter(created.ge(at))
            .filter(created.gt(at).or(row.gt(id))),
        (false, false) => query
            .filter(created.le(at))
            .filter(created.lt(at).or(row.lt(id))),
        (true, true) => query
            .filter(updated.ge(at))
            .filter(updated.gt(at).or(row.gt(id))),
        (true, false) => query
            .filter(updated.le(at))
            .filter(updated.lt(at).or(row.lt(id))),
    }
}

/// Where a page that ends with this job goes on.
#[must_use]
pub fn cursor_of(job: &Job, order: JobOrder) -> Cursor {
    let at = if order.by_update {
        job.updated_at
    } else {
        job.created_at
    };
    (to_text(at), job.id.clone())
}
