//! Owns what names suggest of a model: only asked for, and marked as such. Pure.

use crate::findings::{Field, Finding, Source};

/// Words in names of files and folders, and the family that they stand for.
const FAMILIES: [(&str, &str); 12] = [
    ("sdxl", "SDXL"),
    ("xl", "SDXL"),
    ("sd1", "SD1"),
    ("sd15", "SD1"),
    ("sd2", "SD2"),
    ("sd21", "SD2"),
    ("sd3", "SD3"),
    ("sd35", "SD3"),
    ("flux", "Flux"),
    ("flux1", "Flux"),
    ("pony", "Pony"),
    ("illustrious", "Illustrious"),
];

/// What a path beneath a root suggests. The last word that says something
/// counts: the file's name before its folder's.
pub(super) fn findings(path: &str) -> Vec<Finding> {
    let words = path.split(|character: char| !character.is_ascii_alphanumeric());
    let family = |word: &str| {
        let mut families = FAMILIES.iter();
        let known = families.find(|(known, _)| known.eq_ignore_ascii_case(word));
        known.map(|(_, family)| *family)
    };
    let suggested = words.filter_map(family).next_back();
    let finding =
        suggested.and_then(|family| Finding::text(Field::SdVersion, family, Source::FileName));
    finding.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::Value;

    #[test]
    fn the_last_word_that_is_known_names_the_family() {
        let family = |path| match findings(path).first().map(Finding::value) {
            Some(Value::Text(family)) => family.clone(),
            _ => String::new(),
        };
        assert_eq!(family("SDXL/fox.safetensors"), "SDXL");
        assert_eq!(family("SDXL/fox-sd15.safetensors"), "SD1");
        assert_eq!(family("FLUX/a_b.safetensors"), "Flux");
        for none in ["fluxus/ponytail.safetensors", "xlarge/sd.safetensors", ""] {
            assert_eq!(family(none), "", "{none}");
        }
    }
}
