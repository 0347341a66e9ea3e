//! SubmitJob at 64 in flight against a bare tonic echo of the same payload in
//! the same run: real service, real sockets, real disk; no Forge server, so
//! that nothing but submission is measured.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use anyhow::{Context as _, Result};
use service_kit::auth::{ApiKey, Token};
use stablequeue_proto::jobs::v1::{self as jobs, job_service_client::JobServiceClient};
use system_tests::{
    Pair, PairOptions,
    callers::{CallerChannel, connect},
};
use tokio::task::JoinSet;

use crate::{
    echo,
    figures::{median, ms, processor_s, quantile},
};

/// Calls under way at a time, over all connections.
const IN_FLIGHT: usize = 64;
const CONNECTIONS: usize = 8;
/// Calls of one round.
const CALLS: usize = 4_000;
/// Rounds of each, in turns; one more before them warms up.
const ROUNDS: usize = 9;
/// What a trial with diesel and one savepoint for each job reached; below it
/// the submission path does too much.
const BOUND: f64 = 0.42;

/// What is to be left of the rate when calls present a key.
const KEYED_BOUND: f64 = 0.9;

/// What one round came to.
pub(crate) struct Round {
    calls_per_s: f64,
    /// Processor time of both sides together.
    processor_s: f64,
    /// The time of each call, in milliseconds.
    calls_ms: Vec<f64>,
}

/// Measures and prints.
pub(crate) async fn run() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let address = pair.jobs_addr();
    let answer = pair.jobs().await?.submit_job(request()).await?.into_inner();
    let service = clients(address, None).await?;
    let bare = clients(echo::serve(answer).await?, None).await?;
    round(&bare).await?;
    round(&service).await?;
    let (mut echoes, mut submissions, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let echoed = round(&bare).await?;
        let submitted = round(&service).await?;
        ratios.push(submitted.calls_per_s / echoed.calls_per_s);
        echoes.push(echoed);
        submissions.push(submitted);
    }
    println!(
        "SubmitJob at {IN_FLIGHT} in flight, {CONNECTIONS} connections, {ROUNDS} rounds of {CALLS}"
    );
    print_rounds("bare tonic echo", &echoes);
    print_rounds("SubmitJob", &submissions);
    println!(
        "  ratio: median {:.2} (from {:.2} to {:.2}); by processor time {:.2}; \
         a plain trial reached {BOUND}",
        median(&ratios),
        quantile(&ratios, 0.0),
        quantile(&ratios, 1.0),
        processor_us(&echoes) / processor_us(&submissions),
    );
    Ok(())
}

/// The same with authentication on, against the same without, each on a
/// database of its own that grows alike. Prints both and their ratio.
pub(crate) async fn run_with_keys() -> Result<()> {
    let open = Pair::start(PairOptions::default()).await?;
    let options = PairOptions {
        key: Some(ApiKey::generate()?.token()),
        ..PairOptions::default()
    };
    let keyed = Pair::start(options).await?;
    let without = clients(open.jobs_addr(), None).await?;
    let with = clients(keyed.jobs_addr(), keyed.key()).await?;
    round(&without).await?;
    round(&with).await?;
    let (mut opens, mut keyeds, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let one = round(&without).await?;
        let other = round(&with).await?;
        ratios.push(other.calls_per_s / one.calls_per_s);
        opens.push(one);
        keyeds.push(other);
    }
    println!("SubmitJob with and without authentication, {ROUNDS} rounds of {CALLS}");
    print_rounds("without", &opens);
    print_rounds("with a key", &keyeds);
    let ratio = median(&ratios);
    println!(
        "  ratio: median {ratio:.2} (from {:.2} to {:.2}); by processor time {:.2}; \
         the bound is {KEYED_BOUND}: {}",
        quantile(&ratios, 0.0),
        quantile(&ratios, 1.0),
        processor_us(&opens) / processor_us(&keyeds),
        if ratio >= KEYED_BOUND {
            "kept"
        } else {
            "missed"
        },
    );
    Ok(())
}

