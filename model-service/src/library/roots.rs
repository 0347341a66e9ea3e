//! Owns the roots and what may be opened: what is beneath one of them, and
//! nothing else, whatever a path, a link or a sidecar says. It does not walk.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{self, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::stamp::FileStamp;
use crate::config::RootConfig;
use crate::model::ModelKind;

/// How often an opening is tried again that a renaming beside it disturbed.
const DISTURBED_TRIES_MAX: u32 = 16;
/// Mode of folders that are made, before the umask.
const FOLDER_MODE: u32 = 0o777;
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);
/// Opens nothing: what it stands for can be looked at, no device or FIFO notices.
const PLACE: OFlags = OFlags::PATH;
/// A FIFO that takes the place of a file does not hang, a terminal does not take over.
const READ: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

/// Why something beneath a root is not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It leads out of the root.
    #[error("it leads out of the library root; add what it leads to as a root of its own")]
    Outside,
    /// It is a folder, device, FIFO or socket.
    #[error("it is not a file")]
    NotAFile,
}

impl Refused {
    /// The refusal that an error stands for, if it is one.
    pub fn of(error: &io::Error) -> Option<Self> {
        let inner = error.get_ref()?;
        inner.downcast_ref::<Self>().copied()
    }
}

impl From<Refused> for io::Error {
    fn from(refused: Refused) -> Self {
        let kind = match refused {
            Refused::Outside => io::ErrorKind::PermissionDenied,
            Refused::NotAFile => io::ErrorKind::InvalidInput,
        };
        Self::new(kind, refused)
    }
}

/// A folder of model files that may be read. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Root(Arc<RootConfig>);

impl Root {
    /// The root that is configured so.
    pub fn new(config: RootConfig) -> Self {
        Self(Arc::new(config))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// What its files are where they do not say so themselves.
    pub fn kind(&self) -> Option<ModelKind> {
        self.0.kind
    }

    /// Opens the root itself, so that many things beneath it can be opened.
    ///
    /// # Errors
    /// When it is no folder or cannot be read.
    pub fn open(&self) -> io::Result<OpenRoot> {
        let folder = fs::openat(CWD, self.path(), FOLDER | OFlags::CLOEXEC, Mode::empty())?;
        Ok(OpenRoot {
            path: self.path().to_owned(),
            folder,
        })
    }

    /// Opens a file beneath the root for reading. Links are followed when they
    /// end beneath the root. What is not a file is not opened at all.
    ///
    /// # Errors
    /// [`Refused`] inside an [`io::Error`], or what the operating system says.
    pub fn open_beneath(&self, relative: &Path) -> io::Result<File> {
        self.open()?.open_file(relative)
    }

    /// The stamp of a file beneath the root, which is not opened.
    ///
    /// # Errors
    /// As [`Root::open_beneath`].
    pub fn look_beneath(&self, relative: &Path) -> io::Result<FileStamp> {
        match self.open()?.look(relative)? {
            Seen::File(stamp) => Ok(stamp),
            Seen::Folder | Seen::Other => Err(Refused::NotAFile.into()),
        }
    }

    /// Opens a folder beneath the root, or the root itself for an empty path.
    /// No link is followed.
    ///
    /// # Errors
    /// As [`Root::open_beneath`].
    pub fn open_folder(&self, relative: &Path) -> io::Result<OwnedFd> {
        self.open()?.open_folder(relative)
    }

    /// The same, and makes what is missing on the way.
    ///
    /// # Errors
    /// As [`Root::open_beneath`].
    pub fn make_folder(&self, relative: &Path) -> io::Result<OwnedFd> {
        check(relative)?;
        let mut folder = self.open()?.folder;
        for name in names(relative) {
            match fs::mkdirat(&folder, name, Mode::from_raw_mode(FOLDER_MODE)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            folder = step(&folder, name, FOLDER)?;
        }
        Ok(folder)
    }

    /// Bytes that are free there for programs without privileges.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn free_bytes(&self) -> io::Result<u64> {
        let volume = fs::fstatvfs(self.open()?.folder)?;
        Ok(volume.f_bavail.saturating_mul(volume.f_frsize))
    }
}

/// What a path beneath a root stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// A file.
    File(FileStamp),
    /// A folder.
    Folder,
    /// A device, FIFO or socket, which nobody opens.
    Other,
}

