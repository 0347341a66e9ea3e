//! Owns what the "parameters" text of a picture says of models: the checkpoint, its hash, and the
//! LoRAs. It does not read the other settings, nor pixels.

mod pairs;
#[cfg(test)]
mod tests;

/// Longest text that is read, in bytes.
pub const TEXT_BYTES_MAX: usize = 1024 * 1024;
/// Most LoRAs that are told of one text.
pub const LORAS_MAX: usize = 128;
/// Longest name that is told, in bytes.
pub const NAME_BYTES_MAX: usize = 512;
/// Pairs that a line of settings must have to be one, as for A1111.
const PAIRS_MIN: usize = 3;
/// What a PNG begins with.
const PNG_SIGNATURE: &[u8; 8] = b"\x89PNG\r\n\x1a\n";
/// The keyword of the text.
const KEYWORD: &[u8] = b"parameters\0";

/// The models that a text mentions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mentioned {
    /// The checkpoint's name: the stem of its file.
    pub model: Option<String>,
    /// The checkpoint's short hash, lower case.
    pub model_hash: Option<String>,
    /// LoRAs with their short hashes, lower case; at most [`LORAS_MAX`].
    pub loras: Vec<(String, String)>,
}

/// Reads a text; `None` when its last line holds no settings, or when it is longer than
/// [`TEXT_BYTES_MAX`].
pub fn read(text: &str) -> Option<Mentioned> {
    if text.len() > TEXT_BYTES_MAX {
        return None;
    }
    let line = text.trim().lines().next_back()?;
    let mut count = 0;
    let mut found = Mentioned::default();
    for (key, value) in pairs::pairs(line) {
        count += 1;
        match key {
            "Model" => found.model = name(&value),
            "Model hash" => found.model_hash = short_hash(&value),
            "Lora hashes" => found.loras = named_hashes(&value),
            _ => {}
        }
    }
    (count >= PAIRS_MIN).then_some(found)
}

/// `name: hash, name: hash`; what does not fit is left out.
fn named_hashes(text: &str) -> Vec<(String, String)> {
    text.split(',')
        .filter_map(|item| item.rsplit_once(':'))
        .filter_map(|(lora, hash)| Some((name(lora)?, short_hash(hash)?)))
        .take(LORAS_MAX)
        .collect()
}

fn name(text: &str) -> Option<String> {
    let text = text.trim();
    (1..=NAME_BYTES_MAX)
        .contains(&text.len())
        .then(|| text.to_owned())
}

/// 8 digits are AutoV1, 10 AutoV2, 12 what Forge writes of LoRAs, 64 the whole.
fn short_hash(text: &str) -> Option<String> {
    let text = text.trim();
    let sound = (8..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    sound.then(|| text.to_ascii_lowercase())
}

/// The last "parameters" text of a PNG, if it has one of at most [`TEXT_BYTES_MAX`] bytes that is
/// not compressed. Checksums are not looked at, and what is cut ends the search.
pub fn text_of_png(png: &[u8]) -> Option<String> {
    let mut rest = png.strip_prefix(PNG_SIGNATURE)?;
    let mut found = None;
    while let Some((kind, data, after)) = chunk(rest) {
        found = text_of_chunk(kind, data).or(found);
        rest = after;
    }
    found
}

/// The kind and the content of the first chunk, and what follows it.
fn chunk(bytes: &[u8]) -> Option<([u8; 4], &[u8], &[u8])> {
    let (length, after) = bytes.split_first_chunk::<4>()?;
    let (kind, after) = after.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (data, after) = after.split_at_checked(length)?;
    Some((*kind, data, after.get(4..)?))
}

fn text_of_chunk(kind: [u8; 4], data: &[u8]) -> Option<String> {
    let data = data.strip_prefix(KEYWORD)?;
    let text = match &kind {
        b"tEXt" => data,
        // No compression; then the language and the translated keyword.
        b"iTXt" => data
            .strip_prefix(b"\0\0")?
            .splitn(3, |byte| *byte == 0)
            .nth(2)?,
        _ => return None,
    };
    if text.len() > TEXT_BYTES_MAX {
        return None;
    }
    match (std::str::from_utf8(text), &kind) {
        (Ok(text), _) => Some(text.to_owned()),
        // Some tools write UTF-8 there, the others the latin-1 that the format has.
        (Err(_), b"tEXt") => Some(text.iter().map(|byte| char::from(*byte)).collect()),
        (Err(_), _) => None,
    }
}
