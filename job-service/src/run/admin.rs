//! What AdminService says of this service.

use std::sync::Arc;

use service_kit::{
    admin::{ServiceFacts, ServiceLimit},
    server::Limits,
};

use super::schema;
use crate::{
    config::Config,
    core::ServiceLimits,
    jobs::BATCH_JOBS_MAX,
    keys::{API_KEYS_MAX, Keys},
    servers::SERVERS_MAX,
};

/// The oldest model-service that this one works with.
const OLDEST_PEER_VERSION: &str = "0.1.0";

/// The facts of this service, with the limits that it was started with.
pub(super) fn facts(config: &Config, port: &Limits, keys: Arc<Keys>) -> ServiceFacts {
    ServiceFacts {
        name: "job-service",
        version: env!("CARGO_PKG_VERSION"),
        oldest_peer_version: OLDEST_PEER_VERSION,
        limits: limits(&config.limits, port),
        authenticator: Some(keys),
        schema: schema(),
    }
}

fn limits(limits: &ServiceLimits, port: &Limits) -> Vec<ServiceLimit> {
    let limit = |name, value, flag| ServiceLimit { name, value, flag };
    let ServiceLimits {
        queued_jobs,
        queued_bytes,
        queued_jobs_per_key,
        watches,
        watches_per_key,
    } = limits;
    let queued_jobs = *queued_jobs as u64;
    let per_key = queued_jobs_per_key.map_or(queued_jobs, u64::from);
    let mut all = vec![
        limit("queued_jobs_max", queued_jobs, "--queued-jobs-max"),
        limit(
            "queued_jobs_per_key_max",
            per_key,
            "--queued-jobs-per-key-max",
        ),
        limit("queued_max_bytes", *queued_bytes, "--queued-mib-max"),
        limit("watches_max", *watches as u64, "--watches-max"),
        limit(
            "watches_per_key_max",
            u64::from(*watches_per_key),
            "--watches-per-key-max",
        ),
        limit("jobs_per_batch_max", BATCH_JOBS_MAX as u64, ""),
        limit("servers_max", SERVERS_MAX as u64, ""),
        limit("api_keys_max", API_KEYS_MAX as u64, ""),
    ];
    all.extend(ServiceLimit::of_port(port));
    all
}
