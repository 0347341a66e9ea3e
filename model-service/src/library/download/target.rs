//! Owns where a download is written: an open folder beneath a root, the file that grows in it, and
//! how that takes its name without ever taking the place of another. All of it blocks. It does not
//! know what is downloaded.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

use rustix::fs::{self, AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::library::roots::Root;

/// Bytes that a volume must have left when a download is on it: others write there too.
pub(super) const SPACE_MARGIN_BYTES: u64 = 64 * 1024 * 1024;
/// Mode of a file that is not complete.
const PART_MODE: u32 = 0o600;
/// Mode of a complete file, which other programs are to read.
const FILE_MODE: u32 = 0o644;
/// Nothing that is opened is followed, hangs or takes over.
const SAFE: OFlags = OFlags::NOFOLLOW
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// What is under a name.
#[derive(Debug)]
pub(super) enum There {
    /// Nothing.
    Nothing,
    /// A file.
    File(File),
    /// A folder, link, device or what else there is.
    Other,
}

/// Where a download is written.
#[derive(Debug)]
pub(super) struct Target {
    folder: OwnedFd,
    /// The name until it is complete.
    part: String,
}

impl Target {
    /// Opens the folder beneath the root and makes what is missing of it.
    pub(super) fn made(root: &Root, folder: &Path, part: String) -> io::Result<Self> {
        let folder = root.make_folder(folder)?;
        Ok(Self { folder, part })
    }

    /// Opens the folder if it is there.
    pub(super) fn found(root: &Root, folder: &Path, part: String) -> io::Result<Self> {
        let folder = root.open_folder(folder)?;
        Ok(Self { folder, part })
    }

    /// Opens the file that grows, with what it has already.
    pub(super) fn open_part(&self) -> io::Result<(File, u64)> {
        let flags = OFlags::RDWR | OFlags::CREATE | SAFE;
        let mode = Mode::from_raw_mode(PART_MODE);
        let file = File::from(fs::openat(&self.folder, &self.part, flags, mode)?);
        let metadata = file.metadata()?;
        // Whoever may write to the folder might have put something in its place.
        if !metadata.is_file() || metadata.nlink() != 1 {
            return Err(io::Error::other(
                "something else has the name of the file that grows",
            ));
        }
        Ok((file, metadata.len()))
    }

    /// Removes the file that grows, if there is one.
    pub(super) fn remove_part(&self) -> io::Result<()> {
        match fs::unlinkat(&self.folder, &self.part, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Bytes that are free, beyond the margin.
    pub(super) fn room_bytes(&self) -> io::Result<u64> {
        let volume = fs::fstatvfs(&self.folder)?;
        let free = volume.f_bavail.saturating_mul(volume.f_frsize);
        Ok(free.saturating_sub(SPACE_MARGIN_BYTES))
    }

    /// Writes at a place of the file that grows; a volume without room beyond the margin is full.
    pub(super) fn write(&self, file: &File, place: u64, bytes: &[u8]) -> io::Result<()> {
        if self.room_bytes()? < bytes.len() as u64 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        file.write_all_at(bytes, place)
    }

    /// What is under a name.
    pub(super) fn there(&self, name: &str) -> io::Result<There> {
        match fs::openat(&self.folder, name, OFlags::RDONLY | SAFE, Mode::empty()) {
            Ok(file) => {
                let file = File::from(file);
                let is_file = file.metadata()?.is_file();
                Ok(if is_file {
                    There::File(file)
                } else {
                    There::Other
                })
            }
            Err(Errno::NOENT) => Ok(There::Nothing),
            // A link, a socket, a device without a driver.
            Err(Errno::LOOP | Errno::NXIO | Errno::NODEV) => Ok(There::Other),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives the complete file its name, on disk when this returns. Whether it has it: `false`
    /// when something else has.
    pub(super) fn settle(&self, file: &File, name: &str) -> io::Result<bool> {
        fs::fchmod(file, Mode::from_raw_mode(FILE_MODE))?;
        file.sync_all()?;
        let settled = self.rename(&self.part, name)?;
        fs::fsync(&self.folder)?;
        Ok(settled)
    }

    /// Writes a small file that is there completely or not at all. Whether it was written: `false`
    /// when something has the name already.
    pub(super) fn write_beside(&self, name: &str, bytes: &[u8]) -> io::Result<bool> {
        if self.room_bytes()? < bytes.len() as u64 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        // What is there may be the model file itself, under both of its names, where a kill came
        // between the second link and the removal of the first.
        self.remove_part()?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | SAFE;
        let mode = Mode::from_raw_mode(PART_MODE);
        let mut file = File::from(fs::openat(&self.folder, &self.part, flags, mode)?);
        let written = file
            .write_all(bytes)
            .and_then(|()| self.settle(&file, name));
        if !matches!(written, Ok(true)) {
            self.remove_part()?;
        }
        written
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<bool> {
        let folder = &self.folder;
        match fs::renameat_with(folder, from, folder, to, RenameFlags::NOREPLACE) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            // Some network volumes cannot; a second link is refused in the same way.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                match fs::linkat(folder, from, folder, to, AtFlags::empty()) {
                    Ok(()) => {
                        fs::unlinkat(folder, from, AtFlags::empty())?;
                        Ok(true)
                    }
                    Err(Errno::EXIST) => Ok(false),
                    Err(error) => Err(error.into()),
                }
            }
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;
    use crate::config::RootConfig;

    fn target() -> (tempfile::TempDir, Target) {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::new(RootConfig {
            name: "main".into(),
            path: folder.path().to_owned(),
            kind: None,
        });
        let target = Target::made(&root, Path::new("a/b"), ".x.part".into()).unwrap();
        (folder, target)
    }

    #[test]
    fn a_file_grows_hidden_and_takes_its_name_at_the_end() {
        let (folder, target) = target();
        let place = |name: &str| folder.path().join("a/b").join(name);
        let (file, had) = target.open_part().unwrap();
        assert_eq!(had, 0);
        target.write(&file, 0, b"one").unwrap();
        let mode = place(".x.part").metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        drop(file);
        let (file, had) = target.open_part().unwrap();
        assert_eq!(had, 3);
        target.write(&file, 3, b"two").unwrap();
        assert!(target.settle(&file, "a.sft").unwrap());
        assert_eq!(std::fs::read(place("a.sft")).unwrap(), b"onetwo");
        assert!(!place(".x.part").exists());
        assert!(matches!(target.there("a.sft").unwrap(), There::File(_)));
    }

    #[test]
    fn a_file_that_has_both_its_names_is_not_taken_for_one_that_grows() {
        let (folder, target) = target();
        let place = |name: &str| folder.path().join("a/b").join(name);
        std::fs::write(place("a.sft"), "model").unwrap();
        std::fs::hard_link(place("a.sft"), place(".x.part")).unwrap();
        assert!(target.write_beside("a.info", b"beside").unwrap());
        assert_eq!(std::fs::read(place("a.sft")).unwrap(), b"model");
        assert_eq!(std::fs::read(place("a.info")).unwrap(), b"beside");
        assert!(!place(".x.part").exists());
    }

    #[test]
    fn nothing_is_overwritten_and_no_link_is_followed() {
        let (folder, target) = target();
        let place = |name: &str| folder.path().join("a/b").join(name);
        std::fs::write(place("a.sft"), "mine").unwrap();
        let (file, _) = target.open_part().unwrap();
        assert!(!target.settle(&file, "a.sft").unwrap());
        assert!(!target.write_beside("a.sft", b"theirs").unwrap());
        assert_eq!(std::fs::read(place("a.sft")).unwrap(), b"mine");
        assert!(!place(".x.part").exists());
        symlink(place("a.sft"), place(".x.part")).unwrap();
        assert!(target.open_part().is_err());
        assert!(target.write_beside("b.info", b"theirs").unwrap());
        assert_eq!(std::fs::read(place("a.sft")).unwrap(), b"mine");
        assert_eq!(std::fs::read(place("b.info")).unwrap(), b"theirs");
        symlink("a.sft", place("link.sft")).unwrap();
        assert!(matches!(target.there("link.sft").unwrap(), There::Other));
        assert!(matches!(target.there("none").unwrap(), There::Nothing));
        assert!(matches!(target.there(".").unwrap(), There::Other));
    }
}
