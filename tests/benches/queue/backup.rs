//! SubmitJob at a steady 1,000 a second while the database is backed up,
//! against the same load without a backup in the same run.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use stablequeue_proto::{
    admin::v1::{CreateBackupRequest, admin_service_client::AdminServiceClient},
    jobs::v1::job_service_client::JobServiceClient,
};
use system_tests::{
    Pair, PairOptions,
    callers::{CallerChannel, connect},
};
use tokio::{task::JoinSet, time::Instant};

use crate::{
    figures::{median, ms, quantile},
    submit::{clients, request, round},
};

/// Submissions a second, due at fixed times: one that comes late counts from
/// when it was due.
const RATE: u32 = 1_000;
/// Rounds of submissions that fill the database first.
const FILLING: usize = 15;
/// Backups that are made, each between two spells without one.
const BACKUPS: usize = 5;
/// How long the load goes on without a backup each time.
const QUIET: Duration = Duration::from_secs(2);
/// How long it goes on behind each backup, when the write-ahead log that grew
/// meanwhile is moved into the database, before the next spell without one.
const AFTER: Duration = Duration::from_secs(1);
/// How many times as long submissions may take during a backup.
const BOUND: f64 = 3.0;

/// Jobs that may wait: more than are submitted in all.
const QUEUED_MAX: usize = 1_000_000;

/// Measures and prints.
pub(crate) async fn run() -> Result<()> {
    let mut options = PairOptions::default();
    options.limits.queued_jobs = QUEUED_MAX;
    let pair = Pair::start(options).await?;
    let jobs = clients(pair.jobs_addr(), None).await?;
    for _ in 0..FILLING {
        round(&jobs).await?;
    }
    let admin = AdminServiceClient::new(connect(pair.jobs_addr(), None).await?);
    let (mut quiet, mut during, mut after) = (Vec::new(), Vec::new(), Vec::new());
    let mut backups_ms = Vec::new();
    let mut size_bytes = 0;
    for _ in 0..BACKUPS {
        let end = Instant::now() + QUIET;
        quiet.extend(load(&jobs, || Instant::now() < end).await?);
        let running = Arc::new(AtomicBool::new(true));
        let (begun, done) = (Instant::now(), Arc::clone(&running));
        let mut caller = admin.clone();
        let backup = async {
            let made = caller.create_backup(CreateBackupRequest::default()).await;
            done.store(false, Ordering::Release);
            made
        };
        let (made, calls_ms) =
            tokio::join!(backup, load(&jobs, || running.load(Ordering::Acquire)));
        size_bytes = made?.into_inner().backup.map_or(0, |made| made.size_bytes);
        backups_ms.push(ms(begun.elapsed()));
        during.extend(calls_ms?);
        let end = Instant::now() + AFTER;
        after.extend(load(&jobs, || Instant::now() < end).await?);
    }
    let (before, amid) = (quantile(&quiet, 0.99), quantile(&during, 0.99));
    println!(
        "SubmitJob at {RATE}/s while {BACKUPS} backups of {} MiB are made, {:.0} ms each",
        size_bytes / (1024 * 1024),
        median(&backups_ms),
    );
    for (name, calls) in [
        ("without", &quiet),
        ("during a backup", &during),
        ("just after one", &after),
    ] {
        println!(
            "  {name:<16} {:>6} calls   p50 {:>6.2} ms   p99 {:>6.2} ms",
            calls.len(),
            median(calls),
            quantile(calls, 0.99),
        );
    }
    println!(
        "  ratio of the p99: {:.2}; the bound is {BOUND}: {}",
        amid / before,
        if amid <= BOUND * before {
            "kept"
        } else {
            "missed"
        },
    );
    Ok(())
}

/// Submits at the fixed rate for as long as `goes_on` says, and answers how
/// long each took from when it was due, in milliseconds.
async fn load(
    jobs: &[JobServiceClient<CallerChannel>],
    goes_on: impl Fn() -> bool,
) -> Result<Vec<f64>> {
    let mut calls = JoinSet::new();
    let mut due = Instant::now();
    for client in jobs.iter().cycle() {
        if !goes_on() {
            break;
        }
        tokio::time::sleep_until(due).await;
        let (mut client, from) = (client.clone(), due);
        calls.spawn(async move {
            client.submit_job(request()).await?;
            Ok::<_, tonic::Status>(ms(from.elapsed()))
        });
        due += Duration::from_secs(1) / RATE;
    }
    let mut calls_ms = Vec::new();
    while let Some(call) = calls.join_next().await {
        calls_ms.push(call??);
    }
    Ok(calls_ms)
}
