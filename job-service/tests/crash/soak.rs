//! Half an hour of SIGKILL at random moments for both services and five
//! stand-ins, all programs of their own, while 2,000 jobs run. The stand-ins'
//! own logs tell whether a job was generated twice.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use forge_sim::{RunEnd, read_events, runs};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use stablequeue_proto::jobs::v1::{self as jobs, JobState, job_service_client::JobServiceClient};
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};

use crate::program::{Program, command};

const SEED: u64 = 20_261_123;
const SERVERS: usize = 5;
const JOBS: usize = 2_000;
/// How long there are kills.
const KILLING: Duration = Duration::from_secs(30 * 60);
/// How long the rest may take then.
const REST: Duration = Duration::from_secs(20 * 60);
/// Between two kills, in milliseconds.
const PAUSE_MS: std::ops::Range<u64> = 500..6_000;
/// How long a killed program stays away, in milliseconds.
const AWAY_MS: std::ops::Range<u64> = 0..2_500;
/// Jobs of a page.
const PAGE: i32 = 1_000;

/// What is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Jobs,
    Models,
    Forge(usize),
}

struct Soak {
    folder: TempDir,
    ports: BTreeMap<Part, u16>,
    running: BTreeMap<Part, Program>,
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes half an hour: cargo build --workspace && cargo test -p job-service --test crash -- --ignored --nocapture half_an_hour_of_kills"]
async fn half_an_hour_of_kills_loses_no_job_and_generates_none_twice() {
    let mut soak = Soak::new();
    for part in soak.parts() {
        soak.start(part);
    }
    soak.running[&Part::Jobs].serves().await;
    let mut client = soak.client();
    let mut ids = BTreeSet::new();
    for number in 0..JOBS {
        ids.insert(submit(&mut client, number).await);
    }
    let kills = soak.kill_for(KILLING).await;
    println!("killed: {kills:?}");
    let ended = soak.all_ended().await;
    soak.judge(&ids, &ended);
}

impl Soak {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut soak = Self {
            folder,
            ports: BTreeMap::new(),
            running: BTreeMap::new(),
        };
        for part in soak.parts() {
            // Free now, and asked for by nobody else on this machine later.
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            soak.ports
                .insert(part, listener.local_addr().unwrap().port());
        }
        soak
    }

    fn parts(&self) -> Vec<Part> {
        let forges = (0..SERVERS).map(Part::Forge);
        [Part::Models, Part::Jobs]
            .into_iter()
            .chain(forges)
            .collect()
    }

    fn url(&self, part: Part) -> String {
        format!("http://127.0.0.1:{}", self.ports[&part])
    }

    fn events(&self, server: usize) -> PathBuf {
        self.folder.path().join(format!("forge-{server}.jsonl"))
    }

    fn start(&mut self, part: Part) {
        let listen = format!("--listen=127.0.0.1:{}", self.ports[&part]);
        let folder = self.folder.path();
        let mut command = match part {
            Part::Models => {
                let mut models = beside("model-service");
                models.args(["serve", &listen, "--metrics-listen=127.0.0.1:0"]);
                models.arg("--data-dir").arg(folder.join("models"));
                models
            }
            Part::Jobs => {
                let servers: Vec<serde_json::Value> = (0..SERVERS)
                    .map(|at| serde_json::json!({"alias": format!("gpu-{at}"), "apiUrl": self.url(Part::Forge(at))}))
                    .collect();
                let servers = serde_json::Value::from(servers).to_string();
                let arguments = [
                    "serve",
                    &listen,
                    "--metrics-listen=127.0.0.1:0",
                    "--probe-ms=300",
                    "--progress-ms=100",
                    "--unknown-grace-ms=1000",
                    "--model-service",
                    &self.url(Part::Models),
                    "--servers",
                    &servers,
                ];
                command(&arguments, &folder.join("jobs"))
            }
            Part::Forge(at) => {
                let mut forge = beside("forge-sim");
                forge.args([&listen, "--step-time-ms=200", "--load-time-ms=300"]);
                forge
                    .arg("--data-dir")
                    .arg(folder.join(format!("forge-{at}")));
                forge.arg("--log-file").arg(self.events(at));
                forge
            }
        };
        self.running.insert(part, Program::start(&mut command));
    }

    /// Kills one thing after another and starts each again; answers how often
    /// each was killed.
    async fn kill_for(&mut self, time: Duration) -> BTreeMap<Part, usize> {
        let mut dice = StdRng::seed_from_u64(SEED);
        let mut kills = BTreeMap::new();
        let begun = Instant::now();
        while begun.elapsed() < time {
            wait(Duration::from_millis(dice.random_range(PAUSE_MS))).await;
            let part = match dice.random_range(0..10) {
                0..=2 => Part::Jobs,
                3..=4 => Part::Models,
                _ => Part::Forge(dice.random_range(0..SERVERS)),
            };
            self.running.remove(&part).unwrap().kill();
            *kills.entry(part).or_default() += 1;
            wait(Duration::from_millis(dice.random_range(AWAY_MS))).await;
            self.start(part);
        }
        kills
    }

