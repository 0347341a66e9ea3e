//! Owns downloads as operations: which file of which version goes where, in which order, and what
//! is left when one ends early. How the bytes come is `download/fetch.rs`, how they become a file
//! `download/target.rs`, how the registry learns of it `download/registering.rs`.
//!
//! Until it is complete and its hash is right, a file has a hidden name with the operation's id in
//! it. A stop of the service leaves that for the next start, which goes on with it; a failure or a
//! cancel removes it.

mod fetch;
mod file;
pub(crate) mod name;
pub(super) mod queue;
mod refusal;
mod registering;
mod run;
mod target;

use std::io;

use serde::{Deserialize, Serialize};
use service_kit::operations::{
    Operation, OperationCaller, OperationKind, OperationResult, Steps, Unfinished,
};
use service_kit::status::Failure;

use super::Library;
use crate::error::ModelError;
use run::Run;

/// In what the progress of a download is counted.
const BYTES: &str = "bytes";
/// What begins the target of a download that is of one SHA-256; no root is named so.
pub(super) const SHA256_TARGET: &str = "sha256:";

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DownloadAsked {
    /// The id of the version at Civitai.
    pub version_id: String,
    /// Which of its files; absent: its model file.
    pub file_id: Option<String>,
    /// The SHA-256 that its file must have, in lower case, which also says which file it is; absent:
    /// the one that Civitai says when it is fetched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// The name of the root.
    pub root: String,
    /// The folder beneath it, with `/`; empty: the root itself.
    pub folder: String,
    /// The file name; absent: the one that Civitai gives.
    pub filename: Option<String>,
    /// Whether what Civitai says is written beside it.
    pub with_sidecar: bool,
    /// Whether its first picture is put beside it.
    pub with_preview: bool,
    /// The higher one goes first.
    pub priority: i32,
}

impl Library {
    /// Begins a download, or lets it wait for its turn.
    ///
    /// # Errors
    /// [`ModelError::Offline`], [`ModelError::NoRoots`], [`ModelError::RootNotFound`],
    /// [`ModelError::Operation`].
    pub async fn start_download(
        &self,
        asked: DownloadAsked,
        caller: OperationCaller,
        request_id: Option<String>,
    ) -> Result<Operation, ModelError> {
        if self.civitai().offline() {
            return Err(ModelError::Offline);
        }
        self.chosen(std::slice::from_ref(&asked.root))?;
        let target = match (&asked.sha256, asked.folder.as_str()) {
            // So that the next who is asked for this file finds it.
            (Some(sha256), _) => of_sha256(sha256),
            (None, "") => asked.root.clone(),
            (None, folder) => format!("{}/{folder}", asked.root),
        };
        let kind = OperationKind::Download;
        self.begin(kind, target, asked, caller, request_id, Self::download)
            .await
    }

    /// The work of a download.
    pub(super) async fn download(
        self,
        asked: DownloadAsked,
        steps: Steps,
    ) -> Result<OperationResult, Unfinished> {
        // A row may be of an earlier release, with other rules. Nothing of it is looked for then:
        // the name of what grows would lead elsewhere as well.
        let named = asked.filename.as_deref().is_none_or(name::is_allowed_model);
        if !named || !name::is_allowed_folder(&asked.folder) {
            let text = "the folder or file name of the download is not allowed; start another one";
            return Err(Failure::precondition("NAME_NOT_ALLOWED", "download", text).into());
        }
        let of_version = format!("civitai-{}", asked.version_id);
        let part = asked.filename.as_deref().unwrap_or(&of_version);
        let part = name::of_part(part, &steps.operation_id());
        let roots = self.chosen(std::slice::from_ref(&asked.root));
        let root = match roots {
            Ok(mut roots) => roots.swap_remove(0),
            Err(error) => {
                // Where it was is not known any more, and not ours to look into.
                let (root, folder) = (asked.root.as_str(), asked.folder.as_str());
                tracing::warn!(
                    root,
                    folder,
                    part,
                    "the library root of a download is not configured any more; what came of the \
                     file, if anything did, lies there under this name and can be removed"
                );
                return Err(Failure::from(error).into());
            }
        };
        let run = Run {
            part,
            library: self,
            asked,
            steps,
            root,
        };
        let done = run.all().await;
        // The next start goes on with what there is, after a stop of the service.
        let goes_on = matches!(done, Err(Unfinished::Stopped)) && !run.steps.is_cancelled();
        if !goes_on {
            run.remove_part().await;
        }
        Ok(OperationResult::Library(done?))
    }
}

/// What a download of the file with this SHA-256 is about, wherever it goes.
pub(super) fn of_sha256(sha256: &str) -> String {
    format!("{SHA256_TARGET}{sha256}")
}

/// Waits for something, unless the work is to stop; then it is dropped.
async fn unless_stopped<T>(
    steps: &Steps,
    future: impl Future<Output = T>,
) -> Result<T, Unfinished> {
    tokio::select! {
        biased;
        () = steps.cancelled() => Err(Unfinished::Stopped),
        done = future => Ok(done),
    }
}

/// Does what blocks, on a thread for that.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Unfinished> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        tracing::error!(%error, "a step of a download panicked");
        Failure::internal().into()
    })
}

/// In which words a download ends that the disk did not let through.
fn disk_failure(error: &io::Error) -> Failure {
    if matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    ) {
        let text = "the volume of the library root is full; make room, or choose another root";
        return Failure::exhausted("DISK_FULL", "library root", text, None);
    }
    let text =
        format!("the library root cannot be written: {error}; look at its mode and its mount");
    Failure::precondition("ROOT_NOT_WRITABLE", "library root", text)
}
