//! Owns this service's own figures. It does not serve them, and RPCs are
//! counted by service-kit.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;
use service_kit::database::Database;

use crate::availability::Presence;
use crate::inventories::ServerPresence;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    state: &'static str,
}

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

    pub(crate) fn checked(&self, servers: &[ServerPresence]) {
        for presence in servers.iter().flat_map(|server| &server.presences) {
            let state = match presence {
                Presence::Seen(found) if found.stale => "stale",
                Presence::Seen(_) => "available",
                Presence::Missing => "missing",
                Presence::Unknown => "unknown",
                Presence::Ambiguous(_) => "ambiguous",
            };
            self.answers.get_or_create(&StateLabels { state }).inc();
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

/// The figures of the database, read when they are asked for.
#[derive(Debug)]
pub(crate) struct DatabaseFigures(pub(crate) Database);

impl Collector for DatabaseFigures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let stats = self.0.stats();
        let counters = [
            ("database_commits", "Transactions committed", stats.commits),
            (
                "database_commands",
                "Commands that ran, failed ones included",
                stats.commands,
            ),
            (
                "database_overloaded",
                "Commands refused as too many waited",
                stats.overloaded,
            ),
            (
                "database_busy_retries",
                "Waits for another program's lock",
                stats.busy_retries,
            ),
            ("database_reads", "Reads that ended", stats.reads),
            (
                "database_reads_long",
                "Reads over the limit for long ones",
                stats.reads_long,
            ),
        ];
        for (name, help, value) in counters {
            let counter = ConstCounter::new(value);
            let metric = encoder.encode_descriptor(name, help, None, counter.metric_type())?;
            counter.encode(metric)?;
        }
        let waiting = ConstGauge::new(i64::try_from(stats.queue_length).unwrap_or(i64::MAX));
        let help = "Commands that wait for the writer";
        let metric = encoder.encode_descriptor(
            "database_queue_length",
            help,
            None,
            waiting.metric_type(),
        )?;
        waiting.encode(metric)
    }
}
