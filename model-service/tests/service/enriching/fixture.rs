//! A service whose Civitai is a stand-in, and short ways to say what its tests say often.

use std::collections::BTreeMap;
use std::time::Duration;

use civitai_sim::{CivitaiSim, Recorded};
use model_service::config::CivitaiConfig;
use stablequeue_proto::admin::v1::{
    CancelOperationRequest, GetOperationRequest, LibraryReport, Operation, OperationState,
    WaitOperationRequest, operation,
};
use stablequeue_proto::models::v1::*;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::Status;

use crate::harness::{Service, listed, soon};

/// Longest wait for the end of an enrichment; a debug build takes some time for thousands of models.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long an exchange with the stand-in may take before time is moved on.
const QUIET: Duration = Duration::from_millis(25);

pub(super) struct Enriching {
    pub(super) sim: CivitaiSim,
    pub(super) service: Service,
}

impl Enriching {
    pub(super) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(super) async fn with(change: impl FnOnce(&mut CivitaiConfig)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::on(CivitaiSim::start().await.unwrap(), folder, change).await
    }

    pub(super) async fn on(
        sim: CivitaiSim,
        folder: TempDir,
        change: impl FnOnce(&mut CivitaiConfig),
    ) -> Self {
        let url = url::Url::parse(&sim.url()).unwrap();
        let service = Service::in_folder(folder, |config| {
            config.metrics_listen = Some("127.0.0.1:0".parse().unwrap());
            let civitai = &mut config.library.civitai;
            civitai.url = url.clone();
            civitai.download_url = "https://downloads.example/".parse().unwrap();
            civitai.requests_per_minute = 6_000;
            civitai.offline = false;
            change(civitai);
        })
        .await;
        Self { sim, service }
    }

    /// Stops the service and starts it again on the same folder.
    pub(super) async fn restarted(self, change: impl FnOnce(&mut CivitaiConfig)) -> Self {
        let Self { sim, service } = self;
        Self::on(sim, service.stop().await, change).await
    }

    /// Registers a LoRA with that SHA-256 and answers its id.
    pub(super) async fn lora(&mut self, sha256: &str) -> String {
        self.model(lora(sha256)).await
    }

    pub(super) async fn model(&mut self, model: Model) -> String {
        self.service.create(model).await.model_id
    }

    /// Registers many checkpoints at once, as a server lists them.
    pub(super) async fn checkpoints(&mut self, hashes: &[String]) {
        let models = hashes.iter().enumerate();
        let models = models.map(|(at, sha256)| listed(&format!("{at}.safetensors"), sha256));
        self.service.full("forge-1", "g1", models.collect()).await;
    }

    pub(super) async fn start_of(
        &mut self,
        model_ids: &[&str],
        refresh: bool,
    ) -> Result<Operation, Status> {
        let request = StartEnrichmentRequest {
            model_ids: model_ids.iter().map(|&id| id.to_owned()).collect(),
            refresh,
            request_id: String::new(),
        };
        let answer = soon(self.service.library.start_enrichment(request)).await?;
        Ok(answer.into_inner().operation.unwrap())
    }

    pub(super) async fn start(&mut self, refresh: bool) -> String {
        let operation = self.start_of(&[], refresh).await.unwrap();
        operation.operation_id
    }

    pub(super) async fn operation(&mut self, id: &str) -> Operation {
        let request = GetOperationRequest {
            operation_id: id.to_owned(),
        };
        let answer = soon(self.service.operations.get_operation(request)).await;
        answer.unwrap().into_inner().operation.unwrap()
    }

    pub(super) async fn cancel(&mut self, id: &str) {
        let request = CancelOperationRequest {
            operation_id: id.to_owned(),
        };
        soon(self.service.operations.cancel_operation(request))
            .await
            .unwrap();
    }

