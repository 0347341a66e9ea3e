//! Takes the alpha channel off a PNG when it carries nothing but the hidden
//! text that Forge writes while saving. The `parameters` chunk stays.
//!
//! Layout: `forge/infotext.md` §7.

use std::io::Cursor;

use png::{BitDepth, ColorType, Decoder, Encoder, Limits};

use crate::infotext::chunks;

/// What the hidden text begins with: compressed or not.
const SIGNATURES: [&[u8]; 2] = [b"stealth_pngcomp", b"stealth_pnginfo"];
/// Bytes of a signature.
const SIGNATURE_BYTES: usize = 15;
/// The least alpha of a picture that only carries the text: one bit is used.
const ALPHA_MIN: u8 = 254;
/// Chunks that a picture without its alpha channel keeps.
const KEPT_CHUNKS: [[u8; 4]; 3] = [*b"tEXt", *b"iTXt", *b"zTXt"];

/// The picture without its alpha channel, or `None` when it is to stay as it
/// is: it is no eight-bit RGBA PNG, has no hidden text, or its alpha channel
/// means something. `bytes_max` limits the decoded picture.
#[must_use]
pub fn strip(png: &[u8], bytes_max: usize) -> Option<Vec<u8>> {
    let mut decoder = Decoder::new_with_limits(Cursor::new(png), Limits { bytes: bytes_max });
    let header = decoder.read_header_info().ok()?;
    if header.color_type != ColorType::Rgba || header.bit_depth != BitDepth::Eight {
        return None;
    }
    let mut reader = decoder.read_info().ok()?;
    let size = reader
        .output_buffer_size()
        .filter(|size| *size <= bytes_max)?;
    let mut pixels = vec![0; size];
    let frame = reader.next_frame(&mut pixels).ok()?;
    pixels.truncate(frame.buffer_size());
    let (width, height) = (frame.width as usize, frame.height as usize);
    if !carries_only_text(&pixels, width, height) {
        return None;
    }
    encode_rgb(png, &pixels, frame.width, frame.height)
}

/// Whether all alpha is opaque but for its last bit, and those bits begin
/// with a signature. Bits run down the columns, one for each pixel, the
/// highest of each byte first.
fn carries_only_text(pixels: &[u8], width: usize, height: usize) -> bool {
    let alpha_at = |place: usize| {
        let (x, y) = (place / height, place % height);
        pixels.get((y * width + x) * 4 + 3).copied()
    };
    if height == 0 || width * height < SIGNATURE_BYTES * 8 {
        return false;
    }
    let mut start = [0_u8; SIGNATURE_BYTES];
    for (at, byte) in start.iter_mut().enumerate() {
        for bit in 0..8 {
            let alpha = alpha_at(at * 8 + bit).unwrap_or_default();
            *byte = *byte << 1 | alpha & 1;
        }
    }
    SIGNATURES.contains(&start.as_slice())
        && pixels
            .iter()
            .skip(3)
            .step_by(4)
            .all(|alpha| *alpha >= ALPHA_MIN)
}

/// The picture as RGB, with the texts of the original.
fn encode_rgb(original: &[u8], rgba: &[u8], width: u32, height: u32) -> Option<Vec<u8>> {
    let mut rgb = Vec::with_capacity(rgba.len() / 4 * 3);
    for pixel in rgba.chunks_exact(4) {
        rgb.extend_from_slice(&pixel[..3]);
    }
    let mut encoded = Vec::with_capacity(original.len());
    let mut encoder = Encoder::new(&mut encoded, width, height);
    encoder.set_color(ColorType::Rgb);
    encoder.set_depth(BitDepth::Eight);
    let mut writer = encoder.write_header().ok()?;
    for chunk in chunks(original).filter(|chunk| KEPT_CHUNKS.contains(&chunk.name)) {
        writer
            .write_chunk(png::chunk::ChunkType(chunk.name), chunk.data)
            .ok()?;
    }
    writer.write_image_data(&rgb).ok()?;
    writer.finish().ok()?;
    Some(encoded)
}

#[cfg(test)]
#[path = "stealth/tests.rs"]
mod tests;
