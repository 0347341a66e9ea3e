//! What must be known about the file system under a database.
//!
//! Does not know SQLite files beyond their names.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

/// File systems whose locks or shared memory SQLite's WAL mode cannot rely on
/// (<https://sqlite.org/wal.html>: all processes must be on the same host), by the names the
/// kernel gives them.
const NETWORK_KINDS: &[&str] = &[
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "ncpfs",
    "afs",
    "ceph",
    "lustre",
    "glusterfs",
    "fuse.sshfs",
    "fuse.glusterfs",
    "fuse.ceph",
    "fuse.s3fs",
    "fuse.rclone",
    "fuse.gcsfuse",
];

/// The path with `suffix` behind its file name.
pub(crate) fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().map_or_else(OsString::new, OsString::from);
    name.push(suffix);
    path.with_file_name(name)
}

/// What is free on the volume that holds `path`, for programs that are not the superuser's.
pub(crate) fn volume_free_bytes(path: &Path) -> io::Result<u64> {
    let volume = rustix::fs::statvfs(path)?;
    Ok(volume.f_bavail.saturating_mul(volume.f_frsize))
}

/// The path without links, also for a file that does not exist yet; its folder must.
pub(super) fn resolved(path: &Path) -> io::Result<PathBuf> {
    match path.canonicalize() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let name = path.file_name().ok_or(error)?;
            let folder = path
                .parent()
                .filter(|folder| !folder.as_os_str().is_empty());
            Ok(folder.unwrap_or(Path::new(".")).canonicalize()?.join(name))
        }
        result => result,
    }
}

/// The kind of network file system that holds `path`, which has no links left; `None` when it is
/// a local one, or when the operating system does not tell.
pub(super) fn network_file_system(path: &Path) -> Option<String> {
    let mounts = std::fs::read("/proc/self/mountinfo").ok()?;
    kind_in(&String::from_utf8_lossy(&mounts), path)
}

/// The same from the text of `/proc/self/mountinfo` (`man 5 proc_pid_mountinfo`).
fn kind_in(mounts: &str, path: &Path) -> Option<String> {
    let mut innermost: Option<(usize, &str)> = None;
    for line in mounts.lines() {
        let Some((fields, rest)) = line.split_once(" - ") else {
            continue;
        };
        let Some(point) = fields.split(' ').nth(4) else {
            continue;
        };
        let Some(kind) = rest.split(' ').next() else {
            continue;
        };
        let point = unescaped(point);
        // A later line covers an earlier one on the same point.
        if path.starts_with(&point) && innermost.is_none_or(|(length, _)| point.len() >= length) {
            innermost = Some((point.len(), kind));
        }
    }
    let (_, kind) = innermost?;
    NETWORK_KINDS.contains(&kind).then(|| kind.to_owned())
}

/// The kernel writes blanks and backslashes in mount points as three octal digits.
fn unescaped(point: &str) -> String {
    point
        .replace("\\040", " ")
        .replace("\\011", "\t")
        .replace("\\012", "\n")
        .replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
40 22 0:40 / /mnt/share rw shared:9 - nfs4 host:/export rw,vers=4.2
41 22 0:41 / /mnt/my\\040share rw - fuse.sshfs host:/ rw
42 40 0:42 / /mnt/share/local rw master:3 propagate_from:2 - tmpfs tmpfs rw
43 22 0:43 / /covered rw - cifs //host/a rw
44 43 0:44 / /covered rw - xfs /dev/vdb rw
";

    fn kind(path: &str) -> Option<String> {
        kind_in(MOUNTS, Path::new(path))
    }

    #[test]
    fn the_innermost_mount_decides() {
        assert_eq!(kind("/data/jobs.sqlite"), None);
        assert_eq!(kind("/mnt/share/jobs.sqlite").as_deref(), Some("nfs4"));
        assert_eq!(kind("/mnt/share/local/jobs.sqlite"), None);
        assert_eq!(
            kind("/mnt/my share/jobs.sqlite").as_deref(),
            Some("fuse.sshfs")
        );
        assert_eq!(kind("/covered/jobs.sqlite"), None);
    }

    #[test]
    fn a_name_that_only_begins_like_a_mount_point_is_outside_it() {
        assert_eq!(kind("/mnt/shared/jobs.sqlite"), None);
    }

    #[test]
    fn a_temporary_folder_of_this_machine_is_local() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(
            network_file_system(&folder.path().canonicalize().unwrap()),
            None
        );
    }
}
