//! The `<lora:NAME:WEIGHT>` tags in a prompt. Which file a name means is not
//! decided here.

use std::borrow::Cow;
use std::ops::Range;

const TAG_START: &str = "<lora:";

/// A tag in a prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LoraTag<'a> {
    /// The name as written.
    pub(crate) name: &'a str,
    /// What follows the name, without the colon before it.
    pub(crate) weight: &'a str,
    /// Where the name stands in the prompt, in bytes.
    place: Range<usize>,
}

impl LoraTag<'_> {
    /// Whether its weight is given and zero, so that it does nothing.
    pub(crate) fn is_off(&self) -> bool {
        self.weight.trim().parse::<f64>() == Ok(0.0)
    }
}

/// The tags of a prompt, in order. A tag ends at the next `>`; its name at
/// the next colon.
pub(crate) fn lora_tags(prompt: &str) -> impl Iterator<Item = LoraTag<'_>> {
    prompt.match_indices(TAG_START).filter_map(|(at, _)| {
        let start = at + TAG_START.len();
        let inside = &prompt[start..start + prompt[start..].find('>')?];
        let (name, weight) = inside.split_once(':').unwrap_or((inside, ""));
        (!name.is_empty()).then(|| LoraTag {
            name,
            weight,
            place: start..start + name.len(),
        })
    })
}

/// The prompt with each name replaced by what `rename` gives for it.
pub(crate) fn rename_loras<'p>(
    prompt: &'p str,
    rename: &dyn Fn(&str) -> Option<String>,
) -> Cow<'p, str> {
    let mut renamed = String::new();
    let mut copied = 0;
    for tag in lora_tags(prompt) {
        let Some(name) = rename(tag.name).filter(|name| name != tag.name) else {
            continue;
        };
        renamed.push_str(&prompt[copied..tag.place.start]);
        renamed.push_str(&name);
        copied = tag.place.end;
    }
    if copied == 0 {
        return Cow::Borrowed(prompt);
    }
    renamed.push_str(&prompt[copied..]);
    Cow::Owned(renamed)
}
