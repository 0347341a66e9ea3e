//! Owns what becomes of models that jobs wait for: each that a hash identifies, that Civitai has and
//! that the configuration has a place for is downloaded, once. Which file a reference means is
//! `missing/meant.rs`, what Civitai says of it `missing/asked.rs`. How a download goes on is
//! `download.rs`.
//!
//! A wrong model is worse than none. So a name alone never leads to a download, and the SHA-256 that
//! was decided on goes along with it: only a file that has it takes its place.

mod asked;
mod meant;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use service_kit::operations::{
    Operation, OperationCaller, OperationError, OperationKind, OperationState,
};

use super::Library;
use super::download::{self, DownloadAsked, SHA256_TARGET};
use super::found::KnownFile;
use super::problems::shown;
use crate::config::DownloadPlace;
use crate::error::ModelError;
use crate::model::{ModelKind, SHA256_DIGITS};
use crate::reference::Reference;
use crate::reference::reading::with_article;
use crate::store;
use asked::{Asking, Known, holds_no_code};
use meant::Meant;

/// References in one question.
pub const MISSING_MAX: usize = 16;
/// Downloads for jobs that run or wait at one time: half of what may, so that whoever looks after
/// the library is never kept from it by jobs.
pub const MISSING_DOWNLOADS_MAX: usize = 4;
/// After this time a download that ended without the file is begun again when it is asked for.
pub const TRIED_AGAIN_AFTER: Duration = Duration::from_secs(3_600);
/// When asking again can make a difference where something passes by itself.
const LATER: Duration = Duration::from_secs(60);
/// The same where the registry or Civitai has to change.
const MUCH_LATER: Duration = Duration::from_secs(600);
/// Files with one hash that are looked at.
const FILES_MAX: i64 = 16;

/// What becomes of a model that is missing.
#[derive(Debug, Clone)]
pub struct MissingModel {
    /// Its SHA-256, or the first digits of it, in lower case, as far as it is known.
    pub sha256: Option<String>,
    /// What becomes of it.
    pub fate: Fate,
    /// The same in words, with what would help.
    pub words: String,
    /// When asking again can make a difference; `None` where that is up to somebody.
    pub retry_after: Option<Duration>,
}

/// What becomes of it.
#[derive(Debug, Clone)]
pub enum Fate {
    /// This operation downloads it, or waits for its turn.
    Downloading(Box<Operation>),
    /// A file with its hash is in the library.
    AlreadyInLibrary,
    /// Civitai has no file with its hash to give.
    NotAtCivitai,
    /// No hash is known for certain.
    NotIdentified,
    /// No place is configured for its kind.
    NotAllowed,
    /// Nothing can be begun now.
    Unavailable,
    /// This operation ended without the file not long ago.
    Failed(Box<Operation>),
}

impl MissingModel {
    fn new(fate: Fate, words: impl Into<String>, retry_after: Option<Duration>) -> Self {
        Self {
            sha256: None,
            fate,
            words: words.into(),
            retry_after,
        }
    }

    fn of(self, digits: &str) -> Self {
        let sha256 = Some(digits.to_owned());
        Self { sha256, ..self }
    }
}

impl Library {
    /// Has the models downloaded that these references stand for, as far as that is allowed and
    /// possible; one answer for each. A kind that a reference does not say counts as not allowed.
    ///
    /// # Errors
    /// Those of the database, and [`OperationError::Stopping`].
    pub async fn download_missing(
        &self,
        references: &[Reference],
        caller: &OperationCaller,
    ) -> Result<Vec<MissingModel>, ModelError> {
        let _turn = self.0.missing.lock().await;
        let mut asking = Asking::new(self);
        let mut models = Vec::with_capacity(references.len());
        for reference in references {
            models.push(self.missing(reference, caller, &mut asking).await?);
        }
        Ok(models)
    }

    async fn missing(
        &self,
        reference: &Reference,
        caller: &OperationCaller,
        asking: &mut Asking<'_>,
    ) -> Result<MissingModel, ModelError> {
        let Meant { digits, filename } = match self.meant(reference).await? {
            Ok(meant) => meant,
            Err(words) => {
                return Ok(MissingModel::new(
                    Fate::NotIdentified,
                    words,
                    Some(MUCH_LATER),
                ));
            }
        };
        if digits.len() == SHA256_DIGITS
            && let Some(known) = self.known(&digits).await?
        {
            return Ok(known.of(&digits));
        }
        let places = &self.config().download_missing;
        let Some((kind, place)) = reference
            .kind
            .and_then(|kind| Some((kind, places.get(&kind)?)))
        else {
            return Ok(not_allowed(reference.kind).of(&digits));
        };
        let known = match asking.about(&digits, kind).await? {
            Ok(known) => known,
            Err(missing) => return Ok(missing.of(&digits)),
        };
        let whole = known.sha256.as_str().to_owned();
        if whole != digits
            && let Some(known) = self.known(&whole).await?
        {
            return Ok(known.of(&whole));
        }
        let asked = self.asked_for(known, kind, place, filename).await?;
        let begun = self.begin_missing(asked, caller).await?;
        Ok(begun.of(&whole))
    }

