//! Which models a server has by its own list, for jobs that go without
//! model-service's word. Pure; what model-service says is `availability`'s.

use crate::{
    availability::{Finding, Reference},
    dispatch::forge::{ListedCheckpoint, ListedLora, Listing},
    verify::without_hash,
};

/// Hexadecimal digits of the short hash by which a server lists a checkpoint.
const SHORT_HASH_DIGITS: usize = 10;

/// What the list says of a reference.
#[must_use]
pub fn find(listing: &Listing, reference: &Reference) -> Finding {
    let mut found: Vec<(&str, Option<&String>)> = if reference.is_lora {
        let fits = |lora: &&ListedLora| is_lora(lora, &reference.text);
        let loras = listing.loras.iter().filter(fits);
        loras.map(|lora| (lora.name.as_str(), None)).collect()
    } else {
        let fits = |one: &&ListedCheckpoint| is_checkpoint(one, &reference.text);
        let checkpoints = listing.checkpoints.iter().filter(fits);
        checkpoints
            .map(|one| (one.title.as_str(), one.sha256.as_ref()))
            .collect()
    };
    found.dedup_by_key(|(title, _)| *title);
    match found.as_slice() {
        [] => Finding::Missing,
        [(title, sha256)] => Finding::Available {
            title: (*title).to_owned(),
            sha256: sha256.cloned(),
        },
        several => Finding::Ambiguous(
            several
                .iter()
                .map(|(title, _)| (*title).to_owned())
                .collect(),
        ),
    }
}

/// The same for a job that asks nobody: what the list does not have exactly
/// once goes to the server as the job names it.
#[must_use]
pub fn as_given(listing: Option<&Listing>, reference: &Reference) -> Finding {
    match listing.map(|listing| find(listing, reference)) {
        Some(found @ Finding::Available { .. }) => found,
        _ => Finding::Available {
            title: reference.text.clone(),
            sha256: None,
        },
    }
}

fn is_checkpoint(listed: &ListedCheckpoint, reference: &str) -> bool {
    let path = without_hash(&listed.title);
    let file = path.rsplit(['/', '\\']).next().unwrap_or_default();
    let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
    let names = [listed.title.as_str(), path, file, stem, &listed.model_name];
    let by_name = names.contains(&without_hash(reference)) || names.contains(&reference);
    let is_hash = |hash: &String| {
        reference.len() >= SHORT_HASH_DIGITS
            && hash
                .get(..reference.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(reference))
    };
    by_name || listed.sha256.as_ref().is_some_and(is_hash)
}

fn is_lora(listed: &ListedLora, reference: &str) -> bool {
    let file = listed.path.rsplit(['/', '\\']).next().unwrap_or_default();
    [listed.name.as_str(), file].contains(&reference) || listed.alias.as_deref() == Some(reference)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(text: &str, is_lora: bool) -> Reference {
        Reference {
            is_lora,
            text: text.to_owned(),
        }
    }

    fn listing() -> Listing {
        let checkpoint = |title: &str, sha256: Option<&str>| ListedCheckpoint {
            title: title.to_owned(),
            model_name: "n".to_owned(),
            filename: format!("/models/{title}"),
            sha256: sha256.map(str::to_owned),
            hash: None,
        };
        Listing {
            checkpoints: vec![
                checkpoint("a.safetensors [0123456789]", Some(&"0123456789".repeat(6))),
                checkpoint("sub/b.safetensors", None),
                checkpoint("other/b.safetensors", None),
            ],
            loras: vec![ListedLora {
                name: "ink".to_owned(),
                alias: Some("Ink style".to_owned()),
                path: "/loras/ink.safetensors".to_owned(),
            }],
            ..Listing::default()
        }
    }

    #[test]
    fn a_model_is_found_by_title_path_name_and_hash() {
        let listing = listing();
        for text in [
            "a.safetensors [0123456789]",
            "a.safetensors",
            "a",
            "0123456789",
            "01234567890123",
        ] {
            let found = find(&listing, &reference(text, false));
            let Finding::Available { title, .. } = found else {
                panic!("{text}: {found:?}")
            };
            assert_eq!(title, "a.safetensors [0123456789]", "{text}");
        }
        for text in ["ink", "Ink style", "ink.safetensors"] {
            let found = find(&listing, &reference(text, true));
            assert!(matches!(found, Finding::Available { .. }), "{text}");
        }
    }

    #[test]
    fn a_part_of_a_name_finds_nothing_and_a_name_twice_is_no_answer() {
        let listing = listing();
        for text in ["A", "safetensors", "01234", "", "ink"] {
            let found = find(&listing, &reference(text, false));
            assert_eq!(found, Finding::Missing, "{text}");
        }
        let found = find(&listing, &reference("b", false));
        assert!(matches!(found, Finding::Ambiguous(titles) if titles.len() == 2));
        let found = find(&listing, &reference("sub/b.safetensors", false));
        assert!(matches!(found, Finding::Available { .. }));
    }

    #[test]
    fn what_is_not_there_exactly_once_goes_as_it_is() {
        let listing = listing();
        for (listing, text, wanted) in [
            (Some(&listing), "a", "a.safetensors [0123456789]"),
            (Some(&listing), "b", "b"),
            (Some(&listing), "nope", "nope"),
            (None, "a", "a"),
        ] {
            let Finding::Available { title, .. } = as_given(listing, &reference(text, false))
            else {
                panic!("it goes")
            };
            assert_eq!(title, wanted);
        }
    }
}
