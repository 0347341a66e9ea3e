//! Administration of this service: what AdminService says of it, and what goes on
//! without being asked.

use std::sync::Arc;

use service_kit::{
    admin::{Admin, ServiceFacts, ServiceLimit},
    database::DatabaseError,
    operations::Operations,
    server::Limits,
};

use super::schema;
use crate::{
    config::Config,
    core::{Core, ServiceLimits},
    jobs::BATCH_JOBS_MAX,
    keys::{API_KEYS_MAX, Keys},
    servers::SERVERS_MAX,
};

/// The oldest model-service that this one works with.
const OLDEST_PEER_VERSION: &str = "0.1.0";

/// Begins administration, and takes up the operations that an earlier process
/// has left running.
pub(super) async fn begin(
    config: &Config,
    port: &Limits,
    core: &Core,
) -> Result<(Admin, Operations), DatabaseError> {
    let (database, clock) = (core.database.clone(), core.clock.clone());
    let operations = Operations::new(database.clone(), clock.clone(), core.shutdown.clone());
    let facts = facts(config, port, Arc::clone(&core.keys));
    let admin = Admin::new(facts, database, operations.clone(), clock);
    admin.take_up_operations().await?;
    admin.begin_schedule(config.backups, &core.shutdown);
    Ok((admin, operations))
}

/// The facts of this service, with the limits that it was started with.
fn facts(config: &Config, port: &Limits, keys: Arc<Keys>) -> ServiceFacts {
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
