//! A service whose Civitai is a stand-in with files, a root to put them into, and short ways to say
//! what tests of downloads say often.

use std::fs;

use civitai_sim::{CivitaiSim, Recorded, SimFile, SimVersion};
use model_service::Config;
use stablequeue_proto::admin::v1::*;
use stablequeue_proto::models::v1::*;
use tempfile::TempDir;
use tonic::Status;

use crate::harness::{Service, soon};
use crate::shelf::{Shelf, safetensors};

/// The id of the version that most tests download, and of its file.
pub(super) const VERSION: u64 = 7;
pub(super) const FILE: u64 = 70;
/// The key of the account.
pub(super) const KEY: &str = "a-key-of-civitai";

pub(super) struct Downloading {
    pub(super) sim: CivitaiSim,
    pub(super) shelf: Shelf,
    pub(super) service: Service,
}

impl Downloading {
    pub(super) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(super) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let sim = CivitaiSim::start().await.unwrap();
        sim.require_key(KEY);
        Self::on(sim, Shelf::new(), tempfile::tempdir().unwrap(), change).await
    }

    async fn on(
        sim: CivitaiSim,
        shelf: Shelf,
        folder: TempDir,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let url: url::Url = sim.url().parse().unwrap();
        let service = Service::in_folder(folder, |config| {
            shelf.configure(config);
            let civitai = &mut config.library.civitai;
            civitai.url = url.clone();
            civitai.download_url = url;
            civitai.key = Some(KEY.to_owned().into());
            civitai.requests_per_minute = 6_000;
            civitai.offline = false;
            change(config);
        })
        .await;
        Self {
            sim,
            shelf,
            service,
        }
    }

    /// Stops the service, does something, and starts it again on the same folders.
    pub(super) async fn restarted(self, between: impl FnOnce(&CivitaiSim)) -> Self {
        self.restarted_as(between, |_| {}).await
    }

    /// The same with another configuration.
    pub(super) async fn restarted_as(
        self,
        between: impl FnOnce(&CivitaiSim),
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let Self {
            sim,
            shelf,
            service,
        } = self;
        let folder = service.stop().await;
        between(&sim);
        Self::on(sim, shelf, folder, change).await
    }

    /// Publishes a version with this file.
    pub(super) fn publish(&self, content: &[u8]) {
        self.sim
            .add(SimVersion::new(VERSION).file(SimFile::of(FILE, content)));
        self.sim.hold(FILE, "fox.safetensors", content.to_vec());
    }

    pub(super) async fn start_of(
        &mut self,
        change: impl FnOnce(&mut StartDownloadRequest),
    ) -> Result<Operation, Status> {
        let mut request = StartDownloadRequest {
            version_id: VERSION.to_string(),
            root: "main".to_owned(),
            ..StartDownloadRequest::default()
        };
        change(&mut request);
        let started = soon(self.service.library.start_download(request)).await?;
        Ok(started.into_inner().operation.unwrap())
    }

    pub(super) async fn start(
        &mut self,
        change: impl FnOnce(&mut StartDownloadRequest),
    ) -> Operation {
        self.start_of(change).await.unwrap()
    }

    /// The report of a download that must succeed.
    pub(super) async fn download(
        &mut self,
        change: impl FnOnce(&mut StartDownloadRequest),
    ) -> LibraryReport {
        let started = self.start(change).await;
        self.service.report(Some(started)).await
    }

    /// The error of a download that must fail, after which nothing of it may be left.
    pub(super) async fn failed(
        &mut self,
        change: impl FnOnce(&mut StartDownloadRequest),
    ) -> OperationError {
        let started = self.start(change).await;
        let ended = self.service.ended(Some(started)).await;
        assert_eq!(ended.state(), OperationState::Failed, "{ended:?}");
        self.assert_nothing_unfinished();
        ended.error.unwrap()
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

    /// Waits until so many bytes of a download are here.
    pub(super) async fn reached(&mut self, id: &str, bytes: usize) {
        let bytes = i64::try_from(bytes).unwrap();
        let reached = async {
            loop {
                let now = self.operation(id).await;
                assert!(now.end_time.is_none(), "{now:?}");
                if now.progress.is_some_and(|progress| progress.done >= bytes) {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        soon(reached).await;
    }

    /// The names in the root, sorted.
    pub(super) fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.shelf.path(folder)).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    pub(super) fn assert_nothing_unfinished(&self) {
        let names = self.names("");
        assert!(
            !names.iter().any(|name| name.ends_with(".part")),
            "{names:?}"
        );
    }

    pub(super) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.shelf.path(name)).unwrap()
    }

    /// The requests whose path begins so.
    pub(super) fn asked(&self, path: &str) -> Vec<Recorded> {
        let mut requests = self.sim.requests();
        requests.retain(|request| request.path.starts_with(path));
        requests
    }
}

/// A LoRA of so many bytes and some, which differ with the seed.
pub(super) fn content(seed: u8, bytes: usize) -> Vec<u8> {
    let mut file = safetensors(&[("ss_network_module", "networks.lora")], &[]);
    file.extend((0..bytes).map(|at| seed.wrapping_add((at % 251) as u8)));
    file
}
