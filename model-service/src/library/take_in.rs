//! Owns what is read of a found file: its header, and what lies beside it. It
//! does not decide what becomes of that (`settle.rs`).

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufReader, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{Mode, OFlags, openat};
use sha2::Digest as _;

use super::beside::Role;
use super::guess;
use super::problems::{Problems, Reason};
use super::roots::{OpenRoot, Refused};
use super::walk::{Beside, Found, Listed, joined};
use crate::file_header::{self, Format, Header, HeaderFault, Stated, embedded};
use crate::findings::Finding;
use crate::model::Sha256;
use crate::sidecar::{self, Sidecar};

/// Bytes of a file that are asked for at once.
const READ_BYTES: usize = 16 * 1024;
/// Bytes that are read of a text beside a model; one that has as many is too long.
const TEXT_BYTES_MAX: u64 = 1024 * 1024 + 1;
/// The stamp of a model beside which nothing lies. A row with an empty one is
/// taken in anew whatever lies there.
const NOTHING: &str = "-";
/// Digits of the stamp of what lies beside a model.
const STAMP_DIGITS: usize = 32;
/// Begins the stamp of a file whose sidecars were believed although nobody knows
/// yet whether they are about this file.
const UNPROVEN: char = '?';
/// Begins the stamp of a file of which nothing was written to its model, since
/// nobody knows yet whether it is that model's.
const UNWRITTEN: char = '!';

/// What a file and what lies beside it say.
#[derive(Debug, Default)]
pub(super) struct TakenIn {
    /// What the file itself says that it is.
    pub(super) stated: Option<Stated>,
    /// What the sidecar that is believed most says that it is.
    pub(super) stated_beside: Option<Stated>,
    /// In the order in which they are believed.
    pub(super) findings: Vec<Finding>,
    /// Why its header cannot be read.
    pub(super) header_problem: Option<String>,
    /// The name of its picture, in the same folder.
    pub(super) preview: Option<Vec<u8>>,
    /// Sidecars that were read.
    pub(super) sidecars: u64,
    /// Whether some sidecar may be about another file.
    pub(super) unproven: bool,
    /// Whether some sidecar is about another file.
    pub(super) of_another_file: bool,
}

/// Names what lies beside a model as it is now.
pub(super) fn beside_stamp(beside: &[Beside]) -> String {
    if beside.is_empty() {
        return NOTHING.to_owned();
    }
    let mut digest = sha2::Sha256::new();
    for file in beside {
        let stamp = file.stamp;
        digest.update(&file.name);
        // No name holds a zero or a slash.
        digest.update(b"\0");
        for number in [stamp.size_bytes, stamp.modified_ns, stamp.inode] {
            digest.update(number.to_be_bytes());
        }
    }
    let mut text = hex::encode(digest.finalize());
    text.truncate(STAMP_DIGITS);
    text
}

/// The same while it is not known which file the sidecars are about.
pub(super) fn unproven(stamp: &str) -> String {
    format!("{UNPROVEN}{stamp}")
}

/// The same while it is not known of which model the file is.
pub(super) fn unwritten(stamp: &str) -> String {
    format!("{UNWRITTEN}{}", bare(stamp))
}

/// The stamp without what the hash of the file is still to tell.
pub(super) fn bare(stamp: &str) -> &str {
    stamp.trim_start_matches([UNPROVEN, UNWRITTEN])
}

/// Whether the file is to be read again once its hash is known.
pub(super) fn waits_for_hash(stamp: &str) -> bool {
    stamp.starts_with([UNPROVEN, UNWRITTEN])
}

/// Whether sidecars were believed that may be about another file.
pub(super) fn is_unproven(stamp: &str) -> bool {
    stamp.starts_with(UNPROVEN)
}

/// Reads files of one root.
pub(super) struct Reader<'a> {
    pub(super) root: &'a OpenRoot,
    pub(super) problems: &'a Problems<'a>,
    /// Whether names may be guessed from.
    pub(super) guess: bool,
}

