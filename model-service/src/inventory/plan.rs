//! Owns the decision which listed file is which model, and what of a server's
//! files changes. It knows no SQL.
//!
//! A file is the model with the same full hash; else the model it was before,
//! unless the hashes say otherwise; else the one model that the registry has
//! under the same path, unless the hashes say otherwise; else a new one. Two
//! different known hashes are never one model.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use chrono::{DateTime, Utc};

use super::doubt::{self, Verdict};
use super::registry::Registry;
use super::{Change, InventoryMode, InventoryUpdate, ListedModel};
use crate::model::{ModelKind, NewModel};

/// A model of the registry, as far as planning needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelRow {
    /// Its id.
    pub id: i64,
    /// Its kind.
    pub kind: ModelKind,
    /// Its path in the registry.
    pub local_path: String,
    /// The title that Forge shows.
    pub forge_format: Option<String>,
    /// Its AutoV2 hash.
    pub autov2: Option<String>,
    /// Its SHA-256.
    pub sha256: Option<String>,
}

/// A file that the server had before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRow {
    /// Its row.
    pub id: i64,
    /// The model it was.
    pub model_id: i64,
    /// Its [`ListedModel::item_key`].
    pub item_key: String,
    /// Whether an inventory listed it.
    pub listed: bool,
    /// Since when it is in doubt; absent when it is not.
    pub doubted_since: Option<DateTime<Utc>>,
    /// Its kind, names and hash.
    pub file: ListedModel,
}

/// What there is before an inventory takes effect.
#[derive(Debug, Clone, Default)]
pub struct Before {
    /// The files of the server.
    pub files: Vec<FileRow>,
    /// Since when the inventory on file is in doubt; absent when it is not.
    pub doubted_since: Option<DateTime<Utc>>,
    /// The models that are on the server: id and title there.
    pub available: BTreeMap<i64, Option<String>>,
    /// The models of these files, and those that share a hash or a path with
    /// what is listed.
    pub models: Vec<ModelRow>,
    /// An id that no model has; those above it are free too.
    pub next_model_id: i64,
}

/// What an inventory changes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// New models with their ids.
    pub created: Vec<(i64, NewModel)>,
    /// Models that turned out to be one: the one that stays, the one that goes.
    pub merged: Vec<(i64, i64)>,
    /// Models of which more is known now.
    pub learned: Vec<ModelRow>,
    /// Files that are new on the server.
    pub new_files: Vec<(i64, ListedModel)>,
    /// Files that changed: row, model, file.
    pub changed_files: Vec<(i64, i64, ListedModel)>,
    /// Files that are gone: row and model.
    pub gone_files: Vec<(i64, i64)>,
    /// Files that come into doubt: rows.
    pub doubted_files: Vec<i64>,
    /// Files that are listed as they were and in doubt no longer: rows.
    pub cleared_files: Vec<i64>,
    /// How many models are in doubt afterwards.
    pub doubted_count: usize,
    /// Since when the first of them is.
    pub doubted_since: Option<DateTime<Utc>>,
    /// How many checkpoints are listed afterwards.
    pub checkpoint_count: usize,
    /// How many LoRAs are listed afterwards.
    pub lora_count: usize,
    /// The models on the server afterwards: id and title there.
    pub available: BTreeMap<i64, Option<String>>,
    /// The models on the server before, under the ids they have now.
    pub was_available: BTreeMap<i64, Option<String>>,
}

/// Decides what `update` changes. It was taken at `looked_at`.
pub fn plan(update: &InventoryUpdate, before: Before, looked_at: DateTime<Utc>) -> Plan {
    let Before {
        files,
        doubted_since,
        available,
        models,
        next_model_id,
    } = before;
    let mut registry = Registry::new(models, next_model_id);
    let mut plan = Plan::default();
    let mut names = plan.place(update, &files, &mut registry);
    let is_listed = |id| names.contains_key(&registry.now(id));
    let verdict = doubt::weigh(update, &files, is_listed, looked_at);
    for row in verdict.kept.iter().chain(&verdict.doubted) {
        let titles = names.entry(registry.now(row.model_id)).or_default();
        titles.push(row.file.title.clone());
    }
    plan.judge(&verdict, &registry, looked_at);
    for (id, title) in available {
        plan.was_available.entry(registry.now(id)).or_insert(title);
    }
    let had_files: HashSet<i64> = files.iter().map(|row| registry.now(row.model_id)).collect();
    let without_file = plan
        .was_available
        .iter()
        .filter(|(id, _)| !had_files.contains(id) && !names.contains_key(id));
    let without_file: Vec<(i64, Option<String>)> = without_file
        .map(|(id, title)| (*id, title.clone()))
        .collect();
    plan.available = titles_after(&plan.was_available, names);
    if update.mode != InventoryMode::Full {
        // A model that is on the server without a file of ours stays.
        plan.available.extend(without_file);
    } else if update.models.is_empty() && !doubt::is_second_look(doubted_since, looked_at) {
        // Those cannot be marked one by one; the inventory as a whole is.
        if !without_file.is_empty() {
            let since = doubted_since.unwrap_or(looked_at);
            plan.doubted_since = Some(plan.doubted_since.map_or(since, |one| one.min(since)));
        }
        plan.doubted_count += without_file.len();
        plan.available.extend(without_file);
    }
    registry.finish(&mut plan);
    plan
}

