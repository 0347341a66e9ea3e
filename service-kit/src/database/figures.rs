//! Owns how the figures of a database look to Prometheus. What is counted is
//! `stats`'s.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::Database;

/// The figures of the database, read when they are asked for.
#[derive(Debug)]
pub struct DatabaseFigures(pub Database);

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
