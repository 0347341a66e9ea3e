//! Owns the order of one download: its turn, its version, its file, and how that arrives. What
//! each step does is next to this module.

use std::io;
use std::path::Path;
use std::sync::Arc;

use service_kit::operations::{LibraryReport, Steps, Unfinished};
use service_kit::status::Failure;

use super::file::{self, Checked};
use super::refusal::{self, Refusal};
use super::registering::Arrived;
use super::target::{Target, There};
use super::{BYTES, DownloadAsked, blocking, disk_failure, fetch, name, unless_stopped};
use crate::civitai::{Answer, Version, version::VersionFile};
use crate::error::ModelError;
use crate::library::Library;
use crate::library::preview::{PREVIEW_BYTES_MAX, picture_ending};
use crate::library::problems::shown;
use crate::library::roots::Root;
use crate::library::walk::joined;

/// One download under way.
pub(super) struct Run {
    pub(super) library: Library,
    pub(super) asked: DownloadAsked,
    pub(super) steps: Steps,
    pub(super) root: Root,
    /// The name of the file that grows.
    pub(super) part: String,
}

impl Run {
    /// Does all of it; what it leaves when it ends early is not its business.
    pub(super) async fn all(&self) -> Result<LibraryReport, Unfinished> {
        // Whether to go on is asked by the wait.
        let _ = self.steps.reach(0, 0, BYTES);
        let queue = self.library.0.downloads.clone();
        let place = queue.place(self.asked.priority, self.steps.asked_at());
        let place = unless_stopped(&self.steps, place).await?;
        if self.library.civitai().offline() {
            return Err(Failure::from(ModelError::Offline).into());
        }
        let version = self.version().await?;
        let file = self.file(&version)?;
        let made = {
            let (root, folder, part) = (
                self.root.clone(),
                self.asked.folder.clone(),
                self.part.clone(),
            );
            blocking(move || Target::made(&root, Path::new(&folder), part)).await?
        };
        let target = Arc::new(made.map_err(|error| disk_failure(&error))?);
        let mut report = LibraryReport::default();
        for count in ["files", "bytes", "already_there", "sidecars", "previews"] {
            report.count(count, 0);
        }
        let there = match self.given_name(&file) {
            Some(name) => self.already_there(&target, &file, name).await?,
            None => None,
        };
        let (name, checked) = match there {
            Some((name, checked)) => (name, checked),
            None => self.fetched(&target, &file, &mut report).await?,
        };
        let picture = self.picture(&version, &name, &mut report).await?;
        // A long scan holds up this download and not those that wait behind it.
        drop(place);
        // A scan that finds the file before the registry knows it would make a second model of it.
        let _turn = self.library.turn(&self.steps).await?;
        self.arrive(target, version, name, checked, picture, report)
            .await
    }

    /// What Civitai says of the version.
    async fn version(&self) -> Result<Version, Unfinished> {
        let civitai = self.library.civitai();
        let id = &self.asked.version_id;
        match unless_stopped(&self.steps, civitai.version(id)).await? {
            Answer::Found(version) if version.downloadable() => Ok(version),
            Answer::Found(_) => {
                let text = format!(
                    "version {id} cannot be downloaded: it is archived, or for use at Civitai only"
                );
                Err(Failure::precondition("CIVITAI_DOWNLOADS_DISABLED", "civitai", text).into())
            }
            Answer::NotFound => Err(Failure::not_found("civitai version", id.clone()).into()),
            Answer::NoFile => Err(no_model_file(id)),
            Answer::Trouble(trouble) => Err(match refusal::of_trouble(&trouble) {
                Refusal::Final(failure) => failure.into(),
                Refusal::Again { words, .. } => {
                    Failure::unavailable("CIVITAI_UNAVAILABLE", words, refusal::LATER).into()
                }
            }),
        }
    }

