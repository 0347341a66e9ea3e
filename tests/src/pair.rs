//! The pair in this process, on free ports and a temporary folder, with Forge
//! stand-ins beside it.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use job_service::policy::DownloadPolicy;
use service_kit::auth::Token;
use stablequeue_proto::jobs::v1 as jobs;
use tempfile::TempDir;

use crate::{Sim, wait};

mod starting;

use starting::{start_jobs, start_models};

/// Longer than any test.
const QUIET: Duration = Duration::from_secs(600);

/// How a pair is started.
#[derive(Clone, Debug)]
pub struct PairOptions {
    /// How patient job-service's loops are.
    pub pace: job_service::core::Pace,
    /// How long job-service waits at its stop for generations to end.
    pub grace: Duration,
    /// How much job-service takes on.
    pub limits: job_service::core::ServiceLimits,
    /// Whether models are downloaded for jobs that do not say.
    pub download_missing: DownloadPolicy,
    /// What model-service reads itself, and how it asks Civitai.
    pub library: model_service::config::LibraryConfig,
    /// The tokens that model-service asks for.
    pub model_tokens: Option<Arc<model_service::tokens::Tokens>>,
    /// The token that job-service presents, and that calls of the pair to
    /// model-service carry.
    pub model_token: Option<Token>,
    /// The first key of job-service, with all scopes; calls of the pair carry
    /// it. Without one, authentication is off.
    pub key: Option<Token>,
}

impl Default for PairOptions {
    fn default() -> Self {
        Self {
            pace: job_service::core::Pace {
                probe: Duration::from_millis(200),
                inventory: Duration::from_millis(500),
                second_look: Duration::from_millis(50),
                progress: Duration::from_millis(50),
                // What is sent is sent because of an event.
                sweep: None,
                unknown_grace: Duration::from_millis(500),
                answer_grace: Duration::from_millis(500),
                retry_first: Duration::from_millis(50),
                retry_most: Duration::from_millis(400),
                recovery: Duration::from_secs(2),
                breaker_first: Duration::from_millis(200),
                breaker_most: Duration::from_millis(800),
                cooldown_first: Duration::from_millis(100),
                cooldown_most: Duration::from_millis(400),
                download: Duration::from_millis(100),
                ..job_service::core::Pace::default()
            },
            grace: Duration::from_millis(200),
            limits: job_service::core::ServiceLimits::default(),
            download_missing: DownloadPolicy::Never,
            library: model_service::config::LibraryConfig::default(),
            model_tokens: None,
            model_token: None,
            key: None,
        }
    }
}

impl PairOptions {
    /// Monitors look once and then only when they are asked: nothing that
    /// happens later happens because of them.
    #[must_use]
    pub fn with_quiet_monitors() -> Self {
        let mut options = Self::default();
        options.pace.probe = QUIET;
        options.pace.inventory = QUIET;
        options
    }
}

/// A running pair. Its parts can be stopped and started again on the same
/// ports and data.
pub struct Pair {
    /// The data folder of both.
    pub folder: TempDir,
    options: PairOptions,
    models: Option<model_service::Running>,
    jobs: Option<job_service::Running>,
    models_addr: std::net::SocketAddr,
    jobs_addr: std::net::SocketAddr,
}

impl Pair {
    /// Starts a pair with these options.
    pub async fn start(options: PairOptions) -> Result<Self> {
        Self::start_in(tempfile::tempdir()?, options).await
    }

    /// The same on a folder that holds something.
    pub async fn start_in(folder: TempDir, options: PairOptions) -> Result<Self> {
        let models = start_models(folder.path().into(), "127.0.0.1:0", &options).await?;
        let models_addr = models.local_addr();
        let jobs = start_jobs(folder.path().into(), "127.0.0.1:0", models_addr, &options).await?;
        let jobs_addr = jobs.local_addr();
        Ok(Self {
            folder,
            options,
            models: Some(models),
            jobs: Some(jobs),
            models_addr,
            jobs_addr,
        })
    }

    /// Stops model-service.
    pub async fn stop_models(&mut self) -> Result<()> {
        if let Some(models) = self.models.take() {
            models.stop().await?;
        }
        Ok(())
    }

