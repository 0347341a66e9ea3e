//! Owns the words for what is wrong with a sidecar. It does not decide what is done about it.

use super::{BYTES_MAX, DEPTH_MAX, VALUES_MAX};

/// Why a sidecar cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SidecarFault {
    /// It has too many bytes.
    #[error("it is longer than {BYTES_MAX} bytes")]
    TooLarge,
    /// It is not text.
    #[error("it is not UTF-8 at byte {at}")]
    NotUtf8 {
        /// Where, from its beginning.
        at: usize,
    },
    /// It is no JSON.
    #[error("it is not JSON at line {line}, column {column}")]
    NotJson {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// It is JSON, but no object.
    #[error("it is not a JSON object")]
    NotAnObject,
    /// It is nested too deep.
    #[error("it is nested deeper than {DEPTH_MAX}")]
    NestedTooDeep,
    /// It holds too much.
    #[error("it holds more than {VALUES_MAX} values")]
    TooManyValues,
    /// It cannot be read.
    #[error("it cannot be read: {message}")]
    Io {
        /// What the system said.
        message: String,
    },
}

impl SidecarFault {
    /// A word for it that does not change.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::TooLarge => "sidecar_too_large",
            Self::NotUtf8 { .. } => "sidecar_not_utf8",
            Self::NotJson { .. } => "sidecar_not_json",
            Self::NotAnObject => "sidecar_not_an_object",
            Self::NestedTooDeep => "sidecar_nested_too_deep",
            Self::TooManyValues => "sidecar_too_many_values",
            Self::Io { .. } => "sidecar_unreadable",
        }
    }
}
