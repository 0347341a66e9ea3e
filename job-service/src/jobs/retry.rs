//! Runs jobs again that have ended: one, or many in one write.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    Jobs, Shown,
    admission::{KeyQuota, admit},
    ownership, shown,
    submit::{given_or_drawn, new_id},
};
use crate::{
    core::{Core, ServiceLimits},
    error::Error,
    job::{Job, JobState},
    request_id::{Once, RequestId, fingerprint},
    store::{
        Connection, events,
        jobs::{self, RetryFilter, RetryPlace, Seeds},
        request_ids,
    },
    viewer::Viewer,
};

/// Jobs that are retried by one call.
pub const RETRIES_MAX: usize = 1_000;
/// The calls by their names among request ids.
const METHOD: &str = "RetryJob";
const BATCH_METHOD: &str = "BatchRetryJobs";

/// Which jobs to retry.
#[derive(Clone, Debug)]
pub enum RetryChoice {
    /// These, at most [`RETRIES_MAX`].
    Ids(Vec<String>),
    /// Those that fit, in the order of their ends.
    Filter(RetryFilter),
}

/// What became of a retry of many.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetriedJobs {
    /// One result for each job.
    pub results: Vec<RetriedJob>,
    /// Where the further jobs begin that fit the filter; `None` when there are
    /// none.
    pub next: Option<RetryPlace>,
}

/// What became of one of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetriedJob {
    /// Its id.
    pub id: String,
    /// The run it is in now, or why it was not retried.
    pub outcome: Result<i32, Refusal>,
}

/// Why a job was not retried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// In a code.
    pub reason: String,
    /// In words.
    pub message: String,
}

/// Whose retry it is and what may wait.
struct Retrying {
    core: Arc<Core>,
    viewer: Arc<Viewer>,
    limits: ServiceLimits,
    now: DateTime<Utc>,
}

impl Jobs {
    /// Runs a failed or cancelled job again, or makes a job of its own from one
    /// that has ended. With a request id that came with the same retry before,
    /// answers that one's job as it is now.
    pub async fn retry(
        &self,
        id: &str,
        as_new: bool,
        request_id: Option<RequestId>,
    ) -> Result<Shown, Error> {
        let once = request_id.map(|request_id| Once {
            request_id,
            method: METHOD,
            fingerprint: fingerprint(&json!({"job_id": id, "as_new": as_new})),
        });
        let retrying = self.retrying();
        let job_id = id.to_owned();
        let (mut shown, is_new) = self
            .core
            .database
            .write("retry_job", move |conn| {
                if let Some(once) = &once
                    && let Some(id) = request_ids::find(conn, once)?
                {
                    return Ok((shown(conn, &retrying.viewer, &id)?, false));
                }
                let id = match as_new {
                    true => retrying.copy(conn, &job_id)?,
                    false => {
                        retrying.again(conn, &job_id)?;
                        job_id.clone()
                    }
                };
                if let Some(once) = &once {
                    request_ids::insert(conn, once, &id, retrying.now)?;
                }
                Ok::<_, Error>((shown(conn, &retrying.viewer, &id)?, true))
            })
            .await?;
        if is_new {
            if as_new {
                self.core.metrics.submitted.inc();
            }
            self.core.hints.job_changed(&shown.job.id);
            self.core.hints.wake_dispatcher();
        }
        shown.job.hold = self.core.board.hold_of(&shown.job);
        Ok(shown)
    }

    /// Runs several jobs again, each with a result of its own, and answers them
    /// with the place in the history behind them. With a request id that came
    /// with the same choice before, answers what came of it then.
    pub async fn retry_batch(
        &self,
        mut choice: RetryChoice,
        request_id: Option<RequestId>,
    ) -> Result<(RetriedJobs, i64), Error> {
        let once = request_id.map(|request_id| Once {
            request_id,
            method: BATCH_METHOD,
            fingerprint: fingerprint(&choice.asked()),
        });
        if let RetryChoice::Filter(filter) = &mut choice
            && !self.viewer.may_change(None)
        {
            // One that changes only its own jobs means those.
            filter.key_id = Some(self.viewer.key_id().unwrap_or_default().to_owned());
        }
        let retrying = self.retrying();
        let (retried, sequence, is_new) = self
            .core
            .database
            .write("retry_jobs", move |conn| {
                if let Some(once) = &once
                    && let Some(kept) = request_ids::find(conn, once)?
                {
                    let retried =
                        serde_json::from_str(&kept).map_err(|error| Error::BrokenRow {
                            table: "request_ids",
                            id: once.request_id.id.clone(),
                            why: error.to_string(),
                        })?;
                    return Ok((retried, events::last_sequence(conn)?, false));
                }
                let retried = retrying.all(conn, &choice)?;
                if let Some(once) = &once {
                    request_ids::insert(conn, once, &json!(retried).to_string(), retrying.now)?;
                }
                Ok::<_, Error>((retried, events::last_sequence(conn)?, true))
            })
            .await?;
        if is_new {
            let begun = retried.results.iter().filter(|one| one.outcome.is_ok());
            for job in begun {
                self.core.hints.job_changed(&job.id);
            }
            self.core.hints.wake_dispatcher();
        }
        Ok((retried, sequence))
    }

