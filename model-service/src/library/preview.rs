//! Owns the picture that lies beside a model's file: that it is opened beneath its root, is a
//! picture, and stays the one that was opened. It does not own which file it is
//! (`store/files_of_models.rs`) nor how it is sent (`api/preview_stream.rs`).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use service_kit::database::DatabaseError;

use super::Library;
use super::roots::Root;
use super::stamp::FileStamp;
use crate::error::ModelError;
use crate::store;

/// Size of a picture at most.
pub(crate) const PREVIEW_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Bytes that tell what picture it is.
const MAGIC_BYTES: usize = 12;

/// Why a model's picture cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum PreviewFault {
    /// No picture lies beside a file of the model.
    #[error(
        "no picture lies beside a file of model {0} in the library; put one there, such as \
         NAME.preview.png beside NAME.safetensors, and scan"
    )]
    None(i64),
    /// The scan saw a picture that is not there any more, or not in a configured root.
    #[error("the picture {name:?} that the last scan saw cannot be opened: {why}; scan again")]
    Gone {
        /// Its path beneath its root.
        name: String,
        /// Why.
        why: String,
    },
    /// The file holds something else.
    #[error("{0:?} is no PNG, JPEG, WebP or GIF picture; replace it and scan")]
    NotAPicture(String),
    /// The file is too large.
    #[error(
        "the picture {name:?} has {size_bytes} bytes, and at most {PREVIEW_BYTES_MAX} are sent"
    )]
    TooLarge {
        /// Its path beneath its root.
        name: String,
        /// Its size.
        size_bytes: u64,
    },
    /// The file was changed while it was read.
    #[error("the picture {0:?} was changed while it was read; ask again")]
    Changed(String),
}

/// A picture that is open. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Preview(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    file: File,
    stamp: FileStamp,
    size_bytes: u64,
    content_type: &'static str,
    name: String,
}

impl Library {
    /// The picture beside a file of a model.
    ///
    /// # Errors
    /// [`ModelError::ModelNotFound`], [`ModelError::Preview`].
    pub async fn preview(&self, model_id: i64) -> Result<Preview, ModelError> {
        let read = self.ledger().read("get_model_preview", move |connection| {
            if !store::models::exists(connection, model_id)? {
                return Err(ModelError::ModelNotFound(model_id));
            }
            Ok(store::files_of_models::preview(connection, model_id)?)
        });
        let Some((root, path)) = read.await? else {
            return Err(PreviewFault::None(model_id).into());
        };
        let Some(root) = self.root(&root).cloned() else {
            return Err(PreviewFault::Gone {
                name: path.display().to_string(),
                why: format!("the root {root:?} is not configured any more"),
            }
            .into());
        };
        // A volume that does not answer holds up this call and no other.
        let opened = tokio::task::spawn_blocking(move || Preview::open(&root, &path));
        Ok(opened.await.map_err(|_| DatabaseError::Panicked)??)
    }
}

impl Preview {
    fn open(root: &Root, path: &Path) -> Result<Self, PreviewFault> {
        let name = path.display().to_string();
        let gone = |error: io::Error| PreviewFault::Gone {
            name: name.clone(),
            why: error.to_string(),
        };
        let file = root.open_beneath(path).map_err(gone)?;
        let stamp = FileStamp::of(&file.metadata().map_err(gone)?);
        let size_bytes = stamp.size_bytes.unsigned_abs();
        if size_bytes > PREVIEW_BYTES_MAX {
            return Err(PreviewFault::TooLarge { name, size_bytes });
        }
        let mut magic = [0; MAGIC_BYTES];
        let read = read_at(&file, &mut magic, 0).map_err(gone)?;
        let Some(content_type) = content_type(&magic[..read]) else {
            return Err(PreviewFault::NotAPicture(name));
        };
        Ok(Self(Arc::new(Inner {
            file,
            stamp,
            size_bytes,
            content_type,
            name,
        })))
    }

