//! Owns the reading of values whose type other programs do not agree on: ids as numbers or text,
//! words as a list or a text. It does not know keys.

use serde_json::{Map, Value};

use crate::model::Sha256;

/// Most digits of an id.
const ID_DIGITS_MAX: usize = 18;
/// The object under a key.
pub(super) fn object<'a>(
    from: &'a Map<String, Value>,
    key: &str,
) -> Option<&'a Map<String, Value>> {
    from.get(key)?.as_object()
}

/// A text that is not empty, also when it is written as a number.
pub(super) fn text(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A text that is a word for something, and not for nothing.
pub(super) fn word(value: Option<&Value>) -> Option<String> {
    let nothing = ["unknown", "other", "none", "null"];
    text(value).filter(|word| !nothing.contains(&word.to_ascii_lowercase().as_str()))
}

/// An id as a decimal number: from 12, "12", 12.0 and "12.0".
pub(super) fn id(value: Option<&Value>) -> Option<String> {
    let text = text(value)?;
    let digits = text.strip_suffix(".0").unwrap_or(&text);
    let sound = (1..=ID_DIGITS_MAX).contains(&digits.len())
        && digits.bytes().all(|byte| byte.is_ascii_digit());
    let digits = digits.trim_start_matches('0');
    (sound && !digits.is_empty()).then(|| digits.to_owned())
}

/// A number, also when it is written as text.
pub(super) fn number(value: Option<&Value>) -> Option<f64> {
    let number = match value? {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    number.is_finite().then_some(number)
}

/// Yes or no; "" is neither.
pub(super) fn flag(value: Option<&Value>) -> Option<bool> {
    match value? {
        Value::Bool(flag) => Some(*flag),
        Value::String(text) if text.eq_ignore_ascii_case("true") => Some(true),
        Value::String(text) if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// Words: a list of texts, or one text that separates them with commas. `None` when it is neither.
pub(super) fn words(value: Option<&Value>) -> Option<Vec<String>> {
    match value? {
        Value::Array(list) => Some(list.iter().filter_map(|word| text(Some(word))).collect()),
        Value::String(list) => Some(
            list.split(',')
                .map(str::trim)
                .filter(|word| !word.is_empty())
                .map(str::to_owned)
                .collect(),
        ),
        _ => None,
    }
}

/// A SHA-256 in either case.
pub(super) fn sha256(value: Option<&Value>) -> Option<Sha256> {
    Sha256::parse(value?.as_str()?.trim())
}

/// An address on the web. Paths of other machines are not.
pub(super) fn address(value: Option<&Value>) -> Option<String> {
    text(value).filter(|text| text.starts_with("https://") || text.starts_with("http://"))
}
