//! This service's figures. What a call costs is counted by the server's
//! layers; here is what happens to jobs.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

/// The outcome of an attempt, as a label.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabel {
    /// The word of the outcome.
    pub outcome: String,
}

/// The state of jobs, as a label.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StateLabel {
    /// The word of the state.
    pub state: String,
}

/// The alias of a server, as a label.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ServerLabel {
    /// The alias.
    pub server: String,
}

/// What happens to jobs.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Jobs taken.
    pub submitted: Counter,
    /// Attempts that ended, by outcome.
    pub attempts: Family<OutcomeLabel, Counter>,
    /// Jobs by state, as of the last count.
    pub jobs: Family<StateLabel, Gauge>,
    /// 1 when a server is healthy, else 0.
    pub server_up: Family<ServerLabel, Gauge>,
    /// 0 while a server's breaker is closed, 1 half open, 2 open.
    pub server_breaker: Family<ServerLabel, Gauge>,
    /// Seconds from a job's submission to its claim.
    pub dispatch_wait: Histogram,
    /// Images stored.
    pub images: Counter,
    /// Bytes of images stored.
    pub image_bytes: Counter<u64, AtomicU64>,
    /// Attempts that began while an earlier one of their job could still run.
    pub possible_repeats: Counter,
    /// Attempts whose writes came too late and changed nothing.
    pub late_writes: Counter,
    /// Uses of models that model-service was not told of.
    pub model_uses_dropped: Counter,
}

impl Metrics {
    /// Registers every figure.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            submitted: Counter::default(),
            attempts: Family::default(),
            jobs: Family::default(),
            server_up: Family::default(),
            server_breaker: Family::default(),
            dispatch_wait: Histogram::new([
                0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0, 300.0, 1800.0, 7200.0,
            ]),
            images: Counter::default(),
            image_bytes: Counter::default(),
            possible_repeats: Counter::default(),
            late_writes: Counter::default(),
            model_uses_dropped: Counter::default(),
        };
        registry.register("jobs_submitted", "Jobs taken", metrics.submitted.clone());
        registry.register(
            "attempts",
            "Attempts that ended, by outcome",
            metrics.attempts.clone(),
        );
        registry.register(
            "jobs",
            "Jobs by state, counted now and then",
            metrics.jobs.clone(),
        );
        registry.register(
            "server_up",
            "1 when a server is healthy, else 0",
            metrics.server_up.clone(),
        );
        registry.register(
            "server_breaker",
            "0 while several failures in a row keep no jobs away, 1 on trial, 2 while they do",
            metrics.server_breaker.clone(),
        );
        registry.register(
            "dispatch_wait_seconds",
            "From a job's submission to its claim",
            metrics.dispatch_wait.clone(),
        );
        registry.register("images_stored", "Images stored", metrics.images.clone());
        registry.register(
            "image_bytes_stored",
            "Bytes of images stored",
            metrics.image_bytes.clone(),
        );
        registry.register(
            "attempts_possible_repeats",
            "Attempts that began while an earlier one of their job could still run",
            metrics.possible_repeats.clone(),
        );
        registry.register(
            "late_writes",
            "Writes of attempts that were over, which changed nothing",
            metrics.late_writes.clone(),
        );
        registry.register(
            "model_uses_dropped",
            "Uses of models that model-service was not told of",
            metrics.model_uses_dropped.clone(),
        );
        metrics
    }
}
