//! What the program works with: model-service and Forge stand-ins in this
//! process, and folders that outlive every run of the program.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use forge_sim::{ForgeSim, Generation, SimConfig};
use service_kit::{clock::Clock, server};
use stablequeue_proto::jobs::v1::{self as jobs, JobState, job_service_client::JobServiceClient};
use tempfile::TempDir;
use tonic::{Streaming, transport::Channel};

use crate::program::{BOUND, Program, command};

/// The folder in which images are made ready.
const STAGING: &str = ".staging";
/// The longest wait of one call for the end of a job.
const WAIT: prost_types::Duration = prost_types::Duration {
    seconds: 60,
    nanos: 0,
};

/// Everything but the program.
pub(crate) struct World {
    folder: TempDir,
    models: model_service::Running,
    pub(crate) sims: Vec<ForgeSim>,
}

impl World {
    /// With as many stand-ins, all alike.
    pub(crate) async fn with_sims(count: usize, change: impl Fn(&mut SimConfig)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let config = model_service::Config::in_folder(folder.path().join("models"));
        let models = model_service::start(config, listener, Clock::system())
            .await
            .unwrap();
        let mut sims = Vec::new();
        for at in 0..count {
            let mut config = SimConfig::instant(folder.path().join(format!("forge-{at}")));
            change(&mut config);
            sims.push(ForgeSim::start(config).await.unwrap());
        }
        Self {
            folder,
            models,
            sims,
        }
    }

    /// With one stand-in that takes no time.
    pub(crate) async fn new() -> Self {
        Self::with_sims(1, |_| {}).await
    }

    /// With one stand-in that waits for permits.
    pub(crate) async fn gated() -> Self {
        Self::with_sims(1, |config| config.gated = true).await
    }

