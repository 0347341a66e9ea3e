//! What is known of the servers and of model-service at this moment: written
//! by the monitors and the dispatcher, read when choosing and when telling why
//! a job waits. In memory only; a restart finds it out again.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use chrono::{DateTime, Utc};

use crate::{
    job::{Hold, HoldReason, Job, JobState},
    server::{Health, Server},
};

/// Failed probes in a row after which a server gets no jobs.
pub const FAILURES_MAX: u32 = 3;

/// What is known of one server.
#[derive(Clone, Debug)]
pub struct ServerState {
    /// Its settings, as in the database.
    pub server: Server,
    /// What its monitor found.
    pub status: ServerStatus,
    /// The job that runs there.
    pub running_job: Option<String>,
    /// Grows with every job given to it, so that work is spread evenly.
    pub last_given: u64,
}

/// What a monitor found.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerStatus {
    /// How it is.
    pub health: Health,
    /// The same in words, with what to do.
    pub message: String,
    /// When it was last asked.
    pub probed_at: Option<DateTime<Utc>>,
    /// When it last answered well.
    pub seen_at: Option<DateTime<Utc>>,
    /// Failed probes in a row.
    pub failures: u32,
    /// The running process, as it names itself.
    pub process: Option<String>,
    /// Whether tasks can be followed by id and files fetched.
    pub ui_mode: bool,
    /// The checkpoint it has selected.
    pub checkpoint: String,
    /// How many checkpoints it lists.
    pub checkpoint_count: usize,
    /// How many LoRAs it lists.
    pub lora_count: usize,
    /// When model-service last took its inventory.
    pub inventory_at: Option<DateTime<Utc>>,
}

impl Default for ServerStatus {
    fn default() -> Self {
        Self {
            health: Health::Unknown,
            message: "not asked yet".to_owned(),
            probed_at: None,
            seen_at: None,
            failures: 0,
            process: None,
            ui_mode: false,
            checkpoint: String::new(),
            checkpoint_count: 0,
            lora_count: 0,
            inventory_at: None,
        }
    }
}

impl ServerState {
    /// Whether it can run jobs at all at the moment, busy or not.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.server.enabled
            && !self.server.cordoned
            && self.status.health == Health::Healthy
            && self.server.baseline.is_some()
    }

    /// Whether it can take a job now.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.is_usable() && self.running_job.is_none()
    }
}

/// The board.
#[derive(Debug, Default)]
pub struct Board {
    servers: RwLock<BTreeMap<String, ServerState>>,
    model_service_down: RwLock<Option<(String, DateTime<Utc>)>>,
    given: std::sync::atomic::AtomicU64,
}

impl Board {
    /// Everything known, by alias.
    #[must_use]
    pub fn snapshot(&self) -> BTreeMap<String, ServerState> {
        self.read().clone()
    }

    /// What is known of one server.
    #[must_use]
    pub fn get(&self, alias: &str) -> Option<ServerState> {
        self.read().get(alias).cloned()
    }

    /// Puts the settings of a server up, new or changed.
    pub fn put(&self, server: Server) {
        let mut servers = self.write();
        if let Some(state) = servers.get_mut(&server.alias) {
            state.server = server;
        } else {
            servers.insert(
                server.alias.clone(),
                ServerState {
                    server,
                    status: ServerStatus::default(),
                    running_job: None,
                    last_given: 0,
                },
            );
        }
    }

    /// Takes a server down.
    pub fn remove(&self, alias: &str) {
        self.write().remove(alias);
    }

    /// Changes what the monitor knows of a server.
    pub fn update_status(&self, alias: &str, change: impl FnOnce(&mut ServerStatus)) {
        if let Some(state) = self.write().get_mut(alias) {
            change(&mut state.status);
        }
    }

