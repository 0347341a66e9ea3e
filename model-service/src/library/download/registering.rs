//! Owns how a file that has come takes its place: under its name, with what belongs beside it, and
//! in the registry, as a scan would take it in, with its hashes and with what Civitai says.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::Path;

use serde_json::Value;
use service_kit::operations::LibraryReport;
use service_kit::status::Failure;

use super::target::{Target, There};
use crate::civitai::Version;
use crate::error::ModelError;
use crate::events::NewEvent;
use crate::findings::{Field, Finding, Source};
use crate::ledger::Changed;
use crate::library::Library;
use crate::library::beside;
use crate::library::digests::{DigestFault, Digests, digest};
use crate::library::found::{FileNow, KnownFile};
use crate::library::problems::{Problems, shown};
use crate::library::roots::Root;
use crate::library::scan::item;
use crate::library::settle::{Item, What, fill_in, settle};
use crate::library::stamp::FileStamp;
use crate::library::take_in::{Reader, beside_stamp};
use crate::library::walk::{Listed, joined, listed};
use crate::model::Sha256;
use crate::names;
use crate::store::enrichment::{Outcome, Settled};
use crate::store::library_hashes::HashedFile;
use crate::store::{self, Connection};

/// A file that has come and is verified.
pub(super) struct Arrived {
    pub(super) library: Library,
    pub(super) root: Root,
    pub(super) folder: String,
    pub(super) name: String,
    pub(super) stamp: FileStamp,
    pub(super) digests: Digests,
    /// What Civitai says, when that is to be written beside it.
    pub(super) sidecar: Option<Value>,
    /// A picture with its ending.
    pub(super) picture: Option<(&'static str, Vec<u8>)>,
}

/// A file in its place, and what the registry is to learn of it.
pub(super) struct InPlace {
    library: Library,
    item: Option<Item>,
    root: String,
    root_path: String,
    path: Vec<u8>,
    hashed: HashedFile,
    report: LibraryReport,
}

impl Arrived {
    /// Puts the file and what belongs to it in its place and reads what a scan would read. `None`
    /// when another file has the name. Blocks.
    pub(super) fn settle(
        mut self,
        target: &Target,
        open: &File,
        name: &str,
        mut report: LibraryReport,
    ) -> io::Result<Option<InPlace>> {
        let settled = match target.there(name)? {
            There::Nothing => target.settle(open, name)?,
            There::File(_) | There::Other => false,
        };
        let counted = match settled {
            true => "files",
            false if self.is_same(target, name)? => "already_there",
            false => return Ok(None),
        };
        report.count(counted, 1);
        // Its mode and its links changed with its name.
        self.put_beside(target, &mut report);
        Ok(Some(self.in_place(report)))
    }

    /// Whether the file under the name has the content of the one that came.
    fn is_same(&mut self, target: &Target, name: &str) -> io::Result<bool> {
        let There::File(mut there) = target.there(name)? else {
            return Ok(false);
        };
        let stamp = FileStamp::of(&there.metadata()?);
        if stamp == self.stamp {
            return Ok(true);
        }
        if stamp.size_bytes != self.stamp.size_bytes {
            return Ok(false);
        }
        let size_bytes = u64::try_from(stamp.size_bytes).unwrap_or_default();
        let digests = digest(&mut there, size_bytes, &mut |_| {
            std::ops::ControlFlow::Continue(())
        });
        match digests {
            Ok(digests) => {
                self.stamp = stamp;
                Ok(digests == self.digests)
            }
            Err(DigestFault::Read(error)) => Err(error),
            Err(DigestFault::Stopped | DigestFault::OtherSize) => Ok(false),
        }
    }

    /// Writes the sidecar and the picture. The model file is there; what goes wrong here is only
    /// noted.
    fn put_beside(&mut self, target: &Target, report: &mut LibraryReport) {
        let stem = beside::stem(self.name.as_bytes()).map_or(0, <[u8]>::len);
        let stem = self.name[..self.name.floor_char_boundary(stem)].to_owned();
        let sidecar = self.sidecar.take().map(|json| {
            let text = format!("{json:#}\n");
            (
                "sidecars",
                format!("{stem}.civitai.info"),
                text.into_bytes(),
            )
        });
        let picture = self
            .picture
            .take()
            .map(|(ending, bytes)| ("previews", format!("{stem}.preview.{ending}"), bytes));
        for (counted, name, bytes) in sidecar.into_iter().chain(picture) {
            let path = joined(self.folder.as_bytes(), name.as_bytes());
            let path = shown(self.root.name(), &path);
            match target.write_beside(&name, &bytes) {
                Ok(true) => report.count(counted, 1),
                Ok(false) => {
                    let text = "it is there already and was left as it is";
                    report.problem(&path, "BESIDE_EXISTS", text);
                }
                Err(error) => {
                    let text = format!("it could not be written: {error}");
                    report.problem(&path, "BESIDE_NOT_WRITTEN", &text);
                }
            }
        }
    }