/// A root whose folder is open.
#[derive(Debug)]
pub struct OpenRoot {
    path: PathBuf,
    folder: OwnedFd,
}

impl OpenRoot {
    /// As [`Root::open_beneath`].
    ///
    /// # Errors
    /// The same.
    pub fn open_file(&self, relative: &Path) -> io::Result<File> {
        let Seen::File(_) = self.look(relative)? else {
            return Err(Refused::NotAFile.into());
        };
        let file = File::from(self.beneath(relative, READ)?);
        // Something else may have taken its place since it was looked at.
        match file.metadata()?.is_file() {
            true => Ok(file),
            false => Err(Refused::NotAFile.into()),
        }
    }

    /// What is there; links are followed when they end beneath the root.
    ///
    /// # Errors
    /// As [`Root::open_beneath`].
    pub fn look(&self, relative: &Path) -> io::Result<Seen> {
        check(relative)?;
        let place = self.beneath(relative, PLACE)?;
        let stat = fs::fstat(place)?;
        Ok(match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Seen::File(FileStamp::of_stat(&stat)),
            FileType::Directory => Seen::Folder,
            _ => Seen::Other,
        })
    }

    /// As [`Root::open_folder`].
    ///
    /// # Errors
    /// The same.
    pub fn open_folder(&self, relative: &Path) -> io::Result<OwnedFd> {
        check(relative)?;
        if relative.as_os_str().is_empty() {
            return self.folder.try_clone();
        }
        self.straight(relative, FOLDER)
    }

    /// Opens what a path stands for, whose links must all end beneath the root.
    fn beneath(&self, relative: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        match open(&self.folder, relative, flags, resolve) {
            // A link with an absolute path may lead beneath the root all the same; and a kernel or
            // a sandbox that does not know the call gets the same by smaller steps.
            Err(Errno::XDEV | Errno::NOSYS | Errno::PERM) => {
                self.straight(&self.resolved(relative)?, flags)
            }
            opened => Ok(opened?),
        }
    }

    /// Opens a path that has no links.
    fn straight(&self, relative: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        match open(&self.folder, relative, flags, resolve) {
            Err(Errno::NOSYS | Errno::PERM) => by_steps(&self.folder, relative, flags),
            opened => Ok(opened?),
        }
    }

    /// Where the links on a path lead, as a path beneath the root. Only links
    /// are read for that.
    fn resolved(&self, relative: &Path) -> io::Result<PathBuf> {
        let root = self.path.canonicalize()?;
        let target = root.join(relative).canonicalize()?;
        let beneath = target.strip_prefix(&root).map_err(|_| Refused::Outside)?;
        Ok(beneath.to_owned())
    }
}

fn open(
    folder: &OwnedFd,
    relative: &Path,
    flags: OFlags,
    resolve: ResolveFlags,
) -> rustix::io::Result<OwnedFd> {
    let mut tries = 0;
    loop {
        let flags = flags | OFlags::CLOEXEC;
        match fs::openat2(folder, relative, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN) if tries < DISTURBED_TRIES_MAX => tries += 1,
            opened => return opened,
        }
    }
}

/// Opens one folder after the other, none of which may be a link.
fn by_steps(root: &OwnedFd, relative: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let mut folder = root.try_clone()?;
    let mut names = names(relative).peekable();
    while let Some(name) = names.next() {
        if names.peek().is_none() {
            return step(&folder, name, flags);
        }
        folder = step(&folder, name, PLACE | OFlags::DIRECTORY)?;
    }
    Ok(folder)
}

