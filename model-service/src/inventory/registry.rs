//! Owns which listed file is which model: the registry as it will be while an
//! inventory is planned. It does not decide what becomes of files.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::ListedModel;
use super::plan::{ModelRow, Plan};
use crate::model::{AutoV2, CivitaiMetadata, Details, MetadataStatus, ModelKind, NewModel, Sha256};
use crate::names;

/// The models that matter, as they will be.
pub(super) struct Registry {
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
    pub(super) fn new(rows: Vec<ModelRow>, next_id: i64) -> Self {
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
    pub(super) fn now(&self, mut id: i64) -> i64 {
        // Ends: a model is merged into an older one only.
        while let Some(into) = self.merged.get(&id) {
            id = *into;
        }
        id
    }

    /// The model that a listed file is.
    pub(super) fn place(&mut self, listed: &ListedModel, earlier: Option<i64>) -> i64 {
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
                details: Details::default(),
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

    pub(super) fn finish(mut self, plan: &mut Plan) {
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
