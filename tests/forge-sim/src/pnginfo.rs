//! Reads an infotext as Forge's `png-info` shows it, as far as the stand-in's own texts need: prompts and pairs,
//! without the defaults Forge adds for missing keys.

use serde_json::{Map, Value};

/// Fewer pairs than this are no parameter line.
const MIN_PAIRS: usize = 3;

/// Prompt, negative prompt and the pairs of the last line, all as text.
pub(crate) fn parameters(text: &str) -> Map<String, Value> {
    let mut lines: Vec<&str> = text.trim().lines().map(str::trim).collect();
    let mut pairs = lines.last().map(|line| pairs(line)).unwrap_or_default();
    if pairs.len() < MIN_PAIRS {
        pairs.clear();
    } else {
        lines.pop();
    }
    let split = lines
        .iter()
        .position(|line| line.starts_with("Negative prompt:"))
        .unwrap_or(lines.len());
    let negative = lines[split..]
        .iter()
        .map(|line| line.strip_prefix("Negative prompt:").unwrap_or(line).trim());
    let mut found = Map::new();
    found.insert("Prompt".to_owned(), Value::from(lines[..split].join("\n")));
    found.insert(
        "Negative prompt".to_owned(),
        Value::from(negative.collect::<Vec<_>>().join("\n")),
    );
    for (key, value) in pairs {
        match size(&value) {
            Some((width, height)) => {
                found.insert(format!("{key}-1"), Value::from(width));
                found.insert(format!("{key}-2"), Value::from(height));
            }
            None => {
                found.insert(key, Value::from(value));
            }
        }
    }
    found
}

fn size(value: &str) -> Option<(&str, &str)> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    value
        .split_once('x')
        .filter(|(width, height)| digits(width) && digits(height))
}

fn pairs(line: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = line;
    while let Some((key, tail)) = rest.split_once(':') {
        let tail = tail.trim_start();
        let quoted = quoted_len(tail)
            .filter(|length| matches!(tail[*length..].chars().next(), None | Some(',')));
        let length = quoted.unwrap_or_else(|| tail.find(',').unwrap_or(tail.len()));
        let raw = &tail[..length];
        let value = serde_json::from_str::<String>(raw).unwrap_or_else(|_| raw.to_owned());
        let key = key.trim();
        if key.chars().count() > 1 && !value.is_empty() {
            found.push((key.to_owned(), value));
        }
        rest = tail[length..].strip_prefix(',').unwrap_or_default();
    }
    found
}

/// Length of the quoted run at the start, quotes included.
fn quoted_len(text: &str) -> Option<usize> {
    let mut escaped = false;
    let inside = text.strip_prefix('"')?;
    for (place, character) in inside.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(place + 2),
            _ => {}
        }
    }
    None
}
