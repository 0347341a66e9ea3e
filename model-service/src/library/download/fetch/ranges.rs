//! Owns which part of a file an answer holds. Pure.

use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderMap, HeaderValue};

/// Which part of the file comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece {
    /// All from a place on.
    From {
        /// The first byte.
        place: u64,
        /// How long the whole file is, where that is said.
        total: Option<u64>,
    },
    /// Nothing, as there is nothing from there on.
    Nothing {
        /// How long the whole file is, where that is said.
        total: Option<u64>,
    },
    /// Another part than the one that is missing.
    Other,
}

impl Piece {
    /// What an answer with status 200, 206 or 416 holds, when `had` bytes are here.
    pub(super) fn of(status: u16, headers: &HeaderMap, had: u64) -> Self {
        let range = headers
            .get(CONTENT_RANGE)
            .and_then(|range| range.to_str().ok());
        let range = range.and_then(|range| range.trim().strip_prefix("bytes "));
        let split = range.and_then(|range| range.split_once('/'));
        let total = split.and_then(|(_, total)| total.trim().parse().ok());
        match (status, split) {
            (416, _) => Self::Nothing { total },
            (206, Some((part, _))) => {
                let ends = part.split_once('-');
                let ends = ends.and_then(|(from, to)| Some((number(from)?, number(to)?)));
                match ends {
                    Some((from, to)) if from == had && to >= from => Self::From {
                        place: had,
                        // A part that ends before the file does would look like a whole one.
                        total: total.or(to.checked_add(1)),
                    },
                    _ => Self::Other,
                }
            }
            (206, None) => Self::Other,
            _ => {
                let length = headers
                    .get(CONTENT_LENGTH)
                    .and_then(|length| length.to_str().ok());
                Self::From {
                    place: 0,
                    total: length.and_then(number),
                }
            }
        }
    }
}

fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// Whether an ETag stands for the very bytes.
pub(super) fn is_strong(etag: &HeaderValue) -> bool {
    etag.as_bytes().starts_with(b"\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(status: u16, range: Option<&str>, length: Option<&str>, had: u64) -> Piece {
        let mut headers = HeaderMap::new();
        for (name, value) in [(CONTENT_RANGE, range), (CONTENT_LENGTH, length)] {
            if let Some(value) = value {
                headers.insert(name, HeaderValue::from_str(value).unwrap());
            }
        }
        Piece::of(status, &headers, had)
    }

    #[test]
    fn an_answer_goes_on_only_where_the_file_ends() {
        let from = |place, total| Piece::From { place, total };
        for (range, had, held) in [
            ("bytes 10-99/100", 10, from(10, Some(100))),
            ("bytes 10-99/*", 10, from(10, Some(100))),
            ("bytes 11-99/100", 10, Piece::Other),
            ("bytes 0-99/100", 10, Piece::Other),
            ("bytes 10-9/100", 10, Piece::Other),
            ("bytes x-99/100", 10, Piece::Other),
            ("bytes 10-18446744073709551615/*", 10, from(10, None)),
            ("items 10-99/100", 10, Piece::Other),
        ] {
            assert_eq!(piece(206, Some(range), None, had), held, "{range}");
        }
        assert_eq!(piece(206, None, Some("90"), 10), Piece::Other);
        assert_eq!(piece(200, None, Some("100"), 10), from(0, Some(100)));
        assert_eq!(piece(200, None, None, 10), from(0, None));
    }

    #[test]
    fn an_answer_without_a_part_says_how_long_the_file_is() {
        assert_eq!(
            piece(416, Some("bytes */100"), None, 100),
            Piece::Nothing { total: Some(100) }
        );
        assert_eq!(piece(416, None, None, 100), Piece::Nothing { total: None });
    }

    #[test]
    fn a_weak_etag_does_not_tell_bytes_apart() {
        assert!(is_strong(&HeaderValue::from_static("\"a\"")));
        assert!(!is_strong(&HeaderValue::from_static("W/\"a\"")));
    }
}
