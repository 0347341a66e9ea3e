//! Owns why a reference stands for one model, for several or for none, in words. It does not decide
//! that (`reference.rs`, `availability.rs`).

use crate::availability::{KnownModel, MayFit, Resolution};
use crate::reference::Reference;
use crate::reference::reading::with_article;

/// Most models that are named in one sentence.
const NAMED_MAX: usize = 4;
/// Longest name in a sentence, in bytes.
const NAME_BYTES_MAX: usize = 80;

/// What was compared with what, and why `resolution` came of it. At most a few sentences.
pub fn explain(reference: &Reference, may_fit: &MayFit, resolution: &Resolution) -> String {
    let mut sentences = vec![reference.reading()];
    match resolution {
        Resolution::One(id, _) => sentences.extend(why_one(reference, may_fit, *id)),
        Resolution::Many(ids) => sentences.extend(why_many(reference, may_fit, ids)),
        Resolution::None => {
            sentences.push("No model fits.".to_owned());
            sentences.extend(reference.misreading());
            sentences.extend(near_misses(reference, may_fit));
        }
    }
    sentences.join(" ")
}

fn why_one(reference: &Reference, may_fit: &MayFit, chosen: i64) -> Vec<String> {
    let fitting = |model: &&KnownModel| model.fit_anywhere(reference).is_some();
    let known = || may_fit.models.iter().map(|model| &**model);
    let Some(model) = known().find(|model| model.id == chosen) else {
        return Vec::new();
    };
    let mut sentences = vec![format!("It fits {}.", how(model, reference))];
    let others = || known().filter(fitting).filter(|other| other.id != chosen);
    let twin = |other: &&KnownModel| other.sha256.is_some() && other.sha256 == model.sha256;
    sentences.extend(listed(
        others().filter(twin).map(named),
        "has the same SHA-256 and counts as the same model",
        "have the same SHA-256 and count as the same model",
    ));
    sentences.extend(listed(
        others()
            .filter(|other| !twin(other))
            .map(|other| how(other, reference)),
        "fits less well",
        "fit less well",
    ));
    sentences
}

fn why_many(reference: &Reference, may_fit: &MayFit, ids: &[i64]) -> Vec<String> {
    let known = may_fit
        .models
        .iter()
        .filter(|model| ids.contains(&model.id));
    let hows = known.map(|model| how(model, reference));
    if ids.is_empty() {
        let more = "None of those that were looked at fits, but more models were found under a \
                    part of the name, so that another one may: name it by its whole path, an \
                    alias or its SHA-256.";
        return vec![more.to_owned()];
    }
    if ids.len() == 1 {
        let fits = listed(hows, "fits best", "fit best");
        let more = "But more models were found under a part of the name than were looked at, so \
                    that others may fit as well: name it by its path, an alias or its SHA-256.";
        return fits.into_iter().chain([more.to_owned()]).collect();
    }
    let fits = listed(hows, "fits", "fit equally well, and none is guessed");
    let remedy = "Name one by its path, an alias or its SHA-256.";
    fits.into_iter().chain([remedy.to_owned()]).collect()
}

/// Models that only one condition kept from fitting.
fn near_misses(reference: &Reference, may_fit: &MayFit) -> Vec<String> {
    let known = || may_fit.models.iter().map(|model| &**model);
    let mut sentences = Vec::new();
    if let Some(kind) = reference.kind {
        let any = reference.of_any_kind();
        let other_kind = known()
            .filter(|model| model.kind != kind && model.fit_anywhere(&any).is_some())
            .map(|model| format!("{} is {}", how(model, &any), with_article(model.kind)));
        let asked = format!("and {} was asked for", with_article(kind));
        sentences.extend(listed(other_kind, &asked, &asked));
    }
    if let Some((name, hash)) = reference.without_title_hash() {
        let other_hash = known()
            .filter(|model| model.fit_anywhere(&name).is_some())
            .filter_map(|model| {
                let known = model
                    .autov2
                    .as_deref()
                    .filter(|known| *known != hash.as_str())?;
                Some(format!(
                    "{} has that name and the AutoV2 {known}",
                    named(model)
                ))
            });
        let asked = format!("and not {}", hash.as_str());
        sentences.extend(listed(other_hash, &asked, &asked));
    }
    if let Some(beginning) = reference.beginning() {
        let other_end = known().filter(|model| model.autov2.as_deref() == Some(beginning.as_str()));
        sentences.extend(listed(
            other_end.filter(|model| model.sha256.is_some()).map(named),
            "has the same AutoV2 and another SHA-256",
            "have the same AutoV2 and another SHA-256",
        ));
    }
    sentences
}

/// One sentence about at most [`NAMED_MAX`] of them; none without any.
fn listed(items: impl Iterator<Item = String>, of_one: &str, of_several: &str) -> Option<String> {
    let items: Vec<String> = items.collect();
    let said = if items.len() == 1 { of_one } else { of_several };
    let more = match items.len().saturating_sub(NAMED_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let shown = items.get(..items.len().min(NAMED_MAX))?;
    let mut sentence = format!("{}{more} {said}.", shown.join(", "));
    if let Some(first) = sentence.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    (!items.is_empty()).then_some(sentence)
}

fn how(model: &KnownModel, reference: &Reference) -> String {
    let fit = model.fit_anywhere(reference);
    let how = fit.map(|fit| {
        let place = fit.file.and_then(|place| model.files.get(place));
        let server = place.map(|file| format!(" on server {}", file.server));
        format!(" {}{}", fit.words(), server.unwrap_or_default())
    });
    format!("{}{}", named(model), how.unwrap_or_default())
}

fn named(model: &KnownModel) -> String {
    let name = match model.local_path.as_str() {
        "" => model.filename.as_str(),
        path => end(path),
    };
    format!("model {} ({name:?})", model.id)
}

/// The end of a path, which tells more than its beginning.
fn end(path: &str) -> &str {
    let mut from = path.len().saturating_sub(NAME_BYTES_MAX);
    while !path.is_char_boundary(from) {
        from += 1;
    }
    &path[from..]
}

#[cfg(test)]
mod tests;
