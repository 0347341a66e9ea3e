//! Fetches a saved file from a server in UI mode, which is the one thing that
//! needs a login there. Whether the file is whole
//! and ours is seen when it is taken into the image store.

use std::io;
use std::path::Path;
use std::time::Duration;

use reqwest::{Response, StatusCode, header};
use tokio::fs::File;
use tokio::io::AsyncWriteExt as _;

use super::{CallFailure, ERROR_BODY_BYTES_MAX, ForgeClient, body_start, failure, session::Ticket};

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
        let mut response = self.ask_for_file(path).await?;
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

    /// Asks for a file; logs in at the UI and asks once more where it refuses
    /// for want of a login.
    async fn ask_for_file(&self, path: &str) -> Result<Response, CallFailure> {
        let ticket = self.session.ticket();
        let response = self.send_for_file(path, ticket.as_ref()).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        match self.log_in(ticket.as_ref()).await {
            Ok(Some(ticket)) => self.send_for_file(path, Some(&ticket)).await,
            // The refusal says more than a login that did not come about.
            Ok(None) | Err(_) => Ok(response),
        }
    }

    async fn send_for_file(
        &self,
        path: &str,
        ticket: Option<&Ticket>,
    ) -> Result<Response, CallFailure> {
        let url = self.url(&format!("/file={}", path.replace('\\', "/")));
        let mut request = self.signed(self.control.get(url)).timeout(FILE_TIMEOUT);
        if let Some(ticket) = ticket {
            request = request.header(header::COOKIE, ticket.cookies());
        }
        request.send().await.map_err(|error| failure(&error))
    }
}
