//! Paints the pictures: a pattern that follows from prompt, seed and model, noisy while sampling is unfinished.
//! Knows nothing of files or HTTP.

use image::{RgbImage, imageops::FilterType};
use sha2::{Digest, Sha256};

/// What a picture depends on.
#[derive(Clone, Debug)]
pub(crate) struct Motif {
    pub(crate) prompt: String,
    pub(crate) seed: i128,
    pub(crate) model_hash: String,
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// Share of sampling that is missing: 0 finished, 1 pure noise.
    pub(crate) noise: f32,
    /// The picture to start from and how far to go away from it (0 to 1).
    pub(crate) init: Option<(RgbImage, f32)>,
}

/// Deterministic numbers drawn from the motif's digest.
struct Dice {
    state: u64,
}

impl Dice {
    fn new(motif: &Motif) -> Self {
        let text = format!("{}\n{}\n{}", motif.prompt, motif.seed, motif.model_hash);
        let digest = Sha256::digest(text.as_bytes());
        let state = digest
            .iter()
            .take(8)
            .fold(0_u64, |state, byte| (state << 8) | u64::from(*byte));
        Self { state: state | 1 }
    }

    /// splitmix64.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 up to, not including, 1.
    fn unit(&mut self) -> f32 {
        f32::from(u16::try_from(self.next() >> 48).unwrap_or(0)) / 65536.0
    }

    fn color(&mut self, brightness: f32) -> [f32; 3] {
        let hue = self.unit() * std::f32::consts::TAU;
        [0.0, 2.1, 4.2].map(|shift| (brightness + 0.28 * (hue + shift).cos()).clamp(0.0, 1.0))
    }
}

struct Disc {
    x: f32,
    y: f32,
    radius: f32,
    color: [f32; 3],
}

/// Paints one picture.
#[expect(
    clippy::cast_precision_loss,
    reason = "picture sides are far below 2^24"
)]
pub(crate) fn paint(motif: &Motif) -> RgbImage {
    let mut dice = Dice::new(motif);
    let [low, high, glow] = [dice.color(0.28), dice.color(0.62), dice.color(0.72)];
    let tilt = dice.unit() * std::f32::consts::TAU;
    let waves: [f32; 4] = std::array::from_fn(|_| 2.0 + 7.0 * dice.unit());
    let discs: Vec<Disc> = (0..4)
        .map(|_| Disc {
            x: dice.unit(),
            y: dice.unit(),
            radius: 0.06 + 0.16 * dice.unit(),
            color: dice.color(0.6),
        })
        .collect();
    let side = motif.width.max(motif.height).max(1) as f32;
    let start = motif
        .init
        .as_ref()
        .map(|(init, strength)| (fitted(init, motif), *strength));
    RgbImage::from_fn(motif.width, motif.height, |column, row| {
        let (x, y) = (column as f32 / side, row as f32 / side);
        let slope = (x * tilt.cos() + y * tilt.sin() + 1.0) / 2.4;
        let wave = ((x * waves[0] + (y * waves[1]).sin()).sin()
            + (y * waves[2] - (x * waves[3]).cos()).sin())
            / 4.0;
        let mut color = mix(low, high, (slope + wave).clamp(0.0, 1.0));
        color = mix(color, glow, (wave * 1.4).clamp(0.0, 0.6));
        for disc in &discs {
            let distance = ((x - disc.x).powi(2) + (y - disc.y).powi(2)).sqrt() / disc.radius;
            color = mix(
                color,
                disc.color,
                (1.0 - distance).clamp(0.0, 1.0).sqrt() * 0.7,
            );
        }
        if let Some((init, strength)) = &start {
            let from = init
                .get_pixel(column, row)
                .0
                .map(|channel| f32::from(channel) / 255.0);
            color = mix(from, color, *strength);
        }
        if motif.noise > 0.0 {
            color = mix(color, std::array::from_fn(|_| dice.unit()), motif.noise);
        }
        image::Rgb(color.map(to_byte))
    })
}

fn fitted(init: &RgbImage, motif: &Motif) -> RgbImage {
    if init.dimensions() == (motif.width, motif.height) {
        return init.clone();
    }
    image::imageops::resize(init, motif.width, motif.height, FilterType::Triangle)
}

fn mix(from: [f32; 3], to: [f32; 3], share: f32) -> [f32; 3] {
    std::array::from_fn(|channel| from[channel] + (to[channel] - from[channel]) * share)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to 0..=255"
)]
fn to_byte(channel: f32) -> u8 {
    (channel.clamp(0.0, 1.0) * 255.0).round() as u8
}

/// Lays pictures side by side, `columns` in a row, as Forge's grid does.
pub(crate) fn grid(pictures: &[RgbImage], columns: usize) -> RgbImage {
    let columns = columns.clamp(1, pictures.len().max(1));
    let rows = pictures.len().div_ceil(columns);
    let (width, height) = pictures.first().map_or((1, 1), RgbImage::dimensions);
    let as_u32 = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let mut sheet = RgbImage::new(width * as_u32(columns), height * as_u32(rows));
    for (index, picture) in pictures.iter().enumerate() {
        let (column, row) = (as_u32(index % columns), as_u32(index / columns));
        image::imageops::replace(
            &mut sheet,
            picture,
            i64::from(column * width),
            i64::from(row * height),
        );
    }
    sheet
}
