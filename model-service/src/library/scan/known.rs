//! Owns what earlier scans left, and which of it this scan has seen again.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::library::found::KnownFile;
use crate::library::stamp::FileStamp;

/// The files that earlier scans found.
#[derive(Debug)]
pub(super) struct Known {
    files: Vec<KnownFile>,
    /// Whether the row was seen in this scan, at its path or moved to another.
    seen: Vec<AtomicBool>,
    by_path: HashMap<String, HashMap<Vec<u8>, usize>>,
    by_stamp: HashMap<FileStamp, Vec<usize>>,
    /// The names of models that have no file.
    names_without_file: HashSet<String>,
}

impl Known {
    pub(super) fn new(files: Vec<KnownFile>, names_without_file: HashSet<String>) -> Self {
        let mut by_path: HashMap<String, HashMap<Vec<u8>, usize>> = HashMap::new();
        let mut by_stamp: HashMap<FileStamp, Vec<usize>> = HashMap::with_capacity(files.len());
        for (place, file) in files.iter().enumerate() {
            let of_root = match by_path.get_mut(&file.root) {
                Some(of_root) => of_root,
                None => by_path.entry(file.root.clone()).or_default(),
            };
            of_root.insert(file.path.clone(), place);
            by_stamp.entry(file.stamp).or_default().push(place);
        }
        Self {
            seen: files.iter().map(|_| AtomicBool::new(false)).collect(),
            files,
            by_path,
            by_stamp,
            names_without_file,
        }
    }

    /// Whether a model without file goes by the name with this key.
    pub(super) fn is_name_without_file(&self, key: &str) -> bool {
        self.names_without_file.contains(key)
    }

    /// Takes the file of a path as seen; `None` when there is none, or when it
    /// was taken already.
    pub(super) fn take(&self, root: &str, path: &[u8]) -> Option<&KnownFile> {
        let place = *self.by_path.get(root)?.get(path)?;
        self.take_place(place)
    }

    fn take_place(&self, place: usize) -> Option<&KnownFile> {
        let taken = self.seen[place].swap(true, Ordering::Relaxed);
        (!taken).then(|| &self.files[place])
    }

    /// The file that a new path is another name of, or has moved to; `is_there`
    /// says whether the old path still holds that file.
    pub(super) fn same_file(
        &self,
        stamp: &FileStamp,
        is_there: impl Fn(&KnownFile) -> bool,
    ) -> Option<SameFile<'_>> {
        let places = self.by_stamp.get(stamp)?;
        for place in places {
            let file = &self.files[*place];
            if !is_there(file)
                && let Some(moved) = self.take_place(*place)
            {
                return Some(SameFile::Moved(moved));
            }
        }
        let mut models = places
            .iter()
            .filter_map(|place| self.files[*place].model_id);
        models.next().map(SameFile::AnotherName)
    }

    /// The files of a root that are there as far as is known.
    pub(super) fn present(&self, root: &str) -> impl Iterator<Item = &KnownFile> {
        let places = self.by_path.get(root).into_iter().flat_map(HashMap::values);
        let files = places.map(|place| &self.files[*place]);
        files.filter(|file| !file.missing)
    }

    /// The files of a root that were there before and were not seen.
    pub(super) fn unseen(&self, root: &str) -> impl Iterator<Item = &KnownFile> {
        let places = self.by_path.get(root).into_iter().flat_map(HashMap::values);
        let unseen = places.filter(|place| !self.seen[**place].load(Ordering::Relaxed));
        unseen
            .map(|place| &self.files[*place])
            .filter(|file| !file.missing)
    }
}

/// What a new path turns out to be.
#[derive(Debug)]
pub(super) enum SameFile<'a> {
    /// The file of this row, at another path now.
    Moved(&'a KnownFile),
    /// Another name of a file of this model.
    AnotherName(i64),
}
