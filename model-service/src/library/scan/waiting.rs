//! Owns the new files whose names may tell their models: they wait until all
//! names of all roots are known.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::finder::{Finder, Place, lock};
use crate::library::problems::Reason;
use crate::library::settle::What;
use crate::library::take_in::beside_stamp;
use crate::library::walk::{Found, Listed};

/// A new file whose name may tell its model, once all names are known.
pub(super) struct Waiting {
    pub(super) folder: Vec<u8>,
    pub(super) file: Found,
    pub(super) key: String,
}

impl Waiting {
    fn taken(&mut self) -> Self {
        Self {
            folder: std::mem::take(&mut self.folder),
            file: Found {
                name: std::mem::take(&mut self.file.name),
                stamp: self.file.stamp,
                is_link: self.file.is_link,
                beside: std::mem::take(&mut self.file.beside),
            },
            key: self.key.clone(),
        }
    }
}

impl Finder {
    /// Takes in the files that waited for all names of all roots.
    pub(super) fn take_in_waiting(&self, place: &Place<'_>) {
        let (mine, names) = {
            let mut waiting = lock(&self.waiting);
            let mut names: HashMap<String, u32> = HashMap::new();
            for (_, file) in waiting.iter() {
                *names.entry(file.key.clone()).or_default() += 1;
            }
            let mine = waiting
                .iter_mut()
                .filter(|(index, _)| *index == place.index);
            let mine: Vec<Waiting> = mine.map(|(_, file)| file.taken()).collect();
            (mine, names)
        };
        let mut listed: Option<Listed> = None;
        for Waiting { folder, file, key } in mine {
            if !self.goes_on() {
                return;
            }
            if listed.as_ref().is_none_or(|listed| listed.path != folder) {
                listed = self.reopened(place, folder);
            }
            let Some(listed) = &listed else {
                continue;
            };
            let what = What::New {
                same_as: None,
                only_of_its_name: names.get(&key) == Some(&1),
            };
            let beside = beside_stamp(&file.beside);
            self.take_in(place, listed, &file, beside, what, None);
        }
    }

    fn reopened(&self, place: &Place<'_>, path: Vec<u8>) -> Option<Listed> {
        let open = place
            .reader
            .root
            .open_folder(Path::new(OsStr::from_bytes(&path)));
        match open {
            Ok(folder) => Some(Listed {
                path,
                folder,
                models: Vec::new(),
            }),
            Err(error) => {
                let message = format!("the folder cannot be read: {error}; look at its mode");
                place
                    .reader
                    .problems
                    .add(&path, Reason::FolderUnreadable, &message);
                None
            }
        }
    }
}
