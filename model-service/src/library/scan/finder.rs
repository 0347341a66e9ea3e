//! Owns the finding of files: each is compared with what is known, and read
//! when it is not as before. It writes nothing.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use service_kit::operations::{LibraryReport, Steps};
use tokio::sync::mpsc;

use super::batch::Batch;
use super::item::{item, shown_name};
use super::known::{Known, SameFile};
use super::unmounted::unmounted;
use super::waiting::Waiting;
use super::{ScanAsked, THREADS_MAX};
use crate::library::Library;
use crate::library::found::KnownFile;
use crate::library::problems::{Problems, Reason};
use crate::library::roots::{OpenRoot, Root};
use crate::library::settle::{Item, What};
use crate::library::take_in::{self, Reader, TakenIn, beside_stamp};
use crate::library::walk::{Found as FoundFile, Listed, Walk, Walked, joined};
use crate::model::Sha256;
use crate::names;

/// In what the progress of a scan is counted.
const FILES: &str = "files";

/// What came of the finding.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) report: LibraryReport,
    /// The roots that could be read.
    pub(super) roots: Vec<FoundRoot>,
    /// Files that are there again as they were.
    pub(super) returned: Vec<i64>,
    /// Files that are not there any more.
    pub(super) vanished: Vec<i64>,
    pub(super) files: u64,
    pub(super) unchanged: u64,
}

/// A root that was gone through.
#[derive(Debug)]
pub(super) struct FoundRoot {
    pub(super) root: Root,
    pub(super) files: u64,
    pub(super) problems: u64,
    walked: Walked,
}

/// Finds the files of some roots.
pub(super) struct Finder {
    library: Library,
    roots: Vec<Root>,
    asked: ScanAsked,
    known: Arc<Known>,
    steps: Steps,
    batches: mpsc::Sender<Vec<Item>>,
    batch: Mutex<Batch>,
    /// By the place of the root.
    pub(super) waiting: Mutex<Vec<(usize, Waiting)>>,
    returned: Mutex<Vec<i64>>,
    entries: AtomicU64,
    files: AtomicU64,
    unchanged: AtomicU64,
    /// Set when nobody takes batches any more.
    is_alone: AtomicBool,
}

/// A root that is gone through.
pub(super) struct Place<'a> {
    root: &'a Root,
    pub(super) index: usize,
    pub(super) reader: Reader<'a>,
}

impl Finder {
    pub(super) fn new(
        library: &Library,
        roots: Vec<Root>,
        asked: ScanAsked,
        known: Arc<Known>,
        steps: Steps,
        batches: mpsc::Sender<Vec<Item>>,
    ) -> Self {
        Self {
            library: library.clone(),
            roots,
            asked,
            known,
            steps,
            batches,
            batch: Mutex::default(),
            waiting: Mutex::default(),
            returned: Mutex::default(),
            entries: AtomicU64::new(0),
            files: AtomicU64::new(0),
            unchanged: AtomicU64::new(0),
            is_alone: AtomicBool::new(false),
        }
    }

    /// Goes through all roots.
    pub(super) fn run(self) -> Found {
        let mut report = LibraryReport::default();
        let mut roots = Vec::new();
        for (index, root) in self.roots.iter().enumerate() {
            let found;
            (found, report) = self.in_root(index, root, report, |place, problems| {
                self.walk(place, problems)
            });
            roots.extend(found);
        }
        for (index, root) in self.roots.iter().enumerate() {
            if lock(&self.waiting).iter().any(|(of, _)| *of == index) {
                (_, report) = self.in_root(index, root, report, |place, _| {
                    self.take_in_waiting(place);
                    None
                });
            }
        }
        let rest = lock(&self.batch).take();
        self.send(rest);
        let vanished = match self.goes_on() {
            true => roots.iter().flat_map(|root| self.vanished(root)).collect(),
            false => Vec::new(),
        };
        Found {
            report,
            roots,
            vanished,
            returned: self
                .returned
                .into_inner()
                .unwrap_or_else(PoisonError::into_inner),
            files: self.files.into_inner(),
            unchanged: self.unchanged.into_inner(),
        }
    }

