//! Owns the words for what is wrong with a model file. It does not decide what is done about it.

use std::io;

use super::{DEPTH_MAX, HEADER_BYTES_MAX, NAMES_MAX};

/// What is wrong with the header of a model file, or with what lies behind it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderFault {
    /// There is no room for the length of a header.
    #[error(
        "the file has only {size_bytes} bytes; a safetensors file begins with 8 bytes of length"
    )]
    TooShort {
        /// The size of the file.
        size_bytes: u64,
    },
    /// It begins as something else does.
    #[error("the file is {what}, not what its name promises; fetch it again")]
    OtherContent {
        /// What it is.
        what: &'static str,
    },
    /// Its header would be longer than the format allows.
    #[error(
        "the header says that it is {declared_bytes} bytes long; the format allows {HEADER_BYTES_MAX}"
    )]
    TooLong {
        /// The length that the file claims.
        declared_bytes: u64,
    },
    /// Its header would end behind its end.
    #[error(
        "the header says that it is {declared_bytes} bytes long, but the file has {size_bytes}; it is cut or not a safetensors file"
    )]
    LongerThanFile {
        /// The length that the file claims.
        declared_bytes: u64,
        /// The size of the file.
        size_bytes: u64,
    },
    /// Its header does not begin with `{`.
    #[error("the header is not a JSON object")]
    NotAnObject,
    /// Its header is not text.
    #[error("the header is not UTF-8 at byte {at}")]
    NotUtf8 {
        /// Where, in bytes from the beginning of the header.
        at: u64,
    },
    /// Its header is nested deeper than any that is sound.
    #[error("the header is nested deeper than {DEPTH_MAX} at byte {at}")]
    NestedTooDeep {
        /// Where, in bytes from the beginning of the header.
        at: u64,
    },
    /// A name is there twice.
    #[error("the header names {name:?} twice")]
    DuplicateName {
        /// The beginning of the name.
        name: String,
    },
    /// A name is too long to be one.
    #[error("the header has a name of more than 1 MiB before byte {at}")]
    NameTooLong {
        /// Where, in bytes from the beginning of the header.
        at: u64,
    },
    /// There are too many names.
    #[error("the header has more than {NAMES_MAX} names")]
    TooManyNames,
    /// The object is not closed where the header ends.
    #[error("the header ends in the middle of its JSON, at byte {at}")]
    Truncated {
        /// Where, in bytes from the beginning of the header.
        at: u64,
    },
    /// Something follows the object.
    #[error("the header has something behind its JSON object, at byte {at}")]
    TrailingText {
        /// Where, in bytes from the beginning of the header.
        at: u64,
    },
    /// It is no JSON, or not such as the format has.
    #[error("the header is not the JSON that the format has, at byte {at}")]
    NotJson {
        /// Where, in bytes from the beginning of the header.
        at: u64,
    },
    /// It is JSON, but not what the format has there.
    #[error("the header's {place:?} is not what the format has there")]
    WrongShape {
        /// The beginning of the name whose value it is.
        place: String,
    },
    /// The file ends before its last tensor does.
    #[error(
        "the file ends {missing_bytes} bytes before its last tensor does; it is cut, or still being written"
    )]
    DataCut {
        /// How much is missing.
        missing_bytes: u64,
    },
    /// The file goes on behind its last tensor.
    #[error("the file goes on for {extra_bytes} bytes behind its last tensor")]
    DataTrailing {
        /// How much there is.
        extra_bytes: u64,
    },
    /// A GGUF file of a version that is not known.
    #[error("the GGUF version {version} is not known; 2 and 3 are")]
    GgufVersion {
        /// The version.
        version: u32,
    },
    /// A GGUF header that makes no sense.
    #[error("the GGUF header makes no sense at byte {at}")]
    GgufDamaged {
        /// Where, in bytes from the beginning of the file.
        at: u64,
    },
    /// The file ended sooner than its size promised.
    #[error("the file ended while its header was read; it is being changed, try again later")]
    Shrunk,
    /// It cannot be read.
    #[error("the file cannot be read: {message}")]
    Io {
        /// What the system said.
        message: String,
    },
}

impl HeaderFault {
    /// A word for it that does not change.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::TooShort { .. } => "header_too_short",
            Self::OtherContent { .. } => "header_other_content",
            Self::TooLong { .. } => "header_too_long",
            Self::LongerThanFile { .. } => "header_longer_than_file",
            Self::NotAnObject => "header_not_an_object",
            Self::NotUtf8 { .. } => "header_not_utf8",
            Self::NestedTooDeep { .. } => "header_nested_too_deep",
            Self::DuplicateName { .. } => "header_duplicate_name",
            Self::NameTooLong { .. } => "header_name_too_long",
            Self::TooManyNames => "header_too_many_names",
            Self::Truncated { .. } => "header_truncated",
            Self::TrailingText { .. } => "header_trailing_text",
            Self::NotJson { .. } => "header_not_json",
            Self::WrongShape { .. } => "header_wrong_shape",
            Self::DataCut { .. } => "file_cut",
            Self::DataTrailing { .. } => "file_has_trailing_data",
            Self::GgufVersion { .. } => "gguf_version",
            Self::GgufDamaged { .. } => "gguf_damaged",
            Self::Shrunk => "file_shrunk",
            Self::Io { .. } => "file_unreadable",
        }
    }

    /// What a failed read means. A file that ends sooner than it said is being changed.
    pub(super) fn of_read(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Shrunk,
            _ => Self::Io {
                message: error.to_string(),
            },
        }
    }
}
