//! Owns the way from the bytes of a header to its JSON reader: it measures, checks for UTF-8,
//! counts how deep it goes, and shortens strings, so that no header makes the reader keep much.
//! It does not understand JSON beyond strings and brackets.

use std::cell::{Cell, RefCell};
use std::io::{self, Read};

use super::fault::HeaderFault;
use super::{DEPTH_MAX, VALUE_BYTES_MAX};

/// Bytes that are read at once.
const CHUNK_BYTES: usize = 16 * 1024;
/// Bytes of the text of one string that are let through, escapes counted as they are written; the
/// character or escape that crosses it is still let through.
const STRING_BYTES_MAX: usize = VALUE_BYTES_MAX;
/// Bytes of a name that are told.
const NAME_SHOWN_BYTES_MAX: usize = 80;

/// What the way and the reader at its end tell each other.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// Whether a string was let through that is not whole; whoever reads strings clears it.
    pub(super) cut: Cell<bool>,
    /// How far in the header the reader is, in bytes.
    pub(super) at: Cell<u64>,
    /// The name whose value is being read.
    place: RefCell<String>,
    fault: RefCell<Option<HeaderFault>>,
}

impl Notes {
    /// Remembers the first thing that is wrong.
    pub(super) fn fault(&self, fault: HeaderFault) {
        self.fault.borrow_mut().get_or_insert(fault);
    }

    /// The first thing that is wrong.
    pub(super) fn take_fault(&self) -> Option<HeaderFault> {
        self.fault.borrow_mut().take()
    }

    /// Remembers whose value is read from here on.
    pub(super) fn enter(&self, name: &str) {
        let mut place = self.place.borrow_mut();
        place.clear();
        place.push_str(shown(name));
    }

    /// The beginning of the name whose value is being read.
    pub(super) fn place(&self) -> String {
        self.place.borrow().clone()
    }
}

/// The beginning of a name, as it is told.
pub(super) fn shown(name: &str) -> &str {
    crate::findings::cut(name, NAME_SHOWN_BYTES_MAX)
}

/// Where in a string the last byte was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In none.
    Outside,
    /// In one, behind a whole character.
    Text,
    /// In an escape, which has had so many bytes.
    Escape(u8),
    /// In a character, which still needs `more` bytes, the next of them from `low` to `high`.
    Character { more: u8, low: u8, high: u8 },
}

/// A header as its JSON reader sees it.
pub(super) struct Narrow<'a, R> {
    file: R,
    /// Bytes of the header that were not read yet.
    left: u64,
    chunk: Vec<u8>,
    /// What of the chunk comes next.
    next: usize,
    /// Where in the header that is.
    at: u64,
    batch: Batch,
    /// What is wrong behind the batch.
    fault: Option<HeaderFault>,
    notes: &'a Notes,
    place: Place,
    depth: u32,
    /// [`STRING_BYTES_MAX`].
    string_bytes_max: usize,
    /// Bytes of this string so far.
    string_bytes: usize,
    /// Whether the escape is the first half of a pair, which must not be parted from the second.
    first_half: bool,
    skipping: bool,
}

/// What is let through next: bytes as they follow each other in the header, but for the last one
/// where a string was cut.
#[derive(Debug, Default)]
struct Batch {
    bytes: Vec<u8>,
    given: usize,
    /// Where in the header it begins.
    at: u64,
    /// Whether it ends with the end of a string that was cut.
    ends_cut: bool,
}

impl<'a, R: Read> Narrow<'a, R> {
    /// The `length` bytes that `file` gives next.
    pub(super) fn new(file: R, length: u64, notes: &'a Notes) -> Self {
        Self {
            file,
            left: length,
            chunk: Vec::new(),
            next: 0,
            at: 0,
            batch: Batch::default(),
            fault: None,
            notes,
            place: Place::Outside,
            depth: 0,
            string_bytes_max: STRING_BYTES_MAX,
            string_bytes: 0,
            first_half: false,
            skipping: false,
        }
    }