    /// A job begins to run on a server.
    pub fn occupy(&self, alias: &str, job_id: &str) {
        let order = self
            .given
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed)
            + 1;
        if let Some(state) = self.write().get_mut(alias) {
            state.running_job = Some(job_id.to_owned());
            state.last_given = order;
        }
    }

    /// A job runs on a server no longer.
    pub fn vacate(&self, alias: &str, job_id: &str) {
        if let Some(state) = self.write().get_mut(alias)
            && state.running_job.as_deref() == Some(job_id)
        {
            state.running_job = None;
        }
    }

    /// model-service does not answer, for this reason.
    pub fn model_service_failed(&self, why: String, now: DateTime<Utc>) {
        let mut down = self
            .model_service_down
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let since = down.as_ref().map_or(now, |(_, since)| *since);
        *down = Some((why, since));
    }

    /// model-service answers. Whether it did not before.
    pub fn model_service_answered(&self) -> bool {
        self.model_service_down
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
            .is_some()
    }

    /// Why this job waits: for somebody to decide, then what holds every job,
    /// then what the dispatcher found of this one. `None` when it is next, or not pending.
    #[must_use]
    pub fn hold_of(&self, job: &Job) -> Option<Hold> {
        if job.state != JobState::Pending {
            return None;
        }
        let decides = |hold: &&Hold| hold.reason.waits_for_a_decision();
        if let Some(hold) = job.hold.as_ref().filter(decides) {
            // No server changes that.
            return Some(hold.clone());
        }
        self.hold_by_servers(&job.target_server)
            .or_else(|| job.hold.clone())
            .or_else(|| self.hold_by_busy(&job.target_server))
    }

    fn hold_by_servers(&self, target: &str) -> Option<Hold> {
        let servers = self.read();
        let eligible: Vec<&ServerState> = servers
            .values()
            .filter(|state| target.is_empty() || state.server.alias == target)
            .collect();
        if eligible.is_empty() && !target.is_empty() {
            return Some(hold(
                HoldReason::TargetUnknown,
                format!("no server has the alias {target:?}; register it, or cancel the job"),
            ));
        }
        if !eligible.iter().any(|state| state.server.enabled) {
            return Some(hold(
                HoldReason::NoServer,
                "no server is registered and enabled; register one with CreateServer".to_owned(),
            ));
        }
        let ready = |state: &&&ServerState| {
            state.server.enabled
                && state.status.health == Health::Healthy
                && state.server.baseline.is_some()
        };
        let healthy: Vec<_> = eligible.iter().filter(ready).collect();
        if healthy.is_empty() {
            let faults: Vec<String> = eligible
                .iter()
                .filter(|state| state.server.enabled)
                .map(|state| format!("{}: {}", state.server.alias, state.status.message))
                .collect();
            return Some(hold(HoldReason::ServerUnavailable, faults.join("; ")));
        }
        if healthy.iter().all(|state| state.server.cordoned) {
            let names: Vec<&str> = healthy
                .iter()
                .map(|state| state.server.alias.as_str())
                .collect();
            return Some(hold(
                HoldReason::ServerCordoned,
                format!(
                    "cordoned: {}; UncordonServer gives it jobs again",
                    names.join(", ")
                ),
            ));
        }
        drop(servers);
        let down = self
            .model_service_down
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        down.as_ref().map(|(why, since)| Hold {
            reason: HoldReason::ModelServiceUnavailable,
            message: format!("model-service does not answer: {why}"),
            since: Some(*since),
        })
    }

    fn hold_by_busy(&self, target: &str) -> Option<Hold> {
        let servers = self.read();
        let mut usable = servers
            .values()
            .filter(|state| target.is_empty() || state.server.alias == target)
            .filter(|state| state.is_usable());
        usable.all(|state| state.running_job.is_some()).then(|| {
            hold(
                HoldReason::ServerBusy,
                "every server that may take it runs another job".to_owned(),
            )
        })
    }

    /// How many pending jobs' worth of servers there are by health, for
    /// figures.
    #[must_use]
    pub fn count_by_health(&self) -> HashMap<Health, usize> {
        let mut counts = HashMap::new();
        for state in self.read().values() {
            *counts.entry(state.status.health).or_default() += 1;
        }
        counts
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<String, ServerState>> {
        self.servers.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<String, ServerState>> {
        self.servers.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn hold(reason: HoldReason, message: String) -> Hold {
    Hold {
        reason,
        message,
        since: None,
    }
}

#[cfg(test)]
#[path = "board/tests.rs"]
mod tests;
