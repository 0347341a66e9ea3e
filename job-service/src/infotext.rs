//! Reads what Forge writes into a picture: the `parameters` text of a PNG and
//! the keys of its last line that verification needs. What they must say is
//! `verify`'s business; pixels are nobody's here.
//!
//! Grammar: `forge/infotext.md` §2 and §7.

use std::borrow::Cow;

/// Bytes that the text of a picture may have.
pub const TEXT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Pairs that a parameter line must have to be one.
const PAIRS_MIN: usize = 3;
/// What a PNG begins with.
const PNG_SIGNATURE: &[u8; 8] = b"\x89PNG\r\n\x1a\n";
/// The chunk's keyword.
const KEYWORD: &[u8] = b"parameters";

/// A chunk of a PNG.
pub(crate) struct Chunk<'a> {
    /// Its type.
    pub(crate) name: [u8; 4],
    /// Its content.
    pub(crate) data: &'a [u8],
}

/// The chunks of a PNG, as far as they are whole. Checksums are not looked
/// at.
pub(crate) fn chunks(png: &[u8]) -> impl Iterator<Item = Chunk<'_>> {
    let mut rest = png.strip_prefix(PNG_SIGNATURE).unwrap_or_default();
    std::iter::from_fn(move || {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let (name, after) = after.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let data = after.get(..length)?;
        rest = after.get(length..)?.get(4..)?;
        Some(Chunk { name: *name, data })
    })
}

/// The `parameters` text of a PNG, if it has one of at most
/// [`TEXT_BYTES_MAX`] bytes that is not compressed (Forge never compresses).
#[must_use]
pub fn parameters_of_png(png: &[u8]) -> Option<String> {
    chunks(png)
        .filter_map(|chunk| text_of(&chunk))
        .filter(|text| text.len() <= TEXT_BYTES_MAX)
        .last()
        .map(Cow::into_owned)
}

/// The text of a chunk, if it is an uncompressed `parameters` text.
fn text_of<'a>(chunk: &Chunk<'a>) -> Option<Cow<'a, str>> {
    let rest = chunk.data.strip_prefix(KEYWORD)?.strip_prefix(b"\0")?;
    match &chunk.name {
        b"tEXt" => Some(latin1_or_utf8(rest)),
        b"iTXt" => {
            // Compression flag and method, language, translated keyword.
            let rest = rest.strip_prefix(b"\0\0")?;
            let mut parts = rest.splitn(3, |byte| *byte == 0);
            let text = parts.nth(2)?;
            std::str::from_utf8(text).ok().map(Cow::Borrowed)
        }
        _ => None,
    }
}

/// Some tools put UTF-8 where the format wants latin-1.
fn latin1_or_utf8(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(bytes.iter().map(|byte| char::from(*byte)).collect()),
    }
}

/// What the last line of a text says, as far as it is needed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters {
    /// Sampling steps.
    pub steps: Option<i64>,
    /// The seed of this image.
    pub seed: Option<i64>,
    /// The sampler's name.
    pub sampler: Option<String>,
    /// The schedule type's label.
    pub schedule_type: Option<String>,
    /// The checkpoint's name: the stem of its file.
    pub model: Option<String>,
    /// The checkpoint's short hash, lower case.
    pub model_hash: Option<String>,
    /// Names of the LoRAs that were used, with their hashes.
    pub lora_hashes: Vec<(String, String)>,
}

/// Parses a text; `None` when its last line holds no parameters.
#[must_use]
pub fn parse(text: &str) -> Option<Parameters> {
    let line = text.trim().lines().next_back()?;
    let pairs = pairs(line);
    if pairs.len() < PAIRS_MIN {
        return None;
    }
    let mut found = Parameters::default();
    for (key, value) in pairs {
        match key {
            "Steps" => found.steps = value.parse().ok(),
            "Seed" => found.seed = value.parse().ok(),
            "Sampler" => found.sampler = Some(value),
            "Schedule type" => found.schedule_type = Some(value),
            "Model" => found.model = Some(value),
            "Model hash" => found.model_hash = Some(value.to_ascii_lowercase()),
            "Lora hashes" => found.lora_hashes = named_hashes(&value),
            _ => {}
        }
    }
    Some(found)
}

/// `name: hash, name: hash`; names hold neither colon nor comma.
fn named_hashes(text: &str) -> Vec<(String, String)> {
    text.split(',')
        .filter_map(|item| item.rsplit_once(':'))
        .map(|(name, hash)| (name.trim().to_owned(), hash.trim().to_ascii_lowercase()))
        .collect()
}

/// The pairs of a parameter line, from left to right; what does not fit is
/// skipped. Empty values are dropped.
pub(crate) fn pairs(line: &str) -> Vec<(&str, String)> {
    let mut found = Vec::new();
    let mut rest = line;
    while let Some((key, after)) = next_key(rest) {
        let (value, after) = next_value(after.trim_start());
        if !value.is_empty() {
            found.push((key, value));
        }
        rest = after;
    }
    found
}

/// The next key, at least two characters of which the first is a word
/// character, and what stands behind its colon.
fn next_key(text: &str) -> Option<(&str, &str)> {
    let in_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    let in_key = |letter: char| in_word(letter) || matches!(letter, ' ' | '-' | '/');
    let mut rest = text;
    // Each round passes a colon.
    loop {
        let (before, after) = rest.split_once(':')?;
        let start = before
            .char_indices()
            .rev()
            .take_while(|(_, letter)| in_key(*letter))
            .filter(|(_, letter)| in_word(*letter))
            .last()
            .map(|(at, _)| at);
        let key = start.map_or("", |start| &before[start..]);
        if key.chars().nth(1).is_some() {
            return Some((key, after));
        }
        rest = after;
    }
}

/// The value at the start of a text, and what stands behind its comma.
fn next_value(text: &str) -> (String, &str) {
    if let Some(end) = quoted_end(text) {
        let after = &text[end..];
        if after.is_empty() || after.starts_with(',') {
            let quoted = &text[..end];
            let value = serde_json::from_str(quoted).unwrap_or_else(|_| quoted.to_owned());
            return (value, after.get(1..).unwrap_or_default());
        }
    }
    let (value, after) = text.split_once(',').unwrap_or((text, ""));
    (value.trim().to_owned(), after)
}

/// Where a double-quoted run at the start of a text ends.
fn quoted_end(text: &str) -> Option<usize> {
    let inside = text.strip_prefix('"')?;
    let mut escaped = false;
    for (at, letter) in inside.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(at + 2),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
#[path = "infotext/tests.rs"]
mod tests;
