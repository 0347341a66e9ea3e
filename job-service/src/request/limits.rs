//! The limits of a request; each is named once, here.

/// Sampling steps of a pass.
pub const STEPS_MAX: i64 = 150;
/// Pixels along a side.
pub const SIDE_MIN: i64 = 64;
/// Pixels along a side.
pub const SIDE_MAX: i64 = 4096;
/// What a side must be a multiple of: Forge would round down silently
/// (exchange 03/12).
pub const SIDE_STEP: i64 = 8;
/// Pixels along a side after hires fix.
pub const HIRES_SIDE_MAX: i64 = 8192;
/// The largest factor of hires fix.
pub const HIRES_SCALE_MAX: f64 = 4.0;
/// Images made at once.
pub const BATCH_SIZE_MAX: i64 = 16;
/// Batches one after another.
pub const ITERATIONS_MAX: i64 = 64;
/// Images of a request.
pub const IMAGES_MAX: usize = 128;
/// Pixels of one image, hires fix included.
pub const IMAGE_PIXELS_MAX: u64 = 8192 * 8192;
/// Pixels of all images of a request, hires fix included: 128 of 1024 x 1024.
pub const REQUEST_PIXELS_MAX: u64 = 128 * 1024 * 1024;
/// Classifier-free and distilled guidance.
pub const GUIDANCE_MAX: f64 = 100.0;
/// The largest seed that Forge's own page offers.
pub const SEED_MAX: i64 = 4_294_967_295;
/// Bytes of a prompt.
pub const PROMPT_BYTES_MAX: usize = 65_536;
/// Bytes of a name: of a model, sampler, upscaler, style, script.
pub const NAME_BYTES_MAX: usize = 1024;
/// Models that a request names: checkpoints and LoRAs.
pub const MODELS_MAX: usize = 64;
/// Images to begin from.
pub const INIT_IMAGES_MAX: usize = 8;
/// Names of styles.
pub const STYLES_MAX: usize = 16;
/// VAE and text-encoder modules.
pub const MODULES_MAX: usize = 8;
/// Layers of CLIP that can be skipped.
pub const CLIP_SKIP_MAX: i64 = 12;
/// Bytes of a whole body as JSON.
pub const BODY_BYTES_MAX: usize = 32 * 1024 * 1024;
/// How deep a body may be nested.
pub const JSON_DEPTH_MAX: usize = 32;
/// Pixels along a side of an image that is sent along.
pub const INPUT_SIDE_MAX: u32 = 8192;
/// Violations that are reported; more are not told apart.
pub const VIOLATIONS_MAX: usize = 100;
/// Whole numbers up to here are exact as floating point (2^53).
pub const EXACT_INTEGER_MAX: f64 = 9_007_199_254_740_992.0;
/// Pixels along a side when the request does not say (Forge's default).
pub const SIDE_DEFAULT: i64 = 512;
/// The factor of hires fix when the request does not say (Forge's default).
pub const HIRES_SCALE_DEFAULT: f64 = 2.0;
/// Guidance when the request does not say (Forge's default).
pub const CFG_SCALE_DEFAULT: f64 = 7.0;
