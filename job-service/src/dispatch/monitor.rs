//! Looks after one Forge server: is it there, which process is it, what does
//! it have. Writes what it finds to the board and passes inventories on to
//! model-service. Gives it no jobs.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chrono::{DateTime, Utc};
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use super::{
    forge::{ForgeClient, ProbeFacts, ProbeFailure, ProbeFailureKind},
    lasting,
};
use crate::{
    board::FAILURES_MAX,
    core::Core,
    error::Error,
    metrics::ServerLabel,
    payload::baseline_from_options,
    server::{Health, Server},
    store::servers,
};

mod inventory;
mod listing;
mod passing;

use listing::Listed;
use passing::{Due, Passing, Pushed};

/// Requests to look at once that may wait.
const REQUESTS_MAX: usize = 64;

/// The monitors of all servers.
#[derive(Default)]
pub struct Monitors {
    running: Mutex<HashMap<String, Handle>>,
}

struct Handle {
    stop: CancellationToken,
    calls: Arc<Calls>,
}

/// What a monitor is asked to do at once.
#[derive(Default)]
struct Calls {
    wake: Notify,
    waiting: Mutex<Vec<oneshot::Sender<()>>>,
    relist: std::sync::atomic::AtomicBool,
    /// Pass the inventory on even when it is the one that was passed on.
    push: std::sync::atomic::AtomicBool,
}

impl Calls {
    fn waiting(&self) -> MutexGuard<'_, Vec<oneshot::Sender<()>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the first `count` of those who wait that they were looked for.
    fn tell(&self, count: usize) {
        for sender in self.waiting().drain(..count) {
            // Who asked may have left.
            let _ = sender.send(());
        }
    }
}

impl Monitors {
    /// Begins to look after a server; a monitor that it has already ends.
    pub fn start(&self, core: &Arc<Core>, server: &Server) -> Result<(), Error> {
        let calls = Arc::new(Calls::default());
        let stop = core.shutdown.token().child_token();
        let monitor = Monitor {
            core: Arc::clone(core),
            alias: server.alias.clone(),
            base_url: server.base_url.clone(),
            client: core.clients.put(server, &core.vault)?,
            calls: Arc::clone(&calls),
            pushed: None,
            listed: None,
            listing: None,
            due: Due::No,
            doubted: None,
            connection: 0,
        };
        let handle = Handle {
            stop: stop.clone(),
            calls,
        };
        if let Some(old) = self.lock().insert(server.alias.clone(), handle) {
            old.stop.cancel();
        }
        lasting::spawn(&core.shutdown, &core.clock, "monitor", move || {
            monitor.clone().run(stop.clone())
        });
        Ok(())
    }

    /// Looks after a server no longer.
    pub fn stop(&self, alias: &str) {
        if let Some(handle) = self.lock().remove(alias) {
            handle.stop.cancel();
        }
    }

    /// Asks for the inventory now, and that model-service gets it even when it
    /// is the one that it has.
    pub fn list_and_push(&self, alias: &str) {
        if let Some(handle) = self.lock().get(alias) {
            let push = &handle.calls.push;
            push.store(true, std::sync::atomic::Ordering::Release);
            let relist = &handle.calls.relist;
            relist.store(true, std::sync::atomic::Ordering::Release);
            handle.calls.wake.notify_one();
        }
    }

    /// Asks for a probe and the inventory now, and waits for the end of both;
    /// with `push` the inventory goes to model-service even when it has it.
    /// `false` when there is no such monitor or too many ask.
    pub async fn look_and_wait(&self, alias: &str, push: bool) -> bool {
        let (sender, done) = oneshot::channel();
        {
            let running = self.lock();
            let Some(handle) = running.get(alias) else {
                return false;
            };
            let mut waiting = handle.calls.waiting();
            if waiting.len() >= REQUESTS_MAX {
                return false;
            }
            waiting.push(sender);
            handle
                .calls
                .push
                .fetch_or(push, std::sync::atomic::Ordering::AcqRel);
            handle
                .calls
                .relist
                .store(true, std::sync::atomic::Ordering::Release);
            handle.calls.wake.notify_one();
        }
        done.await.is_ok()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Handle>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone)]
struct Monitor {
    core: Arc<Core>,
    alias: String,
    base_url: String,
    /// The client, or why there is none.
    client: Result<ForgeClient, ProbeFailure>,
    calls: Arc<Calls>,
    /// What model-service has.
    pushed: Option<Pushed>,
    /// When the server was last listed, and how many models it had.
    listed: Option<(Duration, usize)>,
    /// What it listed then, for a model-service that did not take it; `None`
    /// while something is known that is newer.
    listing: Option<Listed>,
    /// Whether that is to be passed on.
    due: Due,
    /// When the server was asked for what model-service doubts, in the time of
    /// the process.
    doubted: Option<Duration>,
    /// The connection to model-service that `pushed` belongs to.
    connection: u64,
}