    /// What became of the file with this SHA-256 already; `None` when a download is to begin.
    async fn known(&self, sha256: &str) -> Result<Option<MissingModel>, ModelError> {
        // Before the look into the library, so that one that ends meanwhile is not taken for one
        // that ended without its file.
        let target = download::of_sha256(sha256);
        let newest = self
            .operations()
            .newest(OperationKind::Download, &target)
            .await?;
        if let Some(path) = self.in_library(sha256).await? {
            let words = format!(
                "it is in the library as {path}; a server has it once it lists that file by that \
                 path"
            );
            let model = MissingModel::new(Fate::AlreadyInLibrary, words, Some(LATER));
            return Ok(Some(model));
        }
        Ok(newest.and_then(|operation| judged(operation, self.clock().now())))
    }

    /// Where a file with this SHA-256 is, in a root that is configured. One that was removed or
    /// changed since the last scan is not there.
    async fn in_library(&self, sha256: &str) -> Result<Option<String>, ModelError> {
        let wanted = sha256.to_owned();
        let found = self
            .ledger()
            .read("files_with_sha256", move |connection| {
                Ok(store::library_files::with_sha256(
                    connection, &wanted, FILES_MAX,
                )?)
            })
            .await?;
        let library = self.clone();
        let looked = tokio::task::spawn_blocking(move || {
            let there = found.iter().find(|file| library.is_there(file))?;
            Some(shown(&there.root, &there.path))
        });
        // A panic there says nothing of the file; the next question looks again.
        looked
            .await
            .map_err(|_| service_kit::database::DatabaseError::Panicked.into())
    }

    fn is_there(&self, file: &KnownFile) -> bool {
        let path = Path::new(OsStr::from_bytes(&file.path));
        let stamp = self.root(&file.root).map(|root| root.look_beneath(path));
        matches!(stamp, Some(Ok(stamp)) if !stamp.content_differs(&file.stamp))
    }

    /// What to download, under the name that the registry has for it, else Civitai's. A name that
    /// another model has already would make that one ambiguous, and gets the AutoV2 behind it.
    async fn asked_for(
        &self,
        known: Known,
        kind: ModelKind,
        place: &DownloadPlace,
        filename: Option<String>,
    ) -> Result<DownloadAsked, ModelError> {
        let sha256 = known.sha256.as_str().to_owned();
        let registered =
            filename.filter(|name| download::name::is_allowed_model(name) && holds_no_code(name));
        let filename = match registered {
            Some(name) => name,
            None => {
                let (name, of) = (known.name.clone(), sha256.clone());
                let read = self.ledger().read("model_of_another", move |connection| {
                    Ok(store::models::is_name_of_another(
                        connection, &name, kind, &of,
                    )?)
                });
                let autov2 = known.sha256.autov2();
                match read.await? {
                    true => download::name::with_digits(&known.name, autov2.as_str()),
                    false => known.name,
                }
            }
        };
        Ok(DownloadAsked {
            version_id: known.version_id,
            file_id: None,
            sha256: Some(sha256),
            root: place.root.clone(),
            folder: place.folder.clone(),
            filename: Some(filename),
            with_sidecar: false,
            with_preview: false,
            priority: 0,
        })
    }

    async fn begin_missing(
        &self,
        asked: DownloadAsked,
        caller: &OperationCaller,
    ) -> Result<MissingModel, ModelError> {
        let mut running = self.operations().running_of(OperationKind::Download);
        running.retain(|operation| operation.target.starts_with(SHA256_TARGET));
        let full = |words| MissingModel::new(Fate::Unavailable, words, Some(LATER));
        if running.len() >= MISSING_DOWNLOADS_MAX {
            return Ok(full(format!(
                "{MISSING_DOWNLOADS_MAX} other downloads for jobs run or wait, as many as may"
            )));
        }
        match self.start_download(asked, caller.clone(), None).await {
            Ok(operation) => Ok(downloading(operation)),
            Err(ModelError::Operation(error @ OperationError::TooMany(_))) => {
                Ok(full(error.to_string()))
            }
            Err(error) => Err(error),
        }
    }
}

fn not_allowed(kind: Option<ModelKind>) -> MissingModel {
    let words = match kind {
        Some(kind) => format!(
            "model-service has no place for {} that jobs wait for; start it with \
             --download-missing {}=ROOT",
            with_article(kind),
            kind.as_str()
        ),
        None => "nobody says whether it is a checkpoint or a LoRA".to_owned(),
    };
    MissingModel::new(Fate::NotAllowed, words, None)
}

fn downloading(operation: Operation) -> MissingModel {
    let words = format!("operation {} downloads it", operation.id);
    MissingModel::new(Fate::Downloading(Box::new(operation)), words, Some(LATER))
}

/// What the newest download of a file that is not in the library says; `None` when it is so long
/// ago that another one may begin.
fn judged(operation: Operation, now: DateTime<Utc>) -> Option<MissingModel> {
    let Some(ended_at) = operation.ended_at else {
        return Some(downloading(operation));
    };
    let wait = TimeDelta::from_std(TRIED_AGAIN_AFTER).unwrap_or_default();
    let left = (ended_at + wait - now).to_std().ok();
    let left = left.filter(|left| !left.is_zero())?;
    let why = match (operation.state, &operation.error) {
        (OperationState::Cancelled, _) => "was cancelled".to_owned(),
        (OperationState::Succeeded, _) => "ended, and the file is not there any more".to_owned(),
        (_, Some(error)) => format!("failed: {}", error.message()),
        (_, None) => "failed".to_owned(),
    };
    let words = format!(
        "its download {} {why}; it is tried again from {}",
        operation.id,
        service_kit::clock::to_text(ended_at + wait)
    );
    let fate = Fate::Failed(Box::new(operation));
    Some(MissingModel::new(fate, words, Some(left)))
}
