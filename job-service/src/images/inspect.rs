//! Is a file a whole picture within the limits? Dimensions are looked at
//! before pixels, and all pixels are decoded once.

use std::io::Cursor;

use image::{ImageFormat, ImageReader, Limits};
use png::Decoder;

use crate::request::IMAGE_PIXELS_MAX;

/// Bytes of decoded pixels: the largest image, at four bytes a pixel.
pub const PIXEL_BYTES_MAX: usize = 4 * 8192 * 8192;

/// What a picture is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageFacts {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Its media type.
    pub media_type: &'static str,
}

/// Decodes a picture to see that it is whole; an error says what is wrong.
pub fn inspect(bytes: &[u8]) -> Result<ImageFacts, String> {
    let (format, facts) = header(bytes)?;
    if format == ImageFormat::Png {
        decode_png(bytes)?;
    } else {
        let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
        let mut limits = Limits::default();
        limits.max_alloc = Some(PIXEL_BYTES_MAX as u64);
        reader.limits(limits);
        reader
            .decode()
            .map_err(|error| format!("it cannot be decoded: {error}"))?;
    }
    Ok(facts)
}

/// What a picture says of itself in front of its pixels, which are not looked
/// at; an error says what is wrong.
///
/// # Errors
/// When it is of no kind that is kept, or larger than allowed.
pub fn look_at_header(bytes: &[u8]) -> Result<ImageFacts, String> {
    header(bytes).map(|(_, facts)| facts)
}

fn header(bytes: &[u8]) -> Result<(ImageFormat, ImageFacts), String> {
    let format = image::guess_format(bytes).map_err(|_| "its format is unknown".to_owned())?;
    let media_type = match format {
        ImageFormat::Png => "image/png",
        ImageFormat::Jpeg => "image/jpeg",
        ImageFormat::WebP => "image/webp",
        other => return Err(format!("its format {other:?} is not taken")),
    };
    let (width, height) = ImageReader::with_format(Cursor::new(bytes), format)
        .into_dimensions()
        .map_err(|error| format!("its size cannot be read: {error}"))?;
    if u64::from(width) * u64::from(height) > IMAGE_PIXELS_MAX {
        return Err(format!(
            "{width} x {height} pixels are more than {IMAGE_PIXELS_MAX}"
        ));
    }
    let facts = ImageFacts {
        width,
        height,
        media_type,
    };
    Ok((format, facts))
}

/// Decodes a PNG to its very end, so that a cut file is seen.
fn decode_png(bytes: &[u8]) -> Result<(), String> {
    let fault = |error: png::DecodingError| format!("it cannot be decoded: {error}");
    let limits = png::Limits {
        bytes: PIXEL_BYTES_MAX,
    };
    let decoder = Decoder::new_with_limits(Cursor::new(bytes), limits);
    let mut reader = decoder.read_info().map_err(fault)?;
    while reader.next_row().map_err(fault)?.is_some() {}
    reader.finish().map_err(fault)
}