    /// Reads what the file and what lies beside it say.
    fn in_place(self, report: LibraryReport) -> InPlace {
        let Self {
            library,
            root,
            folder,
            name,
            stamp,
            digests,
            ..
        } = self;
        let path = joined(folder.as_bytes(), name.as_bytes());
        let (item, report) = taken_in(&root, &folder, &name, &digests.sha256, report);
        let local_path = root.path().join(Path::new(&folder)).join(&name);
        let local_path = local_path.to_string_lossy().into_owned();
        InPlace {
            library,
            hashed: HashedFile {
                id: 0,
                stamp: item.as_ref().map_or(stamp, |item| item.file.stamp),
                digests,
                filename: names::last_part(&local_path).to_owned(),
                local_path,
            },
            item,
            root: root.name().to_owned(),
            root_path: root.path().to_string_lossy().into_owned(),
            path,
            report,
        }
    }
}

/// The file as a scan of its folder finds it, and the report with what was wrong there.
fn taken_in(
    root: &Root,
    folder: &str,
    name: &str,
    sha256: &Sha256,
    report: LibraryReport,
) -> (Option<Item>, LibraryReport) {
    let problems = Problems::new(root.name(), report);
    let found = root.open().ok().and_then(|open| {
        let mut here: Listed = listed(&open, folder.as_bytes(), name.as_bytes())?;
        let file = here.models.pop()?;
        let reader = Reader {
            root: &open,
            problems: &problems,
            guess: false,
        };
        let taken = reader.take_in(&here, &file, Some(sha256))?;
        let what = What::New {
            same_as: None,
            only_of_its_name: true,
        };
        let stamp = beside_stamp(&file.beside);
        Some(Item {
            sha256: Some(sha256.clone()),
            ..item(root, &here, &file, stamp, what, taken)
        })
    });
    (found, problems.into_report())
}

impl InPlace {
    /// Lets the registry learn of the file.
    pub(super) async fn register(self, version: &Version) -> Result<LibraryReport, Failure> {
        let Self {
            library,
            item,
            root,
            root_path,
            path,
            hashed,
            mut report,
        } = self;
        let Some(item) = item else {
            let text = "it is there and could not be read again; scan to take it in";
            let shown = shown(&root, &path);
            report.problem(&shown, "NOT_TAKEN_IN", text);
            return Ok(report);
        };
        let digits = hashed.digests.sha256.as_str();
        let mut findings = version.findings(Source::Civitai, Some(digits));
        findings.extend(download_url(&library, version, digits));
        let outcome = Outcome::Found {
            findings,
            matched_by: version.matched_by(digits),
        };
        let mut items = vec![item];
        let register = library
            .ledger()
            .change("register_download", move |connection, now| {
                let known = store::library_files::at(connection, &root, &path)?;
                if let Some(known) = &known {
                    items[0].what = again(known, &items[0].file.stamp);
                }
                store::library_roots::note(connection, &root, &root_path)?;
                let settled = settle(connection, &items, &HashMap::new(), now)?;
                let model_id = hash(connection, &root, &path, &hashed, now)?;
                // Its hash may have made it the file of another model.
                let said = fill_decided(connection, &items[0], &path, model_id)?;
                let enriched = Settled {
                    model_ids: model_id.into_iter().collect(),
                    outcome: outcome.clone(),
                };
                let filled = store::enrichment::settle(connection, &[enriched], &[], now)?;
                Ok(Changed {
                    answer: (
                        settled.models_created,
                        settled.fields_filled + said + filled,
                    ),
                    events: model_id
                        .map(|id| NewEvent::registry(Some(id)))
                        .into_iter()
                        .collect(),
                })
            });
        let (models_created, fields_filled) = register.await.map_err(Failure::from)?;
        report.count("models_created", models_created);
        report.count("fields_filled", fields_filled);
        Ok(report)
    }
}

/// What a file is that has a row already.
fn again(known: &KnownFile, stamp: &FileStamp) -> What {
    What::Known {
        id: known.id,
        model_id: known.model_id,
        changed: true,
        content_differs: known.stamp.content_differs(stamp),
        was_missing: known.missing,
    }
}

/// Fills the model that the file turned out to be of; how many fields were
/// written.
fn fill_decided(
    connection: &mut Connection,
    item: &Item,
    path: &[u8],
    model_id: Option<i64>,
) -> Result<u64, ModelError> {
    let Some(model_id) = model_id else {
        return Ok(0);
    };
    let filled = fill_in(connection, item, model_id)?;
    if filled.is_some() {
        let FileNow {
            root, beside_stamp, ..
        } = &item.file;
        store::library_files::put_beside_stamp(connection, root, path, beside_stamp)?;
    }
    Ok(filled.unwrap_or_default())
}

/// Writes the hashes of the file at a path; the model that it is of then.
fn hash(
    connection: &mut Connection,
    root: &str,
    path: &[u8],
    hashed: &HashedFile,
    now: chrono::DateTime<chrono::Utc>,
) -> Result<Option<i64>, ModelError> {
    let Some(row) = store::library_files::at(connection, root, path)? else {
        return Ok(None);
    };
    let hashed = HashedFile {
        id: row.id,
        ..hashed.clone()
    };
    store::library_hashes::settle(connection, &hashed, now)?;
    // It may be the row of a file that had vanished by now, and of another model.
    let row = store::library_files::at(connection, root, path)?;
    Ok(row.and_then(|row| row.model_id))
}

/// Where the file is at Civitai.
fn download_url(library: &Library, version: &Version, digits: &str) -> Option<Finding> {
    let file = version.file_of(digits).or_else(|| version.model_file())?;
    let file_id = file.id.as_deref().filter(|_| !file.primary);
    let url = library.civitai().download_url(version.id(), file_id);
    Finding::text(Field::CivitaiDownloadUrl, url.as_str(), Source::Civitai)
}
