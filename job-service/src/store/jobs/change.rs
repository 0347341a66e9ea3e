//! Changes of jobs that wait.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use service_kit::clock::to_text;

use super::{get, models_to_json};
use crate::{
    error::Error,
    job::{Endpoint, EventType, HoldReason, Job, JobState, Requirement},
    policy::JobPolicy,
    request::Violation,
    store::{
        events::{self, NewEvent},
        schema::{job_attempts, jobs},
        to_json,
    },
};

/// What to change of a job; `None` stays.
#[derive(Clone, Debug, Default)]
pub struct RowChange {
    /// What to generate instead.
    pub input: Option<NewInput>,
    /// -100 to 100.
    pub priority: Option<i32>,
    /// The alias asked for; empty for any.
    pub target_server: Option<String>,
    /// How many attempts it may spend.
    pub attempts_max: Option<i32>,
    /// The caller's labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// What happens when something goes wrong.
    pub policy: Option<JobPolicy>,
    /// Whether it waits for nobody's decision any more.
    pub release_hold: bool,
}

/// What to generate.
#[derive(Clone, Debug)]
pub struct NewInput {
    /// The request in Forge's words, as JSON text.
    pub request_json: String,
    /// Which of Forge's calls it uses.
    pub endpoint: Endpoint,
    /// The seed of its first image.
    pub seed: i64,
    /// The variation seed of its first image.
    pub subseed: i64,
    /// The models it needs.
    pub models: Vec<Requirement>,
    /// Bytes of the request with its pictures.
    pub request_bytes: i64,
    /// Pixels of its largest pass.
    pub pixels: i64,
}

#[derive(AsChangeset)]
#[diesel(table_name = jobs)]
struct Columns<'a> {
    priority: Option<i32>,
    target_server_alias: Option<&'a str>,
    attempts_max: Option<i32>,
    labels_json: Option<String>,
    generation_params_json: Option<&'a str>,
    endpoint: Option<&'a str>,
    models_json: Option<String>,
    resolved_seed: Option<i64>,
    resolved_subseed: Option<i64>,
    request_bytes: Option<i64>,
    pixels: Option<i64>,
    policy_json: Option<String>,
    revision: i32,
    last_updated_timestamp: String,
}

/// Changes a pending job; `revision` is the one that the caller knows, if any.
/// Without anything to change, the job stays as it is.
pub fn update(
    conn: &mut SqliteConnection,
    id: &str,
    change: &RowChange,
    revision: Option<i32>,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let job = get(conn, id)?;
    check(&job, change, revision)?;
    let held_for = job.hold.as_ref().map(|hold| hold.reason);
    let releases = change.release_hold && held_for == Some(HoldReason::AdoptedStale);
    let names = names(change, releases);
    if names.is_empty() {
        return Ok(());
    }
    let RowChange {
        input,
        priority,
        target_server,
        attempts_max,
        labels,
        policy,
        release_hold: _,
    } = change;
    let columns = Columns {
        priority: *priority,
        target_server_alias: target_server.as_deref(),
        attempts_max: *attempts_max,
        labels_json: labels.as_ref().map(to_json).transpose()?,
        generation_params_json: input.as_ref().map(|input| input.request_json.as_str()),
        endpoint: input.as_ref().map(|input| input.endpoint.as_str()),
        models_json: input
            .as_ref()
            .map(|input| models_to_json(&input.models))
            .transpose()?,
        resolved_seed: input.as_ref().map(|input| input.seed),
        resolved_subseed: input.as_ref().map(|input| input.subseed),
        request_bytes: input.as_ref().map(|input| input.request_bytes),
        pixels: input.as_ref().map(|input| input.pixels),
        policy_json: policy.as_ref().map(to_json).transpose()?,
        revision: job.revision + 1,
        last_updated_timestamp: to_text(now),
    };
    diesel::update(jobs::table.find(id))
        .set(&columns)
        .execute(conn)?;
    if input.is_some() {
        begin_anew(conn, &job, now)?;
    }
    let is_over = match held_for {
        Some(HoldReason::AdoptedStale) => releases,
        Some(HoldReason::AdoptedUnreadable | HoldReason::RetryBackoff) => input.is_some(),
        _ => input.is_some() || target_server.is_some(),
    };
    if is_over {
        forget_hold(conn, id)?;
    }
    let decided = is_over && held_for.is_some_and(HoldReason::waits_for_a_decision);
    let waits = !decided && held_for.is_some_and(HoldReason::waits_for_a_decision);
    if decided || (!waits && (policy.is_some() || input.is_some())) {
        // As it is after all of the change, whatever was changed with what.
        let job = get(conn, id)?;
        count_times(conn, &job, decided.then_some(now))?;
    }
    let event = NewEvent {
        message: &names.join(", "),
        ..NewEvent::of_job(id, EventType::Updated, JobState::Pending, now)
    };
    events::append(conn, &event)?;
    Ok(())
}

