//! Owns what becomes of found files: which model each is of, and which of the
//! model's fields are filled. It finds and reads nothing.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};

use super::found::FileNow;
use super::kind::KindFound;
use super::stamp::FileStamp;
use crate::error::ModelError;
use crate::findings::{Field, Finding, Source, fill};
use crate::model::ModelKind;
use crate::names;
use crate::store::library_models::{Namesake, NewFileModel};
use crate::store::{self, Connection};

/// What a found file is to the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// There is no row of it.
    New {
        /// The model of another name of the same file.
        same_as: Option<i64>,
        /// Whether it is the only new file of its name, so that the name may tell
        /// its model.
        only_of_its_name: bool,
    },
    /// There is a row of it at this path.
    Known {
        id: i64,
        model_id: Option<i64>,
        /// Whether it or what lies beside it is not as the row says.
        changed: bool,
        content_differs: bool,
        was_missing: bool,
    },
    /// There is a row of it at a path where nothing is any more.
    Moved { id: i64, model_id: Option<i64> },
}

/// A found file with what it says.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) what: What,
    pub(super) file: FileNow,
    pub(super) kind: KindFound,
    /// What its model is called when nobody says.
    pub(super) stem: String,
    pub(super) filename: String,
    pub(super) local_path: String,
    /// At most one for each field.
    pub(super) findings: Vec<Finding>,
    pub(super) sidecars: u64,
}

/// What came of a batch.
#[derive(Debug, Default)]
pub(super) struct Settled {
    pub(super) new: u64,
    pub(super) changed: u64,
    pub(super) moved: u64,
    pub(super) returned: u64,
    pub(super) models_created: u64,
    pub(super) fields_filled: u64,
    pub(super) sidecars: u64,
    /// Files that are neither checkpoints nor LoRAs.
    pub(super) others: u64,
    /// The models of the files, by which other names of the same files are known.
    pub(super) models: HashMap<FileStamp, i64>,
}

/// Writes a batch of files. `models` has the models of the files of the batches
/// before.
pub(super) fn settle(
    connection: &mut Connection,
    items: &[Item],
    models: &HashMap<FileStamp, i64>,
    now: DateTime<Utc>,
) -> Result<Settled, ModelError> {
    let keys: HashSet<String> = items.iter().filter_map(Item::key_to_match).collect();
    let keys: Vec<String> = keys.into_iter().collect();
    let mut batch = Batch {
        namesakes: store::library_models::namesakes(connection, &keys)?,
        claimed: HashSet::new(),
        models,
        said: Vec::new(),
        settled: Settled::default(),
        now,
    };
    for item in items {
        batch.put(connection, item)?;
    }
    store::field_sources::put(connection, &batch.said)?;
    Ok(batch.settled)
}

impl Item {
    fn model_id(&self) -> Option<i64> {
        match self.what {
            What::New { same_as, .. } => same_as,
            What::Known { model_id, .. } | What::Moved { model_id, .. } => model_id,
        }
    }

    /// The key of its name, when its model is still to be found.
    fn key_to_match(&self) -> Option<String> {
        self.model_id()
            .is_none()
            .then(|| names::key(&self.filename))
    }

    /// The model among those that go by its name which is its own: that which
    /// says its path, else the only one of the name and kind.
    fn own(&self, namesakes: &[Namesake], claimed: &HashSet<i64>) -> Option<i64> {
        let is_free = |it: &&Namesake| !it.has_file && !claimed.contains(&it.id);
        let says_path = |it: &&Namesake| names::with_slashes(&it.local_path) == self.local_path;
        let mut by_path = namesakes.iter().filter(says_path).filter(is_free);
        if let Some(namesake) = by_path.next() {
            return Some(namesake.id);
        }
        let What::New {
            only_of_its_name: true,
            ..
        } = self.what
        else {
            return None;
        };
        let fits = |it: &&Namesake| match self.kind {
            KindFound::Said(kind) => it.kind == Some(kind),
            KindFound::Taken(_) => true,
            KindFound::Other => false,
        };
        let mut by_name = namesakes.iter().filter(fits);
        let only = by_name.next().filter(is_free)?;
        by_name.next().is_none().then_some(only.id)
    }
}

struct Batch<'a> {
    namesakes: HashMap<String, Vec<Namesake>>,
    /// Models that files of this batch turned out to be of.
    claimed: HashSet<i64>,
    models: &'a HashMap<FileStamp, i64>,
    /// Who said the fields of new models, written at the end in one go.
    said: Vec<(i64, Field, Source)>,
    settled: Settled,
    now: DateTime<Utc>,
}

