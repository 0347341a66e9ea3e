//! PNG files with infotext in them: the `parameters` chunk and the stealth text in the alpha channel
//! (forge/infotext.md, section 7).

use std::io::{Cursor, Write};

use anyhow::Context;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use flate2::{Compression, write::GzEncoder};
use image::RgbImage;

const KEYWORD: &str = "parameters";
const STEALTH_MARK: &[u8] = b"stealth_pngcomp";

/// Encodes a picture. With `stealth` the text is in the alpha channel too, and the picture is RGBA.
pub(crate) fn encode(
    picture: &RgbImage,
    text: Option<&str>,
    stealth: bool,
) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, picture.width(), picture.height());
    encoder.set_depth(png::BitDepth::Eight);
    let hidden = text.filter(|_| stealth);
    encoder.set_color(if hidden.is_some() {
        png::ColorType::Rgba
    } else {
        png::ColorType::Rgb
    });
    if let Some(text) = text {
        let latin1 = text.chars().all(|character| u32::from(character) < 256);
        if latin1 {
            encoder.add_text_chunk(KEYWORD.to_owned(), text.to_owned())?;
        } else {
            encoder.add_itxt_chunk(KEYWORD.to_owned(), text.to_owned())?;
        }
    }
    let mut writer = encoder.write_header()?;
    match hidden {
        Some(text) => writer.write_image_data(&with_stealth(picture, text)?)?,
        None => writer.write_image_data(picture.as_raw())?,
    }
    writer.finish()?;
    Ok(bytes)
}

/// RGBA bytes whose alpha bits, down the columns, hold mark, length in bits and the gzipped text. What does not
/// fit is cut off.
fn with_stealth(picture: &RgbImage, text: &str) -> anyhow::Result<Vec<u8>> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(text.as_bytes())?;
    let packed = gzip.finish()?;
    let length_bits = u32::try_from(packed.len() * 8).context("the infotext is too long")?;
    let stream = [STEALTH_MARK, &length_bits.to_be_bytes(), &packed].concat();
    let bits = stream
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| (byte >> bit) & 1));
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let mut rgba: Vec<u8> = picture
        .pixels()
        .flat_map(|pixel| [pixel[0], pixel[1], pixel[2], 255])
        .collect();
    for (place, bit) in bits.take(width * height).enumerate() {
        let (column, row) = (place / height, place % height);
        rgba[(row * width + column) * 4 + 3] = 0xfe | bit;
    }
    Ok(rgba)
}

/// A picture from the base64 of a request, with or without a `data:` prefix; `None` if it is none.
pub(crate) fn decode_base64(text: &str) -> Option<RgbImage> {
    let data = match text.strip_prefix("data:image/") {
        Some(rest) => rest.split_once(',')?.1,
        None => text,
    };
    let bytes = STANDARD.decode(data.trim()).ok()?;
    Some(image::load_from_memory(&bytes).ok()?.into_rgb8())
}

/// The infotext of a PNG: its `parameters` chunk, wherever it lies in front of the pixels.
pub(crate) fn text_of(base64: &str) -> Option<String> {
    let data = base64.split_once(',').map_or(base64, |(_, data)| data);
    let bytes = STANDARD.decode(data.trim()).ok()?;
    let reader = png::Decoder::new(Cursor::new(bytes)).read_info().ok()?;
    let info = reader.info();
    let latin1 = info
        .uncompressed_latin1_text
        .iter()
        .find(|chunk| chunk.keyword == KEYWORD);
    let utf8 = info.utf8_text.iter().find(|chunk| chunk.keyword == KEYWORD);
    latin1
        .map(|chunk| chunk.text.clone())
        .or_else(|| utf8?.get_text().ok())
}

/// Base64 as Forge puts pictures into JSON.
pub(crate) fn to_base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}
