//! Owns the reading of what a GGUF file says of itself in its `general.*` keys. It reads neither
//! the other keys nor tensors.
//!
//! The format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

use std::io::{ErrorKind, Read};

use super::fault::HeaderFault;
use super::{Header, METADATA_BYTES_MAX, Stated, keep};

/// Bytes that are read at most: the keys that are wanted stand at the beginning.
const READ_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Most keys that are read.
const KEYS_MAX: u64 = 1024;
/// Longest text that is read, in bytes; there reading ends.
const TEXT_BYTES_MAX: u64 = 64 * 1024;
/// The number of the type of texts.
const TEXT: u32 = 8;
/// The number of the type of arrays.
const ARRAY: u32 = 9;
/// The architectures of models that make pictures.
const OF_PICTURES: [&str; 8] = [
    "flux",
    "sd1",
    "sdxl",
    "sd3",
    "lumina2",
    "hidream",
    "qwen_image",
    "chroma",
];

/// Why reading ends.
enum End {
    /// Nothing is wrong: what is wanted does not go further.
    Enough,
    /// Something is wrong.
    Fault(HeaderFault),
}

/// The beginning of a file.
struct Start<'a> {
    file: &'a mut dyn Read,
    at: u64,
}

impl Start<'_> {
    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], End> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), End> {
        if self.at + bytes.len() as u64 > READ_BYTES_MAX {
            return Err(End::Enough);
        }
        self.file.read_exact(bytes).map_err(|error| {
            // The length of the header is not told before: this is where the file ends.
            End::Fault(match error.kind() {
                ErrorKind::UnexpectedEof => HeaderFault::GgufDamaged { at: self.at },
                _ => HeaderFault::of_read(&error),
            })
        })?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn u32(&mut self) -> Result<u32, End> {
        self.bytes().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, End> {
        self.bytes().map(u64::from_le_bytes)
    }

    /// `None` when it is not UTF-8.
    fn text(&mut self) -> Result<Option<String>, End> {
        let length = self.u64()?;
        if length > TEXT_BYTES_MAX {
            return Err(End::Enough);
        }
        // At most 64 KiB.
        let mut bytes = vec![0; length as usize];
        self.fill(&mut bytes)?;
        Ok(String::from_utf8(bytes).ok())
    }

    fn skip(&mut self, count: u64) -> Result<(), End> {
        let mut left = count;
        let mut piece = [0; 4096];
        while left > 0 {
            let now = left.min(piece.len() as u64);
            self.fill(&mut piece[..now as usize])?;
            left -= now;
        }
        Ok(())
    }

    fn damaged(&self) -> End {
        End::Fault(HeaderFault::GgufDamaged { at: self.at })
    }
}

/// Reads the beginning of a GGUF file.
pub(super) fn read(file: &mut dyn Read) -> Result<Header, HeaderFault> {
    let mut start = Start { file, at: 0 };
    let mut header = Header::default();
    match read_keys(&mut start, &mut header) {
        Ok(()) | Err(End::Enough) => {}
        Err(End::Fault(fault)) => return Err(fault),
    }
    header.stated = stated(&header);
    Ok(header)
}

fn read_keys(start: &mut Start<'_>, header: &mut Header) -> Result<(), End> {
    if &start.bytes::<4>()? != b"GGUF" {
        let what = "something else than GGUF";
        return Err(End::Fault(HeaderFault::OtherContent { what }));
    }
    let version = start.u32()?;
    if !(2..=3).contains(&version) {
        return Err(End::Fault(HeaderFault::GgufVersion { version }));
    }
    header.tensor_count = start.u64()?;
    let keys = start.u64()?;
    let mut room = METADATA_BYTES_MAX;
    for _ in 0..keys.min(KEYS_MAX) {
        let key = start.text()?.ok_or_else(|| start.damaged())?;
        let kind = start.u32()?;
        match kind {
            TEXT => {
                let value = start.text()?;
                if key.starts_with("general.") {
                    keep(header, &mut room, &key, value.as_deref());
                }
            }
            ARRAY => skip_array(start)?,
            _ => {
                let bytes = bytes_of(kind).ok_or_else(|| start.damaged())?;
                start.skip(bytes)?;
            }
        }
    }
    Ok(())
}

/// How many bytes a plain value of a type has.
fn bytes_of(kind: u32) -> Option<u64> {
    match kind {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}

fn skip_array(start: &mut Start<'_>) -> Result<(), End> {
    let kind = start.u32()?;
    let count = start.u64()?;
    match (kind, bytes_of(kind)) {
        (TEXT, _) => {
            for _ in 0..count {
                start.text()?;
            }
            Ok(())
        }
        // Arrays of arrays are allowed, but nobody writes them where we look.
        (ARRAY, _) => Err(End::Enough),
        (_, Some(bytes)) => {
            let bytes = count.checked_mul(bytes).ok_or(End::Enough)?;
            start.skip(bytes)
        }
        (_, None) => Err(start.damaged()),
    }
}

fn stated(header: &Header) -> Option<Stated> {
    let is_adapter = |text: &String| text == "adapter";
    if header.metadata.get("general.type").is_some_and(is_adapter) {
        return Some(Stated::Lora);
    }
    let architecture = header.metadata.get("general.architecture")?;
    let known = OF_PICTURES.contains(&architecture.to_ascii_lowercase().as_str());
    Some(match known {
        true => Stated::Checkpoint,
        // A text encoder or a language model.
        false => Stated::Other,
    })
}
