//! Takes over the pictures that results of the earlier application name, from
//! the folder into which it saved them. What such a result looks like is known
//! here; the bytes are the image store's, and the rows the store's. All calls
//! but the writes block.

use std::collections::HashSet;
use std::path::{Component, Path, PathBuf};
use std::{fs, io};

use serde::Serialize;
use serde_json::Value;
use service_kit::database::Database;

use crate::error::Error;
use crate::generation_info::GenerationInfo;
use crate::images::{ImageError, ImageStore, LinkError, StoredImage};
use crate::infotext;
use crate::job::{Image, ImageKind, Verification};
use crate::store::images::{
    self as rows,
    files::{self, OlderResult},
};

/// Jobs that are read together.
const PAGE: i64 = 100;
/// Pictures of one job that are taken: as many as ListJobImages answers.
const PICTURES_MAX: usize = 256;
/// Pictures that are missing, and ones that are refused, of which each is told.
pub const LISTED_MAX: usize = 1_000;
/// Bytes of a name that are told: a result may hold anything in its place.
const NAME_BYTES_MAX: usize = 256;
/// The seed of a picture of which nobody kept it: what Forge takes for any.
const SEED_UNKNOWN: i64 = -1;
/// Images of a job that ended elsewhere are of no attempt.
const NO_ATTEMPT: i32 = 0;

/// What was found and done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OlderImages {
    /// Jobs whose results were looked at.
    pub jobs: u64,
    /// Pictures that are images of their jobs since now.
    pub imported: u64,
    /// Pictures that were so before.
    pub present: u64,
    /// Names of which there is no file.
    pub missing: u64,
    /// They, at most [`LISTED_MAX`].
    pub missing_files: Vec<NamedPicture>,
    /// Names that are not followed, and files that are no pictures.
    pub refused: u64,
    /// They, at most [`LISTED_MAX`].
    pub refused_files: Vec<NamedPicture>,
}

/// A picture as a result names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NamedPicture {
    /// The job.
    pub job_id: String,
    /// The name, its first 256 bytes.
    pub name: String,
    /// Why it was not taken.
    pub reason: String,
}

/// Takes over the pictures of all jobs that ended in the earlier application
/// and that `folder`, with all links resolved, has. `looked_at` is told how
/// many of how many jobs are done. What was taken stays when a later one fails,
/// and a second call goes on.
///
/// # Errors
/// Those of the database, and of our own folder of images.
pub async fn import(
    database: &Database,
    store: &ImageStore,
    folder: &Path,
    mut looked_at: impl FnMut(u64, u64),
) -> Result<OlderImages, Error> {
    let total = database
        .read("count_older_results", files::older_results_count)
        .await?;
    let mut done = OlderImages::default();
    let mut after = String::new();
    loop {
        let from = after.clone();
        let page = database
            .read("read_older_results", move |conn| {
                files::older_results(conn, &from, PAGE)
            })
            .await?;
        let Some(last) = page.last() else { break };
        after.clone_from(&last.job_id);
        for result in &page {
            import_job(database, store, folder, result, &mut done).await?;
            done.jobs += 1;
            looked_at(done.jobs, total.max(done.jobs));
        }
    }
    Ok(done)
}

async fn import_job(
    database: &Database,
    store: &ImageStore,
    folder: &Path,
    result: &OlderResult,
    done: &mut OlderImages,
) -> Result<(), Error> {
    let named = NamedPictures::of(&result.result_json);
    if let Some(name) = &named.first_too_many {
        let reason =
            format!("a job has {PICTURES_MAX} pictures at most; the further ones are left");
        done.refused(result, name, reason);
    }
    if named.names.is_empty() {
        return Ok(());
    }
    let id = result.job_id.clone();
    let there = database
        .read("read_images", move |conn| rows::of_job(conn, &id))
        .await?;
    let there: HashSet<i32> = there.iter().map(|image| image.position).collect();
    let (mut images, mut pins) = (Vec::new(), Vec::new());
    for (position, name) in (0..).zip(&named.names) {
        if there.contains(&position) {
            done.present += 1;
            continue;
        }
        match taken(store, folder, name)? {
            Ok((stored, text)) => {
                pins.push(stored.pin.clone());
                images.push(named.image(position, stored, text));
            }
            Err(Left::Missing) => done.missing(result, name),
            Err(Left::Refused(reason)) => done.refused(result, name, reason),
        }
    }
    if images.is_empty() {
        return Ok(());
    }
    done.imported += images.len() as u64;
    let id = result.job_id.clone();
    let written = database
        .write("import_images", move |conn| {
            rows::insert(conn, &id, &images)
        })
        .await;
    // Until its row is there, a file is kept by its pin.
    drop(pins);
    written
}

/// Why a picture was not taken.
enum Left {
    Missing,
    Refused(String),
}

/// A picture of the folder, in our store, with the text in it.
type Taken = (StoredImage, Option<String>);

