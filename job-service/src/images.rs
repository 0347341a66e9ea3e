//! The images on disk: content-addressed files `<first 2 hex>/<sha256>.<ext>`
//! below one folder, written so that a file that has its name is whole. Which
//! job an image belongs to is the database's knowledge. All calls block.

mod inspect;
mod link;
mod unused;

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest as _, Sha256};

pub use inspect::{ImageFacts, PIXEL_BYTES_MAX, inspect, look_at_header};
pub use link::LinkError;
use unused::Pins;
pub use unused::{ImageFile, ImagePin};

use crate::{infotext, stealth};

/// Bytes that one image file may have.
pub const IMAGE_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// The media types that are kept.
pub const MEDIA_TYPES: [&str; 3] = ["image/png", "image/jpeg", "image/webp"];
/// The folder for files that do not have their name yet.
pub const STAGING_FOLDER: &str = ".staging";
/// For the names there. One for the whole process: a service that was stopped in
/// it may still be writing into the folder of the one that followed.
static NEXT_NAME: AtomicU64 = AtomicU64::new(0);

/// Why an image could not be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The bytes are no whole picture within the limits.
    #[error("the picture cannot be used: {0}")]
    Broken(String),
    /// There is no room.
    #[error("there is no room for images: {0}")]
    DiskFull(#[source] io::Error),
    /// There is no such image.
    #[error("there is no image file {0}")]
    Missing(String),
    /// Reading or writing failed.
    #[error("reading or writing an image failed: {0}")]
    Io(#[source] io::Error),
}

impl From<io::Error> for ImageError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull(error),
            _ => Self::Io(error),
        }
    }
}

/// A picture that was checked and written, but has no lasting name yet. It is
/// removed when dropped.
#[derive(Debug)]
pub struct StagedImage {
    path: PathBuf,
    /// SHA-256 of the file, lower-case hexadecimal.
    pub sha256: String,
    /// Its size.
    pub size_bytes: u64,
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Its media type, such as `image/png`.
    pub media_type: &'static str,
    /// The text in it, for a PNG.
    pub infotext: Option<String>,
}

impl Drop for StagedImage {
    fn drop(&mut self) {
        // It is gone already when it was put, and a stale one is swept at the
        // next start.
        let _ = fs::remove_file(&self.path);
    }
}

/// An image that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredImage {
    /// SHA-256 of the file, lower-case hexadecimal.
    pub sha256: String,
    /// Its size.
    pub size_bytes: u64,
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Its media type, such as `image/png`.
    pub media_type: &'static str,
    /// Keeps the file from being removed while no row names it yet.
    pub pin: Arc<ImagePin>,
}

/// The folder of images.
#[derive(Debug)]
pub struct ImageStore {
    dir: PathBuf,
    pins: Arc<Pins>,
}

impl ImageStore {
    /// Opens the folder, making it if needed, and removes what an earlier
    /// process left unfinished. Only one process may have it open: the lock
    /// of the database that belongs to it sees to that.
    pub fn open(dir: &Path) -> Result<Self, ImageError> {
        let staging = dir.join(STAGING_FOLDER);
        fs::create_dir_all(&staging)?;
        for entry in fs::read_dir(&staging)? {
            let path = entry?.path();
            if path.is_file() {
                fs::remove_file(path)?;
            }
        }
        Ok(Self {
            dir: dir.to_owned(),
            pins: Arc::default(),
        })
    }

    /// A path for a file that is still to be written, in the same file system
    /// as the images; swept at the next start.
    #[must_use]
    pub fn staging_path(&self, extension: &str) -> PathBuf {
        let number = NEXT_NAME.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{number}.{extension}", std::process::id());
        self.dir.join(STAGING_FOLDER).join(name)
    }

