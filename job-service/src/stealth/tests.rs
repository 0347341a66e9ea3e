use std::fs;
use std::path::Path;

use super::*;
use crate::images::PIXEL_BYTES_MAX;
use crate::infotext::parameters_of_png;

fn saved_picture() -> Vec<u8> {
    let file = "../tests/fixtures/forge/14-dispatcher-restart-recovery/03-fetched-job-5f3a9c-1.png";
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap()
}

fn pixels(png: &[u8]) -> (ColorType, Vec<u8>) {
    let mut reader = Decoder::new(Cursor::new(png)).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let frame = reader.next_frame(&mut pixels).unwrap();
    pixels.truncate(frame.buffer_size());
    (frame.color_type, pixels)
}

/// An RGBA picture of one colour with this alpha.
fn rgba(alpha: impl Fn(usize) -> u8) -> Vec<u8> {
    let (width, height) = (16_u32, 16_u32);
    let mut raw = Vec::new();
    for at in 0..(width * height) as usize {
        raw.extend([10, 20, 30, alpha(at)]);
    }
    let mut png = Vec::new();
    let mut encoder = Encoder::new(&mut png, width, height);
    encoder.set_color(ColorType::Rgba);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&raw).unwrap();
    writer.finish().unwrap();
    png
}

#[test]
fn a_saved_picture_loses_the_hidden_text_and_nothing_else() {
    let saved = saved_picture();
    let stripped = strip(&saved, PIXEL_BYTES_MAX).unwrap();
    assert_eq!(parameters_of_png(&stripped), parameters_of_png(&saved));
    let (before_type, before) = pixels(&saved);
    let (after_type, after) = pixels(&stripped);
    assert_eq!((before_type, after_type), (ColorType::Rgba, ColorType::Rgb));
    let colours: Vec<u8> = before
        .chunks(4)
        .flat_map(|pixel| pixel[..3].to_vec())
        .collect();
    assert_eq!(after, colours);
    assert_eq!(strip(&stripped, PIXEL_BYTES_MAX), None);
}

#[test]
fn alpha_that_means_something_stays() {
    assert_eq!(strip(&rgba(|_| 255), PIXEL_BYTES_MAX), None);
    assert_eq!(strip(&rgba(|at| at as u8), PIXEL_BYTES_MAX), None);
}

#[test]
fn a_picture_that_is_too_large_or_broken_stays() {
    let saved = saved_picture();
    assert_eq!(strip(&saved, 64 * 64), None);
    assert_eq!(strip(&saved[..saved.len() / 2], PIXEL_BYTES_MAX), None);
    assert_eq!(strip(b"no picture", PIXEL_BYTES_MAX), None);
}
