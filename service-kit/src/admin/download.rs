//! The bytes of a backup as a stream of chunks.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::Stream;
use sha2::{Digest as _, Sha256};
use stablequeue_proto::admin::v1::DownloadBackupResponse;
use tokio::sync::OwnedSemaphorePermit;
use tonic::Status;

use super::{Admin, AdminError, blocking};
use crate::migrate::{Backup, MigrateError};
use crate::operations::convert::{backup, wire_count};
use crate::status::Failure;

/// Bytes of a chunk: under 1 MiB, and a multiple of 3, so that the base64
/// pieces of JSON clients join.
const CHUNK_BYTES: usize = 786_432;
/// Downloads under way; one more is refused.
pub(super) const DOWNLOADS_MAX: usize = 2;

/// The chunks of a backup.
pub(super) type BackupStream =
    Pin<Box<dyn Stream<Item = Result<DownloadBackupResponse, Status>> + Send>>;

/// A backup that is being sent.
pub(super) struct Sending {
    file: Arc<File>,
    offset: u64,
    size: u64,
    /// The first message tells what is sent.
    head: Option<(Backup, String)>,
    _permit: OwnedSemaphorePermit,
}

impl Admin {
    /// Opens a backup to send it from `offset` on. It is read once as a whole
    /// for its digest. One that is removed meanwhile is sent to its end.
    pub(super) async fn open_backup(
        &self,
        name: String,
        offset: u64,
    ) -> Result<Sending, AdminError> {
        let permit = Arc::clone(&self.0.downloads).try_acquire_owned();
        let permit = permit.map_err(|_| AdminError::TooManyDownloads)?;
        let admin = self.clone();
        blocking(move || {
            let found = admin.backups()?.into_iter().find(|each| each.name == name);
            let Some(found) = found else {
                return Err(MigrateError::NoBackup { name }.into());
            };
            if offset > found.size_bytes {
                return Err(AdminError::Offset {
                    size_bytes: found.size_bytes,
                });
            }
            let path = admin.0.database.path().with_file_name(&found.name);
            let file = File::open(path)?;
            let sha256 = digest(&file)?;
            Ok(Sending {
                file: Arc::new(file),
                offset,
                size: found.size_bytes,
                head: Some((found, sha256)),
                _permit: permit,
            })
        })
        .await
    }
}

fn digest(file: &File) -> io::Result<String> {
    let mut digest = Sha256::new();
    let mut bytes = vec![0; CHUNK_BYTES];
    let mut file = file;
    loop {
        let read = file.read(&mut bytes)?;
        if read == 0 {
            return Ok(hex::encode(digest.finalize()));
        }
        digest.update(&bytes[..read]);
    }
}

/// The messages of a backup.
pub(super) fn stream(sending: Sending) -> BackupStream {
    Box::pin(futures_util::stream::unfold(
        Some(sending),
        |state| async move {
            let mut sending = state?;
            let mut message = DownloadBackupResponse {
                offset_bytes: wire_count(sending.offset),
                ..DownloadBackupResponse::default()
            };
            if let Some((found, sha256)) = sending.head.take() {
                message.backup = Some(backup(found));
                message.sha256 = sha256;
                return Some((Ok(message), Some(sending)));
            }
            if sending.offset >= sending.size {
                return None;
            }
            match chunk(&sending).await {
                Ok(data) => {
                    sending.offset += data.len() as u64;
                    message.data = data;
                    Some((Ok(message), Some(sending)))
                }
                Err(error) => Some((Err(Failure::from(error).into_status()), None)),
            }
        },
    ))
}

async fn chunk(sending: &Sending) -> Result<Vec<u8>, AdminError> {
    let (file, offset) = (Arc::clone(&sending.file), sending.offset);
    let left = usize::try_from(sending.size - offset).unwrap_or(usize::MAX);
    let mut data = vec![0; left.min(CHUNK_BYTES)];
    blocking(move || {
        file.read_exact_at(&mut data, offset)?;
        Ok(data)
    })
    .await
}