    /// Starts model-service again where it was.
    pub async fn start_models(&mut self) -> Result<()> {
        let addr = self.models_addr.to_string();
        self.models = Some(start_models(self.folder.path().into(), &addr, &self.options).await?);
        Ok(())
    }

    /// From its next start on, job-service wants this key or another that it
    /// knows; calls of the pair carry this one.
    pub fn require_key(&mut self, key: Token) {
        self.options.key = Some(key);
    }

    /// Stops job-service.
    pub async fn stop_jobs(&mut self) -> Result<()> {
        if let Some(jobs) = self.jobs.take() {
            jobs.stop().await?;
        }
        Ok(())
    }

    /// Starts job-service again where it was.
    pub async fn start_jobs(&mut self) -> Result<()> {
        let addr = self.jobs_addr.to_string();
        let folder = self.folder.path().into();
        self.jobs = Some(start_jobs(folder, &addr, self.models_addr, &self.options).await?);
        Ok(())
    }

    /// The key that calls of the pair carry.
    #[must_use]
    pub fn key(&self) -> Option<&Token> {
        self.options.key.as_ref()
    }

    /// The token that calls of the pair to model-service carry.
    #[must_use]
    pub fn model_token(&self) -> Option<&Token> {
        self.options.model_token.as_ref()
    }

    /// Where model-service takes calls.
    #[must_use]
    pub fn models_addr(&self) -> std::net::SocketAddr {
        self.models_addr
    }

    /// Where job-service takes calls.
    #[must_use]
    pub fn jobs_addr(&self) -> std::net::SocketAddr {
        self.jobs_addr
    }

    /// Registers a stand-in and waits until it is healthy and its inventory is
    /// with model-service.
    pub async fn add(&self, alias: &str, sim: &Sim) -> Result<()> {
        self.add_as(alias, sim, jobs::ServerUsage::Dedicated).await
    }

    /// The same with a usage.
    pub async fn add_as(&self, alias: &str, sim: &Sim, usage: jobs::ServerUsage) -> Result<()> {
        let server = jobs::Server {
            alias: alias.to_owned(),
            base_url: sim.sim.url(),
            usage: usage.into(),
            ..jobs::Server::default()
        };
        let mut servers = self.servers().await?;
        servers
            .create_server(jobs::CreateServerRequest {
                server: Some(server),
                ..jobs::CreateServerRequest::default()
            })
            .await?;
        wait::until("the server becomes healthy", || {
            let mut servers = servers.clone();
            let alias = alias.to_owned();
            async move {
                let answer = servers
                    .get_server(jobs::GetServerRequest { alias })
                    .await
                    .map_err(|error| error.to_string())?;
                let server = answer.into_inner().server.unwrap_or_default();
                let status = server.status.clone().unwrap_or_default();
                let ready = status.health() == jobs::ServerHealth::Healthy
                    && status.inventory_time.is_some();
                if ready {
                    Ok(())
                } else {
                    Err(format!("{server:?}"))
                }
            }
        })
        .await
    }

    /// Submits a job and answers its id.
    pub async fn submit(&self, request: jobs::SubmitJobRequest) -> Result<String> {
        let answer = self.jobs().await?.submit_job(request).await?;
        let job = answer.into_inner().job.context("no job in the answer")?;
        Ok(job.job_id)
    }

    /// One job, in full.
    pub async fn job(&self, id: &str) -> Result<jobs::Job> {
        let request = jobs::GetJobRequest {
            job_id: id.to_owned(),
            view: jobs::JobView::Full.into(),
        };
        let answer = self.jobs().await?.get_job(request).await?;
        answer.into_inner().job.context("no job in the answer")
    }

    /// Waits until a job looks like this.
    pub async fn job_when(
        &self,
        id: &str,
        what: &str,
        wanted: impl Fn(&jobs::Job) -> bool,
    ) -> Result<jobs::Job> {
        wait::until(what, || async {
            let job = self.job(id).await.map_err(|error| error.to_string())?;
            if wanted(&job) {
                Ok(job)
            } else {
                Err(format!("{job:#?}"))
            }
        })
        .await
    }

