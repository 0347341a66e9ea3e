//! Claims a pending job for a server and begins its attempt. Which job gets
//! which server is not decided here.

use std::sync::Arc;

use uuid::Uuid;

use super::supervise;
use crate::{
    board::ServerState,
    core::Core,
    error::Error,
    job::{Attempt, Fence, ModelRole, ResolvedModel},
    store::{
        attempts::{self, Claim},
        queue::QueuedJob,
    },
};

/// Claims a job for a server; `None` when one of them is not to be had.
pub(super) async fn claim(
    core: &Core,
    job: &QueuedJob,
    server: &str,
    models: Vec<ResolvedModel>,
    possible_repeat: bool,
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
        possible_repeat,
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
        if possible_repeat {
            core.metrics.possible_repeats.inc();
        }
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

/// Runs a claimed attempt in the background.
pub(super) fn begin(core: &Arc<Core>, attempt: Attempt, state: Option<ServerState>) {
    let attended = core.hints.attend(&attempt.job_id, attempt.number);
    core.shutdown.spawn(
        "attempt",
        supervise::run(Arc::clone(core), attempt, state, attended),
    );
}
