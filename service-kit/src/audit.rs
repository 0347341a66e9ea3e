//! Owns the audit: who did what as an administrator, and who was denied. It
//! does not decide what is permitted; [`crate::auth`] does.
//!
//! Noted is every call of a method whose scope is administrative
//! ([`crate::auth::Scope::is_administrative`]) or whose rule says it
//! ([`crate::auth::Noted`]), once it is answered, and every
//! call that is denied: UNAUTHENTICATED, PERMISSION_DENIED, or refused as its
//! peer failed to authenticate too often. Each is a row of `audit_events` and a
//! line of the log with the target `audit`; neither holds a secret or what a
//! call carried.
//!
//! An administrative call runs to its end even when its caller goes away, and
//! its row is on disk before its answer goes out. Denied calls cost their peers
//! nothing, so their rows are written later, in batches, and are bounded: within
//! a minute the same denial is written once, and all of them only so often.

mod call;
mod denials;
mod service;
mod store;
mod target;

use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::database::Database;
use crate::shutdown::Shutdown;
use crate::status::error_chain;

pub(crate) use call::AuditedCall;
use denials::{Admission, Denials};
pub use service::AuditedService;
use store::Event;
pub(crate) use store::{AuditFilter, NotedCall, page};
pub use target::{AUDIT_TARGET_BYTES_MAX, AuditTarget};

/// Denied calls that are written in one command.
const BATCH_MAX: usize = 64;

/// How much the audit keeps and takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditLimits {
    /// Rows that are kept; the oldest go.
    pub rows: u32,
    /// Denied calls that wait to be written; further ones are only counted.
    pub queued: usize,
    /// Different denials that are written in one minute; further ones are only
    /// counted.
    pub denials_per_minute: usize,
}

impl Default for AuditLimits {
    fn default() -> Self {
        Self {
            rows: 100_000,
            queued: 1024,
            denials_per_minute: 600,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

/// The audit of one service. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Audit(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    database: Database,
    clock: Clock,
    rows_max: u32,
    queue: mpsc::Sender<Event>,
    denials: Mutex<Denials>,
    events: Family<OutcomeLabels, Counter>,
    shutdown: Shutdown,
}

impl Audit {
    /// An audit in the table `audit_events` of a migrated database, which must
    /// be open for as long as calls are taken. Registers `audit_events_total`
    /// by outcome: written, repeated (a denial that was written in the same
    /// minute), dropped (over a limit) and failed (the database refused it).
    pub fn start(
        database: Database,
        limits: &AuditLimits,
        registry: &mut Registry,
        shutdown: &Shutdown,
        clock: Clock,
    ) -> Self {
        let events = Family::default();
        registry.register(
            "audit_events",
            "Administrative and denied calls, by what became of their rows",
            events.clone(),
        );
        let (queue, queued) = mpsc::channel(limits.queued.max(1));
        let audit = Self(Arc::new(Inner {
            database,
            clock,
            rows_max: limits.rows.max(1),
            queue,
            denials: Mutex::new(Denials::new(limits.denials_per_minute)),
            events,
            shutdown: shutdown.clone(),
        }));
        let writing = audit.clone().write_queued(queued, shutdown.clone());
        shutdown.spawn("audit", writing);
        audit
    }

    /// Writes denied calls until the service stops and none is waiting.
    async fn write_queued(self, mut queued: mpsc::Receiver<Event>, shutdown: Shutdown) {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        loop {
            let taken = tokio::select! {
                biased;
                taken = queued.recv_many(&mut batch, BATCH_MAX) => taken,
                () = shutdown.requested() => 0,
            };
            if taken == 0 {
                return;
            }
            self.write(std::mem::take(&mut batch)).await;
        }
    }

    /// Returns once the events are on disk, or the log says why they are not:
    /// what was done cannot be undone for want of its row.
    async fn write(&self, events: Vec<Event>) {
        let count = events.len();
        let rows_max = self.0.rows_max;
        let append = move |connection: &mut _| store::append(connection, &events, rows_max);
        match self.0.database.write("note_audit", append).await {
            Ok(()) => self.count("written", count),
            Err(error) => {
                self.count("failed", count);
                let error = error_chain(&error);
                tracing::error!(error, events = count, "the audit could not be written");
            }
        }
    }

    /// Notes an administrative call; it is on disk afterwards.
    async fn done(&self, event: Event) {
        event.log("an administrative call");
        self.write(vec![event]).await;
    }

    /// Notes a denied call, now or not at all.
    fn denied(&self, event: Event) {
        let now = self.0.clock.monotonic();
        let admission = self
            .0
            .denials
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .admit(&event, now);
        match admission {
            Admission::New => {
                event.log("a call was denied");
                if self.0.queue.try_send(event).is_err() {
                    self.count("dropped", 1);
                    tracing::warn!("a denied call is not in the audit: too many wait for it");
                }
            }
            Admission::Repeated => self.count("repeated", 1),
            Admission::FirstTooMany => {
                self.count("dropped", 1);
                tracing::warn!("too many denied calls; the rest of this minute is only counted");
            }
            Admission::TooMany => self.count("dropped", 1),
        }
    }

    fn count(&self, outcome: &'static str, count: usize) {
        let counter = self.0.events.get_or_create(&OutcomeLabels { outcome });
        counter.inc_by(count as u64);
    }
}
