//! Gives the jobs of one page of the queue to free servers, in their order but
//! for those that a loaded checkpoint lets go first, and writes why the others
//! wait. Reads no queue and runs no attempt.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use chrono::{DateTime, Utc};

use super::{
    choose::{self, Past, Present, Verdict},
    claim::{begin, claim},
    missing, past,
    questions::Answers,
    warmth::{LOOK_AHEAD_JOBS, Passing},
};
use crate::{
    availability::Unavailable,
    board::ServerState,
    breaker::Moment,
    core::Core,
    error::Error,
    job::{HoldReason, ResolvedModel},
    store::{
        jobs,
        queue::{self, HoldChange, QueuedJob},
    },
};

/// Inventories of a server within which one must have been taken that says
/// what it does not have.
const LISTINGS_FRESH: u32 = 3;
/// The code of a job whose models nobody has.
const MODEL_NOT_FOUND: &str = "MODEL_NOT_FOUND";

/// What one pass over the queue works with.
pub(super) struct Desk<'a> {
    /// The servers as they were when it began.
    pub(super) board: BTreeMap<String, ServerState>,
    /// Those that can take a job yet.
    pub(super) free: HashSet<String>,
    /// When it is, to every part of the pass.
    pub(super) now: Moment,
    /// Which jobs were passed over.
    pub(super) passing: &'a mut Passing,
    /// Why model-service did not answer, if so.
    pub(super) down: Option<Unavailable>,
}

/// Gives the jobs of one page to free servers and writes why the others wait.
pub(super) async fn give(
    core: &Arc<Core>,
    desk: &mut Desk<'_>,
    page: Vec<QueuedJob>,
) -> Result<(), Error> {
    let now = desk.now.wall;
    let jobs: Vec<QueuedJob> = page
        .into_iter()
        .filter(|job| job.not_before.is_none_or(|due| due <= now))
        .collect();
    let answers = Answers::ask(&core.availability, &desk.board, &jobs, &mut desk.down).await;
    let mut holds = Vec::new();
    let mut queue = VecDeque::from(jobs);
    while let Some(job) = queue.pop_front() {
        let Some(past) = or_passed_over(&job, past::of(core, &job).await)? else {
            continue;
        };
        // Without a verdict it waits for model-service; the board tells so.
        let Some(verdict) = desk.judge(core, &answers, &job, &past) else {
            continue;
        };
        match verdict {
            Verdict::Run { server, models } => {
                let warm = desk.is_warm(&server, &models);
                let at = core.clock.monotonic();
                if !warm
                    && desk.passing.allows(&job.id, at)
                    && let Some(ahead) = desk.warm_ahead(core, &answers, &queue, &job, &server)
                {
                    // That one is judged next, then this one again.
                    desk.passing.note(&job.id, at);
                    let first = queue.remove(ahead);
                    queue.push_front(job);
                    first.into_iter().for_each(|first| queue.push_front(first));
                    continue;
                }
                let title = models.first().map(|model| model.title.clone());
                let claimed = claim(core, &job, &server, models, past.may_repeat).await;
                if let Some(attempt) = or_passed_over(&job, claimed)?.flatten() {
                    desk.passing.forget(&job.id, at);
                    desk.free.remove(&server);
                    expect(core, &server, title);
                    begin(core, attempt, desk.board.get(&server).cloned());
                }
            }
            Verdict::Wait(Some((HoldReason::ModelMissing, message))) => {
                let message = missing::with_downloads(core, desk, &job, &past, &answers, message);
                let hold = Some((HoldReason::ModelMissing, message));
                note_hold(&mut holds, &job, hold, None);
            }
            Verdict::Wait(hold) => note_hold(&mut holds, &job, hold, None),
            Verdict::Cool { message, until } => {
                let hold = Some((HoldReason::CoolingDown, message));
                note_hold(&mut holds, &job, hold, Some(until));
            }
            Verdict::Fail { message } => {
                or_passed_over(&job, fail(core, &job, message).await)?;
            }
        }
    }
    write_holds(core, holds).await
}

