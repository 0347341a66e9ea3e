//! Owns how paths and titles of model files are taken apart and compared: with
//! either slash, and with ASCII letters in either case.
//! It does not know hashes as identities, nor which name outranks which.

use std::borrow::Cow;

use crate::model::AutoV2;

/// Endings that model files have. Forge loads `.safetensors`, `.ckpt` and
/// `.gguf` as checkpoints and `.pt` and `.safetensors` as LoRAs; the others are
/// ones that users carry over from other programs.
pub const MODEL_ENDINGS: [&str; 7] = [
    ".safetensors",
    ".ckpt",
    ".pt",
    ".pth",
    ".bin",
    ".gguf",
    ".sft",
];

/// A name with `/` between folders.
pub fn with_slashes(name: &str) -> String {
    name.replace('\\', "/")
}

/// The same, copied only where it has other slashes.
pub fn slashed(name: &str) -> Cow<'_, str> {
    match name.contains('\\') {
        true => Cow::Owned(with_slashes(name)),
        false => Cow::Borrowed(name),
    }
}

/// The form in which names are looked up: `/` between folders, ASCII letters in
/// lower case. The database computes the same for its `_key` columns.
pub fn key(name: &str) -> String {
    with_slashes(name).to_ascii_lowercase()
}

/// The last part of a path with either slash.
pub fn last_part(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}

/// A file name without its ending, when that is one of [`MODEL_ENDINGS`].
pub fn without_ending(name: &str) -> &str {
    MODEL_ENDINGS
        .iter()
        .find_map(|ending| {
            let cut = name
                .len()
                .checked_sub(ending.len())
                .filter(|cut| *cut > 0)?;
            let tail = name.get(cut..)?;
            tail.eq_ignore_ascii_case(ending).then(|| &name[..cut])
        })
        .unwrap_or(name)
}

/// Splits a Forge title `rel/path.safetensors [0123456789]` into the name and
/// the AutoV2 hash, which Forge adds once it knows it (exchange 01, 02).
pub fn split_title(title: &str) -> (&str, Option<AutoV2>) {
    title
        .strip_suffix(']')
        .and_then(|rest| rest.rsplit_once(" ["))
        .and_then(|(name, digits)| Some((name.trim_end(), AutoV2::parse(digits)?)))
        .filter(|(name, _)| !name.is_empty())
        .map_or((title, None), |(name, hash)| (name, Some(hash)))
}

/// How well two names agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Agreement {
    /// To the letter.
    Exact,
    /// But for the case of ASCII letters.
    Folded,
}

/// Compares two names that have `/` between folders.
pub fn agree(one: &str, other: &str) -> Option<Agreement> {
    if one == other {
        Some(Agreement::Exact)
    } else {
        one.eq_ignore_ascii_case(other).then_some(Agreement::Folded)
    }
}

/// Compares a name with the end of a path, at a folder boundary; an ending such
/// as `.safetensors` may be left out of the name.
pub fn agree_at_end(name: &str, path: &str) -> Option<Agreement> {
    let with_ending = end_of(path, name.len()).and_then(|end| agree(name, end));
    let bare = without_ending(path);
    let without = (bare.len() < path.len())
        .then(|| end_of(bare, name.len()).and_then(|end| agree(name, end)))
        .flatten();
    [with_ending, without].into_iter().flatten().min()
}

/// The last `len` bytes of a path, when a folder boundary is before them.
fn end_of(path: &str, len: usize) -> Option<&str> {
    let cut = path.len().checked_sub(len)?;
    let end = path.get(cut..)?;
    (cut == 0 || path.as_bytes()[cut - 1] == b'/').then_some(end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_title_gives_up_its_hash_and_nothing_else() {
        let hash = AutoV2::parse("2870ca6e33");
        assert_eq!(
            split_title("sub dir/sd15 mini (v2).safetensors [2870ca6e33]"),
            ("sub dir/sd15 mini (v2).safetensors", hash.clone())
        );
        assert_eq!(split_title("x [2870CA6E33]"), ("x", hash));
        for plain in [
            "x",
            "x [v2]",
            "x[2870ca6e33]",
            " [2870ca6e33]",
            "x [2870ca6e33] ",
        ] {
            assert_eq!(split_title(plain), (plain, None), "{plain}");
        }
    }

    #[test]
    fn a_path_ends_with_a_name_only_at_a_folder() {
        let path = "/models/sub dir/Foo.v2.safetensors";
        assert_eq!(
            agree_at_end("Foo.v2.safetensors", path),
            Some(Agreement::Exact)
        );
        assert_eq!(agree_at_end("Foo.v2", path), Some(Agreement::Exact));
        assert_eq!(
            agree_at_end("sub dir/foo.v2", path),
            Some(Agreement::Folded)
        );
        assert_eq!(agree_at_end("o.v2.safetensors", path), None);
        assert_eq!(agree_at_end("Foo", path), None);
        assert_eq!(agree_at_end("dir/Foo.v2", path), None);
        assert_eq!(agree_at_end(path, path), Some(Agreement::Exact));
    }

    #[test]
    fn a_hidden_file_is_not_all_ending() {
        assert_eq!(without_ending(".safetensors"), ".safetensors");
        assert_eq!(without_ending("a.SafeTensors"), "a");
        assert_eq!(without_ending("a.txt"), "a.txt");
    }

    proptest! {
        #[test]
        fn any_text_can_be_taken_apart(one: String, other: String) {
            let (name, _) = split_title(&one);
            prop_assert!(one.starts_with(name));
            prop_assert!(one.ends_with(last_part(&one)));
            prop_assert!(one.starts_with(without_ending(&one)));
            if agree_at_end(&one, &other) == Some(Agreement::Exact) {
                prop_assert!(other.contains(&one));
            }
        }
    }
}
