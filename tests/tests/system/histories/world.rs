//! The services and stand-ins of one history, how they are
//! started, and what is asked of them. What is done to them is in `turns`.

use std::{collections::BTreeSet, future::Future, net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result};
use rand::{SeedableRng as _, rngs::StdRng};
use service_kit::{clock::Clock, server};
use stablequeue_proto::jobs::v1::{
    self as jobs, job_service_client::JobServiceClient, server_service_client::ServerServiceClient,
};
use system_tests::{PairOptions, Sim, killable::Killable, wait};
use tempfile::TempDir;
use tonic::{
    Code, Response, Status,
    transport::{Channel, Endpoint},
};

/// Stand-ins of a history; the last one is SHARED.
pub(super) const ALIASES: [&str; 3] = ["north", "south", "shared"];
/// A checkpoint that no stand-in has.
pub(super) const NOWHERE: &str = "nowhere.safetensors";
/// Checkpoints that every stand-in has.
pub(super) const CHECKPOINTS: [&str; 2] = ["dawn-mini.safetensors", "landscape-v2.safetensors"];

/// Where a service is started first: at a free port.
const ANYWHERE: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// Tries of a call while a service is away.
const CALLS_MAX: usize = 500;

/// A job that job-service has acknowledged.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) id: String,
    pub(super) prompt: String,
    /// What it was submitted with.
    pub(super) request: jobs::SubmitJobRequest,
    /// The checkpoint that it names.
    pub(super) checkpoint: Option<&'static str>,
}

/// One stand-in.
pub(super) struct Forge {
    pub(super) alias: &'static str,
    pub(super) sim: Sim,
    pub(super) frozen: bool,
    pub(super) cordoned: bool,
    /// Whether its process may die by itself, now or with a later job.
    pub(super) doomed: bool,
}

/// Everything of one history.
pub(super) struct World {
    pub(super) folder: TempDir,
    pub(super) models: Option<Killable<model_service::Running>>,
    pub(super) models_at: SocketAddr,
    pub(super) jobs: Option<Killable<job_service::Running>>,
    pub(super) jobs_at: SocketAddr,
    pub(super) forges: Vec<Forge>,
    pub(super) known: Vec<Known>,
    /// Jobs whose end was asked for.
    pub(super) cancelled: BTreeSet<String>,
    /// What was done, for whoever reads of a failure.
    pub(super) done: Vec<String>,
    pub(super) dice: StdRng,
    pub(super) submissions: usize,
}

impl World {
    pub(super) async fn new(seed: u64) -> Result<Self> {
        let mut world = Self {
            folder: tempfile::tempdir()?,
            models: None,
            models_at: ANYWHERE,
            jobs: None,
            jobs_at: ANYWHERE,
            forges: Vec::new(),
            known: Vec::new(),
            cancelled: BTreeSet::new(),
            done: Vec::new(),
            dice: StdRng::seed_from_u64(seed),
            submissions: 0,
        };
        world.start_models().await?;
        world.start_jobs().await?;
        for alias in ALIASES {
            let slow = |config: &mut forge_sim::SimConfig| {
                config.step_time = Duration::from_millis(8);
                config.load_time = Duration::from_millis(8);
            };
            let sim = Sim::with(slow).await?;
            world.register(alias, &sim).await?;
            world.forges.push(Forge {
                alias,
                sim,
                frozen: false,
                cordoned: false,
                doomed: false,
            });
        }
        Ok(world)
    }

    /// Ends everything that goes wrong and waits for the end of every job.
    pub(super) async fn calm_down(&mut self) -> Result<()> {
        self.note("calm".to_owned());
        for at in 0..self.forges.len() {
            self.forges[at].sim.sim.clear_faults();
            if self.forges[at].frozen {
                self.forges[at].sim.sim.thaw();
            }
            if self.forges[at].doomed {
                self.restart_forge(at).await?;
            }
            if self.forges[at].cordoned {
                self.cordon(at, false).await?;
            }
        }
        for at in 0..self.known.len() {
            if self.known[at].checkpoint == Some(NOWHERE) {
                let id = self.known[at].id.clone();
                self.cancel_job(&id).await?;
            }
        }
        for at in 0..self.known.len() {
            self.ended(&self.known[at].id).await?;
        }
        Ok(())
    }

    /// A job, in full.
    pub(super) async fn job(&self, id: &str) -> Result<jobs::Job> {
        let request = jobs::GetJobRequest {
            job_id: id.to_owned(),
            view: jobs::JobView::Full.into(),
        };
        let client = self.client();
        let answer = until_answered(|| {
            let (mut client, request) = (client.clone(), request.clone());
            async move { client.get_job(request).await }
        });
        answer.await?.into_inner().job.context("no job")
    }

    /// The images of a job.
    pub(super) async fn images(&self, id: &str) -> Result<Vec<jobs::Image>> {
        let request = jobs::ListJobImagesRequest {
            job_id: id.to_owned(),
        };
        let answer = self.client().list_job_images(request).await?;
        Ok(answer.into_inner().images)
    }

    /// Ends job-service in order, so that its database can be looked into.
    pub(super) async fn stop_jobs(&mut self) -> Result<()> {
        let jobs = self.jobs.take().context("job-service runs")?;
        jobs.stop(|running| async move { Ok(running.stop().await?) })
            .await
    }

