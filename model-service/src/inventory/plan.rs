//! Owns the decision which listed file is which model, and what of a server's
//! files changes. It knows no SQL.
//!
//! A file is the model with the same full hash; else the model it was before,
//! unless the hashes say otherwise; else the one model that the registry has
//! under the same path, unless the hashes say otherwise; else a new one. Two
//! different known hashes are never one model.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::{Change, InventoryMode, InventoryUpdate, ListedModel, title_item_key};
use crate::model::{AutoV2, CivitaiMetadata, MetadataStatus, ModelKind, NewModel, Sha256};
use crate::names;

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
    /// Its kind, names and hash.
    pub file: ListedModel,
}

/// What there is before an inventory takes effect.
#[derive(Debug, Clone, Default)]
pub struct Before {
    /// The files of the server.
    pub files: Vec<FileRow>,
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
    /// The models on the server afterwards: id and title there.
    pub available: BTreeMap<i64, Option<String>>,
    /// The models on the server before, under the ids they have now.
    pub was_available: BTreeMap<i64, Option<String>>,
}

/// Decides what `update` changes.
pub fn plan(update: &InventoryUpdate, before: Before) -> Plan {
    let Before {
        files,
        available,
        models,
        next_model_id,
    } = before;
    let mut registry = Registry::new(models, next_model_id);
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
    let mut plan = Plan::default();
    let mut names: BTreeMap<i64, Vec<String>> = BTreeMap::new();
    for (row, model_id, listed) in placed {
        let model_id = registry.now(model_id);
        names
            .entry(model_id)
            .or_default()
            .push(listed.title.clone());
        match row {
            None => plan.new_files.push((model_id, listed.clone())),
            Some(row) if row.is(&registry, model_id, listed) => {}
            Some(row) => plan.changed_files.push((row.id, model_id, listed.clone())),
        }
    }
    for row in &files {
        if update.drops(row) {
            plan.gone_files.push((row.id, registry.now(row.model_id)));
        } else if !update.models.contains_key(&row.item_key) {
            let titles = names.entry(registry.now(row.model_id)).or_default();
            titles.push(row.file.title.clone());
        }
    }
    for (id, title) in available {
        plan.was_available.entry(registry.now(id)).or_insert(title);
    }
    let had_files: HashSet<i64> = files.iter().map(|row| registry.now(row.model_id)).collect();
    plan.available = available_after(update, &plan.was_available, &had_files, names);
    registry.finish(&mut plan);
    plan
}

fn available_after(
    update: &InventoryUpdate,
    was_available: &BTreeMap<i64, Option<String>>,
    had_files: &HashSet<i64>,
    names: BTreeMap<i64, Vec<String>>,
) -> BTreeMap<i64, Option<String>> {
    let mut after = BTreeMap::new();
    if update.mode != InventoryMode::Full {
        // A model that is on the server without a file of ours stays.
        let kept = was_available
            .iter()
            .filter(|(id, _)| !had_files.contains(id));
        after.extend(kept.map(|(id, title)| (*id, title.clone())));
    }
    for (id, mut titles) in names {
        let earlier = was_available.get(&id).cloned().flatten();
        let title = match earlier {
            Some(title) if titles.contains(&title) => title,
            _ => titles.swap_remove(0),
        };
        after.insert(id, Some(title));
    }
    after
}

