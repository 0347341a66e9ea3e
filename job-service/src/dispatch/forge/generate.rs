//! The one call that makes pictures. It is sent once, on a connection of its
//! own, and waits without a limit of time: progress is the proof of life, and
//! whoever calls gives up by dropping the future.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use reqwest::{Response, StatusCode};
use serde_json::{Map, Value};
use tokio::fs::File;
use tokio::io::AsyncWriteExt as _;

use super::{ForgeClient, body_start, chain};
use crate::job::Endpoint;

/// Bytes that the answer to a generation may have. The pixels that a request
/// may ask for (`request::REQUEST_PIXELS_MAX`, three bytes each, as base64)
/// are 512 MiB when nothing compresses; the rest is for texts.
pub const ANSWER_BYTES_MAX: u64 = 576 * 1024 * 1024;
/// Bytes of an error's body that are read.
pub const ERROR_BODY_BYTES_MAX: usize = 64 * 1024;

/// How the call ended.
#[derive(Debug)]
pub enum GenerateAnswer {
    /// Nothing can have been sent: the connection was refused, the name was
    /// not found, or TLS failed.
    NotSent {
        /// What happened.
        message: String,
    },
    /// Something was sent and no whole answer came: what became of it is not
    /// known.
    Lost {
        /// What happened.
        message: String,
    },
    /// Another status than 200; nothing says yet what that means.
    Refused {
        /// The HTTP status.
        status: u16,
        /// The beginning of the body.
        body: Vec<u8>,
    },
    /// The whole body of a 200 is in the spool file.
    Answered {
        /// Its size.
        size_bytes: u64,
    },
    /// A 200 whose body is longer than [`ANSWER_BYTES_MAX`].
    TooLarge,
    /// The spool file could not be written; the answer is lost on our side.
    SpoolFailed(io::Error),
}

impl ForgeClient {
    /// Sends a generation and waits for its end. The body of the answer goes
    /// to `spool`, which is created or emptied first, before anything is
    /// sent; `received` counts its bytes as they come. Cancel by dropping the future; the server goes on even then.
    pub async fn generate(
        &self,
        endpoint: Endpoint,
        body: &Map<String, Value>,
        spool: &Path,
        received: &AtomicU64,
    ) -> GenerateAnswer {
        let path = match endpoint {
            Endpoint::Txt2img => "/sdapi/v1/txt2img",
            Endpoint::Img2img => "/sdapi/v1/img2img",
        };
        let mut spool = match File::create(spool).await {
            Ok(spool) => spool,
            Err(error) => return GenerateAnswer::SpoolFailed(error),
        };
        let request = self.signed(self.generation.post(self.url(path)));
        let sent = request.json(body).send().await;
        let response = match sent {
            Ok(response) => response,
            Err(error) if error.is_connect() || error.is_builder() => {
                return GenerateAnswer::NotSent {
                    message: chain(&error),
                };
            }
            Err(error) => {
                return GenerateAnswer::Lost {
                    message: chain(&error),
                };
            }
        };
        if response.status() != StatusCode::OK {
            return GenerateAnswer::Refused {
                status: response.status().as_u16(),
                body: body_start(response, ERROR_BODY_BYTES_MAX).await,
            };
        }
        pour(response, &mut spool, received).await
    }
}

/// Writes the body to the spool file.
async fn pour(mut response: Response, spool: &mut File, received: &AtomicU64) -> GenerateAnswer {
    let mut size_bytes = 0_u64;
    loop {
        let chunk = match response.chunk().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => break,
            Err(error) => {
                return GenerateAnswer::Lost {
                    message: chain(&error),
                };
            }
        };
        size_bytes += chunk.len() as u64;
        received.store(size_bytes, Ordering::Relaxed);
        if size_bytes > ANSWER_BYTES_MAX {
            return GenerateAnswer::TooLarge;
        }
        if let Err(error) = spool.write_all(&chunk).await {
            return GenerateAnswer::SpoolFailed(error);
        }
    }
    match spool.flush().await {
        Ok(()) => GenerateAnswer::Answered { size_bytes },
        Err(error) => GenerateAnswer::SpoolFailed(error),
    }
}
