//! Everything an attempt works with, read once: its job, the body that goes
//! out, what must come back and where it is saved. The same after a restart,
//! since all of it comes from the database.

use std::{collections::HashMap, sync::Arc};

use serde_json::{Map, Value};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{forge::ForgeClient, settle, traces::Traces};
use crate::{
    board::ServerState,
    core::Core,
    error::Error,
    job::{Attempt, AttemptOutcome, AttemptPhase, Job, ModelRole},
    outcome::Failure,
    payload::{self, AttemptIdentity, ModelTitles, ServerProfile},
    request::GenerationRequest,
    server::{Health, Usage},
    store::{attempts, input_images, jobs},
    verify::ExpectedModel,
};

/// What an attempt works with.
pub struct Context {
    /// What everything shares.
    pub core: Arc<Core>,
    /// The attempt.
    pub attempt: Attempt,
    /// Its job, as it was when the attempt began.
    pub job: Job,
    /// What the caller asked for.
    pub request: GenerationRequest,
    /// The body that goes out.
    pub body: Map<String, Value>,
    /// The checkpoint that must have been used.
    pub expected: ExpectedModel,
    /// The server's HTTP client.
    pub client: ForgeClient,
    /// Whether tasks can be followed by id.
    pub ui_mode: bool,
    /// Who else uses the server.
    pub usage: Usage,
    /// That the attempt is to end; why is in the job's row.
    pub wish: CancellationToken,
    /// What this process knows beyond the row.
    pub traces: Traces,
    /// The part of a recovery in which others wait for it.
    pub turn: Turn,
    /// Where the images lie on the server; empty when it saves none.
    pub files: Vec<String>,
}

/// The part of a recovery up to the first look at the server, in which others
/// may wait for it. Clones are the same turn.
#[derive(Clone, Debug, Default)]
pub struct Turn(CancellationToken);

impl Turn {
    /// It is over. `true` the first time.
    fn end(&self) -> bool {
        let first = !self.0.is_cancelled();
        self.0.cancel();
        first
    }

    /// Waits for its end.
    pub async fn over(&self) {
        self.0.cancelled().await;
    }

    /// Ends it when dropped, whatever happened.
    #[must_use]
    pub fn guard(&self) -> DropGuard {
        self.0.clone().drop_guard()
    }
}

/// Why there is nothing to work with.
pub enum Unready {
    /// The attempt is over before it began.
    Failed(Box<Job>, Failure),
    /// The job's row cannot be understood.
    Unreadable(Error),
    /// The service stops, or the attempt is over already.
    Stopped,
}

impl Context {
    /// Reads everything, waiting for the database as long as it takes.
    pub async fn load(
        core: &Arc<Core>,
        attempt: Attempt,
        state: &ServerState,
        wish: CancellationToken,
    ) -> Result<Context, Unready> {
        let loaded = load_job(core, &attempt).await?;
        Self::of(core, attempt, loaded, state, wish)
    }

    /// The same for a job that was read already.
    pub fn of(
        core: &Arc<Core>,
        attempt: Attempt,
        loaded: Loaded,
        state: &ServerState,
        wish: CancellationToken,
    ) -> Result<Context, Unready> {
        let Loaded {
            job,
            request_json,
            pictures,
        } = loaded;
        let request = match readable(&job, &request_json, &pictures) {
            Ok(request) => request,
            Err(why) => {
                let outcome = AttemptOutcome::PermanentError;
                let failure = Failure::new(outcome, "REQUEST_UNREADABLE", &why);
                return Err(Unready::Failed(Box::new(job), failure));
            }
        };
        let mut context = Self::assemble(core, attempt, job, request, state)?;
        if context.is_to_end() {
            wish.cancel();
        }
        context.wish = wish;
        Ok(context)
    }

    fn assemble(
        core: &Arc<Core>,
        attempt: Attempt,
        job: Job,
        request: GenerationRequest,
        state: &ServerState,
    ) -> Result<Context, Unready> {
        let profile = ServerProfile {
            usage: state.server.usage,
            baseline: state.server.baseline.clone().unwrap_or_default(),
            ui_mode: state.status.ui_mode,
        };
        let identity = AttemptIdentity {
            job_id: job.id.clone(),
            number: attempt.number,
            token: attempt.token.clone(),
        };
        let checkpoint = attempt.models.first();
        let expected = ExpectedModel {
            title: checkpoint
                .map(|model| model.title.clone())
                .unwrap_or_default(),
            sha256: checkpoint.and_then(|model| model.sha256.clone()),
        };
        let titles = titles(&job, &attempt);
        let built = payload::build(
            &request,
            &expected.title,
            &titles,
            job.seed,
            job.subseed,
            &profile,
            &identity,
        );
        let body = match built {
            Ok(body) => body,
            Err(error) => {
                let failure = Failure::new(
                    AttemptOutcome::ServerLacksFeature,
                    "OPTION_WITHOUT_BASELINE",
                    &error.to_string(),
                );
                return Err(Unready::Failed(Box::new(job), failure));
            }
        };
        let Some(client) = core.clients.get(&state.server.alias) else {
            let failure = Failure::new(
                AttemptOutcome::Refused,
                "SERVER_GONE",
                "the server was removed before anything was sent",
            );
            return Err(Unready::Failed(Box::new(job), failure));
        };
        let files = payload::saved_file_paths(&request, job.seed, &profile, &identity);
        Ok(Context {
            core: Arc::clone(core),
            ui_mode: state.status.ui_mode,
            usage: state.server.usage,
            wish: CancellationToken::new(),
            traces: Traces::default(),
            turn: Turn::default(),
            attempt,
            job,
            request,
            body,
            expected,
            client,
            files,
        })
    }

