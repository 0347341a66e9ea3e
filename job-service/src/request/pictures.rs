//! Pictures inside a request: are they base64 of a picture that Forge can
//! open, and how they are told in words. Pixels are not decoded here.

use std::io::Cursor;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::{ImageFormat, ImageReader};
use serde_json::Value;

use super::limits::{IMAGE_PIXELS_MAX, INPUT_SIDE_MAX};

/// Bytes of a text that are shown as they are; longer ones are pictures.
const SHOWN_BYTES_MAX: usize = 4096;
/// The formats that are taken.
const FORMATS: [ImageFormat; 3] = [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP];

/// What is wrong with a picture, in words; `None` when nothing is.
pub(super) fn fault(text: &str) -> Option<String> {
    if is_url(text) {
        return Some("is a URL; send the picture itself as base64".to_owned());
    }
    let Some(encoded) = encoded_part(text) else {
        return Some("is a data URI without ;base64,".to_owned());
    };
    let Ok(bytes) = STANDARD.decode(encoded) else {
        return Some("is not base64 (standard alphabet, padded, no line breaks)".to_owned());
    };
    let Ok(reader) = ImageReader::new(Cursor::new(&bytes)).with_guessed_format() else {
        return Some("cannot be read".to_owned());
    };
    if !reader
        .format()
        .is_some_and(|format| FORMATS.contains(&format))
    {
        return Some("is not a PNG, JPEG or WebP picture".to_owned());
    }
    let Ok((width, height)) = reader.into_dimensions() else {
        return Some("is not a whole picture: its size cannot be read".to_owned());
    };
    let too_large = width > INPUT_SIDE_MAX
        || height > INPUT_SIDE_MAX
        || u64::from(width) * u64::from(height) > IMAGE_PIXELS_MAX;
    too_large.then(|| {
        format!("is {width} x {height} pixels; {INPUT_SIDE_MAX} along a side is the limit")
    })
}

/// The base64 of a picture, without the head of a data URI.
fn encoded_part(text: &str) -> Option<&str> {
    if !text.starts_with("data:") {
        return Some(text);
    }
    text.split_once(";base64,").map(|(_, encoded)| encoded)
}

/// Whether a text stands for something to fetch.
pub(super) fn is_url(text: &str) -> bool {
    ["http://", "https://"].iter().any(|scheme| {
        text.get(..scheme.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    })
}

/// Replaces every long text in a value by words about it.
pub(super) fn describe(value: &mut Value) {
    match value {
        Value::String(text) if text.len() > SHOWN_BYTES_MAX || encoded_part(text) != Some(text) => {
            let encoded = encoded_part(text).unwrap_or(text);
            *text = format!("<picture of {} bytes>", encoded.len() / 4 * 3);
        }
        Value::Array(items) => items.iter_mut().for_each(describe),
        Value::Object(fields) => fields.values_mut().for_each(describe),
        _ => {}
    }
}