impl Monitor {
    async fn run(mut self, stop: CancellationToken) {
        let mut connections = self.core.availability.connections();
        let mut passing: Option<Passing> = None;
        loop {
            let mut asking = self.calls.waiting().len();
            let connection = *connections.borrow_and_update();
            if connection != self.connection {
                // It may be another process, on another database.
                self.connection = connection;
                self.pushed = None;
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.look() => {}
            }
            let looked_at = self.core.clock.monotonic();
            loop {
                if passing.is_none() {
                    passing = self.pass_on();
                }
                if passing.is_none() {
                    self.calls.tell(std::mem::take(&mut asking));
                }
                let answer = tokio::select! {
                    () = stop.cancelled() => return,
                    () = self.calls.wake.notified() => break,
                    _ = connections.changed() => break,
                    () = self.core.clock.sleep_until(self.next_look(looked_at)) => break,
                    answer = Passing::answered(&mut passing) => answer,
                };
                if let Some(passing) = passing.take() {
                    self.passed_on(passing, answer, *connections.borrow());
                }
            }
        }
    }

    /// When the next look is due after one at `looked_at`, in the time of the
    /// process.
    fn next_look(&self, looked_at: Duration) -> Duration {
        let probe = looked_at.saturating_add(self.core.pace.probe);
        // One that has come to nothing waits for its turn as well.
        let doubted = self.doubt_ends().filter(|end| *end > looked_at);
        doubted.map_or(probe, |end| end.min(probe))
    }

    /// One look: the probe, and what the server lists when that is due.
    async fn look(&mut self) {
        let before = self.core.board.get(&self.alias);
        let found = match &self.client {
            Ok(client) => client.probe().await.map(|facts| (client.clone(), facts)),
            Err(failure) => Err(failure.clone()),
        };
        let now = self.core.clock.now();
        match found {
            Ok((client, facts)) => {
                let process = before.and_then(|state| state.status.process);
                let restarted = process.is_some() && facts.process != process;
                if restarted {
                    tracing::warn!(server.alias = %self.alias, "the server runs as another process than before");
                    self.listed = None;
                }
                if let Err(error) = self.keep_baseline(&facts).await {
                    tracing::error!(server.alias = %self.alias, %error, "its options could not be kept");
                    return;
                }
                self.list_when_due(&client).await;
                // Healthy only now, so that its first job finds its lists.
                self.answered(&facts, now);
                self.core.hints.wake_dispatcher();
            }
            Err(failure) => self.failed(&failure, now),
        }
    }

    /// Keeps the options as they were before our first job.
    async fn keep_baseline(&self, facts: &ProbeFacts) -> Result<(), Error> {
        let known = self.core.board.get(&self.alias);
        if known.is_none_or(|state| state.server.baseline.is_some()) {
            return Ok(());
        }
        let baseline = baseline_from_options(&facts.options);
        let (alias, base_url) = (self.alias.clone(), self.base_url.clone());
        let server = self
            .core
            .database
            .write("keep_baseline", move |conn| {
                servers::keep_baseline(conn, &alias, &base_url, &baseline)
            })
            .await?;
        self.core
            .board
            .keep_baseline(&self.alias, &self.base_url, server.baseline);
        Ok(())
    }

    fn answered(&self, facts: &ProbeFacts, now: DateTime<Utc>) {
        let mut was = Health::Healthy;
        self.core.board.update_status(&self.alias, |status| {
            was = status.health;
            status.health = Health::Healthy;
            status.message = match &facts.ui_login_fault {
                None => "healthy".to_owned(),
                Some(fault) => format!("healthy, but {fault}"),
            };
            status.probed_at = Some(now);
            status.seen_at = Some(now);
            status.failures = 0;
            status.process.clone_from(&facts.process);
            status.ui_mode = facts.ui_mode;
            status.checkpoint.clone_from(&facts.checkpoint);
        });
        if was != Health::Healthy {
            tracing::info!(server.alias = %self.alias, "the server is healthy");
        }
        self.gauge(1);
    }

    fn failed(&self, failure: &ProbeFailure, now: DateTime<Utc>) {
        let health = match failure.kind {
            ProbeFailureKind::Unreachable => Health::Unreachable,
            ProbeFailureKind::Unauthenticated => Health::Unauthenticated,
            ProbeFailureKind::ApiMissing => Health::ApiMissing,
            ProbeFailureKind::NotForge => Health::NotForge,
        };
        let mut closed = false;
        self.core.board.update_status(&self.alias, |status| {
            let was = status.health;
            status.failures = status.failures.saturating_add(1);
            status.probed_at = Some(now);
            status.message.clone_from(&failure.message);
            // One slow answer takes no server out; a clear one does.
            let clear = health != Health::Unreachable;
            if clear || was != Health::Healthy || status.failures >= FAILURES_MAX {
                status.health = health;
            }
            closed = was == Health::Healthy && status.health != Health::Healthy;
        });
        if closed {
            tracing::warn!(server.alias = %self.alias, health = health.as_str(), "the server gets no jobs until it answers");
        }
        self.gauge(0);
    }

    fn gauge(&self, up: i64) {
        let label = ServerLabel {
            server: self.alias.clone(),
        };
        self.core.metrics.server_up.get_or_create(&label).set(up);
    }
}
