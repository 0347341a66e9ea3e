//! Owns the hashes by which the world knows a model file, all from one read of
//! it. It does not open files, and does not know whether one changes meanwhile.

use std::io::{self, Read};
use std::ops::ControlFlow;

use sha2::Digest as _;

use crate::model::Sha256;

/// Bytes of one read. It stays in the cache of a core while every hash passes
/// over it; with a megabyte each of them fetches it from memory again.
pub const READ_BYTES: usize = 128 * 1024;
/// Where the part begins that AutoV1 is of; the rule of A1111's first releases.
const AUTOV1_FROM: u64 = 0x10_0000;
/// Where that part ends.
const AUTOV1_TO: u64 = AUTOV1_FROM + 0x1_0000;
/// Length of an AutoV1 hash in hexadecimal digits.
const AUTOV1_DIGITS: usize = 8;
/// Length of an AutoV3 hash in hexadecimal digits.
const AUTOV3_DIGITS: usize = 12;
/// Bytes that tell how long the header of a safetensors file is.
const HEADER_LENGTH_BYTES: usize = 8;
/// Longest header of a safetensors file, in bytes; the limit of the format.
const HEADER_BYTES_MAX: u64 = 100_000_000;

/// The hashes of one file, in lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digests {
    /// SHA-256 of the whole file.
    pub sha256: Sha256,
    /// AutoV1, 8 digits; `None` for a file that ends before the part it is of:
    /// the hash of nothing would be shared by all of them.
    pub autov1: Option<String>,
    /// AutoV3, 12 digits: of what follows the header of a safetensors file;
    /// `None` for other files, and where nothing follows.
    pub autov3: Option<String>,
    /// BLAKE3 of the whole file, 64 digits.
    pub blake3: String,
}

/// Why there are no hashes.
#[derive(Debug, thiserror::Error)]
pub enum DigestFault {
    /// The caller broke it off.
    #[error("it was broken off")]
    Stopped,
    /// The file cannot be read.
    #[error(transparent)]
    Read(#[from] io::Error),
    /// The file has not the size that it was said to have.
    #[error("it is longer or shorter than it was")]
    OtherSize,
}

/// Reads a file of `size_bytes` from its beginning to its end, once, with
/// [`READ_BYTES`] of memory. `on_bytes` hears how many bytes came with each read,
/// and may break it off.
///
/// # Errors
/// See [`DigestFault`].
pub fn digest(
    file: &mut impl Read,
    size_bytes: u64,
    on_bytes: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Result<Digests, DigestFault> {
    let mut buffer = vec![0; READ_BYTES];
    let mut read = fill(file, &mut buffer)?;
    let mut hashers = Hashers::new(&buffer[..read], size_bytes);
    while read > 0 {
        if hashers.place.saturating_add(read as u64) > size_bytes {
            return Err(DigestFault::OtherSize);
        }
        hashers.update(&buffer[..read]);
        if on_bytes(read as u64).is_break() {
            return Err(DigestFault::Stopped);
        }
        read = fill(file, &mut buffer)?;
    }
    if hashers.place != size_bytes {
        return Err(DigestFault::OtherSize);
    }
    Ok(hashers.finish())
}

/// Reads until the buffer is full or the file ends, and answers how much came.
fn fill(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// The hashes of what was read so far.
struct Hashers {
    place: u64,
    whole: sha2::Sha256,
    blake3: blake3::Hasher,
    autov1: sha2::Sha256,
    /// From which place on, for a safetensors file.
    autov3: Option<(u64, sha2::Sha256)>,
}

impl Hashers {
    fn new(beginning: &[u8], size_bytes: u64) -> Self {
        Self {
            place: 0,
            whole: sha2::Sha256::new(),
            blake3: blake3::Hasher::new(),
            autov1: sha2::Sha256::new(),
            autov3: header_end(beginning, size_bytes).map(|end| (end, sha2::Sha256::new())),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        self.whole.update(bytes);
        if let Some((from, hasher)) = &mut self.autov3 {
            hasher.update(part(bytes, self.place, *from, u64::MAX));
        }
        self.blake3.update(bytes);
        let autov1 = part(bytes, self.place, AUTOV1_FROM, AUTOV1_TO);
        if !autov1.is_empty() {
            self.autov1.update(autov1);
        }
        self.place += bytes.len() as u64;
    }

    fn finish(self) -> Digests {
        let size_bytes = self.place;
        let first = |hasher: sha2::Sha256, digits: usize| {
            let mut text = hex::encode(hasher.finalize());
            text.truncate(digits);
            text
        };
        let autov1 = (size_bytes > AUTOV1_FROM).then(|| first(self.autov1, AUTOV1_DIGITS));
        let autov3 = self.autov3.map(|(_, hasher)| first(hasher, AUTOV3_DIGITS));
        Digests {
            sha256: Sha256::of(self.whole.finalize().into()),
            autov1,
            autov3,
            blake3: self.blake3.finalize().to_hex().to_string(),
        }
    }
}

/// Of bytes that begin at `place` those from one place of the file up to another.
fn part(bytes: &[u8], place: u64, from: u64, to: u64) -> &[u8] {
    let within = |at: u64| {
        let at = at.saturating_sub(place).min(bytes.len() as u64);
        usize::try_from(at).unwrap_or(bytes.len())
    };
    &bytes[within(from)..within(to)]
}

/// Where the header of a safetensors file ends, when it is one by its beginning
/// and something follows. Names are not asked: such files go by several endings.
fn header_end(beginning: &[u8], size_bytes: u64) -> Option<u64> {
    let (length, rest) = beginning.split_first_chunk::<HEADER_LENGTH_BYTES>()?;
    let length = u64::from_le_bytes(*length);
    let end = HEADER_LENGTH_BYTES as u64 + Some(length).filter(|it| *it <= HEADER_BYTES_MAX)?;
    (rest.first() == Some(&b'{') && end < size_bytes).then_some(end)
}

#[cfg(test)]
mod tests;