    /// Which of its files.
    fn file(&self, version: &Version) -> Result<VersionFile, Unfinished> {
        if let Some(sha256) = &self.asked.sha256 {
            // Civitai may have another file there by now.
            return version.file_of(sha256).ok_or_else(|| {
                let id = version.id();
                let text = format!("version {id} has no file with the SHA-256 {sha256} any more");
                Failure::precondition("CIVITAI_FILE_REPLACED", "civitai", text).into()
            });
        }
        let Some(id) = &self.asked.file_id else {
            return version
                .model_file()
                .ok_or_else(|| no_model_file(version.id()));
        };
        let mut files = version.files().into_iter();
        let file = files.find(|file| file.id.as_ref() == Some(id));
        let file = file.ok_or_else(|| Failure::not_found("civitai file", id.clone()))?;
        if file.is_model() {
            return Ok(file);
        }
        let kind = file.kind.unwrap_or_default();
        let text = format!("file {id} is no model but {kind:?}; choose another, or none");
        Err(Failure::precondition("NOT_A_MODEL_FILE", "civitai", text).into())
    }

    /// The name that it gets, where that is known before it comes.
    fn given_name(&self, file: &VersionFile) -> Option<String> {
        let asked = self.asked.filename.clone();
        asked.or_else(|| name::made_safe(file.name.as_deref()?))
    }

    /// Looks whether something has the name already: the same file is as good as a new one.
    async fn already_there(
        &self,
        target: &Arc<Target>,
        file: &VersionFile,
        name: String,
    ) -> Result<Option<(String, Checked)>, Unfinished> {
        let (look, looked) = (Arc::clone(target), name.clone());
        let there = blocking(move || look.there(&looked)).await?;
        let open = match there.map_err(|error| disk_failure(&error))? {
            There::Nothing => return Ok(None),
            There::Other => return Err(self.occupied(&name)),
            There::File(open) => open,
        };
        let checked = file::checked(open, &self.steps).await?;
        match &file.sha256 {
            Some(sha256) if checked.digests.sha256 == *sha256 => Ok(Some((name, checked))),
            _ => Err(self.occupied(&name)),
        }
    }

    fn occupied(&self, name: &str) -> Unfinished {
        let path = self.shown(name);
        let text = format!(
            "{path} is there and is another file; give the download another filename or folder"
        );
        Failure::precondition("FILE_EXISTS", path, text).into()
    }

    /// Fetches the file until its hash is right.
    async fn fetched(
        &self,
        target: &Arc<Target>,
        file: &VersionFile,
        report: &mut LibraryReport,
    ) -> Result<(String, Checked), Unfinished> {
        let url = self
            .library
            .civitai()
            .download_url(&self.asked.version_id, file.id.as_deref());
        let (library, steps) = (self.library.clone(), self.steps.clone());
        let mut fetch = fetch::Fetch::new(library, steps, url, Arc::clone(target), file.size_bytes);
        if let Some(size_bytes) = file.size_bytes {
            fetch::room(target, size_bytes.saturating_sub(self.had(target).await?)).await?;
        }
        let mut anew = false;
        let checked = loop {
            fetch.missing().await?;
            let open = Arc::clone(target);
            let opened = blocking(move || open.open_part()).await?;
            let (open, _) = opened.map_err(|error| disk_failure(&error))?;
            let checked = file::checked(open, &self.steps).await?;
            match file::fault(file, &checked) {
                None => break checked,
                // The part that was here may have been of another file.
                Some(_) if fetch.resumed && !anew => fetch.start_over().await?,
                Some(failure) => return Err(failure.into()),
            }
            anew = true;
        };
        report.count("bytes", fetch.fetched_bytes);
        let of_answer = fetch.disposition.as_deref().and_then(name::made_safe);
        let name = self.given_name(file).or(of_answer).ok_or_else(|| {
            let text = "Civitai gives no name with the ending of a model file; give the download a filename";
            Failure::precondition("FILENAME_NEEDED", "download", text)
        })?;
        self.note(file, &checked, &name, report);
        Ok((name, checked))
    }

    async fn had(&self, target: &Arc<Target>) -> Result<u64, Unfinished> {
        let target = Arc::clone(target);
        let opened = blocking(move || target.open_part()).await?;
        Ok(opened.map_err(|error| disk_failure(&error))?.1)
    }

