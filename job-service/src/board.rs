//! What is known of the servers and of model-service at this moment: written
//! by the monitors and the dispatcher, read when choosing and when telling why
//! a job waits. In memory only; a restart finds it out again.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Duration,
};

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use tokio::sync::watch;

use crate::{
    breaker::Breaker,
    cooldowns::Cooldowns,
    dispatch::forge::Listing,
    server::{Health, Server},
};

mod failures;
mod holds;

pub(crate) use holds::breaker_words;

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
    /// Whether something of an attempt that is over may still run there, or
    /// an interrupt may still hit what runs next.
    pub clearing: bool,
    /// Grows with every job given to it, so that work is spread evenly.
    pub last_given: u64,
    /// Whether it gets jobs although several failed there in a row.
    pub breaker: Breaker,
    /// What it is not given for a while.
    pub cooldowns: Cooldowns,
    /// What it listed last; `None` until it was listed.
    pub listed: Option<Listed>,
}

/// What a server listed.
#[derive(Clone, Debug)]
pub struct Listed {
    /// All its lists.
    pub listing: Arc<Listing>,
    /// When, in the time of the process.
    pub at: Duration,
    /// When it was listed again for the sake of a job, in the same time.
    pub for_a_job: Option<Duration>,
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

    /// Whether something of ours runs there.
    #[must_use]
    pub fn is_at_work(&self) -> bool {
        self.running_job.is_some() || self.clearing
    }

    /// Whether it can take a job now.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.is_usable() && !self.is_at_work() && self.breaker.lets_through()
    }
}

/// The board.
#[derive(Debug, Default)]
pub struct Board {
    servers: RwLock<BTreeMap<String, ServerState>>,
    model_service_down: RwLock<Option<(String, DateTime<Utc>)>>,
    given: std::sync::atomic::AtomicU64,
    /// Counts the jobs that ended somewhere.
    vacated: watch::Sender<u64>,
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
                    clearing: false,
                    last_given: 0,
                    breaker: Breaker::default(),
                    cooldowns: Cooldowns::default(),
                    listed: None,
                },
            );
        }
    }

    /// Puts up the options that a server had before our first job; whatever
    /// else changes at that moment stays.
    pub fn keep_baseline(&self, alias: &str, base_url: &str, baseline: Option<Map<String, Value>>) {
        if let Some(state) = self.write().get_mut(alias)
            && state.server.base_url == base_url
        {
            state.server.baseline = baseline;
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
        self.vacated.send_modify(|count| *count += 1);
    }

    /// Changes whenever a job runs on a server no longer.
    pub fn vacated(&self) -> watch::Receiver<u64> {
        self.vacated.subscribe()
    }

    /// Keeps further jobs from a server, or gives it jobs again.
    pub fn set_clearing(&self, alias: &str, clearing: bool) {
        if let Some(state) = self.write().get_mut(alias) {
            state.clearing = clearing;
        }
        self.vacated.send_modify(|count| *count += 1);
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

#[cfg(test)]
#[path = "board/tests.rs"]
mod tests;
