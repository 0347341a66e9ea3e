//! Owns how one file is hashed: opened beneath its root, looked at before and
//! after, read once. It knows no row.

use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use rustix::fs::{Advice, fadvise};

use crate::library::FILE_BYTES_MAX;
use crate::library::digests::{self, DigestFault, Digests};
use crate::library::stamp::FileStamp;

/// How long after its last change a file of another size counts as one that
/// somebody is still writing.
pub(super) const SETTLED_AFTER: Duration = Duration::from_secs(60);

/// Why a file got no hash.
#[derive(Debug)]
pub(super) enum Left {
    /// The work is to stop.
    Stopped,
    /// It is not there.
    Missing,
    /// It cannot be opened or read.
    Unreadable(io::Error),
    /// It is not as the last scan found it.
    Changed,
    /// Somebody is writing it.
    Changing,
    /// It has more than [`FILE_BYTES_MAX`].
    TooLarge,
}

impl Left {
    /// The reason for the report and what to do; `None` when the work stops.
    pub(super) fn problem(&self) -> Option<(&'static str, String)> {
        let told = |reason, text: &str| Some((reason, text.to_owned()));
        match self {
            Self::Stopped => None,
            Self::Missing => told("FILE_MISSING", "it is not there any more; scan again"),
            Self::Unreadable(error) => Some(("FILE_UNREADABLE", error.to_string())),
            Self::Changed => told(
                "FILE_CHANGED",
                "it is not as the last scan found it; scan, then hash again",
            ),
            Self::Changing => told(
                "FILE_CHANGING",
                "somebody is still writing it; hash again when it is complete",
            ),
            Self::TooLarge => {
                let text = format!(
                    "it has more than {FILE_BYTES_MAX} bytes, and no model has; remove it, or \
                     move it out of the root"
                );
                Some(("FILE_TOO_LARGE", text))
            }
        }
    }
}

impl From<io::Error> for Left {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Missing,
            _ => Self::Unreadable(error),
        }
    }
}

/// Reads an open file once. `found` is how the last scan found it.
///
/// # Errors
/// [`Left`]; a file that is not the same before and after gets no hash.
pub(super) fn hash(
    file: &mut File,
    found: &FileStamp,
    now: DateTime<Utc>,
    on_bytes: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Result<(FileStamp, Digests), Left> {
    if u64::try_from(found.size_bytes).unwrap_or_default() > FILE_BYTES_MAX {
        return Err(Left::TooLarge);
    }
    let before = FileStamp::of(&file.metadata()?);
    if before.content_differs(found) {
        return Err(difference(found, &before, now));
    }
    // Only a hint that the whole of it is read from its beginning.
    let _ = fadvise(&*file, 0, None, Advice::Sequential);
    let size_bytes = u64::try_from(before.size_bytes).unwrap_or_default();
    let digests = match digests::digest(file, size_bytes, on_bytes) {
        Ok(digests) => digests,
        Err(DigestFault::Stopped) => return Err(Left::Stopped),
        Err(DigestFault::OtherSize) => return Err(Left::Changing),
        Err(DigestFault::Read(error)) => return Err(Left::Unreadable(error)),
    };
    let after = FileStamp::of(&file.metadata()?);
    if after.content_differs(&before) {
        return Err(Left::Changing);
    }
    Ok((after, digests))
}

fn difference(found: &FileStamp, before: &FileStamp, now: DateTime<Utc>) -> Left {
    let age = now - DateTime::from_timestamp_nanos(before.modified_ns);
    let settled_after = TimeDelta::from_std(SETTLED_AFTER).unwrap_or(TimeDelta::MAX);
    // Clocks of other machines may be ahead a little.
    let recent = age.abs() < settled_after;
    match recent && before.size_bytes != found.size_bytes {
        true => Left::Changing,
        false => Left::Changed,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Write as _;
    use std::time::SystemTime;

    use super::*;

    fn file(bytes: &[u8]) -> (tempfile::NamedTempFile, FileStamp) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        let stamp = FileStamp::of(&file.as_file().metadata().unwrap());
        (file, stamp)
    }

    fn now_of(stamp: &FileStamp) -> DateTime<Utc> {
        DateTime::from_timestamp_nanos(stamp.modified_ns)
    }

    /// Hashes it while `meanwhile` happens at the first read.
    fn hashed(
        file: &tempfile::NamedTempFile,
        found: &FileStamp,
        now: DateTime<Utc>,
        mut meanwhile: impl FnMut(),
    ) -> Result<(FileStamp, Digests), Left> {
        let mut open = File::open(file.path()).unwrap();
        hash(&mut open, found, now, &mut |_| {
            meanwhile();
            ControlFlow::Continue(())
        })
    }

    #[test]
    fn a_file_that_stays_as_it_is_gets_its_hashes() {
        let (file, stamp) = file(b"abc");
        let (after, digests) = hashed(&file, &stamp, now_of(&stamp), || {}).unwrap();
        assert_eq!(
            (after, digests),
            (
                stamp,
                digests::digest(&mut &b"abc"[..], 3, &mut |_| ControlFlow::Continue(())).unwrap()
            )
        );
    }

    #[test]
    fn a_file_that_grows_or_changes_while_it_is_read_gets_none() {
        let long = vec![7; 3 * digests::READ_BYTES];
        let (grows, stamp) = file(&long);
        let mut end = OpenOptions::new().append(true).open(grows.path()).unwrap();
        let left = hashed(&grows, &stamp, now_of(&stamp), || {
            end.write_all(b"more").unwrap()
        });
        assert!(matches!(left, Err(Left::Changing)), "{left:?}");
        let (shrinks, stamp) = file(&long);
        let left = hashed(&shrinks, &stamp, now_of(&stamp), || {
            shrinks.as_file().set_len(5).unwrap();
        });
        assert!(matches!(left, Err(Left::Changing)), "{left:?}");
        // The same size, but written again: only its time says so.
        let (rewritten, stamp) = file(&long);
        let left = hashed(&rewritten, &stamp, now_of(&stamp), || {
            rewritten
                .as_file()
                .set_modified(SystemTime::UNIX_EPOCH)
                .unwrap();
        });
        assert!(matches!(left, Err(Left::Changing)), "{left:?}");
    }

    #[test]
    fn a_file_that_is_not_as_the_scan_found_it_is_not_read() {
        let (file, stamp) = file(b"abc");
        let longer = FileStamp {
            size_bytes: 2,
            ..stamp
        };
        let older = FileStamp {
            modified_ns: 5,
            ..stamp
        };
        let other = FileStamp {
            inode: stamp.inode + 1,
            ..stamp
        };
        let unread = || panic!("it is read");
        for (found, age, changing) in [
            (longer, Duration::ZERO, true),
            (longer, SETTLED_AFTER, false),
            (older, Duration::ZERO, false),
            (other, Duration::ZERO, false),
        ] {
            let left = hashed(&file, &found, now_of(&stamp) + age, unread).unwrap_err();
            assert_eq!(
                matches!(left, Left::Changing),
                changing,
                "{found:?} {left:?}"
            );
            assert_eq!(
                matches!(left, Left::Changed),
                !changing,
                "{found:?} {left:?}"
            );
        }
    }

    #[test]
    fn a_volume_with_another_number_is_no_other_file() {
        let (file, stamp) = file(b"abc");
        let found = FileStamp {
            device: stamp.device + 1,
            ..stamp
        };
        assert!(hashed(&file, &found, now_of(&stamp), || {}).is_ok());
    }
}
