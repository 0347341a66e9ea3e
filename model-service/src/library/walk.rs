//! Owns the way through a root: every folder beneath it once, on several
//! threads, with what lies in it. It reads no file and leaves no root.

mod listing;
mod queue;

use std::collections::{HashMap, HashSet};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use service_kit::operations::LibraryReport;

use super::beside::Role;
use super::problems::{Problems, Reason};
use super::roots::OpenRoot;
use super::stamp::FileStamp;
use queue::Queue;

/// Folders within folders; what is deeper is left out.
pub(crate) const DEPTH_MAX: usize = 64;
/// Files and folders that one scan looks at, models or not.
pub(crate) const ENTRIES_MAX: u64 = 2_000_000;

/// A folder with its models.
pub(super) struct Listed {
    /// Beneath the root; empty for the root itself.
    pub(super) path: Vec<u8>,
    /// Open, to reach what is in it.
    pub(super) folder: OwnedFd,
    /// The models in it.
    pub(super) models: Vec<Found>,
}

/// A model file.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) name: Vec<u8>,
    pub(super) stamp: FileStamp,
    /// Whether the name is a link to the file.
    pub(super) is_link: bool,
    /// What lies beside it, by name.
    pub(super) beside: Vec<Beside>,
}

/// A file beside a model.
#[derive(Debug, Clone)]
pub(super) struct Beside {
    pub(super) name: Vec<u8>,
    pub(super) role: Role,
    pub(super) stamp: FileStamp,
    pub(super) is_link: bool,
}

/// What is left of a walk.
#[derive(Debug, Default)]
pub(super) struct Walked {
    /// Whether it came to its end and not to a limit or a stop.
    pub(super) complete: bool,
    /// Whether the root holds nothing at all.
    pub(super) is_empty: bool,
    /// The volumes of the folders beneath it that hold nothing at all.
    pub(super) empty: HashMap<Vec<u8>, i64>,
    /// What could not be read: whether it is there, and what is beneath it, is not
    /// known.
    pub(super) unread: Vec<Vec<u8>>,
}

impl Walked {
    /// Whether it would have come upon a file at this path.
    pub(super) fn has_seen(&self, path: &[u8]) -> bool {
        let covers = |unread: &Vec<u8>| path == unread.as_slice() || is_beneath(path, unread);
        !self.unread.iter().any(covers)
    }
}

/// A folder that is to be listed.
#[derive(Debug)]
struct Folder {
    path: Vec<u8>,
    depth: usize,
}

/// What the threads of a walk share.
pub(super) struct Walk<'a> {
    root: &'a OpenRoot,
    problems: &'a Problems<'a>,
    /// Entries so far, those of the roots before included.
    entries: &'a AtomicU64,
    queue: Queue,
    /// Volume and number of each folder that was listed: one that is mounted
    /// beneath itself is listed once.
    visited: Mutex<HashSet<(i64, i64)>>,
    unread: Mutex<Vec<Vec<u8>>>,
    is_empty: AtomicBool,
    empty: Mutex<HashMap<Vec<u8>, i64>>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        root: &'a OpenRoot,
        problems: &'a Problems<'a>,
        entries: &'a AtomicU64,
    ) -> Self {
        let first = Folder {
            path: Vec::new(),
            depth: 0,
        };
        Self {
            root,
            problems,
            entries,
            queue: Queue::new(first),
            visited: Mutex::default(),
            unread: Mutex::default(),
            is_empty: AtomicBool::new(false),
            empty: Mutex::default(),
        }
    }

    /// Goes through all folders on so many threads; `visit` gets each that has
    /// models, on any of the threads, and is asked no more once `go_on` says so.
    pub(super) fn run(
        self,
        threads: usize,
        go_on: &(dyn Fn() -> bool + Sync),
        visit: &(dyn Fn(Listed) + Sync),
    ) -> Walked {
        let work = || {
            while let Some(folder) = self.queue.next() {
                if !go_on() {
                    self.queue.stop();
                }
                if let Some(listed) = self.list(&folder)
                    && !listed.models.is_empty()
                {
                    visit(listed);
                }
                self.queue.done();
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..threads {
                scope.spawn(work);
            }
            work();
        });
        Walked {
            complete: !self.queue.is_stopped() && go_on(),
            is_empty: self.is_empty.into_inner(),
            empty: self
                .empty
                .into_inner()
                .unwrap_or_else(PoisonError::into_inner),
            unread: self
                .unread
                .into_inner()
                .unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// A folder whose content stays unknown, or a file of which only its name is
    /// known.
    fn leave_out(&self, path: &[u8], reason: Reason, message: &str) {
        self.problems.add(path, reason, message);
        let mut unread = self.unread.lock().unwrap_or_else(PoisonError::into_inner);
        unread.push(path.to_vec());
    }

    /// Counts an entry; `false` when it is one too many.
    fn count_entry(&self) -> bool {
        let counted = self.entries.fetch_add(1, Ordering::Relaxed);
        if counted == ENTRIES_MAX {
            let message = format!(
                "a scan looks at {ENTRIES_MAX} files and folders at most; scan fewer roots at once, \
                 or move what is no model elsewhere"
            );
            self.problems.add(b"", Reason::TooManyEntries, &message);
        }
        if counted >= ENTRIES_MAX {
            self.queue.stop();
        }
        counted < ENTRIES_MAX
    }
}

/// A folder with one model of it, and nothing else in it. `None` when it cannot be read.
pub(super) fn listed(root: &OpenRoot, folder: &[u8], name: &[u8]) -> Option<Listed> {
    // What is wrong with other files of the folder is for a scan to tell.
    let problems = Problems::new("", LibraryReport::default());
    let entries = AtomicU64::new(0);
    let walk = Walk::new(root, &problems, &entries);
    let mut listed = walk.list(&Folder {
        path: folder.to_vec(),
        depth: 0,
    })?;
    listed.models.retain(|found| found.name == name);
    Some(listed)
}

/// A path beneath the root, and the name in it.
pub(super) fn joined(folder: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(folder.len() + 1 + name.len());
    path.extend_from_slice(folder);
    if !folder.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

/// Whether a path lies beneath a folder of the root.
fn is_beneath(path: &[u8], folder: &[u8]) -> bool {
    let rest = path.strip_prefix(folder);
    folder.is_empty() || rest.is_some_and(|rest| rest.starts_with(b"/"))
}

#[cfg(test)]
mod tests;
