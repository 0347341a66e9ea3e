//! Owns the names of downloaded files: which may be asked for, and what becomes of those that
//! Civitai or its storage gives. Pure.

use crate::library::beside;
use crate::library::walk::DEPTH_MAX;

#[cfg(test)]
mod tests;

/// Longest name of a file, in bytes; the limit of most file systems.
const NAME_BYTES_MAX: usize = 255;
/// Longest name that is made of one that was given, in bytes: what is put beside the file has
/// longer ones.
const MADE_BYTES_MAX: usize = 200;
/// Characters that some file systems refuse, and those that change in which direction names are
/// read.
const ODD: [char; 16] = [
    '<', '>', ':', '"', '|', '?', '*', '\u{200e}', '\u{200f}', '\u{202a}', '\u{202b}', '\u{202c}',
    '\u{202d}', '\u{202e}', '\u{2066}', '\u{2067}',
];

/// Whether a file or folder may be made under that name: one name, which is not hidden.
pub(crate) fn is_allowed(name: &str) -> bool {
    let odd = |character: char| character.is_control() || matches!(character, '/' | '\\');
    !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && !name.starts_with('.')
        && !name.contains(odd)
}

/// Whether a model file may be made under that name.
pub(crate) fn is_allowed_model(name: &str) -> bool {
    is_allowed(name) && beside::stem(name.as_bytes()).is_some()
}

/// Whether every part of a path may be made beneath a root, and a scan goes as deep; the root itself
/// is the empty path.
pub(crate) fn is_allowed_folder(folder: &str) -> bool {
    let deep = folder.split('/').count() > DEPTH_MAX;
    folder.is_empty() || (!deep && folder.split('/').all(is_allowed))
}

/// A name that may be made, of one that was given: without folders, hidden beginnings and odd
/// characters, and not too long. `None` when it is not that of a model file.
pub(in crate::library) fn made_safe(given: &str) -> Option<String> {
    let last = given.rsplit(['/', '\\']).next().unwrap_or(given);
    let plain = |character: char| match character {
        _ if character.is_control() || ODD.contains(&character) => '_',
        _ => character,
    };
    let name: String = last.trim().chars().map(plain).collect();
    let name = name.trim_start_matches(['.', ' ']);
    let stem = beside::stem(name.as_bytes())?.len();
    let (stem, ending) = (name.get(..stem)?, name.get(stem..)?);
    let room = MADE_BYTES_MAX.saturating_sub(ending.len());
    let stem = stem[..stem.floor_char_boundary(room)].trim_end_matches(['.', ' ']);
    let made = format!("{stem}{ending}");
    is_allowed_model(&made).then_some(made)
}

/// A name of a model file with something put behind its stem, not longer than one that was made.
pub(in crate::library) fn with_digits(name: &str, digits: &str) -> String {
    let stem = beside::stem(name.as_bytes()).map_or(name.len(), <[u8]>::len);
    let (stem, ending) = name.split_at(name.floor_char_boundary(stem));
    let room = MADE_BYTES_MAX.saturating_sub(ending.len() + digits.len() + 1);
    let stem = &stem[..stem.floor_char_boundary(room)];
    format!("{stem}.{digits}{ending}")
}

/// The name in a `Content-Disposition`, as it is given: that with a character set before that
/// without, which may hold bytes of UTF-8 as they are.
pub(super) fn of_disposition(value: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(value);
    let (mut plain, mut with_set) = (None, None);
    for part in parts(&text) {
        let Some((key, value)) = part.split_once('=') else {
            continue;
        };
        match key.trim().to_ascii_lowercase().as_str() {
            "filename" => plain = plain.or_else(|| Some(unquoted(value.trim()))),
            "filename*" => with_set = with_set.or_else(|| decoded(value.trim())),
            _ => {}
        }
    }
    with_set.or(plain)
}

/// The parts between semicolons that stand in no quotes.
fn parts(text: &str) -> Vec<&str> {
    let (mut parts, mut begin, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ';' if !quoted => {
                parts.push(&text[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[begin..]);
    parts
}

fn unquoted(value: &str) -> String {
    let Some(inner) = value.strip_prefix('"') else {
        return value.to_owned();
    };
    let inner = inner.strip_suffix('"').unwrap_or(inner);
    inner.replace("\\\"", "\"")
}

/// A value such as `UTF-8''a%20b`.
fn decoded(value: &str) -> Option<String> {
    let (set, rest) = value.split_once('\'')?;
    let (_, text) = rest.split_once('\'')?;
    if !set.eq_ignore_ascii_case("utf-8") {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let digits = after.get(..2).filter(|_| *first == b'%');
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

/// The name under which a file is written until it is complete. It is known before anything is
/// asked, so that the work of another start finds it again.
pub(super) fn of_part(name: &str, operation_id: &str) -> String {
    let name = &name[..name.floor_char_boundary(MADE_BYTES_MAX)];
    format!(".{name}.{operation_id}.part")
}