fn step(folder: impl AsFd, name: &OsStr, flags: OFlags) -> io::Result<OwnedFd> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(fs::openat(folder, name, flags, Mode::empty())?)
}

fn names(relative: &Path) -> impl Iterator<Item = &OsStr> {
    relative.components().map(Component::as_os_str)
}

/// Whether a path goes down, step by step.
fn check(relative: &Path) -> io::Result<()> {
    let down = |component| matches!(component, Component::Normal(_));
    match relative.components().all(down) {
        true => Ok(()),
        false => Err(Refused::Outside.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A root with a file in a folder, beside a secret outside.
    fn root() -> (tempfile::TempDir, Root) {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("root/in");
        std::fs::create_dir_all(&inside).unwrap();
        std::fs::write(inside.join("a.sft"), "model").unwrap();
        std::fs::write(folder.path().join("secret"), "secret").unwrap();
        let root = Root::new(RootConfig {
            name: "main".into(),
            path: folder.path().join("root"),
            kind: None,
        });
        (folder, root)
    }

    fn text(root: &Root, path: &str) -> io::Result<String> {
        io::read_to_string(root.open_beneath(Path::new(path))?)
    }

    fn refused<T: std::fmt::Debug>(result: io::Result<T>) -> Option<Refused> {
        Refused::of(&result.unwrap_err())
    }

    #[test]
    fn links_lead_only_to_what_is_beneath_the_root() {
        let (folder, root) = root();
        let inside = folder.path().join("root");
        symlink("in/a.sft", inside.join("relative")).unwrap();
        symlink(inside.join("in/a.sft"), inside.join("absolute")).unwrap();
        symlink("in/../in", inside.join("folder")).unwrap();
        for path in ["in/a.sft", "relative", "absolute", "folder/a.sft"] {
            assert_eq!(text(&root, path).unwrap(), "model", "{path}");
        }
        symlink("../secret", inside.join("up")).unwrap();
        symlink(folder.path().join("secret"), inside.join("out")).unwrap();
        symlink("..", inside.join("parent")).unwrap();
        symlink("/proc/self/root", inside.join("magic")).unwrap();
        let absolute = folder.path().join("secret");
        for path in [
            "up",
            "out",
            "parent/secret",
            "magic/etc/passwd",
            "../secret",
            "in/../../secret",
        ] {
            assert_eq!(refused(text(&root, path)), Some(Refused::Outside), "{path}");
        }
        assert_eq!(
            refused(root.open_beneath(&absolute)),
            Some(Refused::Outside)
        );
        symlink("round", inside.join("round")).unwrap();
        assert!(text(&root, "round").is_err());
    }

    #[test]
    fn what_is_no_file_is_not_opened() {
        let (folder, root) = root();
        let fifo = folder.path().join("root/fifo");
        fs::mkfifoat(CWD, &fifo, Mode::from_raw_mode(0o600)).unwrap();
        let socket = std::os::unix::net::UnixListener::bind(folder.path().join("root/socket"));
        for path in ["fifo", "socket", "in"] {
            assert_eq!(
                refused(text(&root, path)),
                Some(Refused::NotAFile),
                "{path}"
            );
        }
        drop(socket);
    }

    #[test]
    fn a_path_by_steps_follows_no_link() {
        let (folder, root) = root();
        let inside = folder.path().join("root");
        symlink("in", inside.join("link")).unwrap();
        let open = root.open().unwrap();
        assert!(by_steps(&open.folder, Path::new("in/a.sft"), READ).is_ok());
        assert!(by_steps(&open.folder, Path::new("link/a.sft"), READ).is_err());
        assert!(root.open_folder(Path::new("link")).is_err());
        assert!(root.open_folder(Path::new("in")).is_ok());
        assert!(root.make_folder(Path::new("link/new")).is_err());
        root.make_folder(Path::new("new/deep")).unwrap();
        assert!(inside.join("new/deep").is_dir());
        assert_eq!(
            refused(root.make_folder(Path::new("../x"))),
            Some(Refused::Outside)
        );
    }
}
