//! Gives pending jobs to free servers. Wakes on events, looks at the queue in
//! its order, asks model-service, claims. Runs no attempt itself.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
    time::Duration,
};

use uuid::Uuid;

use super::{
    attempt,
    choose::{self, Past, Verdict},
};
use crate::{
    availability::{Findings, Reference, Unavailable},
    board::ServerState,
    core::Core,
    error::Error,
    job::{Attempt, AttemptOutcome, Fence, ModelRole, ResolvedModel},
    store::{
        attempts::{self, Claim},
        queue::{self, HoldChange, Place, QueuedJob},
    },
};

/// Pending jobs that are looked at together.
const PAGE: i64 = 200;
/// Before the next pass when model-service did not answer: the watch on it
/// wakes the dispatcher sooner when it is back.
const MODEL_SERVICE_RETRY: Duration = Duration::from_secs(2);
/// Before the next pass when the database failed.
const DATABASE_RETRY: Duration = Duration::from_secs(1);

/// Why a pass ended early.
#[derive(Debug, thiserror::Error)]
enum PassError {
    #[error(transparent)]
    Store(#[from] Error),
    #[error("model-service does not answer: {0}")]
    ModelService(#[from] Unavailable),
}

/// Gives jobs to servers until the service stops.
pub async fn run(core: Arc<Core>) {
    let stop = core.shutdown.token();
    while !stop.is_cancelled() {
        let again = match pass(&core).await {
            Ok(due) => earliest(due, core.pace.sweep),
            Err(PassError::ModelService(error)) => {
                tracing::debug!(%error, "jobs wait for model-service");
                Some(MODEL_SERVICE_RETRY)
            }
            Err(PassError::Store(error)) => {
                tracing::error!(%error, "a pass over the queue failed");
                Some(DATABASE_RETRY)
            }
        };
        let timer = async {
            match again {
                Some(wait) => core.clock.sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = core.hints.dispatcher_woken() => {}
            () = timer => {}
        }
    }
}

fn earliest(a: Option<Duration>, b: Option<Duration>) -> Option<Duration> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// One look at the queue. Answers after how long a job that waits for a time
/// becomes due.
async fn pass(core: &Arc<Core>) -> Result<Option<Duration>, PassError> {
    let board = core.board.snapshot();
    let mut free: HashSet<String> = board
        .values()
        .filter(|state| state.is_free())
        .map(|state| state.server.alias.clone())
        .collect();
    let mut after = None;
    while !free.is_empty() {
        let page = read_page(core, after).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.place);
        let whole = page.len() >= usize::try_from(PAGE).unwrap_or(usize::MAX);
        give(core, &board, &mut free, page).await?;
        if !whole {
            break;
        }
    }
    if free.is_empty() {
        // A job that becomes due could go nowhere; a server that becomes free
        // wakes the dispatcher.
        return Ok(None);
    }
    let now = core.clock.now();
    let due = core
        .database
        .read("next_due", move |conn| queue::next_due(conn, now))
        .await?;
    Ok(due.map(|due| (due - now).to_std().unwrap_or_default()))
}

async fn read_page(core: &Core, after: Option<Place>) -> Result<Vec<QueuedJob>, Error> {
    let (jobs, broken) = core
        .database
        .read("queue_page", move |conn| queue::page(conn, after, PAGE))
        .await?;
    for error in broken {
        tracing::error!(%error, "a pending job cannot be read and is passed over");
    }
    Ok(jobs)
}

/// Gives the jobs of one page to free servers and writes why the others wait.
async fn give(
    core: &Arc<Core>,
    board: &BTreeMap<String, ServerState>,
    free: &mut HashSet<String>,
    page: Vec<QueuedJob>,
) -> Result<(), PassError> {
    let now = core.clock.now();
    let jobs: Vec<QueuedJob> = page
        .into_iter()
        .filter(|job| job.not_before.is_none_or(|due| due <= now))
        .collect();
    let findings = ask(core, board, &jobs).await?;
    let mut holds = Vec::new();
    for job in jobs {
        let past = past(core, &job).await?;
        match choose::judge(&job, board, free, &past, &findings) {
            Verdict::Run { server, models } => {
                if let Some(attempt) = claim(core, &job, &server, models).await? {
                    free.remove(&server);
                    begin(core, attempt, board.get(&server).cloned());
                }
            }
            Verdict::Wait(hold) => {
                if hold != job.hold {
                    holds.push(HoldChange {
                        job_id: job.id,
                        hold,
                    });
                }
            }
        }
    }
    write_holds(core, holds).await?;
    Ok(())
}

/// Asks model-service for everything that these jobs need, in one go.
async fn ask(
    core: &Core,
    board: &BTreeMap<String, ServerState>,
    jobs: &[QueuedJob],
) -> Result<Findings, Unavailable> {
    let usable: Vec<&ServerState> = board.values().filter(|state| state.is_usable()).collect();
    let servers: Vec<String> = usable
        .iter()
        .map(|state| state.server.alias.clone())
        .collect();
    let mut references = BTreeSet::new();
    for job in jobs {
        for state in &usable {
            let needs = choose::needs(job, state).unwrap_or_default();
            references.extend(needs.iter().map(|need| {
                let reference = Reference::from(need);
                (reference.is_lora, reference.text)
            }));
        }
    }
    let references: Vec<Reference> = references
        .into_iter()
        .map(|(is_lora, text)| Reference { is_lora, text })
        .collect();
    if references.is_empty() || servers.is_empty() {
        return Ok(Findings::new());
    }
    core.availability.check(&references, &servers).await
}

async fn past(core: &Core, job: &QueuedJob) -> Result<Past, Error> {
    let mut past = Past::default();
    if job.attempt_number == 0 {
        return Ok(past);
    }
    let (id, run) = (job.id.clone(), job.run);
    let ended = core
        .database
        .read("spent_on", move |conn| attempts::spent_on(conn, &id, run))
        .await?;
    for (server, outcome) in ended {
        if outcome == AttemptOutcome::ServerLacksFeature {
            past.refused_by.insert(server);
        } else {
            *past.failed_on.entry(server).or_default() += 1;
        }
    }
    Ok(past)
}

/// Claims a job for a server; `None` when one of them is not to be had.
async fn claim(
    core: &Core,
    job: &QueuedJob,
    server: &str,
    models: Vec<ResolvedModel>,
) -> Result<Option<Attempt>, Error> {
    let names_checkpoint = job
        .models
        .iter()
        .any(|model| model.role == ModelRole::Checkpoint);
    let resolved_checkpoint = if names_checkpoint {
        None
    } else {
        models.first().map(|model| model.reference.clone())
    };
    let state = core.board.get(server);
    let claim = Claim {
        fence: Fence {
            job_id: job.id.clone(),
            number: job.attempt_number + 1,
            token: new_token(&job.id, job.attempt_number + 1),
        },
        run: job.run,
        server: server.to_owned(),
        server_process: state.and_then(|state| state.status.process),
        models,
        target_server: job.target_server.clone(),
        needs: job.models.clone(),
        resolved_checkpoint,
    };
    // Before the row says so, so that nobody else takes the server meanwhile.
    core.board.occupy(server, &job.id);
    let now = core.clock.now();
    let claimed = core
        .database
        .write("claim", move |conn| attempts::claim(conn, &claim, now))
        .await;
    if !matches!(claimed, Ok(Some(_))) {
        core.board.vacate(server, &job.id);
    }
    if matches!(claimed, Ok(Some(_))) {
        core.hints.job_changed(&job.id);
    }
    claimed
}

/// A fencing token: the job and the attempt for whoever reads it at the
/// server, and a part that nobody can guess or repeat.
fn new_token(job_id: &str, number: i32) -> String {
    let unique = Uuid::new_v4().simple();
    format!("sq-{job_id}-{number}-{unique}")
}

fn begin(core: &Arc<Core>, attempt: Attempt, state: Option<ServerState>) {
    let attended = core.hints.attend(&attempt.job_id);
    core.shutdown.spawn(
        "attempt",
        attempt::run(Arc::clone(core), attempt, state, attended),
    );
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