fn print_rounds(name: &str, rounds: &[Round]) {
    let rates: Vec<f64> = rounds.iter().map(|round| round.calls_per_s).collect();
    let calls: Vec<f64> = rounds
        .iter()
        .flat_map(|round| round.calls_ms.iter().copied())
        .collect();
    println!(
        "  {name:<16} {:>7.0}/s   p50 {:>6.2} ms   p99 {:>6.2} ms   processor {:>4.0} us a call",
        median(&rates),
        median(&calls),
        quantile(&calls, 0.99),
        processor_us(rounds),
    );
}

/// Processor time of one call, client and server together, in microseconds.
fn processor_us(rounds: &[Round]) -> f64 {
    let calls: usize = rounds.iter().map(|round| round.calls_ms.len()).sum();
    let spent_s: f64 = rounds.iter().map(|round| round.processor_s).sum();
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let calls = calls as f64;
    spent_s * 1_000_000.0 / calls
}

pub(crate) async fn clients(
    address: SocketAddr,
    key: Option<&Token>,
) -> Result<Vec<JobServiceClient<CallerChannel>>> {
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(JobServiceClient::new(connect(address, key).await?));
    }
    Ok(clients)
}

pub(crate) async fn round(clients: &[JobServiceClient<CallerChannel>]) -> Result<Round> {
    let left = Arc::new(AtomicUsize::new(CALLS));
    let mut callers = JoinSet::new();
    let (started, processor) = (Instant::now(), processor_s());
    for client in clients.iter().cycle().take(IN_FLIGHT) {
        callers.spawn(call_until_none_is_left(client.clone(), Arc::clone(&left)));
    }
    let mut calls_ms = Vec::with_capacity(CALLS);
    while let Some(caller) = callers.join_next().await {
        calls_ms.extend(caller??);
    }
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let calls_per_s = calls_ms.len() as f64 / started.elapsed().as_secs_f64();
    Ok(Round {
        calls_per_s,
        processor_s: processor_s() - processor,
        calls_ms,
    })
}

async fn call_until_none_is_left(
    mut client: JobServiceClient<CallerChannel>,
    left: Arc<AtomicUsize>,
) -> Result<Vec<f64>> {
    let mut calls_ms = Vec::new();
    let take = |count: usize| count.checked_sub(1);
    while left
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
        .is_ok()
    {
        let request = request();
        let started = Instant::now();
        let answer = client.submit_job(request).await?;
        calls_ms.push(ms(started.elapsed()));
        answer.into_inner().job.context("no job in the answer")?;
    }
    Ok(calls_ms)
}

/// A submission as clients send it: two prompts, a checkpoint, sizes, labels.
pub(crate) fn request() -> jobs::SubmitJobRequest {
    let params = jobs::GenerationParams {
        prompt: "a lighthouse on a cliff above a stormy sea, volumetric light, highly \
                 detailed, sharp focus, cinematic, 35mm photograph, film grain, golden hour"
            .repeat(3),
        negative_prompt: "blurry, lowres, jpeg artifacts, watermark, text, bad anatomy".into(),
        steps: Some(28),
        sampler: "Euler a".into(),
        scheduler: "Automatic".into(),
        cfg_scale: Some(6.5),
        width: Some(832),
        height: Some(1216),
        seed: Some(1_234_567),
        checkpoint: "landscape-v2.safetensors".into(),
        ..jobs::GenerationParams::default()
    };
    jobs::SubmitJobRequest {
        input: Some(jobs::submit_job_request::Input::Params(params)),
        labels: [("team".to_owned(), "bench".to_owned())].into(),
        app_type: jobs::AppType::Api.into(),
        source_info: "bench".to_owned(),
        ..jobs::SubmitJobRequest::default()
    }
}
