//! Owns which files of a folder are models, and which of the others belong to
//! them by their names. Pure: what they say is read elsewhere.

use std::collections::HashMap;

/// Endings of model files, without the dot, in any case.
const MODEL_ENDINGS: [&str; 6] = ["safetensors", "ckpt", "pt", "pth", "sft", "gguf"];
/// Endings of pictures, the preferred one first.
const PICTURE_ENDINGS: [&str; 5] = ["png", "jpg", "jpeg", "webp", "gif"];
/// Words before the ending of a sidecar by which programs tell theirs apart.
const SIDECAR_WORDS: [&str; 4] = ["civitai", "metadata", "cm-info", "api_info"];
/// Parts of a name behind the model's own, as in `preview.png`.
const PARTS_MAX: usize = 2;

/// What a file beside a model is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    /// A picture of it; the lower number is preferred.
    Preview(usize),
    /// JSON about it; what kind shows its content.
    Sidecar,
    /// A plain text about it.
    Text,
}

/// The name of a model file without its ending; `None` for other files.
pub(super) fn stem(name: &[u8]) -> Option<&[u8]> {
    let (stem, ending) = split(name)?;
    (!stem.is_empty() && is_one_of(&MODEL_ENDINGS, ending)).then_some(stem)
}

/// Whether a file may belong to a model.
pub(super) fn may_belong(name: &[u8]) -> bool {
    split(name).is_some_and(|(_, ending)| {
        is_one_of(&PICTURE_ENDINGS, ending) || is_one_of(&["json", "info", "txt"], ending)
    })
}

/// The model that a file belongs to, and as what. Of several names that fit, as
/// of `a.b.json` beside `a.sft` and `a.b.sft`, the longest counts.
pub(super) fn owner<'a, T>(name: &[u8], stems: &'a HashMap<Vec<u8>, T>) -> Option<(&'a T, Role)> {
    let mut end = name.len();
    for _ in 0..PARTS_MAX {
        end = name[..end].iter().rposition(|byte| *byte == b'.')?;
        let owner = stems.get(&name[..end]);
        if let Some(owner) = owner
            && let Some(role) = role(&name[end + 1..])
        {
            return Some((owner, role));
        }
    }
    None
}

/// What a file is for whose name goes on so behind the model's own.
fn role(rest: &[u8]) -> Option<Role> {
    let Some((word, ending)) = split(rest) else {
        return match rest {
            _ if is_one_of(&["json", "info"], rest) => Some(Role::Sidecar),
            _ if is_one_of(&["txt"], rest) => Some(Role::Text),
            _ => picture(rest, PICTURE_ENDINGS.len()),
        };
    };
    if is_one_of(&["preview"], word) {
        return picture(ending, 0);
    }
    if is_one_of(&["description"], word) && is_one_of(&["txt"], ending) {
        return Some(Role::Text);
    }
    let known = is_one_of(&SIDECAR_WORDS, word) || is_one_of(&MODEL_ENDINGS, word);
    (known && is_one_of(&["json", "info"], ending)).then_some(Role::Sidecar)
}

fn picture(ending: &[u8], behind: usize) -> Option<Role> {
    let mut endings = PICTURE_ENDINGS.iter();
    let place = endings.position(|known| ending.eq_ignore_ascii_case(known.as_bytes()))?;
    Some(Role::Preview(behind + place))
}

fn split(name: &[u8]) -> Option<(&[u8], &[u8])> {
    let dot = name.iter().rposition(|byte| *byte == b'.')?;
    Some((&name[..dot], &name[dot + 1..]))
}

fn is_one_of(words: &[&str], word: &[u8]) -> bool {
    let mut words = words.iter();
    words.any(|known| word.eq_ignore_ascii_case(known.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_told_by_their_ending_in_any_case() {
        for name in [
            "a.safetensors",
            "a.CKPT",
            "a.b.Pt",
            "a.pth",
            " .sft",
            "\n.gguf",
        ] {
            assert!(stem(name.as_bytes()).is_some(), "{name:?}");
        }
        for name in [
            "safetensors",
            ".sft",
            "a.safetensors.part",
            "a.bin",
            "a.sft ",
            "",
        ] {
            assert_eq!(stem(name.as_bytes()), None, "{name:?}");
        }
        assert_eq!(stem(b"\xff.sft"), Some(&b"\xff"[..]));
    }

    #[test]
    fn what_lies_beside_belongs_to_the_longest_name() {
        let stems: HashMap<Vec<u8>, &str> = ["a", "a.b", "\u{e9}"]
            .map(|stem| (stem.as_bytes().to_vec(), stem))
            .into();
        let found = |name: &str| owner(name.as_bytes(), &stems).map(|(stem, role)| (*stem, role));
        for (name, stem, role) in [
            ("a.json", "a", Role::Sidecar),
            ("a.civitai.info", "a", Role::Sidecar),
            ("a.Civitai.JSON", "a", Role::Sidecar),
            ("a.metadata.json", "a", Role::Sidecar),
            ("a.cm-info.json", "a", Role::Sidecar),
            ("a.safetensors.json", "a", Role::Sidecar),
            ("a.b.json", "a.b", Role::Sidecar),
            ("a.b.preview.png", "a.b", Role::Preview(0)),
            ("a.preview.gif", "a", Role::Preview(4)),
            ("a.jpg", "a", Role::Preview(6)),
            ("a.txt", "a", Role::Text),
            ("a.description.txt", "a", Role::Text),
            ("\u{e9}.webp", "\u{e9}", Role::Preview(8)),
        ] {
            assert_eq!(found(name), Some((stem, role)), "{name}");
            assert!(may_belong(name.as_bytes()), "{name}");
        }
        for none in [
            "b.json",
            "a.c.json",
            "ab.json",
            "a.preview",
            "json",
            "a.yaml",
            "A.json",
        ] {
            assert_eq!(found(none), None, "{none}");
        }
    }
}