fn check(job: &Job, change: &RowChange, revision: Option<i32>) -> Result<(), Error> {
    if job.state != JobState::Pending {
        return Err(Error::JobNotPending {
            id: job.id.clone(),
            state: job.state,
        });
    }
    if revision.is_some_and(|known| known != job.revision) {
        return Err(Error::EtagMismatch(format!("job {}", job.id)));
    }
    let unreadable = job
        .hold
        .as_ref()
        .is_some_and(|hold| hold.reason == HoldReason::AdoptedUnreadable);
    if change.release_hold && change.input.is_none() && unreadable {
        return Err(Error::JobUnreadable(job.id.clone()));
    }
    let spent = job.attempts_spent;
    match change.attempts_max {
        // With another input it has spent none.
        Some(most) if change.input.is_none() && most <= spent => {
            let words = format!("must be more than the {spent} that it has spent");
            Err(Error::Invalid(vec![Violation::new("max_attempts", words)]))
        }
        _ => Ok(()),
    }
}

/// What is changed, in the words of the API.
fn names(change: &RowChange, releases: bool) -> Vec<&'static str> {
    let RowChange {
        input,
        priority,
        target_server,
        attempts_max,
        labels,
        policy,
        release_hold: _,
    } = change;
    [
        ("input", input.is_some()),
        ("priority", priority.is_some()),
        ("target_server", target_server.is_some()),
        ("max_attempts", attempts_max.is_some()),
        ("labels", labels.is_some()),
        ("policy", policy.is_some()),
        ("release_hold", releases),
    ]
    .into_iter()
    .filter_map(|(name, is_changed)| is_changed.then_some(name))
    .collect()
}

/// What earlier attempts found out was about another input: a run of its own
/// forgets it, and its times count from now.
fn begin_anew(conn: &mut SqliteConnection, job: &Job, now: DateTime<Utc>) -> Result<(), Error> {
    let is_next = job.attempt_number > 0;
    diesel::update(jobs::table.find(&job.id))
        .set((
            jobs::run.eq(job.run + i32::from(is_next)),
            is_next.then(|| jobs::run_began_at.eq(to_text(now))),
            jobs::attempts_spent.eq(0),
            jobs::retry_count.eq(0),
            jobs::resolved_checkpoint.eq(None::<String>),
            jobs::not_before.eq(None::<String>),
            jobs::adopted_request_json.eq(None::<String>),
            jobs::adopted.eq(false),
        ))
        .execute(conn)?;
    Ok(())
}

/// The moments that follow from the policy of a job; `released` when somebody
/// has decided that it runs, from when its times count. One that still waits for
/// that has none.
fn count_times(
    conn: &mut SqliteConnection,
    job: &Job,
    released: Option<DateTime<Utc>>,
) -> Result<(), Error> {
    let policy = &job.policy;
    let began = released.unwrap_or(job.run_began_at);
    // Only the first attempt of a run is waited for; one of which nothing was
    // sent is none.
    let begun: bool = diesel::select(diesel::dsl::exists(
        job_attempts::table
            .filter(job_attempts::job_id.eq(&job.id))
            .filter(job_attempts::run.eq(job.run))
            .filter(job_attempts::spent.eq(true)),
    ))
    .get_result(conn)?;
    let wait_until = policy.wait_until(began).filter(|_| !begun);
    diesel::update(jobs::table.find(&job.id))
        .set((
            jobs::run_began_at.eq(to_text(began)),
            jobs::wait_until.eq(wait_until.map(to_text)),
            jobs::deadline_at.eq(policy.deadline_at(began).map(to_text)),
        ))
        .execute(conn)?;
    Ok(())
}

/// Why it waits is found out again.
fn forget_hold(conn: &mut SqliteConnection, id: &str) -> Result<(), Error> {
    diesel::update(jobs::table.find(id))
        .set((
            jobs::hold_reason.eq(None::<String>),
            jobs::hold_message.eq(None::<String>),
            jobs::hold_since.eq(None::<String>),
        ))
        .execute(conn)?;
    Ok(())
}
