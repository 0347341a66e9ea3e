//! A model-service that takes connections and answers nothing keeps no server
//! from being looked after.

use anyhow::{Context as _, Result};
use service_kit::clock::Clock;
use stablequeue_proto::jobs::v1::{
    AvailabilityPolicy, CreateServerRequest, GetJobRequest, GetServerRequest, JobPolicy, JobState,
    Server, ServerHealth, SubmitJobRequest, job_service_client::JobServiceClient,
    server_service_client::ServerServiceClient,
};
use system_tests::{PairOptions, Sim, pair::txt2img, wait};
use tokio::net::TcpListener;

#[tokio::test(flavor = "multi_thread")]
async fn servers_are_looked_after_and_jobs_that_go_without_it_run() -> Result<()> {
    // Its connections are made and wait for ever.
    let silent = TcpListener::bind("127.0.0.1:0").await?;
    let folder = tempfile::tempdir()?;
    let url = format!("http://{}", silent.local_addr()?);
    let mut config = job_service::Config::in_folder(folder.path(), url);
    config.pace = PairOptions::with_quiet_monitors().pace;
    config.pace.probe = std::time::Duration::from_millis(50);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let running = job_service::start(config, listener, Clock::system()).await?;
    let address = format!("http://{}", running.local_addr());
    let sim = Sim::instant().await?;
    let mut servers = ServerServiceClient::connect(address.clone()).await?;
    let request = CreateServerRequest {
        server: Some(Server {
            alias: "gpu".to_owned(),
            base_url: sim.sim.url(),
            ..Server::default()
        }),
        ..CreateServerRequest::default()
    };
    servers.create_server(request).await?;
    // Longer than the wait for it, if every look waited for model-service.
    sim.until_asked("/app_id", 10).await?;
    let alias = "gpu".to_owned();
    let server = servers.get_server(GetServerRequest { alias }).await?;
    let server = server.into_inner().server.context("no server")?;
    let status = server.status.context("no status")?;
    assert_eq!(status.health(), ServerHealth::Healthy);
    assert_eq!(status.inventory_time, None, "nobody took its inventory");
    let mut jobs = JobServiceClient::connect(address).await?;
    let request = SubmitJobRequest {
        policy: Some(JobPolicy {
            availability: AvailabilityPolicy::Skip.into(),
            ..JobPolicy::default()
        }),
        ..txt2img("without it")
    };
    let job = jobs.submit_job(request).await?.into_inner();
    let id = job.job.context("no job")?.job_id;
    wait::until("the job is completed", || {
        let (mut jobs, job_id) = (jobs.clone(), id.clone());
        async move {
            let request = GetJobRequest { job_id, view: 0 };
            let answer = jobs.get_job(request).await.map_err(|it| it.to_string())?;
            let job = answer.into_inner().job.unwrap_or_default();
            match job.state() {
                JobState::Completed => Ok(()),
                _ => Err(format!("{job:#?}")),
            }
        }
    })
    .await
}
