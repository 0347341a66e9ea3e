//! Pictures that lie in another folder and are kept as they are: the store gets
//! a second name for the same file where the file system can, else a copy.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::{IMAGE_BYTES_MAX, ImageError, ImageStore, StagedImage, extension_of, look_at_header};
use crate::infotext;

/// What a file in the staging folder is called while it is not known what it
/// is.
const UNKNOWN: &str = "part";

impl ImageStore {
    /// Gives a picture of another folder a place among those to be kept. Only
    /// its header is looked at, and its bytes stay as they are.
    ///
    /// # Errors
    /// [`ImageError::Broken`] when it is no picture within the limits.
    pub fn stage_link(&self, source: &Path) -> Result<StagedImage, ImageError> {
        let size_bytes = fs::metadata(source)?.len();
        if size_bytes > IMAGE_BYTES_MAX {
            return Err(ImageError::Broken(format!(
                "it has {size_bytes} bytes, more than {IMAGE_BYTES_MAX}"
            )));
        }
        let path = self.staging_path(UNKNOWN);
        // It removes its file when it is dropped, so also after a fault.
        let mut staged = StagedImage {
            path,
            sha256: String::new(),
            size_bytes,
            width: 0,
            height: 0,
            media_type: "image/png",
            infotext: None,
        };
        link_or_copy(source, &staged.path)?;
        let mut file = File::open(&staged.path)?;
        file.sync_all()?;
        let mut bytes = Vec::new();
        // Counted again: the file may have grown since.
        let read = (&mut file)
            .take(IMAGE_BYTES_MAX + 1)
            .read_to_end(&mut bytes)?;
        if read as u64 > IMAGE_BYTES_MAX {
            return Err(ImageError::Broken(format!(
                "it has more than {IMAGE_BYTES_MAX} bytes"
            )));
        }
        let facts = look_at_header(&bytes).map_err(ImageError::Broken)?;
        staged.sha256 = hex::encode(Sha256::digest(&bytes));
        staged.size_bytes = read as u64;
        (staged.width, staged.height) = (facts.width, facts.height);
        staged.media_type = facts.media_type;
        if extension_of(facts.media_type) == "png" {
            staged.infotext = infotext::parameters_of_png(&bytes);
        }
        Ok(staged)
    }
}

/// A second name needs the same file system, and an owner that the system lets
/// make one; a copy needs neither.
fn link_or_copy(source: &Path, target: &Path) -> io::Result<()> {
    if fs::hard_link(source, target).is_ok() {
        return Ok(());
    }
    let mut copy = File::create_new(target)?;
    let mut source = File::open(source)?.take(IMAGE_BYTES_MAX + 1);
    io::copy(&mut source, &mut copy)?;
    copy.sync_all()
}
