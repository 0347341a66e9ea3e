//! The bytes of an image as a stream of chunks.

use std::{pin::Pin, sync::Arc};

use futures_util::Stream;
use service_kit::status::Failure;
use stablequeue_proto::jobs::v1::DownloadImageResponse;
use tonic::Status;

use super::convert;
use crate::{core::Core, images::ImageError, job::Image};

/// Bytes of a chunk: under 1 MiB, and a multiple of 3, so that the base64
/// pieces of JSON clients join.
const CHUNK_BYTES: usize = 786_432;

/// The chunks of an image.
pub(super) type ImageStream =
    Pin<Box<dyn Stream<Item = Result<DownloadImageResponse, Status>> + Send>>;

struct Reading {
    core: Arc<Core>,
    sha256: String,
    media_type: String,
    size: u64,
    offset: u64,
    /// The first message tells what is sent.
    head: Option<Image>,
}

/// The chunks of an image from an offset on, behind a message that says what
/// it is.
pub(super) fn stream(core: Arc<Core>, image: Image, offset: u64) -> ImageStream {
    let reading = Reading {
        core,
        sha256: image.sha256.clone(),
        media_type: image.media_type.clone(),
        size: image.size_bytes.unsigned_abs(),
        offset,
        head: Some(image),
    };
    Box::pin(futures_util::stream::unfold(Some(reading), |state| async {
        let mut reading = state?;
        if let Some(image) = reading.head.take() {
            let message = DownloadImageResponse {
                image: Some(convert::image(image)),
                offset_bytes: signed(reading.offset),
                data: Vec::new().into(),
            };
            return Some((Ok(message), Some(reading)));
        }
        if reading.offset >= reading.size {
            return None;
        }
        match chunk(&reading).await {
            Ok(data) => {
                let message = DownloadImageResponse {
                    image: None,
                    offset_bytes: signed(reading.offset),
                    data: data.into(),
                };
                reading.offset += message.data.len() as u64;
                Some((Ok(message), Some(reading)))
            }
            Err(failure) => Some((Err(failure.into_status()), None)),
        }
    }))
}

fn signed(offset: u64) -> i64 {
    i64::try_from(offset).unwrap_or(i64::MAX)
}

async fn chunk(reading: &Reading) -> Result<Vec<u8>, Failure> {
    let core = Arc::clone(&reading.core);
    let (sha256, media_type) = (reading.sha256.clone(), reading.media_type.clone());
    let offset = reading.offset;
    let read = tokio::task::spawn_blocking(move || {
        core.images.read(&sha256, &media_type, offset, CHUNK_BYTES)
    })
    .await
    .map_err(|error| Failure::internal_because(&error))?;
    match read {
        Ok(data) if data.is_empty() => Err(lost("the file is shorter than it was")),
        Ok(data) => Ok(data),
        Err(error @ ImageError::Missing(_)) => Err(lost(&error.to_string())),
        Err(error) => Err(Failure::internal_because(&error)),
    }
}

fn lost(why: &str) -> Failure {
    tracing::error!(%why, "an image cannot be read");
    Failure::data_loss(
        "IMAGE_FILE_LOST",
        "the image's file is missing or cut off; restore the image folder from a copy",
    )
}
