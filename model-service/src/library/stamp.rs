//! Owns by what a file is recognised without reading it: its size, its time and
//! its place on the disk.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;

use rustix::fs::Stat;

const NS_PER_SECOND: i64 = 1_000_000_000;

/// What a file looks like from outside. While none of it changes, neither did
/// its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileStamp {
    /// Its size.
    pub size_bytes: i64,
    /// When it was changed last, in nanoseconds since 1970.
    pub modified_ns: i64,
    /// The number of its volume, bit for bit.
    pub device: i64,
    /// Its number there, bit for bit.
    pub inode: i64,
}

impl FileStamp {
    /// The stamp of an open file.
    pub fn of(metadata: &Metadata) -> Self {
        Self {
            size_bytes: i64::try_from(metadata.len()).unwrap_or(i64::MAX),
            modified_ns: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            device: metadata.dev().cast_signed(),
            inode: metadata.ino().cast_signed(),
        }
    }

    /// The stamp that the operating system answers.
    #[allow(
        clippy::unnecessary_cast,
        clippy::useless_conversion,
        clippy::cast_lossless,
        reason = "the widths differ between platforms"
    )]
    pub(crate) fn of_stat(stat: &Stat) -> Self {
        let nanosecond = i64::try_from(stat.st_mtime_nsec).unwrap_or_default();
        Self {
            size_bytes: stat.st_size as i64,
            modified_ns: nanoseconds(stat.st_mtime as i64, nanosecond),
            device: (stat.st_dev as u64).cast_signed(),
            inode: (stat.st_ino as u64).cast_signed(),
        }
    }

    /// Whether the content may have changed since it had the other stamp. A
    /// volume may get another number with every start, which says nothing.
    pub fn content_differs(&self, other: &Self) -> bool {
        let content = |stamp: &Self| (stamp.size_bytes, stamp.modified_ns, stamp.inode);
        content(self) != content(other)
    }
}

fn nanoseconds(seconds: i64, nanosecond: i64) -> i64 {
    seconds
        .saturating_mul(NS_PER_SECOND)
        .saturating_add(nanosecond)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_to_look_at_a_file_see_the_same() {
        let file = tempfile::tempfile().unwrap();
        let stat = rustix::fs::fstat(&file).unwrap();
        assert_eq!(
            FileStamp::of(&file.metadata().unwrap()),
            FileStamp::of_stat(&stat)
        );
    }

    #[test]
    fn another_volume_number_is_no_other_content() {
        let one = FileStamp {
            size_bytes: 1,
            modified_ns: 2,
            device: 3,
            inode: 4,
        };
        assert!(!one.content_differs(&FileStamp { device: 9, ..one }));
        for other in [
            FileStamp {
                size_bytes: 9,
                ..one
            },
            // An older file that was copied over it.
            FileStamp {
                modified_ns: 1,
                ..one
            },
            FileStamp { inode: 9, ..one },
        ] {
            assert!(one.content_differs(&other));
        }
    }
}
