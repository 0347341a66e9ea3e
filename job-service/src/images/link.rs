//! Pictures that lie in another folder and are kept as they are: the store gets
//! a second name for the same file where the file system can, else a copy.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::{IMAGE_BYTES_MAX, ImageError, ImageStore, StagedImage, extension_of, look_at_header};
use crate::infotext;

/// What a file in the staging folder is called while it is not known what it
/// is.
const UNKNOWN: &str = "part";
/// Bytes that are copied together.
const PIECE_BYTES: usize = 64 * 1024;

/// Why a picture of another folder has no place among those to be kept.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// It cannot be read there.
    #[error("{path}: {source}")]
    Source {
        /// The picture.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// It is no picture within the limits, or our own folder is at fault.
    #[error(transparent)]
    Store(#[from] ImageError),
}

impl ImageStore {
    /// Gives a picture of another folder a place among those to be kept. Only
    /// its header is looked at, and its bytes stay as they are.
    ///
    /// # Errors
    /// [`LinkError`], which tells the picture's faults from those of our folder.
    pub fn stage_link(&self, source: &Path) -> Result<StagedImage, LinkError> {
        let size_bytes = fs::metadata(source).map_err(of(source))?.len();
        if size_bytes > IMAGE_BYTES_MAX {
            return Err(broken(format!(
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
        let place = link_or_copy(source, &staged.path)?;
        // A second name is still the file of the other folder.
        let fault = |error| match place {
            Place::SameFile => of(source)(error),
            Place::Copy => LinkError::Store(error.into()),
        };
        let mut file = File::open(&staged.path).map_err(fault)?;
        file.sync_all().map_err(fault)?;
        let mut bytes = Vec::new();
        // Counted again: the file may have grown since.
        let read = (&mut file)
            .take(IMAGE_BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(fault)?;
        if read as u64 > IMAGE_BYTES_MAX {
            return Err(broken(format!("it has more than {IMAGE_BYTES_MAX} bytes")));
        }
        let facts = look_at_header(&bytes).map_err(broken)?;
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

fn of(source: &Path) -> impl Fn(io::Error) -> LinkError + '_ {
    move |error| LinkError::Source {
        path: source.to_owned(),
        source: error,
    }
}

fn broken(why: String) -> LinkError {
    LinkError::Store(ImageError::Broken(why))
}

/// What lies in the staging folder.
#[derive(Clone, Copy)]
enum Place {
    SameFile,
    Copy,
}

/// A second name needs the same file system, and an owner that the system lets
/// make one; a copy needs neither.
fn link_or_copy(source: &Path, target: &Path) -> Result<Place, LinkError> {
    if fs::hard_link(source, target).is_ok() {
        return Ok(Place::SameFile);
    }
    let ours = |error: io::Error| LinkError::Store(error.into());
    let mut copy = File::create_new(target).map_err(ours)?;
    let older = File::open(source).map_err(of(source))?;
    let mut older = older.take(IMAGE_BYTES_MAX + 1);
    let mut piece = vec![0; PIECE_BYTES];
    // Piece by piece, to know whose fault one is.
    loop {
        let read = match older.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(of(source)(error)),
        };
        copy.write_all(&piece[..read]).map_err(ours)?;
    }
    copy.sync_all().map_err(ours)?;
    Ok(Place::Copy)
}
