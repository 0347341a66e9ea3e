//! Removes files that are not needed any more, and keeps those that are about
//! to be: between the moment an attempt stores a file and the moment its row is
//! on disk, nobody else can tell that the file is needed.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{ImageError, ImageStore, extension_of, sync_dir};

/// Hexadecimal digits of a file's digest.
const DIGEST_DIGITS: usize = 64;
/// The media types of files and their endings.
const MEDIA_TYPES: [&str; 3] = ["image/png", "image/jpeg", "image/webp"];

/// Digests that are about to get a row, each with how many hold it.
#[derive(Debug, Default)]
pub(super) struct Pins(Mutex<HashMap<String, usize>>);

impl Pins {
    pub(super) fn pin(self: &Arc<Self>, sha256: &str) -> ImagePin {
        *self.lock().entry(sha256.to_owned()).or_default() += 1;
        ImagePin {
            pins: Arc::clone(self),
            sha256: sha256.to_owned(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps one file from being removed until it is dropped.
#[derive(Debug)]
pub struct ImagePin {
    pins: Arc<Pins>,
    sha256: String,
}

impl PartialEq for ImagePin {
    fn eq(&self, other: &Self) -> bool {
        self.sha256 == other.sha256
    }
}

impl Eq for ImagePin {}

impl Drop for ImagePin {
    fn drop(&mut self) {
        let mut pins = self.pins.lock();
        if let Some(held) = pins.get_mut(&self.sha256) {
            *held -= 1;
            if *held == 0 {
                pins.remove(&self.sha256);
            }
        }
    }
}

/// A file of the store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ImageFile {
    /// SHA-256 of the file, lower-case hexadecimal.
    pub sha256: String,
    /// Its media type, such as `image/png`.
    pub media_type: String,
}

impl ImageStore {
    /// Removes those of these files that are neither pinned nor in use, and
    /// answers how many went. Nothing is pinned while this runs, and what was
    /// pinned before has its row once it is not: so `is_used` sees every use
    /// that there is, provided that it looks at nothing older than this call.
    pub fn remove_unused<E: From<ImageError>>(
        &self,
        files: &[ImageFile],
        mut is_used: impl FnMut(&str) -> Result<bool, E>,
    ) -> Result<usize, E> {
        let pins = self.pins.lock();
        let mut gone = 0;
        for ImageFile { sha256, media_type } in files {
            if pins.contains_key(sha256) || is_used(sha256)? {
                continue;
            }
            let path = self.path(sha256, media_type);
            match fs::remove_file(&path) {
                Ok(()) => gone += 1,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(ImageError::from(error).into()),
            }
            if let Some(folder) = path.parent() {
                sync_dir(folder)?;
            }
        }
        Ok(gone)
    }

    /// The files of the store after one, at most `limit`, by digest. Whatever
    /// else lies in the folders is not the store's and is left out.
    pub fn files_after(&self, after: &str, limit: usize) -> Result<Vec<ImageFile>, ImageError> {
        let first = after
            .get(..2)
            .and_then(|digits| u8::from_str_radix(digits, 16).ok())
            .unwrap_or(0);
        let mut found = Vec::new();
        for folder in first..=u8::MAX {
            let folder = format!("{folder:02x}");
            let entries = match fs::read_dir(self.dir.join(&folder)) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error.into()),
            };
            let mut files = Vec::new();
            for entry in entries {
                let name = entry?.file_name();
                let file = name.to_str().and_then(|name| file_of(&folder, name));
                files.extend(file.filter(|file| file.sha256.as_str() > after));
            }
            files.sort_unstable();
            found.extend(files);
            if found.len() >= limit {
                found.truncate(limit);
                break;
            }
        }
        Ok(found)
    }
}

/// The file that a name stands for, if it is one of the store's.
fn file_of(folder: &str, name: &str) -> Option<ImageFile> {
    let (sha256, extension) = name.split_once('.')?;
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let media_type = MEDIA_TYPES
        .into_iter()
        .find(|media_type| extension_of(media_type) == extension)?;
    let ours =
        sha256.len() == DIGEST_DIGITS && sha256.starts_with(folder) && sha256.bytes().all(digit);
    ours.then(|| ImageFile {
        sha256: sha256.to_owned(),
        media_type: media_type.to_owned(),
    })
}