impl InventoryUpdate {
    /// Whether a file that was on the server is gone.
    fn drops(&self, row: &FileRow) -> bool {
        match (self.models.get(&row.item_key), &self.mode) {
            (Some(Change::Listed(_)), _) => false,
            (Some(Change::Removed(_)), _) | (None, InventoryMode::Full) => true,
            (None, InventoryMode::Delta { .. }) => {
                // A removal may know the title only.
                let by_title = title_item_key(row.file.kind, row.file.bare_title());
                matches!(self.models.get(&by_title), Some(Change::Removed(_)))
            }
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

/// The models that matter, as they will be.
struct Registry {
    rows: BTreeMap<i64, ModelRow>,
    by_sha256: HashMap<(ModelKind, String), i64>,
    by_path: HashMap<(ModelKind, String), Vec<i64>>,
    /// Models that were merged away, and into which.
    merged: BTreeMap<i64, i64>,
    created: BTreeMap<i64, NewModel>,
    learned: BTreeSet<i64>,
    next_id: i64,
}

impl Registry {
    fn new(rows: Vec<ModelRow>, next_id: i64) -> Self {
        let mut registry = Self {
            rows: BTreeMap::new(),
            by_sha256: HashMap::new(),
            by_path: HashMap::new(),
            merged: BTreeMap::new(),
            created: BTreeMap::new(),
            learned: BTreeSet::new(),
            next_id,
        };
        for row in rows {
            if let Some(sha256) = &row.sha256 {
                // Of two rows with one hash the older one is the model.
                let known = registry
                    .by_sha256
                    .entry((row.kind, sha256.clone()))
                    .or_insert(row.id);
                *known = (*known).min(row.id);
            }
            let same_path = registry
                .by_path
                .entry((row.kind, row.local_path.clone()))
                .or_default();
            same_path.push(row.id);
            registry.rows.insert(row.id, row);
        }
        registry
    }

    /// The id that a model has after all merges so far.
    fn now(&self, mut id: i64) -> i64 {
        // Ends: a model is merged into an older one only.
        while let Some(into) = self.merged.get(&id) {
            id = *into;
        }
        id
    }

    /// The model that a listed file is.
    fn place(&mut self, listed: &ListedModel, earlier: Option<i64>) -> i64 {
        let earlier = earlier
            .map(|id| self.now(id))
            .filter(|id| self.may_be(*id, listed));
        let same_hash = listed.sha256.as_ref().and_then(|sha256| {
            let known = self
                .by_sha256
                .get(&(listed.kind, sha256.as_str().to_owned()))?;
            Some(self.now(*known))
        });
        let id = match (same_hash, earlier) {
            (Some(one), Some(other)) if one != other => self.merge(one, other),
            (Some(id), _) | (None, Some(id)) => id,
            (None, None) => self.at_path(listed).unwrap_or_else(|| self.create(listed)),
        };
        self.learn(id, listed);
        id
    }

    /// Whether nothing that is known of the hashes speaks against it.
    fn may_be(&self, id: i64, listed: &ListedModel) -> bool {
        let Some(row) = self.rows.get(&id) else {
            return false;
        };
        let sha256 = listed.sha256.as_ref().map(Sha256::as_str);
        let autov2 = listed.autov2();
        agree(row.sha256.as_deref(), sha256)
            && agree(row.autov2.as_deref(), autov2.as_ref().map(AutoV2::as_str))
    }

    fn at_path(&self, listed: &ListedModel) -> Option<i64> {
        if listed.path.is_empty() {
            return None;
        }
        let same_path = self.by_path.get(&(listed.kind, listed.path.clone()))?;
        let mut possible: Vec<i64> = same_path
            .iter()
            .map(|id| self.now(*id))
            .filter(|id| self.may_be(*id, listed))
            .collect();
        possible.dedup();
        match possible.as_slice() {
            [only] => Some(*only),
            _ => None,
        }
    }

    fn create(&mut self, listed: &ListedModel) -> i64 {
        let id = self.next_id;
        self.next_id += 1;
        let filename = listed.filename();
        self.created.insert(
            id,
            NewModel {
                name: names::without_ending(filename).to_owned(),
                kind: listed.kind,
                local_path: listed.local_path().to_owned(),
                filename: filename.to_owned(),
                forge_format: None,
                autov2: None,
                sha256: None,
                civitai: CivitaiMetadata::default(),
                metadata_status: MetadataStatus::Incomplete,
            },
        );
        self.rows.insert(
            id,
            ModelRow {
                id,
                kind: listed.kind,
                local_path: listed.local_path().to_owned(),
                forge_format: None,
                autov2: None,
                sha256: None,
            },
        );
        id
    }

    /// Makes two rows one; the older one stays.
    fn merge(&mut self, one: i64, other: i64) -> i64 {
        let (stays, goes) = (one.min(other), one.max(other));
        self.merged.insert(goes, stays);
        let gone = self.rows.remove(&goes);
        if let (Some(gone), Some(row)) = (gone, self.rows.get_mut(&stays)) {
            row.sha256 = row.sha256.take().or(gone.sha256);
            row.autov2 = row.autov2.take().or(gone.autov2);
            row.forge_format = row.forge_format.take().or(gone.forge_format);
            self.learned.insert(stays);
        }
        stays
    }

    /// Fills in what a listing knows and the row does not.
    fn learn(&mut self, id: i64, listed: &ListedModel) {
        let Some(row) = self.rows.get_mut(&id) else {
            return;
        };
        let before = row.clone();
        let autov2 = listed.autov2();
        if row.sha256.is_none() {
            row.sha256 = listed.sha256.as_ref().map(|hash| hash.as_str().to_owned());
        }
        if row.autov2.is_none() {
            row.autov2 = autov2.as_ref().map(|hash| hash.as_str().to_owned());
        }
        let gains_hash = row.forge_format.as_deref().is_none_or(|known| {
            let (name, hash) = names::split_title(known);
            hash.is_none() && name == listed.bare_title() && listed.title != name
        });
        if gains_hash {
            row.forge_format = Some(listed.title.clone());
        }
        if let Some(sha256) = &row.sha256 {
            self.by_sha256.insert((row.kind, sha256.clone()), id);
        }
        if *row != before {
            self.learned.insert(id);
        }
    }

    fn finish(mut self, plan: &mut Plan) {
        for (goes, stays) in std::mem::take(&mut self.merged) {
            if self.created.remove(&goes).is_none() {
                plan.merged.push((stays, goes));
            }
        }
        for id in self.learned {
            let Some(row) = self.rows.remove(&id) else {
                continue;
            };
            match self.created.get_mut(&id) {
                None => plan.learned.push(row),
                Some(created) => {
                    created.sha256 = row.sha256.as_deref().and_then(Sha256::parse);
                    created.autov2 = row.autov2.as_deref().and_then(AutoV2::parse);
                    created.forge_format = row.forge_format;
                }
            }
        }
        plan.created = self.created.into_iter().collect();
    }
}

/// Two hashes agree unless both are known and differ.
fn agree(one: Option<&str>, other: Option<&str>) -> bool {
    one.zip(other).is_none_or(|(one, other)| one == other)
}

#[cfg(test)]
mod tests;
