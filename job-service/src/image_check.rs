//! Are the files of all images there, and do they hold what their rows say?
//! Reads the database and the files and changes neither, so that it works
//! beside a running service. What is to be done about it is not decided here.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::Error;
use crate::images::{self, digest_of, file_in};
use crate::store::Connection;
use crate::store::images::files::{self, NamedFile};

/// Files that are looked up in the database together.
const PAGE: i64 = 500;
/// Faults, and files that nobody needs, of which each is told; the others are
/// counted.
pub const LISTED_MAX: usize = 1_000;
/// Digits of a SHA-256.
const SHA256_DIGITS: usize = 64;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ImageCheck {
    /// Files that rows name.
    pub files: u64,
    /// Their bytes, as far as they are there.
    pub bytes: u64,
    /// Of those files, how many are missing or hold something else.
    pub faulty: u64,
    /// What is wrong with them, at most [`LISTED_MAX`].
    pub faults: Vec<ImageFault>,
    /// Files that no row names.
    pub unneeded: u64,
    /// Their bytes.
    pub unneeded_bytes: u64,
    /// Their paths below the folder of images, at most [`LISTED_MAX`].
    pub unneeded_files: Vec<String>,
}

/// What is wrong with the file of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ImageFault {
    /// The file, below the folder of images.
    pub file: String,
    /// A job that has this image.
    pub job_id: String,
    /// What is wrong, in words.
    pub fault: String,
}

/// Looks at the file of every image, then at every file. `looked_at` is told
/// how many of how many images are done.
///
/// # Errors
/// Those of the database, and of a folder that cannot be read. A file that
/// cannot be read is a fault.
pub fn check(
    conn: &mut Connection,
    folder: &Path,
    mut looked_at: impl FnMut(u64, u64),
) -> Result<ImageCheck, Error> {
    let total = files::count(conn)?;
    let mut found = ImageCheck::default();
    let mut after = String::new();
    loop {
        let page = files::page(conn, &after, PAGE)?;
        let Some(last) = page.last() else { break };
        after.clone_from(&last.sha256);
        for file in &page {
            look_at(conn, folder, file, &mut found)?;
            looked_at(found.files, total.max(found.files));
        }
    }
    unneeded(conn, folder, &mut found)?;
    Ok(found)
}

fn look_at(
    conn: &mut Connection,
    folder: &Path,
    file: &NamedFile,
    found: &mut ImageCheck,
) -> Result<(), Error> {
    let path = file_in(folder, &file.sha256, &file.media_type);
    found.files += 1;
    let fault = match fault(&path, file) {
        Ok(bytes) => {
            found.bytes += bytes;
            return Ok(());
        }
        Err(fault) => fault,
    };
    // Its last job may have been deleted since the row was read.
    if !files::is_named(conn, &file.sha256, &file.media_type)? {
        return Ok(());
    }
    found.faulty += 1;
    if found.faults.len() < LISTED_MAX {
        found.faults.push(ImageFault {
            file: below(folder, &path),
            job_id: file.job_id.clone(),
            fault,
        });
    }
    Ok(())
}

/// The size of a file that is as it should be, or what is wrong with it.
fn fault(path: &Path, file: &NamedFile) -> Result<u64, String> {
    if !is_digest(&file.sha256) {
        return Err("its row names it by no SHA-256".to_owned());
    }
    if file.media_type != file.other_media_type {
        let (one, other) = (&file.media_type, &file.other_media_type);
        return Err(format!("its rows name two media types, {one} and {other}"));
    }
    let (sha256, bytes) = match digest_of(path) {
        Ok(read) => read,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err("the file is missing".to_owned());
        }
        Err(error) => return Err(format!("the file cannot be read: {error}")),
    };
    let size = i64::try_from(bytes).unwrap_or(i64::MAX);
    if (file.smallest_bytes, file.largest_bytes) != (size, size) {
        let (least, most) = (file.smallest_bytes, file.largest_bytes);
        let wanted = if least == most {
            format!("{least}")
        } else {
            format!("{least} and {most}")
        };
        return Err(format!(
            "the file has {bytes} bytes, and its row says {wanted}"
        ));
    }
    if sha256 != file.sha256 {
        return Err(format!(
            "the file holds something else: its SHA-256 is {sha256}"
        ));
    }
    Ok(bytes)
}

fn is_digest(text: &str) -> bool {
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.len() == SHA256_DIGITS && text.bytes().all(digit)
}

/// Counts the files that no row names. The folder of files that have no name
/// yet is left out: the service sweeps it.
fn unneeded(conn: &mut Connection, folder: &Path, found: &mut ImageCheck) -> Result<(), Error> {
    let mut folders = VecDeque::from([folder.to_owned()]);
    while let Some(next) = folders.pop_front() {
        let entries = match fs::read_dir(&next) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(unreadable(&next, &error)),
        };
        for entry in entries {
            let entry = entry.map_err(|error| unreadable(&next, &error))?;
            let kind = entry
                .file_type()
                .map_err(|error| unreadable(&next, &error))?;
            let path = entry.path();
            if kind.is_dir() {
                // Ours are one level deep; what is deeper is nobody's.
                let ours = next == folder && entry.file_name() != images::STAGING_FOLDER;
                if ours {
                    folders.push_back(path);
                }
                continue;
            }
            if is_needed(conn, folder, &path)? {
                continue;
            }
            found.unneeded += 1;
            // A file that goes at this moment has no size to count.
            found.unneeded_bytes += entry.metadata().map_or(0, |file| file.len());
            if found.unneeded_files.len() < LISTED_MAX {
                found.unneeded_files.push(below(folder, &path));
            }
        }
    }
    found.unneeded_files.sort();
    Ok(())
}

/// Whether a row names this very file.
fn is_needed(conn: &mut Connection, folder: &Path, path: &Path) -> Result<bool, Error> {
    let Some(sha256) = path.file_stem().and_then(|stem| stem.to_str()) else {
        return Ok(false);
    };
    if !is_digest(sha256) {
        return Ok(false);
    }
    for media_type in images::MEDIA_TYPES {
        if file_in(folder, sha256, media_type) == path {
            return files::is_named(conn, sha256, media_type);
        }
    }
    Ok(false)
}

fn below(folder: &Path, path: &Path) -> String {
    path.strip_prefix(folder)
        .unwrap_or(path)
        .display()
        .to_string()
}

fn unreadable(folder: &Path, error: &io::Error) -> Error {
    let path: PathBuf = folder.to_owned();
    let said = io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    Error::Images(images::ImageError::Io(said))
}
