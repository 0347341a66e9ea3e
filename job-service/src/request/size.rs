//! How large a request is: the pixels it makes, the depth and bytes of its
//! body. The limits are checked elsewhere.

use serde_json::{Map, Value};

use super::GenerationRequest;
use super::limits::{HIRES_SCALE_DEFAULT, SIDE_DEFAULT};

impl GenerationRequest {
    /// Pixels that its largest pass works on at once: width by height by batch
    /// size, of the second pass where there is one.
    #[must_use]
    pub fn pixels(&self) -> i64 {
        let (width, height) = self.output_size();
        let batch = self.integer("batch_size").unwrap_or(1).max(1);
        let pixels = width
            .saturating_mul(height)
            .saturating_mul(batch.unsigned_abs());
        i64::try_from(pixels).unwrap_or(i64::MAX)
    }

    /// Pixels of all images that it asks for, hires fix included.
    #[must_use]
    pub fn pixels_of_all_images(&self) -> u64 {
        let (width, height) = self.output_size();
        let pixels = width.saturating_mul(height);
        pixels.saturating_mul(self.expected_images() as u64)
    }

    /// Pixels across and down of the final images, hires fix included.
    pub(super) fn output_size(&self) -> (u64, u64) {
        let side = |field| {
            let side = self.integer(field).unwrap_or(0);
            u64::try_from(side).unwrap_or(0)
        };
        let or_default = |side: u64| {
            if side == 0 {
                SIDE_DEFAULT.unsigned_abs()
            } else {
                side
            }
        };
        let (width, height) = (or_default(side("width")), or_default(side("height")));
        if !self.hires() {
            return (width, height);
        }
        match (side("hr_resize_x"), side("hr_resize_y")) {
            (0, 0) => {
                let scale = self.number("hr_scale").unwrap_or(HIRES_SCALE_DEFAULT);
                (scaled(width, scale), scaled(height, scale))
            }
            (across, 0) => (across, across.saturating_mul(height) / width),
            (0, down) => (down.saturating_mul(width) / height, down),
            both => both,
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a float becomes an integer by saturating, and sides are small"
)]
fn scaled(side: u64, scale: f64) -> u64 {
    (side as f64 * scale).ceil() as u64
}

/// Levels of nesting below a value.
pub(super) fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// Bytes of a body as JSON, counted without keeping them.
pub(super) fn json_bytes(body: &Map<String, Value>) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    match serde_json::to_writer(&mut count, body) {
        Ok(()) => count.0,
        // Writing to a counter cannot fail; a body that could not be written
        // is over the limit.
        Err(_) => usize::MAX,
    }
}
