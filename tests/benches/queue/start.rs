//! From the start of job-service to SERVING with a million completed jobs in
//! its database, after a clean stop and with nothing pending, against the same
//! with an empty one in turns in the same run.

use std::time::Instant;

use anyhow::{Result, ensure};
use diesel::{Connection as _, SqliteConnection, connection::SimpleConnection as _};
use system_tests::{Pair, PairOptions, callers::connect};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::figures::{median, ms, quantile};

/// Completed jobs in the one database.
const JOBS: usize = 1_000_000;
/// Starts on each database, in turns; one more before them warms up.
const STARTS: usize = 15;
/// How much longer a start may take because of the jobs, in milliseconds.
const BOUND_MS: f64 = 100.0;

/// Measures and prints.
pub(crate) async fn run() -> Result<()> {
    let mut empty = stopped().await?;
    let mut full = stopped().await?;
    let begun = Instant::now();
    fill(&full)?;
    let filled_s = begun.elapsed().as_secs_f64();
    let size_bytes = std::fs::metadata(full.jobs_database())?.len();
    let (mut empty_ms, mut full_ms) = (Vec::new(), Vec::new());
    for round in 0..=STARTS {
        let (without, with) = (start(&mut empty).await?, start(&mut full).await?);
        if round > 0 {
            empty_ms.push(without);
            full_ms.push(with);
        }
    }
    println!(
        "Start of job-service to SERVING with {JOBS} completed jobs ({} MiB, filled in {filled_s:.0} s), {STARTS} starts",
        size_bytes / (1024 * 1024),
    );
    for (name, starts) in [("empty", &empty_ms), ("with the jobs", &full_ms)] {
        println!(
            "  {name:<16} median {:>7.1} ms   p95 {:>7.1} ms",
            median(starts),
            quantile(starts, 0.95),
        );
    }
    let added_ms = median(&full_ms) - median(&empty_ms);
    println!(
        "  the jobs add {added_ms:.1} ms to the median; the bound is {BOUND_MS} ms: {}",
        if added_ms <= BOUND_MS {
            "kept"
        } else {
            "missed"
        },
    );
    Ok(())
}

/// A pair whose job-service has made its database and was stopped in order.
async fn stopped() -> Result<Pair> {
    let mut pair = Pair::start(PairOptions::with_quiet_monitors()).await?;
    pair.stop_jobs().await?;
    Ok(pair)
}

/// Starts job-service until its health says SERVING, stops it in order, and
/// answers how long the start took, in milliseconds.
async fn start(pair: &mut Pair) -> Result<f64> {
    let begun = Instant::now();
    pair.start_jobs().await?;
    let mut health = HealthClient::new(connect(pair.jobs_addr(), None).await?);
    let answer = health.check(HealthCheckRequest::default()).await?;
    let took_ms = ms(begun.elapsed());
    let status = answer.into_inner().status();
    ensure!(status == ServingStatus::Serving, "it is {status:?}");
    drop(health);
    pair.stop_jobs().await?;
    Ok(took_ms)
}

/// Puts the jobs into the database of a stopped job-service, all at once.
fn fill(pair: &Pair) -> Result<()> {
    let path = pair.jobs_database();
    let path = path.to_str().unwrap_or_default();
    let mut database = SqliteConnection::establish(path)?;
    database.batch_execute(&format!(
        "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -262144;
         INSERT INTO jobs (mobilesd_job_id, status, creation_timestamp, last_updated_timestamp,
             completion_timestamp, target_server_alias, generation_params_json,
             result_details_json, revision, attempt_number, request_bytes)
         WITH RECURSIVE n (number, time) AS (
             SELECT 1, '2026-01-01T00:00:00.000Z'
             UNION ALL
             SELECT number + 1, strftime('%Y-%m-%dT%H:%M:%fZ', '2026-01-01', number || ' seconds')
             FROM n WHERE number < {JOBS})
         SELECT printf('01900000-0000-7000-8000-%012x', number), 'completed', time, time, time,
             'gpu', '{{\"prompt\": \"a lighthouse, number ' || number || '\", \"steps\": 20}}',
             '{{\"images\": []}}', 6, 1, 80
         FROM n;
         PRAGMA journal_mode = WAL;"
    ))?;
    Ok(())
}
