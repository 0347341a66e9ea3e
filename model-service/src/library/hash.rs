//! Owns the hashing of files as an operation: which ones, several at a time,
//! each written down when it is done, so that a restart goes on with the rest.
//! It does not make hashes (`digests.rs`) and does not know what they change
//! (`store/library_hashes.rs`).

mod fate;
mod file;

use std::ffi::OsStr;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use service_kit::operations::{
    LibraryReport, Operation, OperationCaller, OperationKind, OperationResult, Steps, Unfinished,
};
use service_kit::status::Failure;
use tokio::sync::mpsc::{self, Receiver, Sender};

use super::problems::shown;
use super::roots::Root;
use super::stamp::FileStamp;
use super::{FILE_BYTES_MAX, Library};
use crate::error::ModelError;
use crate::events::NewEvent;
use crate::ledger::Changed;
use crate::names;
use crate::store::{
    self,
    library_hashes::{Amount, FileToHash, HashedFile, Settled, Wanted},
};

pub(crate) use fate::{Fate, TakenFor, fate};
use file::Left;

/// In what the progress of hashing is counted.
const BYTES: &str = "bytes";
/// Files that are read from the database at once, and that wait to be hashed.
const AHEAD_MAX: usize = 256;
/// Most hashed files that are written down in one change.
const BATCH_MAX: usize = 64;
/// Bytes that one thread reads between two looks at whether to go on.
const LOOK_BYTES: u64 = 1024 * 1024;
/// More changed models than this in one change are told as one event.
const EVENTS_MAX: usize = 8;

/// What to hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HashingAsked {
    /// Names of roots; none: all.
    pub roots: Vec<String>,
    /// Only the files of these models; none: of all.
    pub model_ids: Vec<i64>,
    /// Also what is hashed already.
    pub again: bool,
}

/// What the threads that hash share.
struct Run {
    library: Library,
    roots: Vec<Root>,
    steps: Steps,
    /// Of the files that are to be hashed.
    total_bytes: u64,
    done_bytes: AtomicU64,
    files: Mutex<Receiver<FileToHash>>,
}

/// What came of one file.
struct Done {
    file: FileToHash,
    hashed: Result<HashedFile, Left>,
}

impl Library {
    /// Begins to hash files.
    ///
    /// # Errors
    /// [`ModelError::ModelNotFound`], and those of the roots and of operations.
    pub async fn start_hashing(
        &self,
        asked: HashingAsked,
        caller: OperationCaller,
        request_id: Option<String>,
    ) -> Result<Operation, ModelError> {
        self.chosen(&asked.roots)?;
        self.known_models(asked.model_ids.clone()).await?;
        let target = asked.roots.join(", ");
        let kind = OperationKind::Hashing;
        self.begin(kind, target, asked, caller, request_id, Self::hash)
            .await
    }

    async fn known_models(&self, ids: Vec<i64>) -> Result<(), ModelError> {
        let known = self.ledger().read("known_models", move |connection| {
            for id in ids {
                if !store::models::exists(connection, id)? {
                    return Err(ModelError::ModelNotFound(id));
                }
            }
            Ok(())
        });
        known.await
    }

    /// The work of hashing.
    pub(super) async fn hash(
        self,
        asked: HashingAsked,
        steps: Steps,
    ) -> Result<OperationResult, Unfinished> {
        let roots = self.chosen(&asked.roots).map_err(Failure::from)?;
        let wanted = Wanted {
            roots: roots.iter().map(|root| root.name().to_owned()).collect(),
            model_ids: asked.model_ids,
            hashed_before: asked.again.then(|| steps.asked_at()),
        };
        let asked = wanted.clone();
        let amounts = self
            .ledger()
            .read("count_files_to_hash", move |connection| {
                Ok(store::library_hashes::amounts(connection, &asked)?)
            });
        let (to_hash, all) = amounts.await.map_err(Failure::from)?;
        let (feed, files) = mpsc::channel(AHEAD_MAX);
        let run = Arc::new(Run {
            library: self.clone(),
            roots,
            steps: steps.clone(),
            total_bytes: to_hash.bytes,
            done_bytes: AtomicU64::new(0),
            files: Mutex::new(files),
        });
        let report = run.all(wanted, feed, report(to_hash, all)).await;
        let report = report.map_err(Failure::from)?;
        steps.go_on()?;
        Ok(OperationResult::Library(report))
    }
}

