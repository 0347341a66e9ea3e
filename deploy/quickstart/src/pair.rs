//! Starts and ends both services in this process, on loopback: on their usual
//! ports, or on free ones when those are taken. Knows no job.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, Result};
use service_kit::{clock::Clock, server};
use stablequeue_proto::jobs::v1::{
    job_service_client::JobServiceClient, server_service_client::ServerServiceClient,
};
use tokio::net::TcpListener;
use tonic::transport::{Channel, Endpoint};

/// How long running calls and generations get at the end. What is still under
/// way then is taken up by the next start.
const GRACE: Duration = Duration::from_secs(3);
/// Where Prometheus can read: any free port.
const FREE_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Both services, running.
pub(crate) struct Pair {
    models: model_service::Running,
    jobs: job_service::Running,
}

/// Clients of job-service.
#[derive(Clone)]
pub(crate) struct Calls {
    /// Of JobService.
    pub(crate) jobs: JobServiceClient<Channel>,
    /// Of ServerService.
    pub(crate) servers: ServerServiceClient<Channel>,
}

impl Pair {
    /// Starts model-service on a data folder.
    pub(crate) async fn start_models(
        folder: &Path,
        clock: &Clock,
    ) -> Result<model_service::Running> {
        let listener = bind(model_service::config::LISTEN_DEFAULT).await?;
        let mut config = model_service::Config::in_folder(folder);
        config.metrics_listen = Some(FREE_PORT);
        config.grace = GRACE;
        model_service::start(config, listener, clock.clone())
            .await
            .with_context(|| format!("model-service cannot start on {}", folder.display()))
    }

    /// Starts job-service beside a model-service.
    pub(crate) async fn start_jobs(
        models: model_service::Running,
        folder: &Path,
        clock: &Clock,
    ) -> Result<Self> {
        let listener = bind(job_service::config::LISTEN_DEFAULT).await?;
        let address = format!("http://{}", models.local_addr());
        let mut config = job_service::Config::in_folder(folder, address);
        config.metrics_listen = Some(FREE_PORT);
        config.grace = GRACE;
        let jobs = job_service::start(config, listener, clock.clone())
            .await
            .with_context(|| format!("job-service cannot start on {}", folder.display()))?;
        Ok(Self { models, jobs })
    }

    /// Where job-service listens.
    pub(crate) fn jobs_addr(&self) -> SocketAddr {
        self.jobs.local_addr()
    }

    /// Where model-service listens.
    pub(crate) fn models_addr(&self) -> SocketAddr {
        self.models.local_addr()
    }

    /// Where Prometheus reads: job-service's, then model-service's figures.
    pub(crate) fn metrics_addrs(&self) -> impl Iterator<Item = SocketAddr> {
        [self.jobs.metrics_addr(), self.models.metrics_addr()]
            .into_iter()
            .flatten()
    }

    /// Clients, as any program of the user would have them.
    pub(crate) async fn connect(&self) -> Result<Calls> {
        let channel = Endpoint::from_shared(format!("http://{}", self.jobs_addr()))?
            .connect()
            .await
            .context("cannot call job-service")?;
        Ok(Calls {
            jobs: JobServiceClient::new(channel.clone()),
            servers: ServerServiceClient::new(channel),
        })
    }

    /// Ends both, job-service first.
    pub(crate) async fn stop(self) -> Result<()> {
        let jobs = self.jobs.stop().await.context("job-service did not close");
        let models = self.models.stop().await;
        jobs.and(models.context("model-service did not close"))
    }
}

/// A refusal as people read it.
pub(crate) fn refusal(status: tonic::Status) -> anyhow::Error {
    anyhow::anyhow!("{} ({:?})", status.message(), status.code())
}

/// Listens where a service usually does, or on a free port when that is taken.
async fn bind(usual: &str) -> Result<TcpListener> {
    let usual: SocketAddr = usual.parse()?;
    let bound = match server::bind(usual).await {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => server::bind(FREE_PORT).await,
        bound => bound,
    };
    bound.with_context(|| format!("cannot listen on {}", usual.ip()))
}
