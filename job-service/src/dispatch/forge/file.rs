//! Fetches a saved file from a server in UI mode. Whether the file is whole
//! and ours is seen when it is taken into the image store.

use std::io;
use std::path::Path;
use std::time::Duration;

use reqwest::StatusCode;
use tokio::fs::File;
use tokio::io::AsyncWriteExt as _;

use super::{CallFailure, ERROR_BODY_BYTES_MAX, ForgeClient, body_start, failure};

/// Bytes that a fetched file may have.
pub const FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// How long fetching one file may take.
const FILE_TIMEOUT: Duration = Duration::from_secs(120);

/// What became of a fetch.
#[derive(Debug, PartialEq, Eq)]
pub enum Fetched {
    /// The file is in the sink.
    Found {
        /// Its size.
        size_bytes: u64,
    },
    /// The server has no such file, or serves none (API-only mode).
    Missing,
}

/// Why a fetch failed.
#[derive(Debug, thiserror::Error)]
pub enum FetchFailure {
    /// The server's side.
    #[error(transparent)]
    Call(#[from] CallFailure),
    /// Our side: the sink could not be written.
    #[error("the fetched file could not be written: {0}")]
    Sink(#[source] io::Error),
}

impl ForgeClient {
    /// Fetches the file at `path`, absolute on the server or relative to its
    /// working folder, into `sink`, which is created or emptied.
    pub async fn file(&self, path: &str, sink: &Path) -> Result<Fetched, FetchFailure> {
        let url = self.url(&format!("/file={}", path.replace('\\', "/")));
        let request = self.control.get(url).timeout(FILE_TIMEOUT);
        let mut response = request.send().await.map_err(|error| failure(&error))?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(Fetched::Missing),
            status => {
                let body = body_start(response, ERROR_BODY_BYTES_MAX).await;
                return Err(FetchFailure::Call(CallFailure::Status {
                    status: status.as_u16(),
                    message: crate::outcome::message_of(&body),
                }));
            }
        }
        let mut sink = File::create(sink).await.map_err(FetchFailure::Sink)?;
        let mut size_bytes = 0_u64;
        while let Some(chunk) = response.chunk().await.map_err(|error| failure(&error))? {
            size_bytes += chunk.len() as u64;
            if size_bytes > FILE_BYTES_MAX {
                return Err(CallFailure::TooLarge(FILE_BYTES_MAX as usize).into());
            }
            sink.write_all(&chunk).await.map_err(FetchFailure::Sink)?;
        }
        sink.flush().await.map_err(FetchFailure::Sink)?;
        Ok(Fetched::Found { size_bytes })
    }
}
