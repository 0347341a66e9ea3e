//! Pictures inside a request: are they base64 of a picture that Forge can
//! open, how they are kept beside it, and how they are told in words. Pixels
//! are not decoded here.

use std::collections::HashMap;
use std::io::Cursor;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::{ImageFormat, ImageReader};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

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

/// A picture that a job begins from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputImage {
    /// SHA-256 of its bytes, lower-case hexadecimal.
    pub sha256: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// The start of the text that stands for a picture which is kept apart.
const APART: &str = "sha256:";
/// The fields whose pictures are kept apart.
const FIELDS: [&str; 2] = ["init_images", "mask"];

/// Takes the pictures out of a checked body; their digests stand for them.
pub(super) fn take(body: &mut Map<String, Value>) -> Vec<InputImage> {
    let mut taken: Vec<InputImage> = Vec::new();
    for text in texts(body) {
        let Some(bytes) = encoded_part(text).and_then(|text| STANDARD.decode(text).ok()) else {
            continue;
        };
        let sha256 = hex::encode(Sha256::digest(&bytes));
        *text = format!("{APART}{sha256}");
        if taken.iter().all(|image| image.sha256 != sha256) {
            taken.push(InputImage { sha256, bytes });
        }
    }
    taken
}

/// Puts pictures back where their digests stand for them. The digest of one
/// that is not there is the error.
pub(super) fn put_back(
    body: &mut Map<String, Value>,
    images: &HashMap<String, Vec<u8>>,
) -> Result<(), String> {
    for text in texts(body) {
        let Some(sha256) = text.strip_prefix(APART) else {
            continue;
        };
        let bytes = images.get(sha256).ok_or_else(|| sha256.to_owned())?;
        *text = STANDARD.encode(bytes);
    }
    Ok(())
}

fn texts(body: &mut Map<String, Value>) -> impl Iterator<Item = &mut String> {
    body.iter_mut()
        .filter(|(name, _)| FIELDS.contains(&name.as_str()))
        .flat_map(|(_, value)| match value {
            Value::Array(items) => items.iter_mut().collect(),
            other => vec![other],
        })
        .filter_map(|value| match value {
            Value::String(text) => Some(text),
            _ => None,
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
