//! Owns a model's picture as a stream: a header, then its bytes. It does not own which picture it is
//! (`library/preview.rs`).

use futures_util::stream::{self, BoxStream, StreamExt as _};
use service_kit::clock;
use service_kit::status::Failure;
use stablequeue_proto::models::v1 as wire;
use tokio::sync::OwnedSemaphorePermit;
use tonic::{Code, Status};
use wire::get_model_preview_response::Part;

use crate::library::preview::{Preview, PreviewFault};

/// Bytes of one message: under 1 MiB and a multiple of 3, so that base64 pieces join.
const CHUNK_BYTES: usize = 786_432;

/// The parts of a picture.
pub(super) type PreviewStream = BoxStream<'static, Result<wire::GetModelPreviewResponse, Status>>;

/// A picture under way.
struct Sending {
    preview: Preview,
    offset: u64,
    _permit: OwnedSemaphorePermit,
}

/// The header and then the bytes; the permit is given back at the end.
pub(super) fn stream(preview: Preview, permit: OwnedSemaphorePermit) -> PreviewStream {
    let header = wire::PreviewHeader {
        content_type: preview.content_type().to_owned(),
        size_bytes: i64::try_from(preview.size_bytes()).unwrap_or(i64::MAX),
        modify_time: Some(clock::to_timestamp(preview.modified_at())),
    };
    let sending = Sending {
        preview,
        offset: 0,
        _permit: permit,
    };
    let bytes = stream::unfold(Some(sending), |sending| async {
        let mut sending = sending?;
        match chunk(&sending).await {
            Ok(data) if data.is_empty() => None,
            Ok(data) => {
                sending.offset += data.len() as u64;
                Some((Ok(message(Part::Data(data.into()))), Some(sending)))
            }
            Err(failure) => Some((Err(failure.into_status()), None)),
        }
    });
    stream::iter([Ok(message(Part::Header(header)))])
        .chain(bytes)
        .boxed()
}

fn message(part: Part) -> wire::GetModelPreviewResponse {
    wire::GetModelPreviewResponse { part: Some(part) }
}

async fn chunk(sending: &Sending) -> Result<Vec<u8>, Failure> {
    let (preview, offset) = (sending.preview.clone(), sending.offset);
    let read = tokio::task::spawn_blocking(move || preview.read(offset, CHUNK_BYTES)).await;
    let read = read.map_err(|error| Failure::internal_because(&error))?;
    read.map_err(|fault| failure(&fault))
}

/// Why there is no picture, as callers are told.
pub(super) fn failure(fault: &PreviewFault) -> Failure {
    let text = fault.to_string();
    match fault {
        PreviewFault::None(_) | PreviewFault::Gone { .. } => {
            Failure::new(Code::NotFound, "PREVIEW_NOT_FOUND", text)
        }
        PreviewFault::NotAPicture(_) => {
            Failure::precondition("PREVIEW_NOT_A_PICTURE", "preview", text)
        }
        PreviewFault::TooLarge { .. } => {
            Failure::precondition("PREVIEW_TOO_LARGE", "preview", text)
        }
        PreviewFault::Changed(_) => Failure::aborted("PREVIEW_CHANGED", text),
    }
}