    /// All jobs in full, once all have ended.
    async fn all_ended(&self) -> Vec<jobs::Job> {
        self.running[&Part::Jobs].serves().await;
        let mut client = self.client();
        let begun = Instant::now();
        loop {
            let open = list(&mut client, &[JobState::Pending, JobState::Processing]).await;
            if open.is_empty() {
                break;
            }
            assert!(
                begun.elapsed() < REST,
                "{} are open: {:#?}",
                open.len(),
                open[0]
            );
            wait(Duration::from_secs(1)).await;
        }
        let mut ended = Vec::new();
        for job in list(&mut client, &[]).await {
            let request = jobs::GetJobRequest {
                job_id: job.job_id,
                view: jobs::JobView::Full.into(),
            };
            let answer = client.get_job(request).await.unwrap().into_inner();
            ended.push(answer.job.unwrap());
        }
        ended
    }

    /// Every job is there and completed, and no generation of one followed
    /// another whose process lived.
    fn judge(&self, ids: &BTreeSet<String>, ended: &[jobs::Job]) {
        let found: BTreeSet<String> = ended.iter().map(|job| job.job_id.clone()).collect();
        assert_eq!(&found, ids, "jobs are lost or come from nowhere");
        let failed: Vec<_> = ended
            .iter()
            .filter(|job| job.state() != JobState::Completed)
            .collect();
        assert!(
            failed.is_empty(),
            "{} are not completed: {:#?}",
            failed.len(),
            failed[0]
        );
        let mut by_token = BTreeMap::new();
        for job in ended {
            for attempt in &job.attempts {
                by_token.insert(attempt.token.clone(), job.job_id.clone());
            }
        }
        let mut of_job: BTreeMap<String, Vec<(u64, RunEnd)>> = BTreeMap::new();
        for server in 0..SERVERS {
            let events = read_events(&self.events(server)).unwrap();
            for run in runs(&events) {
                let job = by_token[&run.task_id].clone();
                of_job
                    .entry(job)
                    .or_default()
                    .push((run.started_unix_us, run.end));
            }
        }
        let mut generations = 0;
        let mut duplicates = Vec::new();
        for (job, mut runs) in of_job {
            runs.sort_by_key(|(started, _)| *started);
            generations += runs.len();
            let before_the_last = &runs[..runs.len() - 1];
            if before_the_last
                .iter()
                .any(|(_, end)| *end != RunEnd::ProcessDied)
            {
                duplicates.push((job, runs));
            }
        }
        println!(
            "{JOBS} jobs completed by {generations} generations, {} duplicates",
            duplicates.len()
        );
        assert!(duplicates.is_empty(), "{duplicates:#?}");
    }

    fn client(&self) -> JobServiceClient<Channel> {
        let endpoint = Endpoint::from_shared(self.url(Part::Jobs)).unwrap();
        JobServiceClient::new(endpoint.connect_lazy())
    }
}

/// A program that was built beside ours.
fn beside(name: &str) -> Command {
    let path = Path::new(env!("CARGO_BIN_EXE_job-service")).with_file_name(name);
    assert!(
        path.is_file(),
        "{name} is not built: cargo build --workspace"
    );
    Command::new(path)
}

async fn submit(client: &mut JobServiceClient<Channel>, number: usize) -> String {
    let params = jobs::GenerationParams {
        prompt: format!("number {number}"),
        steps: Some(16),
        width: Some(64),
        height: Some(64),
        ..jobs::GenerationParams::default()
    };
    let request = jobs::SubmitJobRequest {
        input: Some(jobs::submit_job_request::Input::Params(params)),
        max_attempts: Some(10),
        ..jobs::SubmitJobRequest::default()
    };
    let answer = client.submit_job(request).await.unwrap().into_inner();
    answer.job.unwrap().job_id
}

async fn list(client: &mut JobServiceClient<Channel>, states: &[JobState]) -> Vec<jobs::Job> {
    let mut found = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = jobs::ListJobsRequest {
            page_size: PAGE,
            page_token,
            states: states.iter().map(|state| (*state).into()).collect(),
            ..jobs::ListJobsRequest::default()
        };
        let page = client.list_jobs(request).await.unwrap().into_inner();
        found.extend(page.jobs);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return found;
        }
    }
}

/// Lets time pass for programs that nobody waits on.
async fn wait(time: Duration) {
    let never = std::future::pending::<()>();
    assert!(tokio::time::timeout(time, never).await.is_err());
}
