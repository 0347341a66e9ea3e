//! The admin door of the stand-in, on a port of its own, for tests that run it as a program: one command by POST, as
//! the handle would have it. Nothing of it is Forge's.

use std::{net::TcpListener as StdListener, sync::Arc};

use anyhow::Context;
use axum::{Router, extract::State, response::Response, routing::post};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Mutex};

use crate::{
    config::SimModel,
    door::Flap,
    errors::json_reply,
    rules::{Rule, Target},
    sim::ForgeSim,
    stage::Stage,
};

/// What can be asked of a running stand-in; each is the method of [`ForgeSim`] or [`crate::Gate`] it is named after.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// [`ForgeSim::script_rule`].
    ScriptRule(Rule),
    /// [`ForgeSim::clear_faults`].
    ClearFaults,
    /// [`ForgeSim::faults_left`].
    FaultsLeft,
    /// [`ForgeSim::freeze`].
    Freeze,
    /// [`ForgeSim::thaw`].
    Thaw,
    /// [`ForgeSim::hold`].
    Hold(Target),
    /// [`ForgeSim::release`].
    Release(Target),
    /// [`ForgeSim::let_by`].
    LetBy {
        /// The held target.
        target: Target,
        /// Requests.
        count: u64,
    },
    /// [`crate::Gate::hold`].
    HoldStage(Stage),
    /// [`crate::Gate::release`].
    ReleaseStage(Stage),
    /// [`crate::Gate::open`].
    OpenGate,
    /// [`crate::Gate::close`].
    CloseGate,
    /// [`crate::Gate::step`].
    Step(u64),
    /// [`crate::Gate::load`].
    Load(u64),
    /// [`ForgeSim::refuse`].
    Refuse,
    /// [`ForgeSim::accept`].
    Accept,
    /// [`ForgeSim::accept_for`].
    AcceptFor(u64),
    /// [`ForgeSim::flap`].
    Flap(Option<Flap>),
    /// [`ForgeSim::occupy_threads`].
    OccupyThreads(usize),
    /// [`ForgeSim::free_threads`].
    FreeThreads,
    /// [`ForgeSim::break_checkpoint`].
    BreakCheckpoint(String),
    /// [`ForgeSim::mend_checkpoint`].
    MendCheckpoint(String),
    /// [`ForgeSim::add_checkpoint`], with [`SimModel::named`].
    AddCheckpoint(String),
    /// [`ForgeSim::remove_checkpoint`].
    RemoveCheckpoint(String),
    /// [`ForgeSim::poison`].
    Poison,
    /// [`ForgeSim::is_poisoned`].
    IsPoisoned,
    /// [`ForgeSim::kill`]: the simulated process; the program stays.
    Kill,
    /// [`ForgeSim::restart`].
    Restart,
    /// [`ForgeSim::events`].
    Events,
    /// [`ForgeSim::interrupts`].
    Interrupts,
    /// [`ForgeSim::log`].
    Generations,
}

impl ForgeSim {
    /// Does what the command says and gives what its method gives, `null` for nothing.
    ///
    /// # Errors
    /// If a restart fails.
    pub async fn command(&mut self, command: Command) -> anyhow::Result<Value> {
        match command {
            Command::Kill => self.kill().await,
            Command::Restart => self.restart().await?,
            Command::Refuse => self.refuse().await,
            Command::Accept => self.accept().await,
            Command::AcceptFor(requests) => self.accept_for(requests).await,
            Command::Events => return Ok(serde_json::to_value(self.events())?),
            Command::Interrupts => return Ok(serde_json::to_value(self.interrupts())?),
            Command::Generations => return Ok(serde_json::to_value(self.log())?),
            Command::FaultsLeft => return Ok(json!(self.faults_left())),
            Command::IsPoisoned => return Ok(json!(self.is_poisoned())),
            Command::OccupyThreads(count) => return Ok(json!(self.occupy_threads(count))),
            other => self.change(other),
        }
        Ok(Value::Null)
    }

    /// The commands that neither wait nor tell anything.
    fn change(&self, command: Command) {
        match command {
            Command::ScriptRule(rule) => self.script_rule(rule),
            Command::ClearFaults => self.clear_faults(),
            Command::Freeze => self.freeze(),
            Command::Thaw => self.thaw(),
            Command::Hold(target) => self.hold(target),
            Command::Release(target) => self.release(&target),
            Command::LetBy { target, count } => self.let_by(&target, count),
            Command::HoldStage(stage) => self.gate().hold(stage),
            Command::ReleaseStage(stage) => self.gate().release(stage),
            Command::OpenGate => self.gate().open(),
            Command::CloseGate => self.gate().close(),
            Command::Step(count) => self.gate().step(count),
            Command::Load(count) => self.gate().load(count),
            Command::Flap(flap) => self.flap(flap),
            Command::FreeThreads => self.free_threads(),
            Command::BreakCheckpoint(path) => self.break_checkpoint(&path),
            Command::MendCheckpoint(path) => self.mend_checkpoint(&path),
            Command::AddCheckpoint(path) => self.add_checkpoint(SimModel::named(path)),
            Command::RemoveCheckpoint(path) => self.remove_checkpoint(&path),
            Command::Poison => self.poison(),
            Command::Kill
            | Command::Restart
            | Command::Refuse
            | Command::Accept
            | Command::AcceptFor(_)
            | Command::Events
            | Command::Interrupts
            | Command::Generations
            | Command::FaultsLeft
            | Command::IsPoisoned
            | Command::OccupyThreads(_) => {}
        }
    }
}

/// Takes commands as the JSON body of `POST /`, one at a time, until it is dropped: 200 with what the command gives,
/// 400 with `{"error"}` for what is no command, 500 with it for one that failed.
///
/// # Errors
/// If the socket cannot be used.
pub async fn serve_commands(
    listener: StdListener,
    sim: Arc<Mutex<ForgeSim>>,
) -> anyhow::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let router = Router::new().route("/", post(obey)).with_state(sim);
    axum::serve(listener, router)
        .await
        .context("the admin port failed")
}

async fn obey(State(sim): State<Arc<Mutex<ForgeSim>>>, body: String) -> Response {
    let told = |error: String| json!({ "error": error });
    match serde_json::from_str(&body) {
        Err(error) => json_reply(StatusCode::BAD_REQUEST, &told(error.to_string())),
        Ok(command) => match sim.lock().await.command(command).await {
            Ok(value) => json_reply(StatusCode::OK, &value),
            Err(error) => json_reply(
                StatusCode::INTERNAL_SERVER_ERROR,
                &told(format!("{error:#}")),
            ),
        },
    }
}