/// A report of nothing done yet, with every count that it will have.
fn report(to_hash: Amount, all: Amount) -> LibraryReport {
    let mut report = LibraryReport::default();
    for name in ["files", "bytes", "changing", "unreadable"] {
        report.count(name, 0);
    }
    for name in ["models_merged", "models_moved"] {
        report.count(name, 0);
    }
    report.count("skipped", all.files.saturating_sub(to_hash.files));
    report
}

impl Run {
    /// Hashes on all threads and writes down what comes; ends early when the work
    /// is to stop, with what was done until then on disk.
    async fn all(
        self: Arc<Self>,
        wanted: Wanted,
        feed: Sender<FileToHash>,
        report: LibraryReport,
    ) -> Result<LibraryReport, ModelError> {
        let (tell, done) = mpsc::channel(BATCH_MAX);
        let threads: Vec<_> = (0..self.library.config().hash_threads.max(1))
            .map(|_| {
                let (run, tell) = (Arc::clone(&self), tell.clone());
                tokio::task::spawn_blocking(move || run.hash_what_comes(&tell))
            })
            .collect();
        drop(tell);
        let (fed, kept) = tokio::join!(self.feed(wanted, feed), self.keep(done, report));
        let mut panicked = false;
        for thread in threads {
            panicked |= thread.await.is_err();
        }
        fed?;
        match panicked {
            // What it had in hand is lost; better no report than a wrong one.
            true => Err(ModelError::Database(
                service_kit::database::DatabaseError::Panicked,
            )),
            false => kept,
        }
    }

