//! Owns which digits of a hash a reference gives. It does not match.

use super::Reference;
use crate::model::{AutoV2, Sha256, TwelveDigits};

impl Reference {
    /// The first digits of the SHA-256 that it gives, in lower case: all of them, those of an
    /// AutoV2, the twelve that may be those of an AutoV3 as well, or those in a title. `None` for a
    /// name alone.
    pub(crate) fn digits(&self) -> Option<&str> {
        let whole = self.sha256.as_ref().map(Sha256::as_str);
        let short = self.autov2.as_ref().map(AutoV2::as_str);
        let twelve = self.twelve.as_ref().map(TwelveDigits::as_str);
        let of_title = self.title_hash.as_ref().map(AutoV2::as_str);
        whole.or(short).or(twelve).or(of_title)
    }
}