impl Batch<'_> {
    fn put(&mut self, connection: &mut Connection, item: &Item) -> Result<(), ModelError> {
        let known = item.model_id().or_else(|| self.of_same_file(item));
        let known = known.or_else(|| {
            let namesakes = self.namesakes.get(&names::key(&item.filename))?;
            item.own(namesakes, &self.claimed)
        });
        let model_id = match (known, item.kind) {
            (Some(id), _) => {
                self.fill(connection, item, id)?;
                Some(id)
            }
            (None, KindFound::Said(kind) | KindFound::Taken(kind)) => {
                Some(self.create(connection, item, kind)?)
            }
            (None, KindFound::Other) => None,
        };
        if let Some(id) = model_id {
            self.claimed.insert(id);
            self.settled.models.insert(item.file.stamp, id);
        }
        self.settled.sidecars += item.sidecars;
        self.settled.others += u64::from(item.kind == KindFound::Other);
        self.put_file(connection, item, model_id)
    }

    /// The model of another name of the same file in this scan.
    fn of_same_file(&self, item: &Item) -> Option<i64> {
        let stamp = &item.file.stamp;
        let here = self.settled.models.get(stamp);
        here.or_else(|| self.models.get(stamp)).copied()
    }

    fn fill(
        &mut self,
        connection: &mut Connection,
        item: &Item,
        model_id: i64,
    ) -> Result<(), ModelError> {
        store::library_models::put_file(connection, model_id, item.file.stamp)?;
        if item.findings.is_empty() {
            return Ok(());
        }
        let present = store::field_sources::present(connection, model_id)?;
        let written = fill(&present, item.findings.clone());
        store::field_sources::apply(connection, model_id, &written)?;
        self.settled.fields_filled += len(&written);
        Ok(())
    }

    fn create(
        &mut self,
        connection: &mut Connection,
        item: &Item,
        kind: ModelKind,
    ) -> Result<i64, ModelError> {
        let new = NewFileModel {
            kind,
            name: &item.stem,
            local_path: &item.local_path,
            filename: &item.filename,
            stamp: item.file.stamp,
            findings: &item.findings,
        };
        let id = store::library_models::insert(connection, &new, self.now)?;
        let findings = item.findings.iter();
        let said = findings.map(|finding| (id, finding.field(), finding.source()));
        self.said.extend(said);
        if !item.findings.iter().any(|it| it.field() == Field::Name) {
            self.said.push((id, Field::Name, Source::FileName));
        }
        self.settled.models_created += 1;
        self.settled.fields_filled += len(&item.findings);
        Ok(id)
    }

    fn put_file(
        &mut self,
        connection: &mut Connection,
        item: &Item,
        model_id: Option<i64>,
    ) -> Result<(), ModelError> {
        let (settled, file) = (&mut self.settled, &item.file);
        let (id, content_differs) = match item.what {
            What::New { .. } => {
                settled.new += 1;
                return Ok(store::library_files::put(
                    connection, file, model_id, self.now,
                )?);
            }
            What::Known {
                id,
                changed,
                content_differs,
                was_missing,
                ..
            } => {
                settled.changed += u64::from(changed);
                settled.returned += u64::from(was_missing);
                (id, content_differs)
            }
            What::Moved { id, .. } => {
                settled.moved += 1;
                (id, false)
            }
        };
        store::library_files::update(connection, id, file, model_id, content_differs, self.now)?;
        Ok(())
    }
}

fn len<T>(items: &[T]) -> u64 {
    items.len().try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(kind: KindFound, only_of_its_name: bool) -> Item {
        Item {
            what: What::New {
                same_as: None,
                only_of_its_name,
            },
            file: FileNow {
                root: "main".into(),
                path: b"x/a.sft".to_vec(),
                stamp: FileStamp {
                    size_bytes: 1,
                    modified_ns: 2,
                    device: 3,
                    inode: 4,
                },
                beside_stamp: "-".into(),
                preview_path: None,
                header_problem: None,
            },
            kind,
            stem: "a".into(),
            filename: "a.sft".into(),
            local_path: "/m/x/a.sft".into(),
            findings: Vec::new(),
            sidecars: 0,
        }
    }

    fn namesake(id: i64, kind: ModelKind, local_path: &str) -> Namesake {
        Namesake {
            id,
            kind: Some(kind),
            local_path: local_path.into(),
            has_file: false,
        }
    }

    #[test]
    fn a_path_tells_the_model_with_either_slash_and_before_a_name() {
        let (lora, full) = (ModelKind::Lora, ModelKind::Checkpoint);
        let models = [
            namesake(1, lora, "/y/a.sft"),
            namesake(2, full, r"\m\x\a.sft"),
        ];
        let own =
            |item: Item, claimed: &[i64]| item.own(&models, &claimed.iter().copied().collect());
        assert_eq!(own(item(KindFound::Said(lora), true), &[]), Some(2));
        assert_eq!(own(item(KindFound::Other, false), &[]), Some(2));
        assert_eq!(own(item(KindFound::Said(lora), false), &[2]), None);
    }

    #[test]
    fn a_name_tells_the_model_only_when_nothing_else_goes_by_it() {
        let (lora, full) = (ModelKind::Lora, ModelKind::Checkpoint);
        let mut models = vec![namesake(1, lora, ""), namesake(2, full, "")];
        let own = |item: Item, models: &[Namesake]| item.own(models, &HashSet::new());
        assert_eq!(own(item(KindFound::Said(lora), true), &models), Some(1));
        // Another new file has the name as well.
        assert_eq!(own(item(KindFound::Said(lora), false), &models), None);
        // Nobody says of what kind the file is, and there is one of each.
        assert_eq!(own(item(KindFound::Taken(lora), true), &models), None);
        assert_eq!(
            own(item(KindFound::Taken(lora), true), &models[1..]),
            Some(2)
        );
        models[0].has_file = true;
        assert_eq!(own(item(KindFound::Said(lora), true), &models), None);
    }
}