    /// Its media type by its content.
    #[must_use]
    pub fn content_type(&self) -> &'static str {
        self.0.content_type
    }

    /// Its size, at most [`PREVIEW_BYTES_MAX`].
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.0.size_bytes
    }

    /// When it was changed last.
    #[must_use]
    pub fn modified_at(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_nanos(self.0.stamp.modified_ns)
    }

    /// The bytes from `offset` on, at most `bytes_max`; none only at the end. A picture that
    /// another one takes the place of is read to its end as it was. Blocks.
    ///
    /// # Errors
    /// [`PreviewFault::Changed`] when it is not what was opened any more, [`PreviewFault::Gone`].
    pub fn read(&self, offset: u64, bytes_max: usize) -> Result<Vec<u8>, PreviewFault> {
        let Inner {
            file,
            stamp,
            size_bytes,
            name,
            ..
        } = &*self.0;
        let gone = |error: io::Error| PreviewFault::Gone {
            name: name.clone(),
            why: error.to_string(),
        };
        let left = usize::try_from(size_bytes.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut data = vec![0; left.min(bytes_max)];
        let read = read_at(file, &mut data, offset).map_err(gone)?;
        let now = FileStamp::of(&file.metadata().map_err(gone)?);
        if read < data.len() || now.content_differs(stamp) {
            return Err(PreviewFault::Changed(name.clone()));
        }
        Ok(data)
    }
}

/// Fills the buffer as far as the file goes.
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// The ending of the name of a picture with that content; `None` when it is none.
pub(super) fn picture_ending(content: &[u8]) -> Option<&'static str> {
    let beginning = &content[..content.len().min(MAGIC_BYTES)];
    Some(match content_type(beginning)? {
        "image/png" => "png",
        "image/jpeg" => "jpg",
        "image/gif" => "gif",
        _ => "webp",
    })
}

/// What picture begins so.
fn content_type(beginning: &[u8]) -> Option<&'static str> {
    match beginning {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P'] => Some("image/webp"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RootConfig;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\nrest of it";

    fn open(folder: &tempfile::TempDir) -> Result<Preview, PreviewFault> {
        let root = Root::new(RootConfig {
            name: "main".into(),
            path: folder.path().to_owned(),
            kind: None,
        });
        Preview::open(&root, Path::new("a.png"))
    }

    fn opened(content: &[u8]) -> (tempfile::TempDir, Result<Preview, PreviewFault>) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.png"), content).unwrap();
        let preview = open(&folder);
        (folder, preview)
    }

    #[test]
    fn what_a_picture_is_its_content_tells() {
        for (content, kind) in [
            (PNG, "image/png"),
            (b"\xff\xd8\xff\xe0", "image/jpeg"),
            (b"GIF89a", "image/gif"),
            (b"RIFF\x04\0\0\0WEBPVP8 ", "image/webp"),
        ] {
            assert_eq!(opened(content).1.unwrap().content_type(), kind);
        }
        for content in [
            &b""[..],
            b"\x89PN",
            b"<html>",
            b"RIFF\x04\0\0\0WAVEfmt ",
            b"GIF88a",
        ] {
            let refused = opened(content).1.unwrap_err();
            assert!(
                matches!(refused, PreviewFault::NotAPicture(_)),
                "{content:?}"
            );
        }
    }

    #[test]
    fn a_picture_is_read_in_pieces_to_its_end() {
        let (_folder, preview) = opened(PNG);
        let preview = preview.unwrap();
        assert_eq!(preview.size_bytes(), PNG.len() as u64);
        assert_eq!(preview.read(0, 10).unwrap(), PNG[..10]);
        assert_eq!(preview.read(10, 100).unwrap(), PNG[10..]);
        assert_eq!(preview.read(PNG.len() as u64, 10).unwrap(), b"");
    }

    #[test]
    fn a_picture_that_is_changed_while_it_is_read_is_noticed() {
        let (folder, preview) = opened(PNG);
        let preview = preview.unwrap();
        std::fs::write(folder.path().join("a.png"), b"\x89PNG\r\n\x1a\nother").unwrap();
        let noticed = preview.read(0, 10).unwrap_err();
        assert!(matches!(noticed, PreviewFault::Changed(_)), "{noticed}");
        let (folder, preview) = opened(PNG);
        let preview = preview.unwrap();
        let place = folder.path().join("a.png");
        std::fs::write(place.with_extension("new"), b"GIF89a").unwrap();
        std::fs::rename(place.with_extension("new"), &place).unwrap();
        assert_eq!(preview.read(0, 100).unwrap(), PNG);
    }

    #[test]
    fn a_picture_that_is_too_large_is_not_sent() {
        let (folder, _) = opened(PNG);
        let file = File::options()
            .write(true)
            .open(folder.path().join("a.png"))
            .unwrap();
        file.set_len(PREVIEW_BYTES_MAX + 1).unwrap();
        let refused = open(&folder).unwrap_err();
        assert!(
            matches!(refused, PreviewFault::TooLarge { .. }),
            "{refused}"
        );
    }
}