    /// Makes the next batch, which is empty only at the end of the header.
    fn prepare(&mut self) -> io::Result<()> {
        self.batch.bytes.clear();
        self.batch.given = 0;
        self.batch.at = self.at;
        self.batch.ends_cut = false;
        while self.fault.is_none() && self.batch.bytes.is_empty() {
            match self.fill() {
                Ok(true) => self.fault = self.narrow().err(),
                Ok(false) => return Ok(()),
                Err(fault) => self.fault = Some(fault),
            }
        }
        // What comes before the fault is let through first: there may be another.
        if self.batch.bytes.is_empty()
            && let Some(fault) = self.fault.take()
        {
            self.notes.fault(fault);
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(())
    }

    /// Reads the next chunk if there is nothing left of this one; `false` at the end of the header.
    fn fill(&mut self) -> Result<bool, HeaderFault> {
        if self.next < self.chunk.len() {
            return Ok(true);
        }
        let wanted = self.left.min(CHUNK_BYTES as u64);
        self.chunk.clear();
        self.next = 0;
        let read = self.file.by_ref().take(wanted).read_to_end(&mut self.chunk);
        let read = read.map_err(|error| HeaderFault::of_read(&error))?;
        if (read as u64) < wanted {
            return Err(HeaderFault::Shrunk);
        }
        self.left -= wanted;
        Ok(wanted > 0)
    }

    /// Takes in the rest of the chunk, or as far as to the end of a string that was cut.
    fn narrow(&mut self) -> Result<(), HeaderFault> {
        while self.next < self.chunk.len() && !self.batch.ends_cut {
            self.take_in_plain();
            let Some(byte) = self.chunk.get(self.next) else {
                break;
            };
            let byte = *byte;
            self.next += 1;
            self.at += 1;
            if self.take_in(byte)? {
                self.batch.bytes.push(byte);
            }
        }
        Ok(())
    }

    /// Takes in the bytes of which each leaves everything as it is.
    fn take_in_plain(&mut self) {
        let rest = &self.chunk[self.next..];
        let special = match self.place {
            Place::Outside => |byte: &u8| matches!(byte, b'"' | b'{' | b'}' | b'[' | b']' | 0x80..),
            Place::Text => |byte: &u8| matches!(byte, b'"' | b'\\' | ..0x20 | 0x80..),
            Place::Escape(_) | Place::Character { .. } => return,
        };
        let plain = rest.iter().position(special).unwrap_or(rest.len());
        let mut kept = plain;
        if self.place == Place::Text && plain > 0 {
            let room = self.string_bytes_max.saturating_sub(self.string_bytes);
            self.skipping |= plain > room;
            kept = if self.skipping {
                plain.min(room)
            } else {
                plain
            };
            self.string_bytes += kept;
            self.first_half = false;
        }
        self.batch.bytes.extend_from_slice(&rest[..kept]);
        self.next += plain;
        self.at += plain as u64;
    }

    /// Takes one byte in, and tells whether it is let through.
    fn take_in(&mut self, byte: u8) -> Result<bool, HeaderFault> {
        self.place = match self.place {
            Place::Outside => return self.outside(byte).map(|()| true),
            Place::Text if byte == b'"' => {
                self.place = Place::Outside;
                self.batch.ends_cut = self.skipping;
                return Ok(true);
            }
            Place::Text => {
                // Here a string may be cut.
                let halved = std::mem::take(&mut self.first_half);
                self.skipping |= self.string_bytes >= self.string_bytes_max && !halved;
                match byte {
                    b'\\' => Place::Escape(1),
                    ..0x20 => return Err(self.not_json()),
                    _ => character(byte).ok_or_else(|| self.not_utf8())?,
                }
            }
            Place::Escape(had) => self.escape(had, byte)?,
            Place::Character { more, low, high } if (low..=high).contains(&byte) => match more {
                1 => Place::Text,
                _ => Place::Character {
                    more: more - 1,
                    low: 0x80,
                    high: 0xbf,
                },
            },
            Place::Character { .. } => return Err(self.not_utf8()),
        };
        if !self.skipping {
            self.string_bytes += 1;
        }
        Ok(!self.skipping)
    }

    fn outside(&mut self, byte: u8) -> Result<(), HeaderFault> {
        match byte {
            b'"' => {
                self.place = Place::Text;
                self.string_bytes = 0;
                self.first_half = false;
                self.skipping = false;
            }
            b'{' | b'[' => {
                self.depth += 1;
                if self.depth > DEPTH_MAX {
                    return Err(HeaderFault::NestedTooDeep { at: self.at - 1 });
                }
            }
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            // JSON has only ASCII there.
            0x80.. => return Err(self.not_utf8()),
            _ => {}
        }
        Ok(())
    }

    /// One more byte of an escape: `\n` or `\u12ab`.
    fn escape(&mut self, had: u8, byte: u8) -> Result<Place, HeaderFault> {
        let sound = match had {
            1 => br#""\/bfnrtu"#.contains(&byte),
            _ => byte.is_ascii_hexdigit(),
        };
        if !sound {
            return Err(self.not_json());
        }
        Ok(match (had, byte) {
            (1, b'u') => Place::Escape(2),
            (1, _) => Place::Text,
            (2, b'd' | b'D') => {
                self.first_half = true;
                Place::Escape(3)
            }
            (3, _) => {
                self.first_half &= matches!(byte, b'8' | b'9' | b'a' | b'b' | b'A' | b'B');
                Place::Escape(4)
            }
            (5, _) => Place::Text,
            _ => Place::Escape(had + 1),
        })
    }

    fn not_json(&self) -> HeaderFault {
        HeaderFault::NotJson { at: self.at - 1 }
    }

    fn not_utf8(&self) -> HeaderFault {
        HeaderFault::NotUtf8 { at: self.at - 1 }
    }
}

/// What the first byte of a character leads to, by the table of well-formed UTF-8.
fn character(first: u8) -> Option<Place> {
    let (more, low, high) = match first {
        ..=0x7f => return Some(Place::Text),
        0xc2..=0xdf => (1, 0x80, 0xbf),
        0xe0 => (2, 0xa0, 0xbf),
        0xed => (2, 0x80, 0x9f),
        0xe1..=0xef => (2, 0x80, 0xbf),
        0xf0 => (3, 0x90, 0xbf),
        0xf1..=0xf3 => (3, 0x80, 0xbf),
        0xf4 => (3, 0x80, 0x8f),
        _ => return None,
    };
    Some(Place::Character { more, low, high })
}

impl<R: Read> Read for Narrow<'_, R> {
    #[inline]
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // The JSON reader asks for one byte at a time, mostly from within a batch.
        if let [only] = buffer
            && self.batch.given + 1 < self.batch.bytes.len()
        {
            *only = self.batch.bytes[self.batch.given];
            self.batch.given += 1;
            self.notes.at.set(self.notes.at.get() + 1);
            return Ok(1);
        }
        self.read_across(buffer)
    }
}

impl<R: Read> Narrow<'_, R> {
    /// The rest of a batch, or the next one.
    fn read_across(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.batch.given == self.batch.bytes.len() {
            self.prepare()?;
        }
        let ready = &self.batch.bytes[self.batch.given..];
        let count = ready.len().min(buffer.len());
        buffer[..count].copy_from_slice(&ready[..count]);
        self.batch.given += count;
        if self.batch.given < self.batch.bytes.len() {
            let at = self.batch.at + self.batch.given as u64;
            self.notes.at.set(at);
        } else {
            self.notes.at.set(self.at);
            if self.batch.ends_cut {
                self.notes.cut.set(true);
            }
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests;
