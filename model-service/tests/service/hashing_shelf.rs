//! A folder of model files that a service has as its root, and short ways to
//! have it scanned and hashed.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::SystemTime;

use model_service::Config;
use model_service::config::RootConfig;
use service_kit::clock::from_text;
use stablequeue_proto::admin::v1::operation::Result as Outcome;
use stablequeue_proto::admin::v1::operation_service_client::OperationServiceClient;
use stablequeue_proto::admin::v1::*;
use stablequeue_proto::models::v1::library_service_client::LibraryServiceClient;
use stablequeue_proto::models::v1::*;
use tempfile::TempDir;
use tonic::transport::Channel;

use crate::harness::{Service, soon};

/// The name of the root.
pub(crate) const ROOT: &str = "main";

/// A root, apart from the data of the service, which outlives restarts.
pub(crate) struct Shelf(TempDir);

impl Shelf {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file, as long ago as what is said of changes that have settled.
    pub(crate) fn put(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).unwrap();
        self.dated(name, "2026-11-20T00:00:00.000Z");
    }

    pub(crate) fn dated(&self, name: &str, time: &str) {
        let file = File::options().write(true).open(self.path(name)).unwrap();
        let time = SystemTime::from(from_text(time).unwrap());
        file.set_modified(time).unwrap();
    }

    /// Files that take a while to hash and no place on the disk.
    pub(crate) fn put_long(&self, count: u64, bytes: u64) {
        for at in 0..count {
            let mut file = File::create(self.path(&format!("{at}.ckpt"))).unwrap();
            file.write_all(&at.to_le_bytes()).unwrap();
            file.set_len(bytes).unwrap();
        }
    }

    /// Has this as the root of a service, which hashes one file at a time.
    pub(crate) fn configure(&self, config: &mut Config) {
        config.library.roots.push(RootConfig {
            name: ROOT.to_owned(),
            path: self.0.path().to_owned(),
            kind: None,
        });
        config.library.hash_threads = 1;
    }

    /// A service with this root.
    pub(crate) async fn service(&self) -> Service {
        self.service_in(tempfile::tempdir().unwrap()).await
    }

    pub(crate) async fn service_in(&self, data: TempDir) -> Service {
        Service::in_folder(data, |config| self.configure(config)).await
    }
}

/// What of the service the tests here ask.
#[derive(Clone)]
pub(crate) struct Desk {
    pub(crate) library: LibraryServiceClient<Channel>,
    pub(crate) operations: OperationServiceClient<Channel>,
}

impl Desk {
    pub(crate) async fn of(service: &Service) -> Self {
        Self::at(service.running.local_addr()).await
    }

    pub(crate) async fn at(address: SocketAddr) -> Self {
        let address = format!("http://{address}");
        let channel = Channel::from_shared(address).unwrap().connect().await;
        let channel = channel.unwrap();
        Self {
            library: LibraryServiceClient::new(channel.clone()),
            operations: OperationServiceClient::new(channel),
        }
    }

    /// The operation when it has ended.
    pub(crate) async fn end(&mut self, operation_id: &str) -> Operation {
        let request = WaitOperationRequest {
            operation_id: operation_id.to_owned(),
            timeout: None,
        };
        let ended = soon(self.operations.wait_operation(request)).await.unwrap();
        ended.into_inner().operation.unwrap()
    }

    /// The report of an operation that must succeed.
    pub(crate) async fn report(&mut self, started: Option<Operation>) -> LibraryReport {
        let ended = self.end(&started.unwrap().operation_id).await;
        assert_eq!(ended.state(), OperationState::Succeeded, "{ended:?}");
        match ended.result {
            Some(Outcome::LibraryReport(report)) => report,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn scan(&mut self) -> LibraryReport {
        let started = self.library.start_scan(StartScanRequest::default()).await;
        self.report(started.unwrap().into_inner().operation).await
    }

    pub(crate) async fn start_hashing(&mut self, again: bool) -> String {
        let request = StartHashingRequest {
            again,
            ..StartHashingRequest::default()
        };
        let started = self.library.start_hashing(request).await.unwrap();
        started.into_inner().operation.unwrap().operation_id
    }

    pub(crate) async fn hash(&mut self) -> LibraryReport {
        let started = self
            .library
            .start_hashing(StartHashingRequest::default())
            .await;
        self.report(started.unwrap().into_inner().operation).await
    }

    /// Waits until an operation has done at least so much of what it has to do.
    pub(crate) async fn reached(&mut self, operation_id: &str, done: i64) -> Operation {
        let reached = async {
            loop {
                let request = GetOperationRequest {
                    operation_id: operation_id.to_owned(),
                };
                let now = self.operations.get_operation(request).await.unwrap();
                let now = now.into_inner().operation.unwrap();
                if now.end_time.is_some() || now.progress.as_ref().is_some_and(|it| it.done >= done)
                {
                    return now;
                }
            }
        };
        soon(reached).await
    }
}

/// One of the counts of a report.
pub(crate) fn count(report: &LibraryReport, name: &str) -> i64 {
    *report
        .counts
        .get(name)
        .unwrap_or_else(|| panic!("no {name}: {report:?}"))
}

/// The paths of the problems of a report, with their reasons.
pub(crate) fn reasons(report: &LibraryReport) -> Vec<(&str, &str)> {
    let mut reasons = Vec::new();
    for LibraryProblem { path, reason, .. } in &report.problems {
        reasons.push((path.as_str(), reason.as_str()));
    }
    reasons
}