/// The models on the server with their titles: the one before, while a file has
/// it.
fn titles_after(
    was_available: &BTreeMap<i64, Option<String>>,
    names: BTreeMap<i64, Vec<String>>,
) -> BTreeMap<i64, Option<String>> {
    let one_of = |(id, mut titles): (i64, Vec<String>)| {
        let earlier = was_available.get(&id).cloned().flatten();
        let title = match earlier {
            Some(title) if titles.contains(&title) => title,
            _ => titles.swap_remove(0),
        };
        (id, Some(title))
    };
    names.into_iter().map(one_of).collect()
}

impl Plan {
    /// Takes in what is listed; answers the titles of each model that is.
    fn place(
        &mut self,
        update: &InventoryUpdate,
        files: &[FileRow],
        registry: &mut Registry,
    ) -> BTreeMap<i64, Vec<String>> {
        let earlier: HashMap<&str, &FileRow> = files
            .iter()
            .map(|row| (row.item_key.as_str(), row))
            .collect();
        let mut placed = Vec::new();
        for (key, change) in &update.models {
            if let Change::Listed(listed) = change {
                let row = earlier.get(key.as_str()).copied();
                let model_id = registry.place(listed, row.map(|row| row.model_id));
                placed.push((row, model_id, listed));
            }
        }
        let mut names: BTreeMap<i64, Vec<String>> = BTreeMap::new();
        for (row, model_id, listed) in placed {
            let model_id = registry.now(model_id);
            let titles = names.entry(model_id).or_default();
            titles.push(listed.title.clone());
            self.count(listed.kind);
            match row {
                None => self.new_files.push((model_id, listed.clone())),
                Some(row) if !row.is(registry, model_id, listed) => {
                    self.changed_files.push((row.id, model_id, listed.clone()));
                }
                Some(row) if row.doubted_since.is_some() => self.cleared_files.push(row.id),
                Some(_) => {}
            }
        }
        names
    }

    /// Takes in what becomes of the files that are not listed.
    fn judge(&mut self, verdict: &Verdict<'_>, registry: &Registry, looked_at: DateTime<Utc>) {
        for row in &verdict.gone {
            self.gone_files.push((row.id, registry.now(row.model_id)));
        }
        for row in verdict.kept.iter().filter(|row| row.listed) {
            self.count(row.file.kind);
        }
        let mut doubted = BTreeSet::new();
        for row in &verdict.doubted {
            if row.doubted_since.is_none() {
                self.doubted_files.push(row.id);
            }
            doubted.insert(registry.now(row.model_id));
            let since = row.doubted_since.unwrap_or(looked_at);
            self.doubted_since = Some(self.doubted_since.map_or(since, |one| one.min(since)));
        }
        self.doubted_count = doubted.len();
    }

    fn count(&mut self, kind: ModelKind) {
        match kind {
            ModelKind::Checkpoint => self.checkpoint_count += 1,
            ModelKind::Lora => self.lora_count += 1,
        }
    }
}

impl FileRow {
    /// Whether the row says already what is listed.
    fn is(&self, registry: &Registry, model_id: i64, listed: &ListedModel) -> bool {
        let Self {
            id: _,
            model_id: before,
            item_key: _,
            doubted_since: _,
            listed: was_listed,
            file,
        } = self;
        let alias = listed.alias_or_model_name();
        *was_listed
            && registry.now(*before) == model_id
            && file.title == listed.title
            && file.sha256 == listed.sha256
            && file.alias == alias
    }
}

#[cfg(test)]
mod tests;
