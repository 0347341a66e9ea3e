//! Owns the token from which a watch stream is resumed. It does not know what
//! is watched, nor how long history is kept.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Longest epoch that a token carries, in bytes.
pub const EPOCH_BYTES_MAX: usize = 64;

const VERSION: u8 = 1;
const SEQUENCE_BYTES: usize = size_of::<i64>();
const TEXT_BYTES_MAX: usize = (1 + SEQUENCE_BYTES + EPOCH_BYTES_MAX).div_ceil(3) * 4;

/// The place in a database's history after which a watcher wants to go on.
///
/// Its text form is opaque to clients: base64url of a version, the sequence and
/// the epoch.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ResumeToken {
    /// The life of the database that numbered the event; a restored backup starts another.
    pub epoch: String,
    /// The number of the last event seen; 0 before the first.
    pub sequence: i64,
}

/// The text is not a resume token of this service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a resume token of this service")]
pub struct MalformedResumeToken;

impl ResumeToken {
    /// A token; the epoch is at most [`EPOCH_BYTES_MAX`] bytes, or the text
    /// will not be read back.
    pub fn new(epoch: impl Into<String>, sequence: i64) -> Self {
        Self {
            epoch: epoch.into(),
            sequence,
        }
    }
}

impl fmt::Display for ResumeToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&self.sequence.to_be_bytes());
        bytes.extend_from_slice(self.epoch.as_bytes());
        formatter.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for ResumeToken {
    type Err = MalformedResumeToken;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(MalformedResumeToken);
        }
        let bytes = URL_SAFE_NO_PAD
            .decode(text)
            .map_err(|_| MalformedResumeToken)?;
        let Some((&VERSION, rest)) = bytes.split_first() else {
            return Err(MalformedResumeToken);
        };
        let (sequence, epoch) = rest
            .split_first_chunk::<SEQUENCE_BYTES>()
            .ok_or(MalformedResumeToken)?;
        let sequence = i64::from_be_bytes(*sequence);
        if sequence < 0 || epoch.is_empty() || epoch.len() > EPOCH_BYTES_MAX {
            return Err(MalformedResumeToken);
        }
        let epoch = std::str::from_utf8(epoch).map_err(|_| MalformedResumeToken)?;
        Ok(Self::new(epoch, sequence))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_token_without_epoch_or_with_a_negative_number_is_refused() {
        for token in [ResumeToken::new("", 1), ResumeToken::new("e", -1)] {
            assert_eq!(
                token.to_string().parse::<ResumeToken>(),
                Err(MalformedResumeToken)
            );
        }
    }

    proptest! {
        #[test]
        fn a_token_comes_back_as_it_was(epoch in "[a-zA-Z0-9-]{1,64}", sequence in 0..=i64::MAX) {
            let token = ResumeToken::new(epoch, sequence);
            prop_assert_eq!(token.to_string().parse(), Ok(token));
        }

        #[test]
        fn any_text_is_read_or_refused_without_panic(text in "[A-Za-z0-9_=-]{0,120}") {
            if let Ok(token) = text.parse::<ResumeToken>() {
                prop_assert_eq!(token.to_string(), text);
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused_without_panic(bytes: Vec<u8>) {
            // Any answer is fine; the property is that there is one.
            let _ = URL_SAFE_NO_PAD.encode(bytes).parse::<ResumeToken>();
        }
    }
}
