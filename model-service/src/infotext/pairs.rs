//! Owns the grammar of a line of settings: `Key: value, Key: "value, with commas"`. It does not
//! know what keys mean.

use std::borrow::Cow;

/// Most pairs of one line.
const PAIRS_MAX: usize = 1_024;

/// The pairs of a line from left to right; what fits no pair is passed over, and empty values are
/// left out.
pub(super) fn pairs(line: &str) -> impl Iterator<Item = (&str, Cow<'_, str>)> {
    let mut rest = line;
    std::iter::from_fn(move || {
        let (key, after) = next_key(rest)?;
        let (value, after) = next_value(after.trim_start());
        rest = after;
        Some((key, value))
    })
    .take(PAIRS_MAX)
    .filter(|(_, value)| !value.is_empty())
}

/// The next key, at least two characters of which the first is of a word, and what stands behind
/// its colon.
fn next_key(text: &str) -> Option<(&str, &str)> {
    let in_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    let in_key = |letter: char| in_word(letter) || matches!(letter, ' ' | '-' | '/');
    let mut start = None;
    for (at, letter) in text.char_indices() {
        match (letter, start) {
            (':', Some(start)) if text[start..at].chars().nth(1).is_some() => {
                return Some((&text[start..at], &text[at + 1..]));
            }
            (_, None) if in_word(letter) => start = Some(at),
            _ if !in_key(letter) => start = None,
            _ => {}
        }
    }
    None
}

/// The value at the start of a text, and what stands behind its comma.
fn next_value(text: &str) -> (Cow<'_, str>, &str) {
    if let Some((quoted, after)) = quoted(text)
        && (after.is_empty() || after.starts_with(','))
    {
        let value = serde_json::from_str(quoted).map_or(Cow::Borrowed(quoted), Cow::Owned);
        return (value, after.get(1..).unwrap_or_default());
    }
    let (value, after) = text.split_once(',').unwrap_or((text, ""));
    (Cow::Borrowed(value.trim()), after)
}

/// The double-quoted run at the start of a text, and what follows it.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let inside = text.strip_prefix('"')?;
    let mut escaped = false;
    for (at, letter) in inside.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(text.split_at(at + 2)),
            _ => {}
        }
    }
    None
}