    /// Hands files to the threads, until there are no more or nobody takes them.
    async fn feed(&self, wanted: Wanted, feed: Sender<FileToHash>) -> Result<(), ModelError> {
        let wanted = Arc::new(wanted);
        let mut after = 0;
        while self.steps.pass().is_continue() {
            let asked = Arc::clone(&wanted);
            let limit = AHEAD_MAX as i64;
            let next = self
                .library
                .ledger()
                .read("files_to_hash", move |connection| {
                    Ok(store::library_hashes::next(
                        connection, &asked, after, limit,
                    )?)
                });
            let files = next.await?;
            let Some(last) = files.last() else {
                break;
            };
            after = last.id;
            for file in files {
                if feed.send(file).await.is_err() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The work of one thread.
    fn hash_what_comes(&self, tell: &Sender<Done>) {
        loop {
            let next = {
                let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
                files.blocking_recv()
            };
            let Some(file) = next else {
                return;
            };
            let hashed = self.hash_one(&file);
            let stopped = matches!(hashed, Err(Left::Stopped));
            if stopped || tell.blocking_send(Done { file, hashed }).is_err() {
                // Nobody takes the files any more that wait.
                self.files
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .close();
                return;
            }
        }
    }

    fn hash_one(&self, file: &FileToHash) -> Result<HashedFile, Left> {
        let mut told_bytes = 0;
        let hashed = self.read_once(file, &mut told_bytes);
        // What is left out is done as well. Whether to go on is asked before the next file.
        let bytes = size_bytes(&file.stamp).min(FILE_BYTES_MAX);
        let _ = self.reach(bytes.saturating_sub(told_bytes));
        hashed
    }

    /// `told_bytes` counts what was told of its progress.
    fn read_once(&self, file: &FileToHash, told_bytes: &mut u64) -> Result<HashedFile, Left> {
        if self.steps.pass().is_break() {
            return Err(Left::Stopped);
        }
        let path = Path::new(OsStr::from_bytes(&file.path));
        let root = self.roots.iter().find(|root| root.name() == file.root);
        let root = root.ok_or(Left::Missing)?;
        let mut open = root.open_beneath(path)?;
        let now = self.library.clock().now();
        let mut untold_bytes = 0;
        let (stamp, digests) = file::hash(&mut open, &file.stamp, now, &mut |bytes| {
            untold_bytes += bytes;
            if untold_bytes < LOOK_BYTES {
                return ControlFlow::Continue(());
            }
            *told_bytes += untold_bytes;
            self.reach(std::mem::take(&mut untold_bytes))
        })?;
        let local_path = root.path().join(path).to_string_lossy().into_owned();
        Ok(HashedFile {
            id: file.id,
            stamp,
            digests,
            filename: names::last_part(&local_path).to_owned(),
            local_path,
        })
    }

    fn reach(&self, more_bytes: u64) -> ControlFlow<()> {
        let before = self.done_bytes.fetch_add(more_bytes, Ordering::Relaxed);
        let done_bytes = before.saturating_add(more_bytes).min(self.total_bytes);
        self.steps.reach(done_bytes, self.total_bytes, BYTES)
    }

    /// Writes down what the threads tell, as much at once as there is.
    async fn keep(
        &self,
        mut done: Receiver<Done>,
        mut report: LibraryReport,
    ) -> Result<LibraryReport, ModelError> {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        while done.recv_many(&mut batch, BATCH_MAX).await > 0 {
            let mut hashed = Vec::new();
            for done in batch.drain(..) {
                match done.hashed {
                    Ok(it) => hashed.push((done.file, it)),
                    Err(left) => note(&mut report, &done.file, &left),
                }
            }
            self.settle(hashed, &mut report).await?;
        }
        Ok(report)
    }

    async fn settle(
        &self,
        hashed: Vec<(FileToHash, HashedFile)>,
        report: &mut LibraryReport,
    ) -> Result<(), ModelError> {
        if hashed.is_empty() {
            return Ok(());
        }
        let hashed = Arc::new(hashed);
        let files = Arc::clone(&hashed);
        let ledger = self.library.ledger();
        let settle = ledger.change("settle_hashes", move |connection, now| {
            let mut settled = Vec::with_capacity(files.len());
            for (_, hashed) in files.iter() {
                settled.push(store::library_hashes::settle(connection, hashed, now)?);
            }
            let events = events(&settled);
            Ok(Changed {
                answer: settled,
                events,
            })
        });
        for ((file, _), settled) in hashed.iter().zip(settle.await?) {
            if settled.written {
                report.count("files", 1);
                report.count("bytes", size_bytes(&file.stamp));
            } else {
                // A scan that runs beside has seen another file there.
                note(report, file, &Left::Changed);
            }
            report.count("models_merged", settled.merged_count);
            report.count("models_moved", u64::from(settled.moved));
        }
        Ok(())
    }
}

fn size_bytes(stamp: &FileStamp) -> u64 {
    u64::try_from(stamp.size_bytes).unwrap_or_default()
}

/// Notes why a file got no hash.
fn note(report: &mut LibraryReport, file: &FileToHash, left: &Left) {
    let Some((reason, message)) = left.problem() else {
        return;
    };
    let counted = match left {
        Left::Changed | Left::Changing => "changing",
        Left::Stopped | Left::Missing | Left::Unreadable(_) | Left::TooLarge => "unreadable",
    };
    report.count(counted, 1);
    report.problem(&shown(&file.root, &file.path), reason, &message);
}

/// One event for each model, or one for all when they are many.
fn events(settled: &[Settled]) -> Vec<NewEvent> {
    let mut changed: Vec<i64> = settled.iter().flat_map(|it| &it.changed).copied().collect();
    changed.sort_unstable();
    changed.dedup();
    match changed.len() {
        0..=EVENTS_MAX => changed
            .iter()
            .map(|id| NewEvent::registry(Some(*id)))
            .collect(),
        _ => vec![NewEvent::registry(None)],
    }
}
