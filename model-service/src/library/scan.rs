//! Owns the scan of roots as an operation: files are found on threads of their
//! own and settled in batches, so that other calls get through between them.

mod batch;
mod finder;
mod item;
mod known;
mod unmounted;
mod waiting;

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use service_kit::operations::{
    LibraryReport, Operation, OperationCaller, OperationKind, OperationResult, Steps, Unfinished,
};
use service_kit::status::Failure;
use tokio::sync::{OwnedMutexGuard, mpsc};

use super::Library;
use super::found::ScannedRoot;
use super::settle::{Item, Settled, settle};
use super::stamp::FileStamp;
use crate::error::ModelError;
use crate::events::NewEvent;
use crate::ledger::Changed;
use crate::store;
use finder::{Finder, Found};
pub(super) use item::item;
use known::Known;

/// Files that are settled in one transaction.
pub(crate) const BATCH_FILES: usize = 500;
/// Bytes of the texts of one batch after which it is settled: what sidecars say of one file can be
/// as long as that of hundreds.
const BATCH_BYTES: usize = 8 * 1024 * 1024;
/// Batches that wait to be settled while the next one is found.
const BATCHES_WAITING: usize = 2;
/// Threads that find files.
const THREADS_MAX: usize = 8;

/// What is scanned, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanAsked {
    /// Names of roots; none: all.
    pub roots: Vec<String>,
    /// Whether files are read again that look as before.
    pub full: bool,
    /// Whether empty fields are filled with what names suggest.
    pub guess_from_names: bool,
}

impl Library {
    /// Begins to look for new, changed, moved and vanished files.
    ///
    /// # Errors
    /// [`ModelError::NoRoots`], [`ModelError::RootNotFound`],
    /// [`ModelError::Operation`].
    pub async fn start_scan(
        &self,
        asked: ScanAsked,
        caller: OperationCaller,
        request_id: Option<String>,
    ) -> Result<Operation, ModelError> {
        self.chosen(&asked.roots)?;
        let target = Self::target(&asked.roots);
        self.begin(
            OperationKind::Scan,
            target,
            asked,
            caller,
            request_id,
            Self::scan,
        )
        .await
    }

    /// The work of a scan. One that is taken up begins again: what it has settled
    /// looks as before and is not read.
    pub(super) async fn scan(
        self,
        asked: ScanAsked,
        steps: Steps,
    ) -> Result<OperationResult, Unfinished> {
        let _turn = self.turn(&steps).await?;
        let report = self.scanned(asked, &steps).await?;
        Ok(OperationResult::Library(report))
    }

    /// The right to find files, which one operation has at a time.
    pub(super) async fn turn(&self, steps: &Steps) -> Result<OwnedMutexGuard<()>, Unfinished> {
        tokio::select! {
            biased;
            () = steps.cancelled() => Err(Unfinished::Stopped),
            turn = Arc::clone(&self.0.scanning).lock_owned() => Ok(turn),
        }
    }

    async fn scanned(&self, asked: ScanAsked, steps: &Steps) -> Result<LibraryReport, Unfinished> {
        let roots = self.chosen(&asked.roots).map_err(Failure::from)?;
        let read = self.ledger().read("read_library_files", |connection| {
            let files = store::library_files::all(connection)?;
            let keys = store::library_models::keys_without_file(connection)?;
            Ok(Known::new(files, keys))
        });
        let known = Arc::new(read.await.map_err(Failure::from)?);
        let (sender, mut batches) = mpsc::channel(BATCHES_WAITING);
        let finder = Finder::new(
            self,
            roots,
            asked,
            Arc::clone(&known),
            steps.clone(),
            sender,
        );
        let finding = tokio::task::spawn_blocking(move || finder.run());
        let mut settling = Settling::default();
        let mut settled = Ok(());
        while let Some(batch) = batches.recv().await {
            settled = self.settle(batch, &mut settling).await;
            if settled.is_err() {
                break;
            }
        }
        // The finder stops when nobody takes its batches.
        drop(batches);
        let found = finding.await.map_err(|_| {
            tracing::error!("the finding of files panicked");
            Failure::internal()
        })?;
        settled.map_err(Failure::from)?;
        steps.go_on()?;
        self.end(found, settling)
            .await
            .map_err(|error| Failure::from(error).into())
    }

    async fn settle(&self, batch: Vec<Item>, settling: &mut Settling) -> Result<(), ModelError> {
        let models = Arc::clone(&settling.models);
        let change = self
            .ledger()
            .change("settle_library_files", move |connection, now| {
                let settled = settle(connection, &batch, &models, now)?;
                let told = settled.models_created > 0;
                Ok(Changed {
                    answer: settled,
                    // One for all of the batch: whoever resolves names looks again.
                    events: told.then(|| NewEvent::registry(None)).into_iter().collect(),
                })
            });
        settling.add(change.await?);
        Ok(())
    }

    /// Marks what is gone and what is there again, and notes what each root has.
    async fn end(&self, found: Found, settling: Settling) -> Result<LibraryReport, ModelError> {
        for (ids, missing) in [(&found.returned, false), (&found.vanished, true)] {
            for ids in ids.chunks(BATCH_FILES) {
                let ids = ids.to_vec();
                let mark = self
                    .ledger()
                    .change("mark_library_files", move |connection, now| {
                        store::library_files::mark(connection, &ids, missing, now)?;
                        Ok(Changed::silent(()))
                    });
                mark.await?;
            }
        }
        let Found {
            mut report,
            roots,
            returned,
            vanished,
            files,
            unchanged,
        } = found;
        let note = self
            .ledger()
            .change("note_library_scan", move |connection, now| {
                for root in &roots {
                    let scanned = ScannedRoot {
                        scanned_at: now,
                        file_count: wire_count(root.files),
                        problem_count: wire_count(root.problems),
                    };
                    let path = root.root.path().to_string_lossy();
                    store::library_roots::put(connection, root.root.name(), &path, &scanned)?;
                }
                Ok(Changed::silent(()))
            });
        note.await?;
        let settled = settling.counts;
        let problems = report.problem_count();
        for (name, count) in [
            ("files", files),
            ("new", settled.new),
            ("changed", settled.changed),
            ("unchanged", unchanged),
            ("moved", settled.moved),
            ("vanished", vanished.len().try_into().unwrap_or(u64::MAX)),
            (
                "returned",
                settled.returned + u64::try_from(returned.len()).unwrap_or_default(),
            ),
            ("models_created", settled.models_created),
            ("fields_filled", settled.fields_filled),
            ("sidecars", settled.sidecars),
            ("others", settled.others),
            ("problems", problems),
        ] {
            report.count(name, count);
        }
        Ok(report)
    }
}

fn wire_count(count: u64) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// What the batches so far came to.
#[derive(Debug, Default)]
struct Settling {
    models: Arc<HashMap<FileStamp, i64>>,
    counts: Settled,
}

impl Settling {
    fn add(&mut self, batch: Settled) {
        let Settled {
            new,
            changed,
            moved,
            returned,
            models_created,
            fields_filled,
            sidecars,
            others,
            models,
        } = batch;
        // The command that had a share of it is done.
        Arc::make_mut(&mut self.models).extend(models);
        let counts = &mut self.counts;
        counts.new += new;
        counts.changed += changed;
        counts.moved += moved;
        counts.returned += returned;
        counts.models_created += models_created;
        counts.fields_filled += fields_filled;
        counts.sidecars += sidecars;
        counts.others += others;
    }
}
