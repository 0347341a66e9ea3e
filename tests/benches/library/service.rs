//! A model-service in this process with a library, and short ways to let it
//! work. It measures nothing.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use model_service::{Config, config::RootConfig};
use service_kit::{clock::Clock, server};
use stablequeue_proto::{
    admin::v1::{
        LibraryReport, Operation, OperationState, WaitOperationRequest,
        operation::Result as Outcome, operation_service_client::OperationServiceClient,
    },
    models::v1::{StartScanRequest, library_service_client::LibraryServiceClient},
};
use tonic::transport::Channel;

/// Longest wait for the end of an operation, in seconds.
const WAIT_S: i64 = 600;

/// A service with one root.
pub(crate) struct Service {
    channel: Channel,
    /// Kept so that the database outlives the service.
    _data: tempfile::TempDir,
    _running: model_service::Running,
}

impl Service {
    pub(crate) async fn start(root: &Path, threads: usize) -> Result<Self> {
        let data = tempfile::tempdir()?;
        let mut config = Config::in_folder(data.path());
        config.library.hash_threads = threads;
        config.library.roots = vec![RootConfig {
            name: "main".to_owned(),
            path: root.to_owned(),
            kind: None,
        }];
        let listener = server::bind("127.0.0.1:0".parse()?).await?;
        let running = model_service::start(config, listener, Clock::system()).await?;
        let channel = Channel::from_shared(format!("http://{}", running.local_addr()))?;
        Ok(Self {
            channel: channel.connect().await?,
            _data: data,
            _running: running,
        })
    }

    pub(crate) fn library(&self) -> LibraryServiceClient<Channel> {
        LibraryServiceClient::new(self.channel.clone())
    }

    /// Scans the root.
    pub(crate) async fn scan(&self) -> Result<LibraryReport> {
        let mut library = self.library();
        let started = library.start_scan(StartScanRequest::default());
        self.report(started.await?.into_inner().operation).await
    }

    /// The report of an operation, once it has succeeded.
    pub(crate) async fn report(&self, started: Option<Operation>) -> Result<LibraryReport> {
        let started = started.context("no operation")?;
        let mut operations = OperationServiceClient::new(self.channel.clone());
        let request = WaitOperationRequest {
            operation_id: started.operation_id,
            timeout: Some(prost_types::Duration {
                seconds: WAIT_S,
                nanos: 0,
            }),
        };
        let ended = operations.wait_operation(request).await?.into_inner();
        let ended = ended.operation.context("no operation")?;
        ensure!(ended.state() == OperationState::Succeeded, "{ended:?}");
        match ended.result {
            Some(Outcome::LibraryReport(report)) => Ok(report),
            other => anyhow::bail!("{other:?} is no report"),
        }
    }
}
