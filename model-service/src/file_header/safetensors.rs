//! Owns the reading of a safetensors header: eight bytes of length, then a JSON object of tensors
//! and `__metadata__`. It does not say what the metadata means.

use std::cell::RefCell;
use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::io::Read;

use serde_json::error::Category;

use super::fault::HeaderFault;
use super::narrow::{Narrow, Notes, shown};
use super::stated::{self, Signs};
use super::{DEPTH_MAX, HEADER_BYTES_MAX, Header, METADATA_BYTES_MAX, NAMES_MAX, VALUE_BYTES_MAX};

mod visit;

/// The bytes of the length.
const LENGTH_BYTES: u64 = 8;
/// Longest header that is read in one go, in bytes: none of its strings is too
/// long to be kept.
const AT_ONCE_BYTES_MAX: u64 = VALUE_BYTES_MAX as u64 / 2;
/// What is found in the place of models, by how it begins.
const OTHERS: [(&[u8], &str); 7] = [
    (b"<!DOCTYP", "a web page"),
    (b"<!doctyp", "a web page"),
    (b"<html", "a web page"),
    (b"version ", "a pointer of Git LFS"),
    (b"PK\x03\x04", "a zip archive or a PyTorch pickle"),
    (b"GGUF", "a GGUF file"),
    (b"{\"error\"", "an answer that tells of an error"),
];

/// What a header came to.
struct Gathered {
    header: Header,
    signs: Signs,
    data_end: u64,
}

/// What has been read of a header so far.
struct Gathering<'a> {
    notes: &'a Notes,
    header: RefCell<Header>,
    room: RefCell<usize>,
    signs: RefCell<Signs>,
    /// The end of the last tensor, in bytes from where tensors begin.
    data_end: RefCell<u64>,
    names: RefCell<HashSet<u64>>,
    /// Unguessable, so that nobody can write names that seem the same.
    state: RandomState,
}

impl<'a> Gathering<'a> {
    fn new(notes: &'a Notes) -> Self {
        Self {
            notes,
            header: RefCell::default(),
            room: RefCell::new(METADATA_BYTES_MAX),
            signs: RefCell::default(),
            data_end: RefCell::new(0),
            names: RefCell::default(),
            state: RandomState::new(),
        }
    }

    fn done(self) -> Gathered {
        Gathered {
            header: self.header.into_inner(),
            signs: self.signs.into_inner(),
            data_end: self.data_end.into_inner(),
        }
    }

    /// Takes note of a name; `space` tells names of different objects apart. `false`, and a noted
    /// fault, when it cannot stand.
    fn name(&self, space: u8, name: &str) -> bool {
        let mut names = self.names.borrow_mut();
        let fault = if self.notes.cut.take() {
            HeaderFault::NameTooLong {
                at: self.notes.at.get(),
            }
        } else if names.len() == NAMES_MAX {
            HeaderFault::TooManyNames
        } else if names.insert(self.state.hash_one((space, name))) {
            self.notes.enter(name);
            return true;
        } else {
            HeaderFault::DuplicateName {
                name: shown(name).to_owned(),
            }
        };
        self.notes.fault(fault);
        false
    }
}

/// See [`super::data_offset`].
pub(super) fn data_offset(first: [u8; 8], size_bytes: u64) -> Result<u64, HeaderFault> {
    if size_bytes < LENGTH_BYTES {
        return Err(HeaderFault::TooShort { size_bytes });
    }
    let declared_bytes = u64::from_le_bytes(first);
    if declared_bytes > HEADER_BYTES_MAX {
        // Letters make a large number.
        if let Some((_, what)) = OTHERS.iter().find(|(start, _)| first.starts_with(start)) {
            return Err(HeaderFault::OtherContent { what });
        }
        return Err(HeaderFault::TooLong { declared_bytes });
    }
    let data_offset = LENGTH_BYTES + declared_bytes;
    if data_offset > size_bytes {
        return Err(HeaderFault::LongerThanFile {
            declared_bytes,
            size_bytes,
        });
    }
    Ok(data_offset)
}

