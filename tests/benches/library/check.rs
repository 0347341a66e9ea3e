//! CheckAvailability for three references over eight servers, at 64 in flight,
//! against a bare tonic echo of the same payload in the same run.

mod echo;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Result, ensure};
use stablequeue_proto::models::v1::{
    AvailabilityState, CheckAvailabilityRequest, ModelReference,
    availability_service_client::AvailabilityServiceClient,
};
use tokio::task::JoinSet;
use tonic::transport::Channel;

use crate::figures::{median, ms, processor_s, quantile};
use crate::inventories::{client, model, name, sha256, start, sync};

/// Models of the registry.
const MODELS: usize = 100_000;
/// Servers, each with a part of the models and with those that jobs name.
const SERVERS: usize = 8;
/// Models that every server has.
const SHARED: usize = 3_000;
/// Combinations of three references, each with models of its own, that jobs
/// name again and again: as many as jobs of different kinds wait at a time.
const JOBS: usize = 200;
/// Calls under way at a time, over all connections.
const IN_FLIGHT: usize = 64;
const CONNECTIONS: usize = 8;
/// Calls of one round.
const CALLS: usize = 8_000;
/// Rounds of each, in turns; one more before them warms up.
const ROUNDS: usize = 7;
/// The share of the echo's rate that is to be reached.
const BOUND: f64 = 0.4;

type Client = AvailabilityServiceClient<Channel>;

/// What one round came to.
struct Round {
    calls_per_s: f64,
    processor_us: f64,
    calls_ms: Vec<f64>,
}

/// Measures and prints.
pub(crate) async fn run() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let running = start(folder.path()).await?;
    let mut one = client(running.local_addr()).await?;
    for server in 0..SERVERS {
        let is_there = |number: &usize| *number < SHARED || number % SERVERS == server;
        let listed = (0..MODELS).filter(is_there);
        let listed = listed.map(|number| model(number, true)).collect();
        sync(&mut one, &format!("server-{server}"), "1", listed).await?;
    }
    let answer = one.check_availability(request(0)).await?.into_inner();
    let available = answer.servers.iter().flat_map(|server| &server.references);
    let available = available.filter(|found| found.state() == AvailabilityState::Available);
    ensure!(available.count() == 3 * SERVERS, "{answer:?}");
    let bare = clients(echo::serve(answer).await?).await?;
    let service = clients(running.local_addr()).await?;
    println!(
        "CheckAvailability for 3 references over {SERVERS} servers, {MODELS} models, \
         {IN_FLIGHT} in flight, {ROUNDS} rounds of {CALLS}"
    );
    for (name, jobs) in [("as jobs ask", JOBS), ("never the same", usize::MAX)] {
        compare(name, jobs, &bare, &service).await?;
    }
    Ok(())
}

/// Lets both answer in turns; of `jobs` different questions.
async fn compare(name: &str, jobs: usize, bare: &[Client], service: &[Client]) -> Result<()> {
    let asked = Arc::new(AtomicUsize::new(0));
    round(bare, &asked, jobs).await?;
    round(service, &asked, jobs).await?;
    let (mut echoes, mut checks, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let echoed = round(bare, &asked, jobs).await?;
        let checked = round(service, &asked, jobs).await?;
        ratios.push(checked.calls_per_s / echoed.calls_per_s);
        echoes.push(echoed);
        checks.push(checked);
    }
    println!(" {name}");
    print("bare tonic echo", &echoes);
    print("CheckAvailability", &checks);
    let ratio = median(&ratios);
    println!(
        "  ratio: median {ratio:.2} (from {:.2} to {:.2}; at least {BOUND}): {}",
        quantile(&ratios, 0.0),
        quantile(&ratios, 1.0),
        if ratio >= BOUND { "kept" } else { "missed" },
    );
    Ok(())
}

fn print(name: &str, rounds: &[Round]) {
    let rates: Vec<f64> = rounds.iter().map(|round| round.calls_per_s).collect();
    let spent: Vec<f64> = rounds.iter().map(|round| round.processor_us).collect();
    let calls: Vec<f64> = rounds
        .iter()
        .flat_map(|round| round.calls_ms.iter().copied())
        .collect();
    println!(
        "  {name:<18} {:>7.0}/s   p50 {:>6.2} ms   p99 {:>6.2} ms   processor {:>4.0} us a call",
        median(&rates),
        median(&calls),
        quantile(&calls, 0.99),
        median(&spent),
    );
}

async fn clients(address: SocketAddr) -> Result<Vec<Client>> {
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(client(address).await?);
    }
    Ok(clients)
}

async fn round(clients: &[Client], asked: &Arc<AtomicUsize>, jobs: usize) -> Result<Round> {
    let left = Arc::new(AtomicUsize::new(CALLS));
    let mut callers = JoinSet::new();
    let (started, processor) = (Instant::now(), processor_s());
    for client in clients.iter().cycle().take(IN_FLIGHT) {
        let (client, left, asked) = (client.clone(), Arc::clone(&left), Arc::clone(asked));
        callers.spawn(call_until_none_is_left(client, left, asked, jobs));
    }
    let mut calls_ms = Vec::with_capacity(CALLS);
    while let Some(caller) = callers.join_next().await {
        calls_ms.extend(caller??);
    }
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let calls = calls_ms.len() as f64;
    Ok(Round {
        calls_per_s: calls / started.elapsed().as_secs_f64(),
        processor_us: (processor_s() - processor) * 1_000_000.0 / calls,
        calls_ms,
    })
}

async fn call_until_none_is_left(
    mut client: Client,
    left: Arc<AtomicUsize>,
    asked: Arc<AtomicUsize>,
    jobs: usize,
) -> Result<Vec<f64>> {
    let mut calls_ms = Vec::new();
    let take = |count: usize| count.checked_sub(1);
    while left
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
        .is_ok()
    {
        let request = request(asked.fetch_add(1, Ordering::Relaxed) % jobs);
        let started = Instant::now();
        let answer = client.check_availability(request).await?.into_inner();
        calls_ms.push(ms(started.elapsed()));
        ensure!(answer.servers.len() == SERVERS, "{answer:?}");
    }
    Ok(calls_ms)
}

/// A checkpoint by its name, another by its hash, and a LoRA: of the models that
/// every server has while there are such, then of the others.
fn request(job: usize) -> CheckAvailabilityRequest {
    let first = job.wrapping_mul(3) % (MODELS - 3);
    // Every third model is a LoRA.
    let lora = first / 3 * 3;
    let (one, other) = (lora + 1, lora + 2);
    let reference = |reference: String| ModelReference {
        reference,
        ..ModelReference::default()
    };
    let lora = name(lora);
    let lora = lora.rsplit('/').next().unwrap_or_default();
    let lora = lora.trim_end_matches(".safetensors").to_owned();
    CheckAvailabilityRequest {
        references: vec![
            reference(name(one)),
            reference(sha256(other)),
            reference(lora),
        ],
        servers: (0..SERVERS)
            .map(|server| format!("server-{server}"))
            .collect(),
        ..CheckAvailabilityRequest::default()
    }
}
