//! Owns the tokens and sizes of list pages. It does not know what is listed.
//!
//! A token carries the cursor of the next page and a fingerprint of the filters
//! it was made with. It is opaque but not secret and not signed: whoever decodes
//! one must treat the cursor as input.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

/// A page ends at this many encoded bytes, even if more items were asked for;
/// clients receive messages up to 4 MiB by default.
pub const PAGE_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Items on a page when the request says 0.
pub const PAGE_SIZE_DEFAULT: usize = 50;
/// Most items on a page; a larger request is cut to this.
pub const PAGE_SIZE_MAX: usize = 1000;
/// Longest token text that is looked at.
pub const PAGE_TOKEN_BYTES_MAX: usize = 4096;

const VERSION: u8 = 1;
const FINGERPRINT_BYTES: usize = 12;

/// Why a page token cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PageTokenError {
    /// The text is not a token of this service.
    #[error("is not a page token of this service")]
    Malformed,
    /// The token was made by a request with other filters.
    #[error("was made with other filters or another order")]
    OtherFilters,
}

/// A negative page size was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must not be negative")]
pub struct NegativePageSize;

/// The number of items for a page: 0 means [`PAGE_SIZE_DEFAULT`], more than
/// [`PAGE_SIZE_MAX`] means that (AIP-158).
///
/// # Errors
/// A negative request.
pub fn page_size(requested: i32) -> Result<usize, NegativePageSize> {
    match usize::try_from(requested) {
        Err(_) => Err(NegativePageSize),
        Ok(0) => Ok(PAGE_SIZE_DEFAULT),
        Ok(size) => Ok(size.min(PAGE_SIZE_MAX)),
    }
}

/// Makes and reads page tokens.
#[derive(Debug, Clone, Copy)]
pub struct PageToken;

impl PageToken {
    /// Writes a token for the page after `cursor`.
    ///
    /// `filters` is any stable byte form of everything that selects and orders
    /// the items (method, filters, order), without page size and page token.
    /// A cursor must be serialisable as JSON; one that is not, or that is too
    /// long for [`PAGE_TOKEN_BYTES_MAX`], is a defect and gives a token that
    /// decodes as malformed.
    pub fn encode(filters: &[u8], cursor: &impl Serialize) -> String {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&fingerprint(filters));
        if let Err(error) = serde_json::to_writer(&mut bytes, cursor) {
            tracing::error!(%error, "a page cursor cannot be serialised");
        }
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads the cursor out of a token that was made with the same `filters`.
    ///
    /// # Errors
    /// See [`PageTokenError`].
    pub fn decode<C: DeserializeOwned>(text: &str, filters: &[u8]) -> Result<C, PageTokenError> {
        if text.len() > PAGE_TOKEN_BYTES_MAX {
            return Err(PageTokenError::Malformed);
        }
        let bytes = URL_SAFE_NO_PAD
            .decode(text)
            .map_err(|_| PageTokenError::Malformed)?;
        let Some((&VERSION, rest)) = bytes.split_first() else {
            return Err(PageTokenError::Malformed);
        };
        let (made_with, cursor) = rest
            .split_at_checked(FINGERPRINT_BYTES)
            .ok_or(PageTokenError::Malformed)?;
        let cursor = serde_json::from_slice(cursor).map_err(|_| PageTokenError::Malformed)?;
        if made_with != fingerprint(filters) {
            return Err(PageTokenError::OtherFilters);
        }
        Ok(cursor)
    }
}

fn fingerprint(filters: &[u8]) -> [u8; FINGERPRINT_BYTES] {
    let mut cut = [0; FINGERPRINT_BYTES];
    cut.copy_from_slice(&Sha256::digest(filters)[..FINGERPRINT_BYTES]);
    cut
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Cursor = (String, i64);

    #[test]
    fn page_sizes_are_coerced_and_negative_ones_refused() {
        assert_eq!(page_size(0), Ok(50));
        assert_eq!(page_size(1), Ok(1));
        assert_eq!(page_size(1000), Ok(1000));
        assert_eq!(page_size(i32::MAX), Ok(1000));
        assert_eq!(page_size(-1), Err(NegativePageSize));
    }

    #[test]
    fn a_token_of_other_filters_is_refused() {
        let token = PageToken::encode(b"state=pending", &("id".to_owned(), 7));
        assert_eq!(
            PageToken::decode::<Cursor>(&token, b"state=completed"),
            Err(PageTokenError::OtherFilters)
        );
    }

    #[test]
    fn a_token_with_another_kind_of_cursor_is_malformed() {
        let token = PageToken::encode(b"f", &"text");
        assert_eq!(
            PageToken::decode::<Cursor>(&token, b"f"),
            Err(PageTokenError::Malformed)
        );
    }

    proptest! {
        #[test]
        fn a_cursor_comes_back_as_it_was(id in ".{0,40}", number: i64, filters: Vec<u8>) {
            let token = PageToken::encode(&filters, &(&id, number));
            prop_assert_eq!(PageToken::decode::<Cursor>(&token, &filters), Ok((id, number)));
        }

        #[test]
        fn garbage_is_malformed_and_never_panics(text in "\\PC{0,80}") {
            prop_assert_eq!(PageToken::decode::<Cursor>(&text, b"f"), Err(PageTokenError::Malformed));
        }

        #[test]
        fn a_changed_token_never_panics(at in 0_usize..60, with in "[A-Za-z0-9_-]") {
            let mut token = PageToken::encode(b"f", &("some-id-of-a-job", 42));
            if at < token.len() {
                token.replace_range(at..=at, &with);
            }
            // Any answer is fine; the property is that there is one.
            let _ = PageToken::decode::<Cursor>(&token, b"f");
        }
    }
}
