//! The time from SubmitJob's answer to the arrival of the request at an idle
//! server, against commits of a bare SQLite in the same folder in the same
//! run: between the two the claim and the phase `sending` must each be on disk.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use diesel::{
    Connection as _, RunQueryDsl as _, SqliteConnection, connection::SimpleConnection as _,
};
use stablequeue_proto::jobs::v1 as jobs;
use system_tests::{Pair, PairOptions, Sim, pair::txt2img};

use crate::figures::{median, ms, quantile};

/// Jobs that are sent one after the other.
const JOBS: usize = 60;
/// Jobs before them that warm up.
const WARM_UP: usize = 5;
/// How long one job may take at most.
const MOST: Duration = Duration::from_secs(30);
/// How long the caller waits for the end of a job.
const WAIT: prost_types::Duration = prost_types::Duration {
    seconds: 30,
    nanos: 0,
};

/// One job, in milliseconds from the sending of SubmitJob on.
struct Sent {
    answered_ms: f64,
    arrived_ms: f64,
}

/// Measures and prints.
pub(crate) async fn run() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::instant().await?;
    pair.add("gpu", &sim).await?;
    let mut bare = BareDatabase::new(&pair)?;
    let (mut sent, mut commits) = (Vec::new(), Vec::new());
    for number in 0..JOBS + WARM_UP {
        let one = send(&pair, &sim).await?;
        let commit = bare.commit()?;
        if number >= WARM_UP {
            sent.push(one);
            commits.push(commit);
        }
    }
    let after: Vec<f64> = sent
        .iter()
        .map(|it| it.arrived_ms - it.answered_ms)
        .collect();
    let answers: Vec<f64> = sent.iter().map(|it| it.answered_ms).collect();
    println!("From SubmitJob's answer to the request at an idle server, {JOBS} jobs");
    print_line("bare SQLite commit", &commits);
    print_line("SubmitJob's answer", &answers);
    print_line("answer to request", &after);
    println!(
        "  ratio: {:.1} bare commits, {:.2} of SubmitJob's round trip; two commits are needed",
        median(&after) / median(&commits),
        median(&after) / median(&answers),
    );
    Ok(())
}

fn print_line(name: &str, values_ms: &[f64]) {
    println!(
        "  {name:<20} p50 {:>6.2} ms   p99 {:>6.2} ms",
        median(values_ms),
        quantile(values_ms, 0.99),
    );
}

/// Submits a job, sees it arrive and waits for its end.
async fn send(pair: &Pair, sim: &Sim) -> Result<Sent> {
    let mut client = pair.jobs().await?;
    let before = posts(&sim.sim.requests());
    let started = Instant::now();
    let arrival = async {
        sim.sim
            .wait_for_requests(|all| posts(all) > before, MOST)
            .await?;
        Ok::<_, anyhow::Error>(ms(started.elapsed()))
    };
    let answer = async {
        let answer = client.submit_job(txt2img("a lighthouse")).await?;
        Ok::<_, anyhow::Error>((answer.into_inner(), ms(started.elapsed())))
    };
    let (arrived_ms, (answer, answered_ms)) = tokio::try_join!(arrival, answer)?;
    let job_id = answer.job.context("no job in the answer")?.job_id;
    let request = jobs::WaitJobRequest {
        job_id,
        timeout: Some(WAIT),
    };
    let ended = client.wait_job(request).await?.into_inner();
    ensure!(ended.done, "a job did not end");
    Ok(Sent {
        answered_ms,
        arrived_ms,
    })
}

fn posts(requests: &[forge_sim::LoggedRequest]) -> usize {
    let generate = |it: &&forge_sim::LoggedRequest| it.path == "/sdapi/v1/txt2img";
    requests.iter().filter(generate).count()
}

/// A database of its own with the same promises: every commit is on disk.
struct BareDatabase(SqliteConnection);

impl BareDatabase {
    fn new(pair: &Pair) -> Result<Self> {
        let path = pair.folder.path().join("bare.sqlite");
        let mut connection =
            SqliteConnection::establish(path.to_str().context("an odd temporary folder")?)?;
        connection.batch_execute(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT NOT NULL)",
        )?;
        Ok(Self(connection))
    }

    /// Writes one row and answers how many milliseconds that took.
    fn commit(&mut self) -> Result<f64> {
        let started = Instant::now();
        let sql = "INSERT INTO t (text) VALUES (hex(randomblob(300)))";
        diesel::sql_query(sql).execute(&mut self.0)?;
        Ok(ms(started.elapsed()))
    }
}
