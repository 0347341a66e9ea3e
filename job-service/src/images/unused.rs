//! Removes files that are not needed any more, and keeps those that are about
//! to be: between the moment an attempt stores a file and the moment its row is
//! on disk, nobody else can tell that the file is needed.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{ImageError, ImageStore, sync_dir};

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
}