/// What came of work for one job. What is wrong with its rows holds up nobody
/// but itself: it is told, and the job is passed over.
fn or_passed_over<T>(job: &QueuedJob, done: Result<T, Error>) -> Result<Option<T>, Error> {
    match done {
        Ok(done) => Ok(Some(done)),
        Err(error @ Error::Database(_)) => Err(error),
        Err(error) => {
            tracing::error!(job.id = %job.id, %error, "a pending job is passed over");
            Ok(None)
        }
    }
}

impl Desk<'_> {
    /// What is to be done with a job; `None` while model-service was not heard
    /// of what it needs.
    fn judge(
        &self,
        core: &Core,
        answers: &Answers,
        job: &QueuedJob,
        past: &Past,
    ) -> Option<Verdict> {
        let findings = answers.of(job)?;
        let present = Present {
            board: &self.board,
            free: &self.free,
            now: self.now,
            fresh_for: self.fresh_for(core),
        };
        Some(choose::judge(job, present, past, &findings))
    }

    /// How old a listing may be that says what a server does not have.
    pub(super) fn fresh_for(&self, core: &Core) -> Duration {
        core.pace.inventory.saturating_mul(LISTINGS_FRESH)
    }

    fn is_warm(&self, server: &str, models: &[ResolvedModel]) -> bool {
        let state = self.board.get(server);
        state.is_some_and(|state| choose::is_warm(state, models))
    }

    /// Where in the queue a job of the same urgency is whose checkpoint this
    /// server has loaded. One that was tried before is not looked for: what
    /// became of it then would have to be read.
    fn warm_ahead(
        &self,
        core: &Core,
        answers: &Answers,
        queue: &VecDeque<QueuedJob>,
        job: &QueuedJob,
        server: &str,
    ) -> Option<usize> {
        let ahead = queue.iter().take(LOOK_AHEAD_JOBS).enumerate();
        let alike = ahead.filter(|(_, other)| {
            other.place.priority == job.place.priority && other.attempt_number == 0
        });
        for (at, other) in alike {
            if let Some(Verdict::Run {
                server: there,
                models,
            }) = self.judge(core, answers, other, &Past::default())
                && there == server
                && self.is_warm(server, &models)
            {
                return Some(at);
            }
        }
        None
    }
}

/// Notes which checkpoint a server is about to load, before its monitor sees it.
fn expect(core: &Core, server: &str, title: Option<String>) {
    if let Some(title) = title {
        core.board
            .update_status(server, |status| status.checkpoint = title);
    }
}

/// Notes why a job waits, unless that is known already.
fn note_hold(
    holds: &mut Vec<HoldChange>,
    job: &QueuedJob,
    hold: Option<(HoldReason, String)>,
    until: Option<DateTime<Utc>>,
) {
    if hold != job.hold {
        holds.push(HoldChange {
            job_id: job.id.clone(),
            hold,
            until,
        });
    }
}

/// Fails a job that does not want to wait for its models.
async fn fail(core: &Core, job: &QueuedJob, lacks: String) -> Result<(), Error> {
    let message = format!("no server that may take it has its models: {lacks}");
    let (id, now) = (job.id.clone(), core.clock.now());
    let failed = core
        .database
        .write("fail_pending", move |conn| {
            jobs::fail_pending(conn, &id, MODEL_NOT_FOUND, &message, now)
        })
        .await?;
    if failed {
        core.hints.job_changed(&job.id);
    }
    Ok(())
}

async fn write_holds(core: &Core, holds: Vec<HoldChange>) -> Result<(), Error> {
    if holds.is_empty() {
        return Ok(());
    }
    let now = core.clock.now();
    let ids: Vec<String> = holds.iter().map(|change| change.job_id.clone()).collect();
    core.database
        .write("set_holds", move |conn| queue::set_holds(conn, &holds, now))
        .await?;
    for id in ids {
        core.hints.job_changed(&id);
    }
    Ok(())
}
