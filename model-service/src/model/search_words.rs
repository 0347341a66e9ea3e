//! Owns which words a search looks for. It does not search (`store/filtered.rs`).

/// Most words of one search.
pub const SEARCH_WORDS_MAX: usize = 16;

/// The words of a search, between spaces; each holds a letter or digit and is to be the beginning
/// of a word of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchWords(Vec<String>);

/// Why a text is no search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SearchFault {
    /// It has more words than [`SEARCH_WORDS_MAX`].
    TooManyWords,
    /// It has no letter and no digit.
    NoWord,
}

impl SearchWords {
    /// Takes a text apart. What has neither letter nor digit is no word.
    ///
    /// # Errors
    /// See [`SearchFault`].
    pub fn parse(text: &str) -> Result<Self, SearchFault> {
        let words: Vec<String> = text
            .split_whitespace()
            .filter(|word| word.chars().any(char::is_alphanumeric))
            .map(str::to_owned)
            .collect();
        match words.len() {
            0 => Err(SearchFault::NoWord),
            1..=SEARCH_WORDS_MAX => Ok(Self(words)),
            _ => Err(SearchFault::TooManyWords),
        }
    }

    /// The words.
    #[must_use]
    pub fn words(&self) -> &[String] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_between_spaces_and_hold_a_letter_or_digit() {
        let words = |text: &str| SearchWords::parse(text).map(|words| words.words().to_vec());
        assert_eq!(
            words(" red-fox  - v1.5\t雪 "),
            Ok(vec!["red-fox".into(), "v1.5".into(), "雪".into()])
        );
        for none in ["", " ", "\"*", "- ( ) ^ : +"] {
            assert_eq!(words(none), Err(SearchFault::NoWord), "{none:?}");
        }
        let many = |count| vec!["a"; count].join(" ");
        assert_eq!(words(&many(16)).map(|words| words.len()), Ok(16));
        assert_eq!(words(&many(17)), Err(SearchFault::TooManyWords));
    }
}