    pub(super) fn goes_on(&self) -> bool {
        self.steps.pass().is_continue() && !self.is_alone.load(Ordering::Relaxed)
    }

    /// Does something in a root, and gives the report back with its problems.
    fn in_root(
        &self,
        index: usize,
        root: &Root,
        report: LibraryReport,
        work: impl FnOnce(&Place<'_>, &Problems<'_>) -> Option<FoundRoot>,
    ) -> (Option<FoundRoot>, LibraryReport) {
        let problems = Problems::new(root.name(), report);
        let found = match root.open() {
            Ok(open) => {
                let place = self.place(index, root, &open, &problems);
                work(&place, &problems)
            }
            Err(error) => {
                let message = format!(
                    "the root {} cannot be read: {error}; nothing of it is marked as gone",
                    root.path().display()
                );
                problems.add(b"", Reason::RootUnreadable, &message);
                None
            }
        };
        (found, problems.into_report())
    }

    fn place<'a>(
        &self,
        index: usize,
        root: &'a Root,
        open: &'a OpenRoot,
        problems: &'a Problems<'a>,
    ) -> Place<'a> {
        Place {
            root,
            index,
            reader: Reader {
                root: open,
                problems,
                guess: self.asked.guess_from_names,
            },
        }
    }

    fn walk(&self, place: &Place<'_>, problems: &Problems<'_>) -> Option<FoundRoot> {
        let (files, trouble) = (self.files.load(Ordering::Relaxed), problems.count());
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let walk = Walk::new(place.reader.root, problems, &self.entries);
        let mut walked = walk.run(threads.min(THREADS_MAX), &|| self.goes_on(), &|listed| {
            self.visit(place, listed)
        });
        let known = || self.known.present(place.root.name());
        for folder in unmounted(&walked.empty, known()) {
            let message = "the folder is empty and had files of another volume before; if that is \
                           not mounted, mount it and scan again; if the folder is to be empty, \
                           remove it. Nothing of it is marked as gone";
            problems.add(&folder, Reason::FolderEmpty, message);
            walked.unread.push(folder);
        }
        if walked.is_empty && known().next().is_some() {
            let message = "the root is empty and had files before; if nothing is mounted there, \
                           mount it and scan again; if it is to be empty, put any file into it. \
                           Nothing of it is marked as gone";
            problems.add(b"", Reason::RootEmpty, message);
        }
        Some(FoundRoot {
            root: place.root.clone(),
            files: self.files.load(Ordering::Relaxed) - files,
            problems: problems.count() - trouble,
            walked,
        })
    }

    fn visit(&self, place: &Place<'_>, mut listed: Listed) {
        for file in std::mem::take(&mut listed.models) {
            if !self.goes_on() {
                return;
            }
            self.compare(place, &listed, file);
        }
        let files = self.files.load(Ordering::Relaxed);
        // Whether it is to stop is asked before each file.
        let _ = self.steps.reach(files, 0, FILES);
    }

    fn compare(&self, place: &Place<'_>, listed: &Listed, file: FoundFile) {
        self.files.fetch_add(1, Ordering::Relaxed);
        let path = joined(&listed.path, &file.name);
        let beside = beside_stamp(&file.beside);
        let Some(known) = self.known.take(place.root.name(), &path) else {
            let (what, before) = self.new_path(place, &file);
            let key = names::key(&shown_name(&file.name));
            if matches!(what, What::New { same_as: None, .. })
                && self.known.is_name_without_file(&key)
            {
                let folder = listed.path.clone();
                let waiting = Waiting { folder, file, key };
                lock(&self.waiting).push((place.index, waiting));
                return;
            }
            return self.take_in(place, listed, &file, beside, what, before);
        };
        let before = known.beside_stamp.as_str();
        // What has no stamp is to be read again, which does not say that it changed; so is what
        // only the hash could tell, once that is known.
        let is_due = self.asked.full
            || before.is_empty()
            || (take_in::waits_for_hash(before) && known.sha256.is_some());
        let beside_differs = !before.is_empty() && take_in::bare(before) != beside;
        let changed = known.stamp != file.stamp || beside_differs;
        if !changed {
            self.unchanged.fetch_add(1, Ordering::Relaxed);
            if !is_due {
                if known.missing {
                    lock(&self.returned).push(known.id);
                }
                return;
            }
        }
        let content_differs = known.stamp.content_differs(&file.stamp);
        let what = What::Known {
            id: known.id,
            model_id: known.model_id,
            changed,
            content_differs,
            was_missing: known.missing,
        };
        let before = (!content_differs).then_some(known);
        self.take_in(place, listed, &file, beside, what, before);
    }

    /// What a path is of which nothing is known, and the file that moved there, if
    /// one did.
    fn new_path(&self, place: &Place<'_>, file: &FoundFile) -> (What, Option<&KnownFile>) {
        let is_there = |known: &KnownFile| self.is_there(place, known);
        let same_as = match self.known.same_file(&file.stamp, is_there) {
            Some(SameFile::Moved(known)) => {
                let (id, model_id) = (known.id, known.model_id);
                return (What::Moved { id, model_id }, Some(known));
            }
            Some(SameFile::AnotherName(model_id)) => Some(model_id),
            None => None,
        };
        let what = What::New {
            same_as,
            only_of_its_name: false,
        };
        (what, None)
    }

    /// Whether something is still where a file was. It is when that cannot be
    /// seen; it is not when its root is not configured any more.
    fn is_there(&self, place: &Place<'_>, known: &KnownFile) -> bool {
        let path = Path::new(OsStr::from_bytes(&known.path));
        let looked = match self.library.root(&known.root) {
            None => return false,
            Some(root) if root.name() == place.root.name() => {
                place.reader.root.look(path).map(drop)
            }
            Some(root) => match root.open() {
                Err(_) => return true,
                Ok(open) => open.look(path).map(drop),
            },
        };
        looked.map_err(|error| error.kind()) != Err(std::io::ErrorKind::NotFound)
    }

    /// Reads a file and puts it into the batch. `before` is what was known of it
    /// when it had this content.
    pub(super) fn take_in(
        &self,
        place: &Place<'_>,
        listed: &Listed,
        file: &FoundFile,
        beside_stamp: String,
        what: What,
        before: Option<&KnownFile>,
    ) {
        let sha256 = before.and_then(|before| Sha256::parse(before.sha256.as_deref()?));
        let taken = place.reader.take_in(listed, file, sha256.as_ref());
        // What cannot be read is there all the same, and is tried again next time.
        let (taken, beside_stamp) = match taken {
            Some(taken) if taken.unproven => (taken, take_in::unproven(&beside_stamp)),
            Some(taken) => (taken, beside_stamp),
            None => (TakenIn::default(), String::new()),
        };
        let item = item(place.root, listed, file, beside_stamp, what, taken);
        let was_unproven = |before: &KnownFile| take_in::is_unproven(&before.beside_stamp);
        let item = Item {
            sha256,
            was_unproven: before.is_some_and(was_unproven),
            ..item
        };
        let full = lock(&self.batch).add(item);
        self.send(full.unwrap_or_default());
    }

    fn send(&self, batch: Vec<Item>) {
        if !batch.is_empty() && self.batches.blocking_send(batch).is_err() {
            self.is_alone.store(true, Ordering::Relaxed);
        }
    }

    /// The files that were in a root and are not, where that is certain.
    fn vanished(&self, found: &FoundRoot) -> Vec<i64> {
        let walked = &found.walked;
        if !walked.complete || walked.is_empty {
            return Vec::new();
        }
        let certain = |file: &&KnownFile| walked.has_seen(&file.path);
        let unseen = self.known.unseen(found.root.name()).filter(certain);
        unseen.map(|file| file.id).collect()
    }
}

pub(super) fn lock<T>(place: &Mutex<T>) -> MutexGuard<'_, T> {
    place.lock().unwrap_or_else(PoisonError::into_inner)
}