    /// Whether the row says already that the attempt is to end.
    fn is_to_end(&self) -> bool {
        is_to_end(&self.core, &self.job)
    }

    /// The first look at the server is through: taking the attempt up did not
    /// end the process.
    pub async fn looked(&self) {
        if !self.turn.end() || self.attempt.recoveries == 0 {
            return;
        }
        let fence = self.attempt.fence();
        let written = self
            .core
            .database
            .write("looked", move |conn| attempts::looked(conn, &fence))
            .await;
        if let Err(error) = written {
            // The next start takes it up with a count that is too high by one.
            tracing::warn!(job.id = %self.job.id, %error, "that an attempt was taken up could not be written");
        }
    }

    /// Enters a phase; a write that comes too late is told and changes
    /// nothing.
    pub async fn enter(&self, phase: AttemptPhase) -> Entered {
        enter(&self.core, &self.attempt, phase).await
    }
}

/// Enters a phase of an attempt; a write that comes too late is told and
/// changes nothing.
pub async fn enter(core: &Core, attempt: &Attempt, phase: AttemptPhase) -> Entered {
    let now = core.clock.now();
    let written = settle::until_written(core, "enter_phase", || {
        let fence = attempt.fence();
        core.database.write("enter_phase", move |conn| {
            attempts::enter_phase(conn, &fence, phase, now)
        })
    })
    .await;
    match written {
        Some(Ok(())) => {
            core.hints.job_changed(&attempt.job_id);
            Entered::Yes
        }
        Some(Err(error)) => {
            settle::late(core, attempt, &error);
            Entered::No
        }
        None => Entered::No,
    }
}

/// A job with everything that it was submitted with.
pub struct Loaded {
    /// The job.
    pub job: Job,
    /// Its request, as JSON text.
    pub request_json: String,
    /// The pictures it begins from, by digest.
    pub pictures: HashMap<String, Vec<u8>>,
}

/// The job of an attempt and its request, waiting for the database as long as
/// it takes.
pub async fn load_job(core: &Core, attempt: &Attempt) -> Result<Loaded, Unready> {
    let read = settle::until_written(core, "load_attempt", || {
        let id = attempt.job_id.clone();
        core.database.read("load_attempt", move |conn| {
            Ok::<_, Error>(Loaded {
                job: jobs::get(conn, &id)?,
                request_json: jobs::request_json(conn, &id)?,
                pictures: input_images::of_job(conn, &id)?,
            })
        })
    })
    .await;
    match read {
        Some(Ok(loaded)) => Ok(loaded),
        Some(Err(error)) => {
            tracing::error!(job.id = %attempt.job_id, %error, "the job cannot be read");
            Err(Unready::Unreadable(error))
        }
        None => Err(Unready::Stopped),
    }
}

/// The request of a job, whole, or why it is not.
fn readable(
    job: &Job,
    request_json: &str,
    pictures: &HashMap<String, Vec<u8>>,
) -> Result<GenerationRequest, String> {
    let mut request = GenerationRequest::from_json(job.endpoint, request_json)
        .map_err(|error| format!("the stored parameters cannot be read: {error}"))?;
    request
        .put_pictures_back(pictures)
        .map_err(|sha256| format!("the picture {sha256} that it begins from is gone"))?;
    Ok(request)
}

/// Whether a phase was entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entered {
    /// It is on disk.
    Yes,
    /// The attempt is over, or the service stops.
    No,
}

/// What the server calls the models beside the checkpoint: the attempt keeps
/// them in the order of the job's needs, the checkpoint first.
fn titles(job: &Job, attempt: &Attempt) -> ModelTitles {
    let needs = job
        .models
        .iter()
        .filter(|need| need.role != ModelRole::Checkpoint);
    needs
        .zip(attempt.models.iter().skip(1))
        .map(|(need, model)| (need.clone(), model.title.clone()))
        .collect()
}

/// Whether the row of a job says that its attempt is to end: it was cancelled,
/// or its time is up.
#[must_use]
pub fn is_to_end(core: &Core, job: &Job) -> bool {
    let late = |at| at <= core.clock.now();
    job.cancel_requested_at.is_some() || job.deadline_at.is_some_and(late)
}

/// The server, if its monitor knows it by now.
#[must_use]
pub fn server_state(core: &Core, alias: &str) -> Option<ServerState> {
    let state = core.board.get(alias)?;
    let known = state.status.health == Health::Healthy && state.server.baseline.is_some();
    known.then_some(state)
}
