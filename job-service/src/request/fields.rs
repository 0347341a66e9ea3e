//! The fields of Forge's two generation calls, with what they may hold.
//! Names, types and defaults: `forge/forge-api.md` §1.

use super::limits::*;

/// What a field may hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    /// A whole number between two others.
    Integer(i64, i64),
    /// A number of pixels: between two numbers and a multiple of
    /// [`SIDE_STEP`].
    Side(i64, i64),
    /// A number between two others.
    Number(f64, f64),
    /// Yes or no.
    Flag,
    /// Text of at most so many bytes.
    Text(usize),
    /// A list of at most so many names.
    Names(usize),
    /// A picture in base64.
    Picture,
    /// A list of 1 to so many pictures.
    Pictures(usize),
    /// `override_settings`.
    Options,
    /// `alwayson_scripts`.
    Scripts,
    /// A list of anything: arguments of a script.
    Arguments,
}

/// Which call knows a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    /// Both.
    Both,
    /// `txt2img` only.
    Txt2img,
    /// `img2img` only.
    Img2img,
}

use Kind::{
    Arguments, Flag, Integer, Names, Number, Options, Picture, Pictures, Scripts, Side, Text,
};
use Of::{Both, Img2img, Txt2img};

const SEED: Kind = Integer(-1, SEED_MAX);
const NAME: Kind = Text(NAME_BYTES_MAX);
const PROMPT: Kind = Text(PROMPT_BYTES_MAX);
const SHARE: Kind = Number(0.0, 1.0);
const GUIDANCE: Kind = Number(0.0, GUIDANCE_MAX);

/// Every field that a caller may set.
pub(super) const FIELDS: &[(&str, Of, Kind)] = &[
    ("prompt", Both, PROMPT),
    ("negative_prompt", Both, PROMPT),
    ("styles", Both, Names(STYLES_MAX)),
    ("seed", Both, SEED),
    ("subseed", Both, SEED),
    ("subseed_strength", Both, SHARE),
    ("seed_resize_from_h", Both, Integer(-1, SIDE_MAX)),
    ("seed_resize_from_w", Both, Integer(-1, SIDE_MAX)),
    ("sampler_name", Both, NAME),
    ("scheduler", Both, NAME),
    ("batch_size", Both, Integer(1, BATCH_SIZE_MAX)),
    ("n_iter", Both, Integer(1, ITERATIONS_MAX)),
    ("steps", Both, Integer(1, STEPS_MAX)),
    ("cfg_scale", Both, GUIDANCE),
    ("distilled_cfg_scale", Both, GUIDANCE),
    ("width", Both, Side(SIDE_MIN, SIDE_MAX)),
    ("height", Both, Side(SIDE_MIN, SIDE_MAX)),
    ("restore_faces", Both, Flag),
    ("tiling", Both, Flag),
    ("eta", Both, SHARE),
    ("s_min_uncond", Both, Number(0.0, 15.0)),
    ("denoising_strength", Both, SHARE),
    ("override_settings", Both, Options),
    ("refiner_checkpoint", Both, NAME),
    ("refiner_switch_at", Both, SHARE),
    ("disable_extra_networks", Both, Flag),
    ("script_name", Both, NAME),
    ("script_args", Both, Arguments),
    ("alwayson_scripts", Both, Scripts),
    ("enable_hr", Txt2img, Flag),
    ("firstphase_width", Txt2img, Side(0, SIDE_MAX)),
    ("firstphase_height", Txt2img, Side(0, SIDE_MAX)),
    ("hr_scale", Txt2img, Number(1.0, HIRES_SCALE_MAX)),
    ("hr_upscaler", Txt2img, NAME),
    ("hr_second_pass_steps", Txt2img, Integer(0, STEPS_MAX)),
    ("hr_resize_x", Txt2img, Side(0, HIRES_SIDE_MAX)),
    ("hr_resize_y", Txt2img, Side(0, HIRES_SIDE_MAX)),
    ("hr_checkpoint_name", Txt2img, NAME),
    ("hr_additional_modules", Txt2img, Names(MODULES_MAX)),
    ("hr_sampler_name", Txt2img, NAME),
    ("hr_scheduler", Txt2img, NAME),
    ("hr_prompt", Txt2img, PROMPT),
    ("hr_negative_prompt", Txt2img, PROMPT),
    ("hr_cfg", Txt2img, GUIDANCE),
    ("hr_distilled_cfg", Txt2img, GUIDANCE),
    ("init_images", Img2img, Pictures(INIT_IMAGES_MAX)),
    ("resize_mode", Img2img, Integer(0, 3)),
    ("image_cfg_scale", Img2img, GUIDANCE),
    ("mask", Img2img, Picture),
    ("mask_blur", Img2img, Integer(0, 256)),
    ("mask_blur_x", Img2img, Integer(0, 256)),
    ("mask_blur_y", Img2img, Integer(0, 256)),
    ("mask_round", Img2img, Flag),
    ("inpainting_fill", Img2img, Integer(0, 3)),
    ("inpaint_full_res", Img2img, Flag),
    ("inpaint_full_res_padding", Img2img, Integer(0, 256)),
    ("inpainting_mask_invert", Img2img, Integer(0, 1)),
    ("initial_noise_multiplier", Img2img, Number(0.0, 1.5)),
];

/// Fields that Forge knows and callers may not set, with the remedy.
pub(super) const RESERVED: &[(&str, &str)] = &[
    ("force_task_id", "StableQueue sets it; leave it out"),
    ("save_images", "StableQueue sets it; leave it out"),
    ("send_images", "StableQueue sets it; leave it out"),
    (
        "do_not_save_samples",
        "StableQueue decides what is saved; leave it out",
    ),
    (
        "do_not_save_grid",
        "StableQueue decides what is saved; leave it out",
    ),
    (
        "override_settings_restore_afterwards",
        "StableQueue sets it; leave it out",
    ),
    (
        "include_init_images",
        "images are not sent back; leave it out",
    ),
    ("sampler_index", "use sampler_name"),
    (
        "infotext",
        "it is broken in Forge; send its values as fields",
    ),
    (
        "firstpass_image",
        "Forge cannot take it over this call; leave it out",
    ),
    (
        "latent_mask",
        "Forge cannot take it over this call; use mask",
    ),
    (
        "comments",
        "it would change the text in the picture only; leave it out",
    ),
    (
        "s_churn",
        "Forge ignores it here; use override_settings.s_churn",
    ),
    (
        "s_tmin",
        "Forge ignores it here; use override_settings.s_tmin",
    ),
    (
        "s_tmax",
        "Forge ignores it here; use override_settings.s_tmax",
    ),
    (
        "s_noise",
        "Forge ignores it here; use override_settings.s_noise",
    ),
];

/// Scripts that run code of the caller's.
pub(super) const FORBIDDEN_SCRIPTS: &[&str] = &["custom code"];

/// The field of this name.
pub(super) fn field(name: &str) -> Option<(Of, Kind)> {
    FIELDS
        .iter()
        .find(|(known, _, _)| *known == name)
        .map(|(_, of, kind)| (*of, *kind))
}

/// Whether Forge wants an integer in this field.
pub(super) fn is_integer(name: &str) -> bool {
    matches!(field(name), Some((_, Integer(..) | Side(..))))
}
