//! Owns this service's own figures. It does not serve them, and RPCs are
//! counted by service-kit.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::availability::Presence;
use crate::inventories::ServerPresence;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    state: &'static str,
}

/// What an answer can be, as labels.
const STATES: [&str; 5] = ["available", "stale", "missing", "unknown", "ambiguous"];

/// The figures. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ModelMetrics {
    answers: Family<StateLabels, Counter>,
    syncs: Counter,
    watches: Gauge,
}

impl ModelMetrics {
    /// Registers `availability_answers_total`, `inventory_syncs_total` and
    /// `availability_watches`.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            answers: Family::default(),
            syncs: Counter::default(),
            watches: Gauge::default(),
        };
        registry.register(
            "availability_answers",
            "Answers of CheckAvailability, one for each reference and server, by state",
            metrics.answers.clone(),
        );
        registry.register(
            "inventory_syncs",
            "Inventories that took effect or were repeated",
            metrics.syncs.clone(),
        );
        registry.register(
            "availability_watches",
            "WatchAvailability streams that are open",
            metrics.watches.clone(),
        );
        metrics
    }

    /// Counts first and adds then: the counters are shared by all callers.
    pub(crate) fn checked(&self, servers: &[ServerPresence]) {
        let mut counts = STATES.map(|state| (state, 0));
        for presence in servers.iter().flat_map(|server| &server.presences) {
            let state = match presence {
                Presence::Seen(found) if found.stale => "stale",
                Presence::Seen(_) => "available",
                Presence::Missing => "missing",
                Presence::Unknown => "unknown",
                Presence::Ambiguous(_) => "ambiguous",
            };
            for (_, count) in counts.iter_mut().filter(|(known, _)| *known == state) {
                *count += 1;
            }
        }
        for (state, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
            let answers = self.answers.get_or_create(&StateLabels { state });
            answers.inc_by(count);
        }
    }

    pub(crate) fn synced(&self) {
        self.syncs.inc();
    }

    pub(crate) fn watching(&self) -> WatchGuard {
        self.watches.inc();
        WatchGuard(self.watches.clone())
    }
}

/// Counts a watch for as long as it lives.
#[derive(Debug)]
pub(crate) struct WatchGuard(Gauge);

impl Drop for WatchGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}
