//! Writes a report as JSON, whole or not at all, readable by its owner only.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use serde::Serialize;

use crate::database::sibling;

/// What the file is called while it is written.
const UNFINISHED: &str = ".partial";

/// Writes `report` to `path`, in place of what is there.
///
/// # Errors
/// What the operating system said; what was there is still there then.
pub(super) fn write(path: &Path, report: &impl Serialize) -> io::Result<()> {
    let mut text = serde_json::to_vec_pretty(report)?;
    text.push(b'\n');
    let unfinished = sibling(path, UNFINISHED);
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&unfinished)?;
    file.write_all(&text)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)
}