    /// Waits until a job has ended.
    pub async fn ended(&self, id: &str) -> Result<jobs::Job> {
        use jobs::JobState::{Cancelled, Completed, Failed};
        self.job_when(id, "the job ends", |job| {
            matches!(job.state(), Completed | Failed | Cancelled)
        })
        .await
    }

    /// Waits until a job is completed.
    pub async fn completed(&self, id: &str) -> Result<jobs::Job> {
        let job = self.ended(id).await?;
        anyhow::ensure!(
            job.state() == jobs::JobState::Completed,
            "it was to be completed: {job:#?}"
        );
        Ok(job)
    }

    /// Waits until a job is pending for this reason.
    pub async fn held(&self, id: &str, reason: jobs::HoldReason) -> Result<jobs::Hold> {
        let job = self
            .job_when(id, reason.as_str_name(), |job| {
                let hold = job.hold.clone().unwrap_or_default();
                job.state() == jobs::JobState::Pending && hold.reason() == reason
            })
            .await?;
        Ok(job.hold.unwrap_or_default())
    }

    /// Asks to cancel a job.
    pub async fn cancel(&self, id: &str) -> Result<jobs::Job> {
        let request = jobs::CancelJobRequest {
            job_id: id.to_owned(),
        };
        let answer = self.jobs().await?.cancel_job(request).await?;
        answer.into_inner().job.context("no job in the answer")
    }

    /// The images of a job.
    pub async fn images(&self, id: &str) -> Result<Vec<jobs::Image>> {
        let request = jobs::ListJobImagesRequest {
            job_id: id.to_owned(),
        };
        let answer = self.jobs().await?.list_job_images(request).await?;
        Ok(answer.into_inner().images)
    }

    /// One server.
    pub async fn server(&self, alias: &str) -> Result<jobs::Server> {
        let request = jobs::GetServerRequest {
            alias: alias.to_owned(),
        };
        let answer = self.servers().await?.get_server(request).await?;
        answer.into_inner().server.context("no server")
    }

    /// Has a server looked at now.
    pub async fn probe(&self, alias: &str) -> Result<jobs::Server> {
        let request = jobs::ProbeServerRequest {
            alias: alias.to_owned(),
        };
        let answer = self.servers().await?.probe_server(request).await?;
        answer.into_inner().server.context("no server")
    }

    /// Keeps a server from taking jobs.
    pub async fn cordon(&self, alias: &str) -> Result<()> {
        let request = jobs::CordonServerRequest {
            alias: alias.to_owned(),
            reason: "a test".to_owned(),
        };
        self.servers().await?.cordon_server(request).await?;
        Ok(())
    }

    /// Gives a server jobs again.
    pub async fn uncordon(&self, alias: &str) -> Result<()> {
        let request = jobs::UncordonServerRequest {
            alias: alias.to_owned(),
        };
        self.servers().await?.uncordon_server(request).await?;
        Ok(())
    }

    /// job-service's database, for a look or a hand at it while it is stopped.
    #[must_use]
    pub fn jobs_database(&self) -> PathBuf {
        self.folder.path().join(job_service::config::DATABASE_FILE)
    }

    /// Where an image lies.
    #[must_use]
    pub fn image_path(&self, sha256: &str) -> PathBuf {
        let images = self.folder.path().join("images");
        images.join(&sha256[..2]).join(format!("{sha256}.png"))
    }
}

/// A small txt2img with a prompt.
#[must_use]
pub fn txt2img(prompt: &str) -> jobs::SubmitJobRequest {
    params(jobs::GenerationParams {
        prompt: prompt.to_owned(),
        steps: Some(2),
        width: Some(64),
        height: Some(64),
        ..jobs::GenerationParams::default()
    })
}

/// A submission of typed parameters.
#[must_use]
pub fn params(params: jobs::GenerationParams) -> jobs::SubmitJobRequest {
    jobs::SubmitJobRequest {
        input: Some(jobs::submit_job_request::Input::Params(params)),
        ..jobs::SubmitJobRequest::default()
    }
}