    /// Waits for the end while time stands still.
    pub(super) async fn end(&mut self, id: &str) -> Operation {
        let request = WaitOperationRequest {
            operation_id: id.to_owned(),
            timeout: None,
        };
        let ended = self.service.operations.wait_operation(request);
        let ended = tokio::time::timeout(PATIENCE, ended).await;
        let ended = ended.expect("it must end").unwrap();
        ended.into_inner().operation.unwrap()
    }

    /// Waits for the end, moving time on by `step` whenever nothing is asked of Civitai; how much
    /// that was in all.
    pub(super) async fn end_in_time(&mut self, id: &str, step: Duration) -> (Operation, Duration) {
        let mut passed = Duration::ZERO;
        let ended = async {
            loop {
                let asked = self.sim.request_count();
                let operation = self.operation(id).await;
                if operation.state() != OperationState::Running {
                    return operation;
                }
                if self.sim.wait_for_requests(asked + 1, QUIET).await.is_err() {
                    self.service.hand.advance(step);
                    passed += step;
                }
            }
        };
        let operation = soon(ended).await;
        (operation, passed)
    }

    /// Enriches all that is not complete, while time stands still; what came of it.
    pub(super) async fn enrich(&mut self) -> LibraryReport {
        let id = self.start(false).await;
        report(&self.end(&id).await)
    }

    pub(super) async fn get(&mut self, id: &str) -> Model {
        self.service.get(id).await.unwrap()
    }

    /// How many models have which status.
    pub(super) async fn with_status(&mut self, status: MetadataStatus) -> usize {
        let mut counted = 0;
        let mut page_token = String::new();
        loop {
            let request = ListModelsRequest {
                metadata_status: status.into(),
                page_size: 1_000,
                page_token,
                ..ListModelsRequest::default()
            };
            let page = soon(self.service.models.list_models(request)).await;
            let page = page.unwrap().into_inner();
            counted += page.models.len();
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return counted;
            }
        }
    }

    /// How many requests to Civitai were counted with this answer.
    pub(super) async fn counted(&self, answer: &str) -> String {
        let address = self.service.running.metrics_addr().unwrap();
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut page = String::new();
        soon(stream.read_to_string(&mut page)).await.unwrap();
        let name = format!("civitai_calls_total{{answer=\"{answer}\"}} ");
        let mut lines = page.lines();
        let count = lines.find_map(|line| Some(line.split_once(&name)?.1));
        count.unwrap_or("0").to_owned()
    }

    /// The requests with this end of their path.
    pub(super) fn asked(&self, path_end: &str) -> Vec<Recorded> {
        let mut requests = self.sim.requests();
        requests.retain(|request| request.path.ends_with(path_end));
        requests
    }
}

pub(super) const BULK: &str = "/by-hash";
pub(super) const IDS: &str = "/by-hash/ids";

/// The hashes that a request in bulk asked for.
pub(super) fn hashes(request: &Recorded) -> Vec<String> {
    serde_json::from_slice(&request.body).unwrap()
}

pub(super) fn lora(sha256: &str) -> Model {
    Model {
        name: "A LoRA".to_owned(),
        r#type: ModelType::Lora.into(),
        local_path: format!("/loras/{}.safetensors", &sha256[..8]),
        hash_sha256: sha256.to_owned(),
        ..Model::default()
    }
}

/// What came of an operation that must have succeeded.
pub(super) fn report(operation: &Operation) -> LibraryReport {
    assert_eq!(
        operation.state(),
        OperationState::Succeeded,
        "{operation:?}"
    );
    match &operation.result {
        Some(operation::Result::LibraryReport(report)) => report.clone(),
        other => panic!("{other:?}"),
    }
}

/// The counts that are not zero.
pub(super) fn counts(report: &LibraryReport) -> BTreeMap<&str, i64> {
    let counted = report.counts.iter().filter(|(_, count)| **count != 0);
    counted
        .map(|(name, count)| (name.as_str(), *count))
        .collect()
}