    /// Notes what could not be verified.
    fn note(&self, file: &VersionFile, checked: &Checked, name: &str, report: &mut LibraryReport) {
        let path = self.shown(name);
        if file.sha256.is_none() {
            let text =
                "Civitai gives no SHA-256 of it yet, so that nobody knows whether it came as it is";
            report.problem(&path, "NOT_VERIFIED", text);
        }
        let said = file.size_bytes.filter(|said| *said != checked.size_bytes());
        if let Some(said) = said {
            let text = format!(
                "Civitai says that it has {said} bytes; it has {}, with the right hash",
                checked.size_bytes()
            );
            report.problem(&path, "SIZE_DIFFERS", &text);
        }
    }

    /// The first picture with its ending, when it was asked for; none is no reason to fail.
    async fn picture(
        &self,
        version: &Version,
        name: &str,
        report: &mut LibraryReport,
    ) -> Result<Option<(&'static str, Vec<u8>)>, Unfinished> {
        if !self.asked.with_preview {
            return Ok(None);
        }
        let bytes_max = usize::try_from(PREVIEW_BYTES_MAX).unwrap_or(usize::MAX);
        let fetched = match version.picture_url() {
            None => Err("Civitai shows no picture of it".to_owned()),
            Some(url) => {
                let picture = fetch::picture(&self.library, url, bytes_max);
                unless_stopped(&self.steps, picture).await?
            }
        };
        let picture = fetched.and_then(|bytes| match picture_ending(&bytes) {
            Some(ending) => Ok((ending, bytes)),
            None => Err("what came is no PNG, JPEG, WebP or GIF picture".to_owned()),
        });
        match picture {
            Ok(picture) => Ok(Some(picture)),
            Err(why) => {
                report.problem(&self.shown(name), "NO_PREVIEW", &why);
                Ok(None)
            }
        }
    }

    /// Gives the file its name, puts what belongs to it beside it, and lets the registry learn of
    /// it. From here on it is not stopped: it takes no time.
    async fn arrive(
        &self,
        target: Arc<Target>,
        version: Version,
        name: String,
        checked: Checked,
        picture: Option<(&'static str, Vec<u8>)>,
        report: LibraryReport,
    ) -> Result<LibraryReport, Unfinished> {
        let Checked {
            open,
            stamp,
            digests,
        } = checked;
        let arrived = Arrived {
            library: self.library.clone(),
            root: self.root.clone(),
            folder: self.asked.folder.clone(),
            name: name.clone(),
            stamp,
            digests: digests.clone(),
            sidecar: self.asked.with_sidecar.then(|| version.json().clone()),
            picture,
        };
        let settled = {
            let (target, name) = (Arc::clone(&target), name.clone());
            blocking(move || arrived.settle(&target, &open, &name, report)).await?
        };
        let arrived = match settled.map_err(|error| disk_failure(&error))? {
            Some(arrived) => arrived,
            None => return Err(self.occupied(&name)),
        };
        arrived.register(&version).await.map_err(Unfinished::from)
    }

    fn shown(&self, name: &str) -> String {
        let path = joined(self.asked.folder.as_bytes(), name.as_bytes());
        shown(self.root.name(), &path)
    }

    /// Removes what there is of the file.
    pub(super) async fn remove_part(&self) {
        let (root, folder, part) = (
            self.root.clone(),
            self.asked.folder.clone(),
            self.part.clone(),
        );
        let removed = blocking(
            move || match Target::found(&root, Path::new(&folder), part) {
                // It was never made.
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                Err(error) => Err(error),
                Ok(target) => target.remove_part(),
            },
        );
        match removed.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, part = self.part, "a file that is not complete was not removed");
            }
            Err(_) => tracing::error!("the removal of a file that is not complete panicked"),
        }
    }
}

fn no_model_file(version_id: &str) -> Unfinished {
    let text = format!("version {version_id} has no model file that can be downloaded");
    Failure::precondition("NO_MODEL_FILE", "civitai", text).into()
}
