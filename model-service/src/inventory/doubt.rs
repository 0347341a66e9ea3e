//! Owns when what a full inventory lacks is gone, and when a second look must
//! agree first: a server that starts, or whose disk is away for a moment, lists
//! little or nothing. It reads no clock and changes nothing.

use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};

use super::{Change, FileRow, InventoryMode, InventoryUpdate, title_item_key};
use crate::model::ModelKind;
use crate::names;

/// How long after the look that lacked much another one counts as a second
/// look. Looks are told apart by when they were taken, not by when they arrive:
/// a caller whose answer was lost sends the same look again, however late.
pub const SECOND_LOOK_AFTER: TimeDelta = TimeDelta::seconds(5);

/// Fewer files of one kind than this can go at once, as long as the server lists
/// others of that kind.
pub const LACKING_LEAST: usize = 5;

/// What becomes of the files that an inventory does not list.
#[derive(Debug, Default)]
pub(super) struct Verdict<'a> {
    /// They go.
    pub(super) gone: Vec<&'a FileRow>,
    /// They stay in doubt, or come into it.
    pub(super) doubted: Vec<&'a FileRow>,
    /// Nothing is said of them.
    pub(super) kept: Vec<&'a FileRow>,
}

/// Whether a look that was taken at `looked_at` may confirm what one of `since`
/// lacked.
pub fn is_second_look(since: Option<DateTime<Utc>>, looked_at: DateTime<Utc>) -> bool {
    since.is_some_and(|since| looked_at.signed_duration_since(since) >= SECOND_LOOK_AFTER)
}

/// Decides about every file that `update` does not list. `is_listed` says
/// whether it lists a model under another file.
pub(super) fn weigh<'a>(
    update: &InventoryUpdate,
    files: &'a [FileRow],
    is_listed: impl Fn(i64) -> bool,
    looked_at: DateTime<Utc>,
) -> Verdict<'a> {
    let mut verdict = Verdict::default();
    let unlisted = files
        .iter()
        .filter(|row| !matches!(update.models.get(&row.item_key), Some(Change::Listed(_))));
    if update.mode != InventoryMode::Full {
        for row in unlisted {
            if is_removed(update, row) {
                verdict.gone.push(row);
            } else if row.doubted_since.is_some() {
                verdict.doubted.push(row);
            } else {
                verdict.kept.push(row);
            }
        }
        return verdict;
    }
    let moved = moved_names(update, files);
    let mut fresh: BTreeMap<ModelKind, Vec<&FileRow>> = BTreeMap::new();
    for row in unlisted {
        let name = (row.file.kind, names::key(row.file.filename()));
        if is_listed(row.model_id) || moved.contains(&name) {
            // It is elsewhere on the server, which says so.
            verdict.gone.push(row);
        } else if row.doubted_since.is_none() {
            fresh.entry(row.file.kind).or_default().push(row);
        } else if is_second_look(row.doubted_since, looked_at) {
            verdict.gone.push(row);
        } else {
            verdict.doubted.push(row);
        }
    }
    for (kind, lacking) in fresh {
        if is_suspicious(update, files, kind, lacking.len()) {
            verdict.doubted.extend(lacking);
        } else {
            verdict.gone.extend(lacking);
        }
    }
    verdict
}

/// Whether `lacking` files of a kind that were there a moment ago are too many
/// to believe it at once.
fn is_suspicious(
    update: &InventoryUpdate,
    files: &[FileRow],
    kind: ModelKind,
    lacking: usize,
) -> bool {
    let is_of_kind = |row: &&FileRow| row.file.kind == kind && row.doubted_since.is_none();
    let before = files.iter().filter(is_of_kind).count();
    let much = lacking >= LACKING_LEAST && lacking.saturating_mul(2) > before;
    much || !lists(update, kind)
}

/// Whether an inventory lists anything of a kind.
fn lists(update: &InventoryUpdate, kind: ModelKind) -> bool {
    let mut changes = update.models.values();
    changes.any(|change| matches!(change, Change::Listed(model) if model.kind == kind))
}

/// File names that are listed where the server had no file before: one that is
/// lacking elsewhere was moved there.
fn moved_names(update: &InventoryUpdate, files: &[FileRow]) -> HashSet<(ModelKind, String)> {
    let known: HashSet<&str> = files.iter().map(|row| row.item_key.as_str()).collect();
    let new = update
        .models
        .iter()
        .filter(|(key, _)| !known.contains(key.as_str()));
    new.filter_map(|(_, change)| match change {
        Change::Listed(model) => Some((model.kind, names::key(model.filename()))),
        Change::Removed(_) => None,
    })
    .collect()
}

/// Whether a delta says that a file is gone.
fn is_removed(update: &InventoryUpdate, row: &FileRow) -> bool {
    let removed = |key: &str| matches!(update.models.get(key), Some(Change::Removed(_)));
    // A removal may know the title only.
    removed(&row.item_key) || removed(&title_item_key(row.file.kind, row.file.bare_title()))
}

#[cfg(test)]
mod tests;