/// Reads the header of a file of `size_bytes`.
pub(super) fn read(file: &mut dyn Read, size_bytes: u64) -> Result<Header, HeaderFault> {
    let mut first = [0; 8];
    if size_bytes >= LENGTH_BYTES {
        file.read_exact(&mut first)
            .map_err(|error| HeaderFault::of_read(&error))?;
    }
    let data_offset = data_offset(first, size_bytes)?;
    let mut brace = [0];
    if data_offset > LENGTH_BYTES {
        file.read_exact(&mut brace)
            .map_err(|error| HeaderFault::of_read(&error))?;
    }
    if brace != *b"{" {
        return Err(HeaderFault::NotAnObject);
    }
    let length = data_offset - LENGTH_BYTES;
    let gathered = if length <= AT_ONCE_BYTES_MAX {
        at_once(&brace, file, length)?
    } else {
        let notes = Notes::default();
        let text = Narrow::new((&brace[..]).chain(file), length, &notes);
        bit_by_bit(text, &notes)?
    };
    let mut header = gathered.header;
    header.stated = stated::stated(&header.metadata, gathered.signs);
    header.data_offset = Some(data_offset);
    if header.tensor_count > 0 {
        let data_bytes = size_bytes - data_offset;
        header.data_fault = data_fault(data_bytes, gathered.data_end);
    }
    Ok(header)
}

/// Reads a header that fits into memory. What is sound is read in one go; where
/// it is not, reading it again bit by bit tells what is wrong and where.
fn at_once(brace: &[u8], file: &mut dyn Read, length: u64) -> Result<Gathered, HeaderFault> {
    let mut text = brace.to_vec();
    file.take(length - brace.len() as u64)
        .read_to_end(&mut text)
        .map_err(|error| HeaderFault::of_read(&error))?;
    let notes = Notes::default();
    let sound = std::str::from_utf8(&text).ok();
    let sound = sound.filter(|text| text.len() as u64 == length && is_shallow(text));
    if let Some(text) = sound {
        let gathering = Gathering::new(&notes);
        let mut reader = serde_json::Deserializer::from_str(text);
        if visit::object(&mut reader, &gathering).is_ok() && reader.end().is_ok() {
            return Ok(gathering.done());
        }
    }
    let notes = Notes::default();
    bit_by_bit(Narrow::new(&text[..], length, &notes), &notes)
}

/// Whether a JSON text, if it is one, is nested no deeper than allowed.
fn is_shallow(text: &str) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_u32, false, false);
    for byte in text.bytes() {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
        } else {
            match byte {
                b'"' => in_string = true,
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth > DEPTH_MAX {
                return false;
            }
        }
    }
    true
}

/// Reads a header of any length without keeping more of it than is wanted.
fn bit_by_bit<R: Read>(text: Narrow<'_, R>, notes: &Notes) -> Result<Gathered, HeaderFault> {
    let gathering = Gathering::new(notes);
    let mut reader = serde_json::Deserializer::from_reader(text);
    visit::object(&mut reader, &gathering).map_err(|error| fault_of(&error, notes))?;
    reader.end().map_err(|_| {
        let at = notes.at.get();
        notes
            .take_fault()
            .unwrap_or(HeaderFault::TrailingText { at })
    })?;
    Ok(gathering.done())
}

/// What was noted, else what the JSON reader stumbled over.
fn fault_of(error: &serde_json::Error, notes: &Notes) -> HeaderFault {
    let at = notes.at.get();
    let place = notes.place();
    notes.take_fault().unwrap_or(match error.classify() {
        Category::Eof => HeaderFault::Truncated { at },
        Category::Data => HeaderFault::WrongShape { place },
        Category::Syntax | Category::Io => HeaderFault::NotJson { at },
    })
}

fn data_fault(data_bytes: u64, data_end: u64) -> Option<HeaderFault> {
    if data_end > data_bytes {
        let missing_bytes = data_end - data_bytes;
        Some(HeaderFault::DataCut { missing_bytes })
    } else if data_end < data_bytes {
        let extra_bytes = data_bytes - data_end;
        Some(HeaderFault::DataTrailing { extra_bytes })
    } else {
        None
    }
}