fn taken(store: &ImageStore, folder: &Path, name: &Value) -> Result<Result<Taken, Left>, Error> {
    let path = match beneath(folder, name) {
        Ok(path) => path,
        Err(left) => return Ok(Err(left)),
    };
    match store.stage_link(&path) {
        Ok(mut staged) => {
            let text = staged.infotext.take();
            Ok(Ok((store.put(&staged)?, text)))
        }
        Err(LinkError::Store(ImageError::Broken(why))) => Ok(Err(Left::Refused(why))),
        Err(error @ LinkError::Source { .. }) => Ok(Err(Left::Refused(error.to_string()))),
        // It would be the same for every picture.
        Err(LinkError::Store(error)) => Err(error.into()),
    }
}

/// The file of that name in the folder, never one outside of it.
fn beneath(folder: &Path, name: &Value) -> Result<PathBuf, Left> {
    let refused = |reason: &str| Left::Refused(reason.to_owned());
    let Value::String(name) = name else {
        return Err(refused("it is no name"));
    };
    let inside = |part: Component<'_>| matches!(part, Component::Normal(_));
    if name.is_empty() || name.contains('\0') || !Path::new(name).components().all(inside) {
        return Err(refused("its name leads out of the folder, or is none"));
    }
    let resolved = match fs::canonicalize(folder.join(name)) {
        Ok(resolved) => resolved,
        Err(error) => {
            return Err(match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Left::Missing,
                _ => Left::Refused(error.to_string()),
            });
        }
    };
    if !resolved.starts_with(folder) {
        return Err(refused("it is a link that leads out of the folder"));
    }
    match fs::metadata(&resolved) {
        Ok(found) if found.is_file() => Ok(resolved),
        Ok(_) => Err(refused("it is no file")),
        Err(error) => Err(Left::Refused(error.to_string())),
    }
}

impl OlderImages {
    fn missing(&mut self, of: &OlderResult, name: &Value) {
        self.missing += 1;
        let reason = "there is no such file".to_owned();
        listed(&mut self.missing_files, of, name, reason);
    }

    fn refused(&mut self, of: &OlderResult, name: &Value, reason: String) {
        self.refused += 1;
        listed(&mut self.refused_files, of, name, reason);
    }
}

fn listed(list: &mut Vec<NamedPicture>, of: &OlderResult, name: &Value, reason: String) {
    if list.len() < LISTED_MAX {
        let said = name.as_str().map(str::to_owned);
        let mut said = said.unwrap_or_else(|| name.to_string());
        said.truncate(said.floor_char_boundary(NAME_BYTES_MAX));
        list.push(NamedPicture {
            job_id: of.job_id.clone(),
            name: said,
            reason,
        });
    }
}

/// What a result says of its pictures.
struct NamedPictures {
    names: Vec<Value>,
    /// The first of those that are more than may be.
    first_too_many: Option<Value>,
    info: GenerationInfo,
}

impl NamedPictures {
    /// The names under which they were saved, else those of its list of images,
    /// which was the same list later and Forge's own before.
    fn of(result_json: &str) -> Self {
        let result: Value = serde_json::from_str(result_json).unwrap_or_default();
        let list = |key: &str| result[key].as_array().filter(|list| !list.is_empty());
        let names = list("saved_filenames").or_else(|| list("images"));
        let mut names = names.cloned().unwrap_or_default();
        let first_too_many = names.get(PICTURES_MAX).cloned();
        names.truncate(PICTURES_MAX);
        // In the time of the files the result was Forge's object itself.
        let info = match &result["generation_info"] {
            Value::Null => result.to_string(),
            Value::String(text) => text.clone(),
            object => object.to_string(),
        };
        Self {
            names,
            first_too_many,
            info: GenerationInfo::parse(&info).unwrap_or_default(),
        }
    }

    fn image(&self, position: i32, stored: StoredImage, text: Option<String>) -> Image {
        let at = usize::try_from(position).unwrap_or(usize::MAX);
        let told = || self.info.infotext_of(at).map(str::to_owned);
        let infotext = text.or_else(told).unwrap_or_default();
        let in_text = || infotext::parse(&infotext).and_then(|parameters| parameters.seed);
        // Sizes are limited far below these types.
        let small = |value: u32| i32::try_from(value).unwrap_or(i32::MAX);
        Image {
            position,
            sha256: stored.sha256,
            kind: ImageKind::Sample,
            size_bytes: i64::try_from(stored.size_bytes).unwrap_or(i64::MAX),
            width: small(stored.width),
            height: small(stored.height),
            seed: in_text()
                .or_else(|| self.info.seed_of(at))
                .unwrap_or(SEED_UNKNOWN),
            infotext,
            verification: Verification::Unverified,
            media_type: stored.media_type.to_owned(),
            attempt: NO_ATTEMPT,
        }
    }
}

#[cfg(test)]
#[path = "older_images/tests.rs"]
mod tests;
