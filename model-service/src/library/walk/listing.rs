//! Owns what lies in one folder: its folders, its models, and what lies beside
//! them. Nothing is opened but the folder.

use std::collections::HashMap;
use std::ffi::{CStr, OsStr};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use rustix::fs::{self, AtFlags, FileType, RawDir};
use rustix::io::Errno;

use super::{Beside, DEPTH_MAX, Folder, Found, Listed, Walk, joined};
use crate::library::beside;
use crate::library::problems::Reason;
use crate::library::roots::{Refused, Seen};
use crate::library::stamp::FileStamp;

/// Bytes of names that are asked for at once.
const NAMES_BYTES: usize = 32 * 1024;

/// A name in a folder that is of interest.
struct Entry {
    name: Vec<u8>,
    is_link: bool,
}

/// What the names of a folder are.
#[derive(Default)]
struct Names {
    folders: Vec<Vec<u8>>,
    models: Vec<Entry>,
    others: Vec<Entry>,
    is_empty: bool,
}

impl Walk<'_> {
    /// Lists a folder and queues the folders in it; `None` when it cannot be
    /// read or was listed under another name.
    pub(super) fn list(&self, folder: &Folder) -> Option<Listed> {
        let path = &folder.path;
        let listed = self.open(path).and_then(|open| match open {
            None => Ok(None),
            Some((open, device)) => Ok(Some((self.names(path, &open)?, open, device))),
        });
        let (names, open, device) = match listed {
            Ok(found) => found?,
            Err(error) => {
                let message = format!("the folder cannot be read: {error}; look at its mode");
                self.leave_out(path, Reason::FolderUnreadable, &message);
                return None;
            }
        };
        match names.is_empty {
            true if folder.depth == 0 => self.is_empty.store(true, Ordering::Relaxed),
            true => {
                let mut empty = self.empty.lock().unwrap_or_else(PoisonError::into_inner);
                empty.insert(path.clone(), device);
            }
            false => {}
        }
        self.go_down(folder, names.folders);
        let models = self.models(path, &open, names.models, names.others);
        Some(Listed {
            path: path.clone(),
            folder: open,
            models,
        })
    }

    /// The folder and its volume, unless it was listed before.
    fn open(&self, path: &[u8]) -> io::Result<Option<(OwnedFd, i64)>> {
        let open = self.root.open_folder(Path::new(OsStr::from_bytes(path)))?;
        let stamp = FileStamp::of_stat(&fs::fstat(&open)?);
        let mut visited = self.visited.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = visited.insert((stamp.device, stamp.inode));
        Ok(is_first.then_some((open, stamp.device)))
    }

    fn names(&self, path: &[u8], open: &OwnedFd) -> io::Result<Names> {
        let mut names = Names {
            is_empty: true,
            ..Names::default()
        };
        let mut buffer = [MaybeUninit::uninit(); NAMES_BYTES];
        let mut entries = RawDir::new(open, &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            names.is_empty = false;
            if !self.count_entry() {
                break;
            }
            let kind = match entry.file_type() {
                FileType::Unknown => self.kind_of(path, open, name),
                kind => Some(kind),
            };
            if let Some(kind) = kind {
                self.sort_in(&mut names, path, name.to_bytes(), kind);
            }
        }
        Ok(names)
    }

    /// For volumes that do not say what a name is; `None` when it cannot be seen
    /// either.
    pub(super) fn kind_of(&self, path: &[u8], open: &OwnedFd, name: &CStr) -> Option<FileType> {
        match fs::statat(open, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Some(FileType::from_raw_mode(stat.st_mode)),
            // It went while the folder was listed.
            Err(Errno::NOENT) => None,
            Err(error) => {
                let path = joined(path, name.to_bytes());
                self.leave_out(&path, Reason::FileUnreadable, &not_seen(&error.into()));
                None
            }
        }
    }

    fn sort_in(&self, names: &mut Names, path: &[u8], name: &[u8], kind: FileType) {
        let is_link = kind == FileType::Symlink;
        let is_model = beside::stem(name).is_some();
        let entry = || Entry {
            name: name.to_vec(),
            is_link,
        };
        match kind {
            FileType::Directory => names.folders.push(name.to_vec()),
            FileType::RegularFile | FileType::Symlink if is_model => names.models.push(entry()),
            FileType::RegularFile if beside::may_belong(name) => names.others.push(entry()),
            FileType::Symlink => names.others.push(entry()),
            FileType::RegularFile => {}
            _ if is_model => {
                let message = "it is a device, FIFO or socket, which is never opened";
                self.problems
                    .add(&joined(path, name), Reason::NotAFile, message);
            }
            _ => {}
        }
    }

    fn go_down(&self, folder: &Folder, names: Vec<Vec<u8>>) {
        let depth = folder.depth + 1;
        if depth > DEPTH_MAX {
            for name in names {
                let message = format!("it is deeper than {DEPTH_MAX} folders; move it up");
                self.leave_out(&joined(&folder.path, &name), Reason::TooDeep, &message);
            }
            return;
        }
        let folders = names.into_iter().map(|name| Folder {
            path: joined(&folder.path, &name),
            depth,
        });
        self.queue.add(folders.collect());
    }

    /// The models, each with what lies beside it.
    fn models(
        &self,
        path: &[u8],
        open: &OwnedFd,
        models: Vec<Entry>,
        others: Vec<Entry>,
    ) -> Vec<Found> {
        let mut found: Vec<Found> = Vec::with_capacity(models.len());
        let mut stems: HashMap<Vec<u8>, Vec<usize>> = HashMap::with_capacity(models.len());
        for entry in models {
            let Some(stamp) = self.stamp(path, open, &entry, true) else {
                continue;
            };
            let stem = beside::stem(&entry.name).unwrap_or_default();
            // Several files of one name, as `a.ckpt` and `a.sft`, share what lies beside them.
            match stems.get_mut(stem) {
                Some(places) => places.push(found.len()),
                None => drop(stems.insert(stem.to_vec(), vec![found.len()])),
            }
            found.push(Found {
                name: entry.name,
                stamp,
                is_link: entry.is_link,
                beside: Vec::new(),
            });
        }
        for entry in others {
            let owner = beside::owner(&entry.name, &stems);
            if owner.is_none() && !entry.is_link {
                continue;
            }
            let stamp = self.stamp(path, open, &entry, false);
            let Some(((places, role), stamp)) = owner.zip(stamp) else {
                continue;
            };
            for place in places {
                found[*place].beside.push(Beside {
                    name: entry.name.clone(),
                    role,
                    stamp,
                    is_link: entry.is_link,
                });
            }
        }
        for model in &mut found {
            model
                .beside
                .sort_unstable_by(|one, other| one.name.cmp(&other.name));
        }
        found
    }

    /// The stamp of a file; `None` when it is none, which is a problem for a
    /// model and for a link that leaves the root. One that cannot be looked at is
    /// there for all that anybody knows.
    fn stamp(&self, path: &[u8], open: &OwnedFd, entry: &Entry, model: bool) -> Option<FileStamp> {
        let seen = match entry.is_link {
            true => {
                let path = joined(path, &entry.name);
                self.root.look(Path::new(OsStr::from_bytes(&path)))
            }
            false => look(open, &entry.name),
        };
        let (reason, message) = match seen {
            Ok(Seen::File(stamp)) => return Some(stamp),
            // What a link to a folder beneath the root shows is found where it is.
            Ok(Seen::Folder) => return None,
            Ok(Seen::Other) if model => {
                let message = "it leads to a device, FIFO or socket, which is never opened";
                (Reason::NotAFile, message.to_owned())
            }
            Err(error) => match Refused::of(&error) {
                Some(refused) => (Reason::OutsideRoot, refused.to_string()),
                // It went while the folder was listed; a link that leads nowhere stays one.
                None if error.kind() == io::ErrorKind::NotFound && !entry.is_link => return None,
                None if model && error.kind() == io::ErrorKind::NotFound => {
                    (Reason::FileUnreadable, not_seen(&error))
                }
                None if model => {
                    let path = joined(path, &entry.name);
                    self.leave_out(&path, Reason::FileUnreadable, &not_seen(&error));
                    return None;
                }
                None => return None,
            },
            Ok(Seen::Other) => return None,
        };
        self.problems
            .add(&joined(path, &entry.name), reason, &message);
        None
    }
}

fn look(open: &OwnedFd, name: &[u8]) -> io::Result<Seen> {
    let stat = fs::statat(open, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Seen::File(FileStamp::of_stat(&stat)),
        _ => Seen::Other,
    })
}

fn not_seen(error: &io::Error) -> String {
    format!("it cannot be looked at: {error}")
}
