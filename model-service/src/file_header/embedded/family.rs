//! Owns the family of a model by its metadata, for adaptations in the order in which Forge decides
//! it. It does not look at tensors.

use super::super::{Header, Stated};
use super::said;

/// The start of an architecture, and its family. The first that fits counts.
const ARCHITECTURES: [(&str, &str); 11] = [
    ("stable-diffusion-v1", "SD1"),
    ("stable-diffusion-v2", "SD2"),
    ("stable-diffusion-xl", "SDXL"),
    ("sd-xl", "SDXL"),
    ("sdxl", "SDXL"),
    ("stable-diffusion-3", "SD3"),
    ("stable-diffusion-v3", "SD3"),
    ("sd-3", "SD3"),
    ("sd3", "SD3"),
    ("flux.2", "Flux.2"),
    ("flux", "Flux"),
];

/// The start of kohya's word for what was trained on, and its family.
const BASES: [(&str, &str); 8] = [
    ("sdxl_", "SDXL"),
    ("sd_v2", "SD2"),
    ("sd_v1", "SD1"),
    ("flux1", "Flux"),
    ("medium", "SD3"),
    ("5-large", "SD3"),
    ("5-medium", "SD3"),
    ("sd3", "SD3"),
];

/// The family in Forge's words where it has one (SD1, SD2, SDXL, SD3, Flux), else the word of the
/// file; `None` when it says nothing.
pub(super) fn family(header: &Header) -> Option<String> {
    let lower = |name: &str| said(header, name).map(str::to_ascii_lowercase);
    let architecture = lower("modelspec.architecture").or_else(|| lower("general.architecture"));
    let base = lower("ss_base_model_version");
    let known = by_forge(header, architecture.as_deref(), base.as_deref())
        .or_else(|| of(&ARCHITECTURES, architecture.as_deref()?))
        .or_else(|| of(&BASES, base.as_deref()?));
    if let Some(family) = known {
        return Some(family.to_owned());
    }
    if header.stated == Some(Stated::Other) {
        // What a text encoder is made for, its word does not tell.
        return None;
    }
    let word = said(header, "modelspec.architecture")
        .or_else(|| said(header, "ss_base_model_version"))
        .or_else(|| said(header, "general.architecture"))?;
    Some(word.split('/').next().unwrap_or(word).to_owned())
}

/// As Forge decides for adaptations; `None` where it says Unknown.
fn by_forge(
    header: &Header,
    architecture: Option<&str>,
    base: Option<&str>,
) -> Option<&'static str> {
    if header.stated != Some(Stated::Lora) {
        return None;
    }
    let implementation = said(header, "modelspec.implementation");
    if implementation == Some("https://github.com/black-forest-labs/flux")
        || architecture == Some("flux-1-dev/lora")
    {
        Some("Flux")
    } else if architecture == Some("stable-diffusion-xl-v1-base/lora")
        || base.is_some_and(|base| base.starts_with("sdxl_"))
    {
        Some("SDXL")
    } else if said(header, "ss_v2") == Some("True") {
        Some("SD2")
    } else if architecture == Some("stable-diffusion-v1/lora") {
        Some("SD1")
    } else {
        None
    }
}

fn of(table: &[(&str, &'static str)], word: &str) -> Option<&'static str> {
    let fits = |(start, _): &&(&str, &str)| word.starts_with(start);
    table.iter().find(fits).map(|(_, family)| *family)
}