impl Reader<'_> {
    /// What a file says; `sha256` is that of its content, if it is known. `None`
    /// when it cannot be read at all.
    pub(super) fn take_in(
        &self,
        listed: &Listed,
        found: &Found,
        sha256: Option<&Sha256>,
    ) -> Option<TakenIn> {
        let mut taken = TakenIn::default();
        let header = self.header(listed, found, &mut taken)?;
        taken.stated = header.stated;
        self.sidecars(listed, found, sha256, &mut taken);
        taken
            .findings
            .extend(embedded::findings(&header, self.guess));
        if self.guess {
            let path = joined(&listed.path, &found.name);
            taken
                .findings
                .extend(guess::findings(&String::from_utf8_lossy(&path)));
        }
        taken.preview = preview(&found.beside);
        Some(taken)
    }

    /// The header, empty when there is none that can be read.
    fn header(&self, listed: &Listed, found: &Found, taken: &mut TakenIn) -> Option<Header> {
        let path = joined(&listed.path, &found.name);
        let format = Format::of_path(Path::new(OsStr::from_bytes(&found.name)))?;
        if format == Format::Pickle {
            // Not opened: nothing in it may be believed without running it.
            return Some(Header::default());
        }
        let read = self
            .open(listed, &found.name, found.is_link)
            .and_then(|file| {
                let size_bytes = file.metadata()?.len();
                let mut file = BufReader::with_capacity(READ_BYTES, file);
                Ok(file_header::read(format, &mut file, size_bytes))
            });
        let fault = match read {
            Ok(Ok(header)) => match &header.data_fault {
                None => return Some(header),
                Some(fault) => {
                    self.note_header(&path, fault, taken);
                    return Some(header);
                }
            },
            Ok(Err(fault)) => fault,
            Err(error) => {
                self.note_unreadable(&path, &error);
                return None;
            }
        };
        self.note_header(&path, &fault, taken);
        Some(Header::default())
    }

    fn note_header(&self, path: &[u8], fault: &HeaderFault, taken: &mut TakenIn) {
        let message = fault.to_string();
        self.problems.add(path, Reason::HeaderInvalid, &message);
        taken.header_problem = Some(message);
    }

    fn note_unreadable(&self, path: &[u8], error: &io::Error) {
        match Refused::of(error) {
            Some(Refused::Outside) => {
                self.problems
                    .add(path, Reason::OutsideRoot, &error.to_string());
            }
            Some(Refused::NotAFile) => {
                self.problems
                    .add(path, Reason::NotAFile, &error.to_string());
            }
            None => {
                let message = format!("it cannot be read: {error}; look at its mode");
                self.problems.add(path, Reason::FileUnreadable, &message);
            }
        }
    }

    /// Adds what the files beside a model say.
    fn sidecars(
        &self,
        listed: &Listed,
        found: &Found,
        sha256: Option<&Sha256>,
        taken: &mut TakenIn,
    ) {
        let mut names: Vec<&[u8]> = Vec::new();
        let mut sidecars: Vec<Sidecar> = Vec::new();
        let mut texts: Vec<Finding> = Vec::new();
        for file in &found.beside {
            match file.role {
                Role::Preview(_) => {}
                Role::Text => texts.extend(self.text(listed, file)),
                Role::Sidecar => {
                    if let Some(sidecar) = self.sidecar(listed, file) {
                        names.push(&file.name);
                        sidecars.push(sidecar);
                    }
                }
            }
        }
        taken.sidecars = sidecars.len().try_into().unwrap_or(u64::MAX);
        if !sidecars.is_empty() {
            let weighed = sidecar::weigh(&sidecars, sha256);
            taken.unproven = !weighed.unproven.is_empty();
            taken.of_another_file = !weighed.replaced.is_empty();
            for place in weighed.replaced {
                let message =
                    "it is about another file than the one that lies there; it is not used";
                let path = joined(&listed.path, names[place]);
                self.problems
                    .add(&path, Reason::SidecarOfAnotherFile, message);
            }
            taken.stated_beside = weighed.stated;
            taken.findings.extend(weighed.findings);
        }
        taken.findings.extend(texts);
    }

    fn sidecar(&self, listed: &Listed, file: &Beside) -> Option<Sidecar> {
        let path = || joined(&listed.path, &file.name);
        match self.open(listed, &file.name, file.is_link) {
            Err(error) => {
                self.note_unreadable(&path(), &error);
                None
            }
            Ok(mut open) => match sidecar::read_from(&mut open) {
                Ok(sidecar) => Some(sidecar),
                Err(fault) => {
                    let message = fault.to_string();
                    self.problems.add(&path(), Reason::SidecarInvalid, &message);
                    None
                }
            },
        }
    }

    fn text(&self, listed: &Listed, file: &Beside) -> Option<Finding> {
        let mut bytes = Vec::new();
        let read = self
            .open(listed, &file.name, file.is_link)
            .and_then(|open| open.take(TEXT_BYTES_MAX).read_to_end(&mut bytes));
        if let Err(error) = read {
            self.note_unreadable(&joined(&listed.path, &file.name), &error);
            return None;
        }
        sidecar::read_text(&bytes)
    }

    /// Opens a file of a listed folder, and nothing else in its place.
    fn open(&self, listed: &Listed, name: &[u8], is_link: bool) -> io::Result<File> {
        if is_link {
            let path = joined(&listed.path, name);
            return self.root.open_file(Path::new(OsStr::from_bytes(&path)));
        }
        // A FIFO that took its place does not hang.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let flags = flags | OFlags::CLOEXEC;
        let opened = openat(
            &listed.folder,
            OsStr::from_bytes(name),
            flags,
            Mode::empty(),
        )?;
        let file = File::from(opened);
        match file.metadata()?.is_file() {
            true => Ok(file),
            false => Err(Refused::NotAFile.into()),
        }
    }
}

/// The name of the picture that is preferred.
fn preview(beside: &[Beside]) -> Option<Vec<u8>> {
    let pictures = beside.iter().filter_map(|file| match file.role {
        Role::Preview(place) => Some((place, &file.name)),
        Role::Sidecar | Role::Text => None,
    });
    pictures.min().map(|(_, name)| name.clone())
}
