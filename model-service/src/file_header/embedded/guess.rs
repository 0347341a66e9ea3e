//! Owns the guess at trigger words from what a LoRA was trained with. It is only a guess: nothing
//! in the file says what a prompt needs.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::super::Header;
use super::said;

/// Most words that are guessed.
const GUESSES_MAX: usize = 16;
/// Tags that most trainings have, which trigger nothing.
const EVERYDAY: [&str; 4] = ["1girl", "1boy", "solo", "no humans"];

/// A training folder, as `ss_dataset_dirs` tells it.
#[derive(Deserialize)]
struct Folder {
    img_count: Option<u64>,
}

/// A dataset, as `ss_datasets` tells it.
#[derive(Deserialize)]
struct Dataset {
    #[serde(default)]
    subsets: Vec<Subset>,
}

/// A part of a dataset.
#[derive(Deserialize)]
struct Subset {
    class_tokens: Option<String>,
    #[serde(default)]
    is_reg: bool,
}

/// The words in the order of trust: class tokens, what folders are called, tags that every picture
/// has. JSON that is cut says nothing.
pub(super) fn words(header: &Header) -> Vec<String> {
    let mut words = Vec::new();
    let mut add = |word: &str| {
        let word = word.trim();
        let new = !word.is_empty() && !words.iter().any(|known| known == word);
        if new && words.len() < GUESSES_MAX {
            words.push(word.to_owned());
        }
    };
    let datasets: Vec<Dataset> = parsed(header, "ss_datasets").unwrap_or_default();
    for subset in datasets.iter().flat_map(|dataset| &dataset.subsets) {
        if !subset.is_reg {
            add(subset.class_tokens.as_deref().unwrap_or_default());
        }
    }
    let tags: BTreeMap<String, BTreeMap<String, u64>> =
        parsed(header, "ss_tag_frequency").unwrap_or_default();
    let folders: BTreeMap<String, Folder> = parsed(header, "ss_dataset_dirs").unwrap_or_default();
    let trained = |name: &&String| !is_regularisation(name);
    for name in tags.keys().filter(trained) {
        add(folder_words(name).unwrap_or_default());
    }
    for (name, tags) in tags.iter().filter(|(name, _)| trained(name)) {
        let pictures = folders.get(name).and_then(|folder| folder.img_count);
        let Some(pictures) = pictures.filter(|pictures| *pictures > 0) else {
            continue;
        };
        for (tag, count) in tags {
            if *count >= pictures && !EVERYDAY.contains(&tag.trim()) {
                add(tag);
            }
        }
    }
    words
}

fn parsed<T: for<'de> Deserialize<'de>>(header: &Header, name: &str) -> Option<T> {
    // A text that is cut or foreign is no reason to complain of the file.
    serde_json::from_str(said(header, name)?).ok()
}

/// The words of `10_word class (2)`; `None` when it is called otherwise.
fn folder_words(name: &str) -> Option<&str> {
    let (repeats, words) = name.split_once('_')?;
    if repeats.is_empty() || !repeats.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let words = words.trim();
    let numbered = words.rsplit_once(" (").and_then(|(start, end)| {
        let digits = end.strip_suffix(')')?;
        digits
            .bytes()
            .all(|byte| byte.is_ascii_digit())
            .then_some(start)
    });
    Some(numbered.unwrap_or(words))
}

/// Folders of pictures that keep a training from forgetting are named for what they are not.
fn is_regularisation(name: &str) -> bool {
    folder_words(name).is_some_and(|words| words.starts_with("reg"))
}
