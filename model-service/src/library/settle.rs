//! Owns what becomes of found files: which model each is of, and which of the
//! model's fields are filled. It finds and reads nothing.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};

use super::found::FileNow;
use super::kind::KindFound;
use super::stamp::FileStamp;
use super::take_in;
use crate::error::ModelError;
use crate::findings::{Field, Finding, Source};
use crate::model::{ModelKind, Sha256};
use crate::names;
use crate::store::library_files::SeenFile;
use crate::store::library_models::{Namesake, NewFileModel};
use crate::store::{self, Connection};
pub(super) use filling::fill_in;

mod filling;

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
    /// Whether some sidecar is about another file.
    pub(super) of_another_file: bool,
    /// Whether sidecars were believed before, which it had to be seen about which
    /// file they are.
    pub(super) was_unproven: bool,
    /// The SHA-256 of the file, when it is known.
    pub(super) sha256: Option<Sha256>,
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
        next_id: store::library_models::next_id(connection)?,
        new_models: Vec::new(),
        new_files: Vec::new(),
        said: Vec::new(),
        settled: Settled::default(),
        now,
    };
    for item in items {
        batch.put(connection, item)?;
    }
    batch.write_new(connection)?;
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
        let is_free = |it: &&Namesake| {
            let sha256 = self.sha256.as_ref();
            is_free(it) && !sha256.is_some_and(|sha256| it.hashes.contradict(sha256))
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
    next_id: i64,
    /// Models, files and who said the fields of the models, which are written many
    /// at a time: at the end, or before one of them is needed.
    new_models: Vec<NewFileModel<'a>>,
    new_files: Vec<SeenFile<'a>>,
    said: Vec<(i64, Field, Source)>,
    settled: Settled,
    now: DateTime<Utc>,
}

impl<'a> Batch<'a> {
    fn put(&mut self, connection: &mut Connection, item: &'a Item) -> Result<(), ModelError> {
        let known = item.model_id().or_else(|| self.of_same_file(item));
        let known = known.or_else(|| {
            let namesakes = self.namesakes.get(&names::key(&item.filename))?;
            item.own(namesakes, &self.claimed)
        });
        let mut written = true;
        let mut model_id = match (known, item.kind) {
            (Some(id), _) => {
                self.make_written(connection, id)?;
                let filled = filling::fill_in(connection, item, id)?;
                self.settled.fields_filled += filled.unwrap_or_default();
                written = filled.is_some();
                Some(id)
            }
            (None, KindFound::Said(kind) | KindFound::Taken(kind)) => Some(self.create(item, kind)),
            (None, KindFound::Other) => None,
        };
        self.put_file(connection, item, model_id, written)?;
        if let (What::Known { id, .. }, None, Some(_)) = (item.what, item.model_id(), model_id) {
            model_id = self.learn(connection, item, id)?;
        }
        if let Some(id) = model_id {
            self.claimed.insert(id);
            self.settled.models.insert(item.file.stamp, id);
        }
        self.settled.sidecars += item.sidecars;
        self.settled.others += u64::from(item.kind == KindFound::Other);
        Ok(())
    }

    /// Lets the model of a file that had none, as when the model was removed,
    /// learn the hashes of the file; the model that it is of then.
    fn learn(
        &mut self,
        connection: &mut Connection,
        item: &Item,
        file_id: i64,
    ) -> Result<Option<i64>, ModelError> {
        if item.sha256.is_some() {
            // They go with the model, should it become another one.
            self.write_new(connection)?;
            let (path, name) = (&item.local_path, &item.filename);
            store::library_hashes::settle_again(connection, file_id, path, name, self.now)?;
            self.next_id = store::library_models::next_id(connection)?;
        }
        Ok(store::library_files::model_of(connection, file_id)?)
    }

    /// The model of another name of the same file in this scan.
    fn of_same_file(&self, item: &Item) -> Option<i64> {
        let stamp = &item.file.stamp;
        let here = self.settled.models.get(stamp);
        here.or_else(|| self.models.get(stamp)).copied()
    }

    fn create(&mut self, item: &'a Item, kind: ModelKind) -> i64 {
        let id = self.next_id;
        self.next_id += 1;
        self.new_models.push(NewFileModel {
            id,
            kind,
            name: &item.stem,
            local_path: &item.local_path,
            filename: &item.filename,
            stamp: item.file.stamp,
            findings: &item.findings,
        });
        let findings = item.findings.iter();
        let said = findings.map(|finding| (id, finding.field(), finding.source()));
        self.said.extend(said);
        if !item.findings.iter().any(|it| it.field() == Field::Name) {
            self.said.push((id, Field::Name, Source::FileName));
        }
        self.settled.models_created += 1;
        self.settled.fields_filled += len(&item.findings);
        id
    }

    /// Writes what is new so far if this model is of it, since its row is needed
    /// now.
    fn make_written(
        &mut self,
        connection: &mut Connection,
        model_id: i64,
    ) -> Result<(), ModelError> {
        match self.new_models.iter().any(|new| new.id == model_id) {
            true => self.write_new(connection),
            false => Ok(()),
        }
    }

    /// Writes the new models and files so far.
    fn write_new(&mut self, connection: &mut Connection) -> Result<(), ModelError> {
        store::library_models::insert(connection, &self.new_models, self.now)?;
        store::library_files::put(connection, &self.new_files, self.now)?;
        store::field_sources::put(connection, &self.said)?;
        self.new_models.clear();
        self.new_files.clear();
        self.said.clear();
        Ok(())
    }

    fn put_file(
        &mut self,
        connection: &mut Connection,
        item: &'a Item,
        model_id: Option<i64>,
        written: bool,
    ) -> Result<(), ModelError> {
        let (settled, file) = (&mut self.settled, &item.file);
        let beside_stamp = match written {
            true => Cow::Borrowed(file.beside_stamp.as_str()),
            false => Cow::Owned(take_in::unwritten(&file.beside_stamp)),
        };
        let seen = SeenFile {
            file,
            beside_stamp,
            model_id,
        };
        let (id, content_differs) = match item.what {
            What::New { .. } => {
                settled.new += 1;
                self.new_files.push(seen);
                return Ok(());
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
        if let Some(model_id) = model_id {
            self.make_written(connection, model_id)?;
        }
        store::library_files::update(connection, id, &seen, content_differs, self.now)?;
        Ok(())
    }
}

fn len<T>(items: &[T]) -> u64 {
    items.len().try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
pub(super) mod tests;
