//! The options of Forge that a request can override. Every one of them is
//! sent with every job, since overrides leak into later jobs on a real server
//! (exchange 09/03); so only what changes pictures is here.

use super::{CHECKPOINT_OPTION, CLIP_SKIP_MAX, MODULES_MAX, MODULES_OPTION, SEED_MAX};

/// What an option holds. The listing of options gives whole numbers as
/// floats, and an integer option that is given a float can fail (`uni_pc_order`
/// 2.0 is a 500), so the type is known here.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum OptionKind {
    /// A whole number between two others.
    Integer(i64, i64),
    /// A number between two others.
    Number(f64, f64),
    /// Yes or no.
    Flag,
    /// A name.
    Text,
    /// A list of at most so many names.
    Names(usize),
}

use OptionKind::{Flag, Integer, Names, Number, Text};

/// The options that a caller may set, with what they hold.
pub(crate) const OPTIONS: &[(&str, OptionKind)] = &[
    (CHECKPOINT_OPTION, Text),
    (MODULES_OPTION, Names(MODULES_MAX)),
    ("CLIP_stop_at_last_layers", Integer(1, CLIP_SKIP_MAX)),
    ("forge_unet_storage_dtype", Text),
    ("emphasis", Text),
    ("use_old_emphasis_implementation", Flag),
    ("comma_padding_backtrack", Integer(0, 74)),
    ("sdxl_clip_l_skip", Flag),
    ("sdxl_crop_top", Integer(0, 4096)),
    ("sdxl_crop_left", Integer(0, 4096)),
    ("sdxl_refiner_low_aesthetic_score", Number(0.0, 10.0)),
    ("sdxl_refiner_high_aesthetic_score", Number(0.0, 10.0)),
    ("randn_source", Text),
    ("eta_noise_seed_delta", Integer(0, SEED_MAX)),
    ("enable_batch_seeds", Flag),
    ("no_dpmpp_sde_batch_determinism", Flag),
    ("sd_vae_encode_method", Text),
    ("sd_vae_decode_method", Text),
    ("token_merging_ratio", Number(0.0, 0.9)),
    ("token_merging_ratio_img2img", Number(0.0, 0.9)),
    ("token_merging_ratio_hr", Number(0.0, 0.9)),
    ("eta_ddim", Number(0.0, 1.0)),
    ("eta_ancestral", Number(0.0, 1.0)),
    ("ddim_discretize", Text),
    ("s_churn", Number(0.0, 100.0)),
    ("s_tmin", Number(0.0, 10.0)),
    ("s_tmax", Number(0.0, 999.0)),
    ("s_noise", Number(0.0, 1.1)),
    ("s_min_uncond_all", Flag),
    ("skip_early_cond", Number(0.0, 1.0)),
    ("sigma_min", Number(0.0, 2.0)),
    ("sigma_max", Number(0.0, 60.0)),
    ("rho", Number(0.0, 10.0)),
    ("sd_noise_schedule", Text),
    ("beta_dist_alpha", Number(0.01, 2.0)),
    ("beta_dist_beta", Number(0.01, 2.0)),
    ("sgm_noise_multiplier", Flag),
    ("always_discard_next_to_last_sigma", Flag),
    ("uni_pc_variant", Text),
    ("uni_pc_skip_type", Text),
    ("uni_pc_order", Integer(1, 50)),
    ("uni_pc_lower_order_final", Flag),
    ("use_old_scheduling", Flag),
    ("use_old_karras_scheduler_sigmas", Flag),
    ("use_old_hires_fix_width_height", Flag),
    ("use_downcasted_alpha_bar", Flag),
    ("pad_cond_uncond", Flag),
    ("pad_cond_uncond_v0", Flag),
    ("refiner_switch_by_sample_steps", Flag),
    ("hires_fix_refiner_pass", Text),
    ("hires_fix_use_firstpass_conds", Flag),
    ("inpainting_mask_weight", Number(0.0, 1.0)),
    ("img2img_extra_noise", Number(0.0, 1.0)),
    ("img2img_color_correction", Flag),
    ("img2img_fix_steps", Flag),
    ("overlay_inpaint", Flag),
    ("face_restoration_model", Text),
    ("code_former_weight", Number(0.0, 1.0)),
];

/// The options that only StableQueue sets, on DEDICATED servers: where and
/// how pictures are saved (`forge/forge-api.md` §9.3).
pub const OWN_OPTIONS: &[&str] = &[
    "samples_format",
    "samples_filename_pattern",
    "save_images_add_number",
    "save_images_replace_action",
    "save_to_dirs",
    "directories_filename_pattern",
    "grid_save",
    "return_grid",
    "enable_pnginfo",
    "stealth_pnginfo_option",
    "save_txt",
];

/// The options that say where a server saves pictures; overriding them has no
/// effect (`forge/forge-api.md` §1), so they are only read.
pub const FOLDER_OPTIONS: &[&str] = &[
    "outdir_samples",
    "outdir_txt2img_samples",
    "outdir_img2img_samples",
];

/// Every option that StableQueue can set in `override_settings`: those of
/// callers, then its own.
pub const SETTABLE_OPTIONS: &[&str] = &settable();

const fn settable() -> [&'static str; OPTIONS.len() + OWN_OPTIONS.len()] {
    let mut names = [""; OPTIONS.len() + OWN_OPTIONS.len()];
    let mut at = 0;
    while at < OPTIONS.len() {
        names[at] = OPTIONS[at].0;
        at += 1;
    }
    while at < names.len() {
        names[at] = OWN_OPTIONS[at - OPTIONS.len()];
        at += 1;
    }
    names
}

/// What the option of this name holds, if a caller may set it.
pub(super) fn kind_of(name: &str) -> Option<OptionKind> {
    OPTIONS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, kind)| *kind)
}

/// Whether Forge wants an integer for this option.
pub(super) fn is_integer(name: &str) -> bool {
    matches!(kind_of(name), Some(Integer(..)))
}