    fn retrying(&self) -> Retrying {
        Retrying {
            core: Arc::clone(&self.core),
            viewer: Arc::clone(&self.viewer),
            limits: self.core.limits.clone(),
            now: self.core.clock.now(),
        }
    }
}

impl Retrying {
    /// The next run of a job. Nothing is written when it is refused.
    fn again(&self, conn: &mut Connection, id: &str) -> Result<i32, Error> {
        let job = ownership::changed(conn, &self.viewer, id)?;
        if !job.state.is_terminal() || !job.state.may_become(JobState::Pending) {
            return Err(Error::JobNotRetriable {
                id: job.id,
                state: job.state,
            });
        }
        let asked = jobs::asked(conn, &job)?;
        let quota = self.quota_of(job.key_id.as_deref());
        admit(conn, &self.limits, quota.as_ref(), 1, asked.request_bytes)?;
        let seeds = asked.seeds(&job, drawn());
        jobs::begin_run(conn, &job, &asked, seeds, self.now)?;
        Ok(job.run + 1)
    }

    /// A job of its own; its id.
    fn copy(&self, conn: &mut Connection, id: &str) -> Result<String, Error> {
        let job: Job = ownership::changed(conn, &self.viewer, id)?;
        if !job.state.is_terminal() {
            return Err(Error::JobNotRetriable {
                id: job.id,
                state: job.state,
            });
        }
        let asked = jobs::asked(conn, &job)?;
        let key_id = self.viewer.key_id();
        let quota = self.quota_of(key_id);
        admit(conn, &self.limits, quota.as_ref(), 1, asked.request_bytes)?;
        let seeds = asked.seeds(&job, drawn());
        let (new, _) = jobs::copy(conn, &job, &asked, (new_id(), key_id), seeds, self.now)?;
        Ok(new.id)
    }

    fn all(&self, conn: &mut Connection, choice: &RetryChoice) -> Result<RetriedJobs, Error> {
        let (ids, next) = match choice {
            RetryChoice::Ids(ids) => (ids.clone(), None),
            RetryChoice::Filter(filter) => {
                let limit = i64::try_from(RETRIES_MAX).unwrap_or(i64::MAX);
                jobs::ended(conn, filter, limit, self.now)?
            }
        };
        let mut results = Vec::with_capacity(ids.len());
        for id in ids {
            let outcome = match self.again(conn, &id) {
                Ok(run) => Ok(run),
                Err(error) => Err(refusal(error)?),
            };
            results.push(RetriedJob { id, outcome });
        }
        Ok(RetriedJobs { results, next })
    }

    fn quota_of(&self, key_id: Option<&str>) -> Option<KeyQuota> {
        KeyQuota::of(&self.core, key_id)
    }
}

fn drawn() -> Seeds {
    Seeds {
        seed: given_or_drawn(None),
        subseed: given_or_drawn(None),
    }
}

/// Why one job is refused while others are retried; an error of another kind is
/// one of the whole call.
fn refusal(error: Error) -> Result<Refusal, Error> {
    let reason = match &error {
        Error::JobNotFound(_) => "JOB_NOT_FOUND",
        Error::NotOwner(_) => "NOT_OWNER",
        Error::JobNotRetriable { .. } => "JOB_NOT_RETRIABLE",
        Error::JobRequestUnreadable { .. } => "JOB_UNREADABLE",
        Error::BrokenRow { .. } => "JOB_BROKEN",
        Error::QueueFull { .. } => "QUEUE_FULL",
        _ => return Err(error),
    };
    Ok(Refusal {
        reason: reason.to_owned(),
        message: error.to_string(),
    })
}

impl RetryChoice {
    fn asked(&self) -> serde_json::Value {
        match self {
            Self::Ids(ids) => json!({"job_ids": ids}),
            Self::Filter(filter) => {
                let ms = |at: Option<DateTime<Utc>>| at.map(|at| at.timestamp_millis());
                let states = filter.states.iter().map(|state| state.as_str());
                json!({
                    "states": states.collect::<Vec<_>>(),
                    "batch_id": filter.batch_id,
                    "error_code": filter.error_code,
                    "ended_from": ms(filter.ended_from),
                    "ended_to": ms(filter.ended_to),
                    "after": filter.after,
                })
            }
        }
    }
}