    pub(super) async fn ended(&self, id: &str) -> Result<()> {
        wait::until("the job ends", || async {
            let job = self.job(id).await.map_err(|error| error.to_string())?;
            match job.state() {
                jobs::JobState::Completed | jobs::JobState::Failed | jobs::JobState::Cancelled => {
                    Ok(())
                }
                _ => Err(format!("{job:#?}")),
            }
        })
        .await
    }

    pub(super) fn note(&mut self, what: String) {
        self.done.push(what);
    }

    pub(super) async fn submitted(&self, request: &jobs::SubmitJobRequest) -> Result<String> {
        let client = self.client();
        let answer = until_answered(|| {
            let (mut client, request) = (client.clone(), request.clone());
            async move { client.submit_job(request).await }
        });
        Ok(answer.await?.into_inner().job.context("no job")?.job_id)
    }

    pub(super) async fn cancel_job(&mut self, id: &str) -> Result<()> {
        self.note(format!("cancel {id}"));
        // Before the call: it may take effect without an answer.
        self.cancelled.insert(id.to_owned());
        let client = self.client();
        let request = jobs::CancelJobRequest {
            job_id: id.to_owned(),
        };
        until_answered(|| {
            let (mut client, request) = (client.clone(), request.clone());
            async move { client.cancel_job(request).await }
        })
        .await?;
        Ok(())
    }

    pub(super) async fn restart_forge(&mut self, at: usize) -> Result<()> {
        let forge = &mut self.forges[at];
        if forge.frozen {
            forge.sim.sim.thaw();
            forge.frozen = false;
        }
        forge.sim.sim.kill().await;
        forge.sim.sim.restart().await
    }

    pub(super) async fn cordon(&mut self, at: usize, cordoned: bool) -> Result<()> {
        let alias = self.forges[at].alias.to_owned();
        self.note(format!("{alias} cordoned: {cordoned}"));
        let servers = ServerServiceClient::new(self.channel());
        until_answered(|| {
            let (mut servers, alias) = (servers.clone(), alias.clone());
            async move {
                if cordoned {
                    let reason = "a test".to_owned();
                    let request = jobs::CordonServerRequest { alias, reason };
                    servers
                        .cordon_server(request)
                        .await
                        .map(|_| Response::new(()))
                } else {
                    let request = jobs::UncordonServerRequest { alias };
                    servers
                        .uncordon_server(request)
                        .await
                        .map(|_| Response::new(()))
                }
            }
        })
        .await?;
        self.forges[at].cordoned = cordoned;
        Ok(())
    }

    pub(super) async fn register(&self, alias: &str, sim: &Sim) -> Result<()> {
        let usage = match alias {
            "shared" => jobs::ServerUsage::Shared,
            _ => jobs::ServerUsage::Dedicated,
        };
        let mut servers = ServerServiceClient::new(self.channel());
        let request = jobs::CreateServerRequest {
            server: Some(jobs::Server {
                alias: alias.to_owned(),
                base_url: sim.sim.url(),
                usage: usage.into(),
                ..jobs::Server::default()
            }),
            ..jobs::CreateServerRequest::default()
        };
        servers.create_server(request).await?;
        Ok(())
    }

    pub(super) fn client(&self) -> JobServiceClient<Channel> {
        JobServiceClient::new(self.channel())
    }

    pub(super) fn channel(&self) -> Channel {
        let address = format!("http://{}", self.jobs_at);
        let endpoint = Endpoint::from_shared(address);
        endpoint.expect("an address").connect_lazy()
    }

    pub(super) async fn start_models(&mut self) -> Result<()> {
        let folder = self.folder.path().to_owned();
        let models = Killable::start(self.models_at, move |address| {
            let config = model_service::Config::in_folder(folder.clone());
            async move {
                let listener = server::bind(address).await?;
                let running = model_service::start(config, listener, Clock::system()).await?;
                let address = running.local_addr();
                Ok((running, address))
            }
        })
        .await?;
        self.models_at = models.address();
        self.models = Some(models);
        Ok(())
    }

    pub(super) async fn start_jobs(&mut self) -> Result<()> {
        let folder = self.folder.path().to_owned();
        let models = self.models_at;
        let mut pace = PairOptions::default().pace;
        pace.probe = Duration::from_millis(60);
        pace.progress = Duration::from_millis(20);
        pace.unknown_grace = Duration::from_millis(150);
        pace.answer_grace = Duration::from_millis(200);
        pace.retry_first = Duration::from_millis(20);
        pace.retry_most = Duration::from_millis(100);
        let jobs = Killable::start(self.jobs_at, move |address| {
            let url = format!("http://{models}");
            let mut config = job_service::Config::in_folder(folder.clone(), url);
            config.pace = pace.clone();
            config.grace = Duration::ZERO;
            async move {
                let listener = server::bind(address).await?;
                let running = job_service::start(config, listener, Clock::system()).await?;
                let address = running.local_addr();
                Ok((running, address))
            }
        })
        .await?;
        self.jobs_at = jobs.address();
        self.jobs = Some(jobs);
        Ok(())
    }
}

/// Calls until there is an answer: the service may be on its way down or up.
/// Every call that is made so may be repeated.
pub(super) async fn until_answered<T, F>(mut call: impl FnMut() -> F) -> Result<Response<T>, Status>
where
    F: Future<Output = Result<Response<T>, Status>>,
{
    for _ in 0..CALLS_MAX {
        match call().await {
            Err(status) if is_cut(&status) => wait::a_moment().await,
            answered => return answered,
        }
    }
    call().await
}

fn is_cut(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable | Code::Unknown | Code::Cancelled
    )
}
