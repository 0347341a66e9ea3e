//! Folders of model files for the tests of the library: small files that look
//! like models, and short ways to scan them.

use std::fs;
use std::path::{Path, PathBuf};

use model_service::Config;
use model_service::config::RootConfig;
use model_service::model::ModelKind;
use stablequeue_proto::admin::v1::operation::Result as OperationResult;
use stablequeue_proto::admin::v1::*;
use stablequeue_proto::models::v1::*;
use tempfile::TempDir;

use crate::harness::{Service, soon};

/// A folder with a root `main` in it, so that there is something outside.
pub(crate) struct Shelf {
    pub(crate) folder: TempDir,
}

impl Shelf {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("main")).unwrap();
        Self { folder }
    }

    /// A path beneath the root, or the root itself.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        let root = self.folder.path().join("main");
        match relative.is_empty() {
            true => root,
            false => root.join(relative),
        }
    }

    /// Writes a file beneath the root, and the folders on the way.
    pub(crate) fn put(&self, relative: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(relative);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// Writes a LoRA whose header says what it is; `seed` makes its content its own.
    pub(crate) fn put_lora(&self, relative: &str, seed: &str) -> PathBuf {
        self.put(relative, lora(&[("ss_session_id", seed)]))
    }

    /// Configures the root.
    pub(crate) fn configure(&self, config: &mut Config) {
        config.library.roots = vec![root("main", &self.path(""), None)];
    }

    /// A service with this root.
    pub(crate) async fn service(&self) -> Service {
        let folder = tempfile::tempdir().unwrap();
        Service::in_folder(folder, |config| self.configure(config)).await
    }
}

pub(crate) fn root(name: &str, path: &Path, kind: Option<ModelKind>) -> RootConfig {
    RootConfig {
        name: name.to_owned(),
        path: path.to_owned(),
        kind,
    }
}

/// A safetensors file with this metadata and tensors of four bytes with these names.
pub(crate) fn safetensors(metadata: &[(&str, &str)], tensors: &[&str]) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    let metadata: serde_json::Map<_, _> = metadata
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).into()))
        .collect();
    header.insert("__metadata__".to_owned(), metadata.into());
    for (index, name) in tensors.iter().enumerate() {
        let offsets = [index * 4, index * 4 + 4];
        let tensor = serde_json::json!({"dtype": "F32", "shape": [1], "data_offsets": offsets});
        header.insert((*name).to_owned(), tensor);
    }
    let header = serde_json::Value::from(header).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.resize(file.len() + tensors.len() * 4, 7);
    file
}

/// A LoRA as kohya writes it.
pub(crate) fn lora(metadata: &[(&str, &str)]) -> Vec<u8> {
    let mut all = vec![("ss_network_module", "networks.lora")];
    all.extend(metadata);
    let tensors = [
        "lora_unet_a.alpha",
        "lora_unet_a.lora_down.weight",
        "lora_unet_a.lora_up.weight",
    ];
    safetensors(&all, &tensors)
}

/// What a user typed into Forge about a LoRA.
pub(crate) fn user_metadata(description: &str) -> String {
    serde_json::json!({
        "description": description,
        "sd version": "SDXL",
        "activation text": "glowing fox",
        "preferred weight": 0.8,
        "negative text": "blurry",
        "notes": "from a friend",
    })
    .to_string()
}

impl Service {
    /// Waits for the end of an operation.
    pub(crate) async fn ended(&mut self, operation: Option<Operation>) -> Operation {
        let operation_id = operation.unwrap().operation_id;
        loop {
            let request = WaitOperationRequest {
                operation_id: operation_id.clone(),
                ..Default::default()
            };
            let waited = soon(self.operations.wait_operation(request)).await;
            let operation = waited.unwrap().into_inner().operation.unwrap();
            if operation.end_time.is_some() {
                return operation;
            }
        }
    }

    /// The report of an operation that must succeed.
    pub(crate) async fn report(&mut self, operation: Option<Operation>) -> LibraryReport {
        let ended = self.ended(operation).await;
        match ended.result {
            Some(OperationResult::LibraryReport(report)) => report,
            other => panic!("{other:?} {:?}", ended.error),
        }
    }

    /// Scans all roots.
    pub(crate) async fn scan(&mut self) -> LibraryReport {
        self.scan_as(StartScanRequest::default()).await
    }

    pub(crate) async fn scan_as(&mut self, request: StartScanRequest) -> LibraryReport {
        let started = self.library.start_scan(request).await.unwrap();
        self.report(started.into_inner().operation).await
    }

    /// The model with this file name.
    pub(crate) async fn named(&mut self, filename: &str) -> Model {
        let mut found = self.all_models().await;
        found.retain(|model| model.filename == filename);
        assert_eq!(found.len(), 1, "{filename}: {found:?}");
        found.remove(0)
    }
}

/// The counts that are not 0, as `name=count` in the order of the names.
pub(crate) fn counts(report: &LibraryReport) -> String {
    let counts = report.counts.iter();
    let mut counts: Vec<_> = counts.filter(|(_, count)| **count != 0).collect();
    counts.sort();
    let counts: Vec<String> = counts
        .into_iter()
        .map(|(name, count)| format!("{name}={count}"))
        .collect();
    counts.join(" ")
}

/// The problems as `path: REASON`, sorted.
pub(crate) fn problems(report: &LibraryReport) -> Vec<String> {
    let problems = report.problems.iter();
    let mut problems: Vec<String> = problems
        .map(|problem| format!("{}: {}", problem.path, problem.reason))
        .collect();
    problems.sort();
    problems
}