    /// Checks a picture, takes hidden text off it, and writes it to disk.
    pub fn stage(&self, bytes: &[u8]) -> Result<StagedImage, ImageError> {
        if bytes.len() as u64 > IMAGE_BYTES_MAX {
            return Err(ImageError::Broken(format!(
                "it has more than {IMAGE_BYTES_MAX} bytes"
            )));
        }
        let facts = inspect(bytes).map_err(ImageError::Broken)?;
        let is_png = facts.media_type == "image/png";
        let stripped = is_png
            .then(|| stealth::strip(bytes, PIXEL_BYTES_MAX))
            .flatten();
        let bytes = stripped.as_deref().unwrap_or(bytes);
        let staged = StagedImage {
            path: self.staging_path(extension_of(facts.media_type)),
            sha256: hex::encode(Sha256::digest(bytes)),
            size_bytes: bytes.len() as u64,
            width: facts.width,
            height: facts.height,
            media_type: facts.media_type,
            infotext: is_png.then(|| infotext::parameters_of_png(bytes)).flatten(),
        };
        let mut file = File::create_new(&staged.path)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        Ok(staged)
    }

    /// The same for a picture in a file, such as one that was fetched.
    pub fn stage_file(&self, path: &Path) -> Result<StagedImage, ImageError> {
        let mut bytes = Vec::new();
        File::open(path)?
            .take(IMAGE_BYTES_MAX + 1)
            .read_to_end(&mut bytes)?;
        self.stage(&bytes)
    }

    /// Gives a staged image its lasting name. An equal file that is there
    /// already is kept. When this returns, the file survives a power cut, and
    /// nothing removes it while its pin is held. Where it fails, the staged
    /// image is whole and can be put again.
    pub fn put(&self, staged: &StagedImage) -> Result<StoredImage, ImageError> {
        let pin = self.pins.pin(&staged.sha256);
        let target = self.path(&staged.sha256, staged.media_type);
        let folder = target.parent().unwrap_or(&self.dir);
        if !folder.is_dir() {
            fs::create_dir_all(folder)?;
            sync_dir(&self.dir)?;
        }
        if !holds(&target, &staged.sha256)? {
            fs::rename(&staged.path, &target)?;
        }
        sync_dir(folder)?;
        Ok(StoredImage {
            sha256: staged.sha256.clone(),
            size_bytes: staged.size_bytes,
            width: staged.width,
            height: staged.height,
            media_type: staged.media_type,
            pin: Arc::new(pin),
        })
    }

    /// Where an image lies.
    #[must_use]
    pub fn path(&self, sha256: &str, media_type: &str) -> PathBuf {
        file_in(&self.dir, sha256, media_type)
    }

    /// Up to `bytes_max` bytes of an image from an offset; empty at its end.
    pub fn read(
        &self,
        sha256: &str,
        media_type: &str,
        offset_bytes: u64,
        bytes_max: usize,
    ) -> Result<Vec<u8>, ImageError> {
        let path = self.path(sha256, media_type);
        let mut file = File::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => ImageError::Missing(path.display().to_string()),
            _ => ImageError::from(error),
        })?;
        file.seek(SeekFrom::Start(offset_bytes))?;
        let mut bytes = Vec::with_capacity(bytes_max);
        file.take(bytes_max as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// Where an image lies below a folder of images.
#[must_use]
pub fn file_in(dir: &Path, sha256: &str, media_type: &str) -> PathBuf {
    let folder = sha256.get(..2).unwrap_or("00");
    let name = format!("{sha256}.{}", extension_of(media_type));
    dir.join(folder).join(name)
}

/// Whether a file is there and holds what its name says.
fn holds(path: &Path, sha256: &str) -> Result<bool, ImageError> {
    match digest_of(path) {
        Ok((digest, _)) => Ok(digest == sha256),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The SHA-256 of a file, lower-case hexadecimal, and its size in bytes.
///
/// # Errors
/// What the operating system said.
pub fn digest_of(path: &Path) -> io::Result<(String, u64)> {
    let mut file = File::open(path)?;
    let (mut digest, mut bytes) = (Sha256::new(), 0);
    let mut block = vec![0; 64 * 1024];
    loop {
        let read = file.read(&mut block)?;
        if read == 0 {
            return Ok((hex::encode(digest.finalize()), bytes));
        }
        digest.update(&block[..read]);
        bytes += read as u64;
    }
}

/// Makes the names in a folder last.
fn sync_dir(dir: &Path) -> Result<(), ImageError> {
    Ok(File::open(dir)?.sync_all()?)
}

fn extension_of(media_type: &str) -> &'static str {
    match media_type {
        "image/jpeg" => "jpg",
        "image/webp" => "webp",
        _ => "png",
    }
}

#[cfg(test)]
#[path = "images/tests.rs"]
mod tests;
