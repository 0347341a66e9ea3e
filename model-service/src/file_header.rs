//! Owns what the header of a model file says: the metadata of its writer, what the file is, and
//! where its tensors begin. It does not open files, and reads no tensors and no pickles.
//!
//! The format: <https://github.com/huggingface/safetensors>.

use std::collections::BTreeMap;
use std::io::{BufReader, Read};
use std::path::Path;

pub mod embedded;
mod fault;
mod gguf;
mod narrow;
mod safetensors;
mod stated;
#[cfg(test)]
pub(crate) mod tests;

pub use fault::HeaderFault;
pub use stated::Stated;

/// Longest header in bytes: the limit of the format's own reader.
pub const HEADER_BYTES_MAX: u64 = 100_000_000;
/// Longest value of the metadata that is kept, in bytes; longer ones are left out.
pub const VALUE_BYTES_MAX: usize = 1024 * 1024;
/// Most bytes of metadata that are kept of one file, names included.
pub const METADATA_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most names in one header, of tensors and of metadata together.
pub const NAMES_MAX: usize = 1 << 20;
/// How deep a header may be nested; the format itself needs 3.
pub const DEPTH_MAX: u32 = 16;

/// Bytes that are read at once.
pub const READ_AHEAD_BYTES: usize = 8 * 1024;

/// What kind of file a model is in, by the ending of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `.safetensors` and `.sft`.
    Safetensors,
    /// `.gguf`.
    Gguf,
    /// `.ckpt`, `.pt` and `.pth`, which run code when they are loaded: never read here.
    Pickle,
}

impl Format {
    /// By the ending of a file name, in any case; `None` when it is no model file.
    pub fn of_path(path: &Path) -> Option<Self> {
        let ending = path.extension()?.to_str()?.to_ascii_lowercase();
        match ending.as_str() {
            "safetensors" | "sft" => Some(Self::Safetensors),
            "gguf" => Some(Self::Gguf),
            "ckpt" | "pt" | "pth" => Some(Self::Pickle),
            _ => None,
        }
    }
}

/// What a header says. At most [`METADATA_BYTES_MAX`] bytes of it are kept.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Header {
    /// The metadata that some module of this service reads.
    pub metadata: BTreeMap<String, String>,
    /// How many of those were too long to be kept.
    pub left_out: u32,
    /// What the file says that it is.
    pub stated: Option<Stated>,
    /// How many tensors it names.
    pub tensor_count: u64,
    /// Where the tensors begin, in bytes from the beginning of a safetensors file.
    pub data_offset: Option<u64>,
    /// What is wrong behind a header that is sound: the file is cut, or goes on behind its last
    /// tensor. What the header says holds all the same.
    pub data_fault: Option<HeaderFault>,
}

/// Reads the header from the beginning of a file of `size_bytes`, and less than
/// [`READ_AHEAD_BYTES`] further. Of a pickle nothing is read.
///
/// # Errors
///
/// [`HeaderFault`] says what is wrong with the file.
pub fn read(format: Format, file: &mut impl Read, size_bytes: u64) -> Result<Header, HeaderFault> {
    let mut file = BufReader::with_capacity(READ_AHEAD_BYTES, file);
    match format {
        Format::Safetensors => safetensors::read(&mut file, size_bytes),
        Format::Gguf => gguf::read(&mut file),
        Format::Pickle => Ok(Header::default()),
    }
}

/// Where the tensors of a safetensors file begin, by its first eight bytes and its size.
///
/// # Errors
///
/// [`HeaderFault`] when they cannot be those of a safetensors file of that size.
pub fn data_offset(first_eight: [u8; 8], size_bytes: u64) -> Result<u64, HeaderFault> {
    safetensors::data_offset(first_eight, size_bytes)
}

/// Whether a value of the metadata is of use here. The rest is not kept: pictures inside headers
/// are large.
fn wanted(name: &str) -> bool {
    let known = ["ss_", "sshs_", "modelspec.", "general."];
    let bulky = ["modelspec.thumbnail", "ss_bucket_info"];
    known.iter().any(|start| name.starts_with(start)) && !bulky.contains(&name)
}

/// Keeps a value of the metadata, unless it is too long or there is too much already.
fn keep(header: &mut Header, room: &mut usize, name: &str, value: Option<&str>) {
    let value = value.filter(|value| value.len() <= VALUE_BYTES_MAX);
    let bytes = value.map(|value| name.len() + value.len());
    match (value, bytes) {
        (Some(value), Some(bytes)) if bytes <= *room => {
            *room -= bytes;
            header.metadata.insert(name.to_owned(), value.to_owned());
        }
        _ => header.left_out = header.left_out.saturating_add(1),
    }
}
