//! Owns whether a file is the one that Civitai means: what it looks like, its hashes, and what is
//! wrong with them. It does not fetch it.

use std::fs::File;
use std::io::{self, Seek as _};
use std::ops::ControlFlow;

use service_kit::operations::{Steps, Unfinished};
use service_kit::status::Failure;

use super::{blocking, disk_failure};
use crate::civitai::version::VersionFile;
use crate::library::digests::{DigestFault, Digests, digest};
use crate::library::stamp::FileStamp;

/// A file that was read from its beginning to its end.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) open: File,
    pub(super) stamp: FileStamp,
    pub(super) digests: Digests,
}

impl Checked {
    pub(super) fn size_bytes(&self) -> u64 {
        u64::try_from(self.stamp.size_bytes).unwrap_or_default()
    }
}

/// Reads an open file. What was written is read again, so that its hash is that of what is on the
/// disk.
pub(super) async fn checked(open: File, steps: &Steps) -> Result<Checked, Unfinished> {
    let steps = steps.clone();
    blocking(move || {
        let read = read(open, &mut |_| steps.pass());
        read.map_err(|fault| match fault {
            DigestFault::Stopped => Unfinished::Stopped,
            DigestFault::Read(error) => disk_failure(&error).into(),
            DigestFault::OtherSize => {
                let text = "somebody else writes the file of the download; start it again";
                Failure::aborted("FILE_CHANGING", text).into()
            }
        })
    })
    .await?
}

fn read(
    mut open: File,
    on_bytes: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Result<Checked, DigestFault> {
    open.seek(io::SeekFrom::Start(0))?;
    let stamp = FileStamp::of(&open.metadata()?);
    let size_bytes = u64::try_from(stamp.size_bytes).unwrap_or_default();
    let digests = digest(&mut open, size_bytes, on_bytes)?;
    match FileStamp::of(&open.metadata()?) == stamp {
        true => Ok(Checked {
            open,
            stamp,
            digests,
        }),
        false => Err(DigestFault::OtherSize),
    }
}

/// Why a file that came is not the one that Civitai means. Its hash tells; its size does only where
/// there is no hash, since Civitai's sizes are sometimes wrong.
pub(super) fn fault(file: &VersionFile, checked: &Checked) -> Option<Failure> {
    let came = &checked.digests.sha256;
    let text = match (&file.sha256, file.size_bytes) {
        (Some(said), _) if said == came => return None,
        (Some(said), _) => format!(
            "what came has the SHA-256 {}, and Civitai says {}; it was removed",
            came.as_str(),
            said.as_str()
        ),
        (None, Some(said)) if said != checked.size_bytes() => format!(
            "what came has {} bytes, and Civitai says {said}; it was removed",
            checked.size_bytes()
        ),
        (None, _) => return None,
    };
    Some(Failure::precondition("HASH_MISMATCH", "civitai", text))
}