    /// The data folder of the program.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.folder.path().join("jobs")
    }

    /// Starts the program with further arguments.
    pub(crate) fn start(&self, further: &[&str]) -> Program {
        let models = format!("http://{}", self.models.local_addr());
        let servers: Vec<serde_json::Value> = self
            .sims
            .iter()
            .enumerate()
            .map(|(at, sim)| serde_json::json!({"alias": format!("gpu-{at}"), "apiUrl": sim.url()}))
            .collect();
        let servers = serde_json::Value::from(servers).to_string();
        let mut arguments = vec![
            "serve",
            "--listen=127.0.0.1:0",
            "--metrics-listen=127.0.0.1:0",
            "--probe-ms=200",
            "--progress-ms=50",
            // What is sent is sent because of an event.
            "--sweep-ms=0",
            "--unknown-grace-ms=500",
            "--model-service",
            &models,
            "--servers",
            &servers,
        ];
        arguments.extend(further);
        Program::start(&mut command(&arguments, &self.data_dir()))
    }

    /// Runs the program up to a stop point with one job, then kills it there.
    pub(crate) async fn kill_at(&self, point: &str) -> String {
        let program = self.start(&["--stop-at", point]);
        let id = Client::of(&program).await.submit("a lighthouse").await;
        program.says(&format!("stopped at {point}")).await;
        program.kill();
        id
    }

    /// Every generation of every stand-in.
    pub(crate) fn generations(&self) -> Vec<Generation> {
        self.sims.iter().flat_map(ForgeSim::log).collect()
    }

    /// Waits until the first stand-in has as many requests to this path since
    /// the place `since` in its log.
    pub(crate) async fn requests(&self, path: &str, since: usize, count: usize) {
        self.sims[0]
            .wait_for_requests(
                |all| all.iter().skip(since).filter(|it| it.path == path).count() >= count,
                BOUND,
            )
            .await
            .unwrap();
    }

    /// Waits until a stand-in is at work.
    pub(crate) async fn at_work(&self) {
        self.sims[0]
            .wait_for(|all| !all.is_empty(), BOUND)
            .await
            .unwrap();
    }

    /// The images on disk, by digest.
    pub(crate) fn images_on_disk(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for folder in entries(&self.data_dir().join("images")) {
            if folder.ends_with(STAGING) {
                continue;
            }
            for file in entries(&folder) {
                let digest = file.file_stem().unwrap().to_str().unwrap();
                let place = Path::new(&digest[..2]).join(format!("{digest}.png"));
                assert!(file.ends_with(place), "{} is left over", file.display());
                found.insert(digest.to_owned());
            }
        }
        found
    }

    /// What lies where images are made ready.
    pub(crate) fn staging(&self) -> Vec<PathBuf> {
        entries(&self.data_dir().join("images").join(STAGING))
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// Calls a running program.
pub(crate) struct Client {
    jobs: JobServiceClient<Channel>,
}

impl Client {
    /// A client of a program, once it takes calls.
    pub(crate) async fn of(program: &Program) -> Self {
        let address = format!("http://{}", program.serves().await);
        let jobs = JobServiceClient::connect(address).await.unwrap();
        Self { jobs }
    }

    /// Submits a small job and answers its id.
    pub(crate) async fn submit(&mut self, prompt: &str) -> String {
        self.submit_to_watch(prompt).await.0
    }

    /// The same, with the token behind it.
    pub(crate) async fn submit_to_watch(&mut self, prompt: &str) -> (String, String) {
        let params = jobs::GenerationParams {
            prompt: prompt.to_owned(),
            steps: Some(4),
            width: Some(64),
            height: Some(64),
            ..jobs::GenerationParams::default()
        };
        let request = jobs::SubmitJobRequest {
            input: Some(jobs::submit_job_request::Input::Params(params)),
            ..jobs::SubmitJobRequest::default()
        };
        let answer = self.jobs.submit_job(request).await.unwrap().into_inner();
        (answer.job.unwrap().job_id, answer.resume_token)
    }

    /// What happens to a job after a token.
    pub(crate) async fn watch(
        &mut self,
        id: &str,
        resume_token: &str,
    ) -> Streaming<jobs::WatchJobResponse> {
        let request = jobs::WatchJobRequest {
            job_id: id.to_owned(),
            resume_token: resume_token.to_owned(),
        };
        self.jobs.watch_job(request).await.unwrap().into_inner()
    }

    /// Waits until a job is completed and answers it in full.
    pub(crate) async fn completed(&mut self, id: &str) -> jobs::Job {
        let job = self.ended(id).await;
        assert_eq!(job.state(), JobState::Completed, "{job:#?}");
        job
    }

    /// Waits until a job has ended and answers it in full.
    pub(crate) async fn ended(&mut self, id: &str) -> jobs::Job {
        let request = jobs::WaitJobRequest {
            job_id: id.to_owned(),
            timeout: Some(WAIT),
        };
        let answer = self.jobs.wait_job(request).await.unwrap().into_inner();
        assert!(answer.done, "{:#?}", answer.job);
        self.job(id).await
    }

    /// A job in full.
    pub(crate) async fn job(&mut self, id: &str) -> jobs::Job {
        let request = jobs::GetJobRequest {
            job_id: id.to_owned(),
            view: jobs::JobView::Full.into(),
        };
        let job = self.jobs.get_job(request).await.unwrap().into_inner().job;
        job.unwrap()
    }

    /// The jobs that there are, at most 100.
    pub(crate) async fn list(&mut self) -> Vec<jobs::Job> {
        let request = jobs::ListJobsRequest {
            page_size: 100,
            ..jobs::ListJobsRequest::default()
        };
        self.jobs
            .list_jobs(request)
            .await
            .unwrap()
            .into_inner()
            .jobs
    }

    /// The digests of the images of a job.
    pub(crate) async fn images(&mut self, id: &str) -> BTreeSet<String> {
        let request = jobs::ListJobImagesRequest {
            job_id: id.to_owned(),
        };
        let answer = self.jobs.list_job_images(request).await.unwrap();
        let images = answer.into_inner().images;
        images.into_iter().map(|image| image.sha256).collect()
    }
}
