//! Owns the library: the configured roots, and the long work on them and on
//! what they hold, each as an operation. It does not know the wire, and each
//! kind of work is a module of its own.

mod beside;
pub mod digests;
pub(crate) mod download;
pub mod duplicates;
pub(crate) mod enrich;
pub(crate) mod found;
mod guess;
pub mod hash;
mod kept_answers;
mod kind;
pub mod missing;
pub(crate) mod preview;
mod problems;
pub(crate) mod roots;
pub(crate) mod scan;
mod settle;
pub(crate) mod stamp;
mod take_in;
mod walk;

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use service_kit::clock::Clock;
use service_kit::database::DatabaseError;
use service_kit::operations::{
    NewOperation, Operation, OperationCaller, OperationKind, OperationResult, Operations, Steps,
    TakenUp, Unfinished,
};
use service_kit::status::Failure;
use tokio::sync::Mutex;

use crate::civitai::Civitai;
use crate::config::LibraryConfig;
use crate::error::ModelError;
use crate::ledger::Ledger;
use crate::store;
use found::ScannedRoot;
use roots::Root;

/// Largest file that is hashed or downloaded, in bytes; what says that it has more has no content
/// to speak of.
pub(crate) const FILE_BYTES_MAX: u64 = 1 << 40;

/// The kinds of operations whose work is that of the library.
const KINDS: &[OperationKind] = &[
    OperationKind::Scan,
    OperationKind::Hashing,
    OperationKind::Enrichment,
    OperationKind::Download,
];

/// The library of this service. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Library(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    ledger: Ledger,
    operations: Operations,
    config: LibraryConfig,
    civitai: Civitai,
    roots: Vec<Root>,
    /// Who downloads, and who waits to.
    downloads: download::queue::Queue,
    /// Whoever decides what becomes of missing models has it: two would begin the same twice.
    missing: Mutex<()>,
    /// Whoever scans has it: two scans would take in the same files twice.
    scanning: Arc<Mutex<()>>,
}

/// A root as it is now.
#[derive(Debug, Clone)]
pub struct RootNow {
    /// How it is configured.
    pub root: Root,
    /// Bytes that are free there; `None` when it cannot be read.
    pub free_bytes: Option<u64>,
    /// What the last scan found; `None` when there was none.
    pub scanned: Option<ScannedRoot>,
}

impl Library {
    /// The library with these roots.
    pub fn new(
        ledger: Ledger,
        operations: Operations,
        config: LibraryConfig,
        civitai: Civitai,
    ) -> Self {
        let roots = config.roots.iter().cloned().map(Root::new).collect();
        let downloads = download::queue::Queue::new(config.downloads_at_once);
        Self(Arc::new(Inner {
            ledger,
            operations,
            config,
            civitai,
            roots,
            downloads,
            missing: Mutex::default(),
            scanning: Arc::default(),
        }))
    }

    pub(crate) fn ledger(&self) -> &Ledger {
        &self.0.ledger
    }

    pub(crate) fn operations(&self) -> &Operations {
        &self.0.operations
    }

    pub(crate) fn config(&self) -> &LibraryConfig {
        &self.0.config
    }

    pub(crate) fn civitai(&self) -> &Civitai {
        &self.0.civitai
    }

    pub(crate) fn clock(&self) -> &Clock {
        self.0.ledger.clock()
    }

    /// The configured root with that name.
    pub(crate) fn root(&self, name: &str) -> Option<&Root> {
        self.0.roots.iter().find(|root| root.name() == name)
    }

    /// The roots with these names; all when there is no name.
    pub(crate) fn chosen(&self, names: &[String]) -> Result<Vec<Root>, ModelError> {
        if self.0.roots.is_empty() {
            return Err(ModelError::NoRoots);
        }
        if names.is_empty() {
            return Ok(self.0.roots.clone());
        }
        let of_name = |name: &String| {
            let root = self.root(name).cloned();
            root.ok_or_else(|| ModelError::RootNotFound(name.clone()))
        };
        names.iter().map(of_name).collect()
    }

    /// The configured roots, by name.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn roots(&self) -> Result<Vec<RootNow>, ModelError> {
        let read = self.ledger().read("list_library_roots", |connection| {
            Ok(store::library_roots::all(connection)?)
        });
        let mut scanned = read.await?;
        let roots = self.0.roots.clone();
        // A volume that does not answer holds up this call and no other.
        let looked = tokio::task::spawn_blocking(move || {
            let look = |root: Root| (root.free_bytes().ok(), root);
            roots.into_iter().map(look).collect::<Vec<_>>()
        });
        let looked = looked.await.map_err(|_| DatabaseError::Panicked)?;
        let now = looked.into_iter().map(|(free_bytes, root)| RootNow {
            free_bytes,
            scanned: scanned.remove(root.name()),
            root,
        });
        Ok(now.collect())
    }

    /// Begins work as an operation, with what it was asked for in its row, or
    /// finds what the caller has begun with this id.
    pub(crate) async fn begin<A, F>(
        &self,
        kind: OperationKind,
        target: String,
        asked: A,
        caller: OperationCaller,
        request_id: Option<String>,
        work: fn(Self, A, Steps) -> F,
    ) -> Result<Operation, ModelError>
    where
        A: Serialize + Send + 'static,
        F: Future<Output = Result<OperationResult, Unfinished>> + Send + 'static,
    {
        let new = NewOperation {
            kind,
            target,
            request_json: serde_json::json!(asked).to_string(),
            caller,
            request_id,
        };
        let library = self.clone();
        let begun = self
            .operations()
            .begin(new, move |steps| work(library, asked, steps));
        Ok(begun.await?.follow.now())
    }

    /// Takes up what an earlier process of this service has begun and not ended;
    /// to be called once, before calls are taken.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn take_up_operations(&self) -> Result<(), DatabaseError> {
        for taken in self.operations().take_up(KINDS).await? {
            match taken.kind {
                OperationKind::Scan => self.resume(taken, Self::scan),
                OperationKind::Hashing => self.resume(taken, Self::hash),
                OperationKind::Enrichment => self.resume(taken, Self::enrich),
                OperationKind::Download => self.resume(taken, Self::download),
                OperationKind::CreateBackup
                | OperationKind::VerifyBackup
                | OperationKind::Optimize => {
                    // Not among those that were asked for; whoever adds it there reads this.
                    let failure = Failure::internal();
                    let work = |_| async move { Err(failure.into()) };
                    self.operations().resume(taken, work);
                }
            }
        }
        Ok(())
    }

    /// Begins work again with what its row says.
    fn resume<A, F>(&self, taken: TakenUp, work: fn(Self, A, Steps) -> F)
    where
        A: DeserializeOwned + Send + 'static,
        F: Future<Output = Result<OperationResult, Unfinished>> + Send + 'static,
    {
        let library = self.clone();
        let asked = serde_json::from_str(taken.request()).map_err(|error| {
            tracing::error!(%error, "what an operation was asked for cannot be read");
            Failure::internal()
        });
        self.operations().resume(taken, move |steps| async move {
            work(library, asked?, steps).await
        });
    }

    /// What work is about, for lists of operations: names of roots.
    fn target(roots: &[String]) -> String {
        roots.join(" ")
    }
}
