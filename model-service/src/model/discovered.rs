//! Owns what this service found out of a model itself, and no caller writes: its file's facts, what
//! Civitai says beyond its metadata, and its files in the library. It does not find them out.

use chrono::{DateTime, Utc};

/// What was found out of a model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Discovered {
    /// AutoV1 of its file, 8 digits; many files share one.
    pub autov1: Option<String>,
    /// AutoV3 of its file, 12 digits.
    pub autov3: Option<String>,
    /// BLAKE3 of its file, 64 digits.
    pub blake3: Option<String>,
    /// The size of its file.
    pub size_bytes: Option<i64>,
    /// When its file was changed last.
    pub modified_at: Option<DateTime<Utc>>,
    /// Whether Civitai calls it not safe for work.
    pub civitai_nsfw: Option<bool>,
    /// The BlurHash of its first picture at Civitai.
    pub civitai_blurhash: Option<String>,
    /// Where its first picture at Civitai is.
    pub preview_url: Option<String>,
    /// How Civitai's version belongs to it; absent when that was never asked.
    pub civitai_match: Option<CivitaiMatch>,
    /// Why Civitai's answer could not be had the last time.
    pub civitai_error: Option<String>,
}

/// How a version of Civitai belongs to a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CivitaiMatch {
    /// The model's file is one of that version.
    File,
    /// That version has the model, in another file.
    Version,
}

impl CivitaiMatch {
    /// The word in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Version => "version",
        }
    }

    /// Reads the word in the database.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::File, Self::Version]
            .into_iter()
            .find(|one| one.as_str() == word)
    }
}

/// A file of a model in the library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LibraryFile {
    /// The name of the root that it is in.
    pub root: String,
    /// Its path beneath the root; bytes that are not UTF-8 are U+FFFD.
    pub path: String,
    /// Its size.
    pub size_bytes: i64,
    /// When it was changed last.
    pub modified_at: Option<DateTime<Utc>>,
    /// Its SHA-256 as it is now.
    pub sha256: Option<String>,
    /// Since when it is not there any more.
    pub missing_since: Option<DateTime<Utc>>,
    /// Why its header cannot be read.
    pub header_problem: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_in_the_database_are_read_back() {
        for one in [CivitaiMatch::File, CivitaiMatch::Version] {
            assert_eq!(CivitaiMatch::from_word(one.as_str()), Some(one));
        }
        assert_eq!(CivitaiMatch::from_word("neither"), None);
    }
}
