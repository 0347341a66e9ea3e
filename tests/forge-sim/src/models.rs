//! The checkpoints, LoRAs and modules a running process knows, how it finds them by name, and which checkpoint
//! is in memory. What lies on disk is `state::Disk`; it is looked at by refreshes and loads only.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use crate::config::SimModel;

/// Name lists of one process, as of its last refresh.
#[derive(Debug, Default)]
pub(crate) struct Models {
    pub(crate) data_dir: PathBuf,
    pub(crate) checkpoints: Vec<SimModel>,
    pub(crate) loras: Vec<SimModel>,
    pub(crate) modules: Vec<SimModel>,
    /// Whole-file hashes known so far, by relative path of the checkpoint.
    pub(crate) known_hashes: HashMap<String, String>,
    pub(crate) slot: Slot,
}

/// What Forge compares to see whether it must load: checkpoint, modules, storage type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LoadKey {
    pub(crate) checkpoint: String,
    pub(crate) modules: Vec<String>,
    pub(crate) storage: String,
}

/// The place for one model. A failed load empties `model` but leaves `key`: the server is then poisoned for
/// the checkpoint it had before (exchanges 13/03 to 13/10).
#[derive(Debug, Default)]
pub(crate) struct Slot {
    pub(crate) model: Option<SimModel>,
    pub(crate) key: Option<LoadKey>,
}

impl Models {
    /// Path of the file as Forge shows it.
    pub(crate) fn checkpoint_file(&self, model: &SimModel) -> String {
        self.file("models/Stable-diffusion", &model.relative_path)
    }

    pub(crate) fn lora_file(&self, model: &SimModel) -> String {
        self.file("models/Lora", &model.relative_path)
    }

    pub(crate) fn module_file(&self, model: &SimModel) -> String {
        self.file("models/VAE", &model.relative_path)
    }

    fn file(&self, folder: &str, relative_path: &str) -> String {
        let root = std::path::absolute(&self.data_dir).unwrap_or_else(|_| self.data_dir.clone());
        root.join(folder)
            .join(Path::new(relative_path))
            .display()
            .to_string()
    }

    /// Relative path, with the short hash in brackets once it is known.
    pub(crate) fn title(&self, model: &SimModel) -> String {
        match self.known_hashes.get(&model.relative_path) {
            Some(sha256) => format!("{} [{}]", model.relative_path, &sha256[..10]),
            None => model.relative_path.clone(),
        }
    }

    /// The names that select a checkpoint exactly (`CheckpointInfo.ids`).
    fn ids(&self, model: &SimModel) -> Vec<String> {
        let (name, stem, old) = (&model.relative_path, model.stem(), model.old_hash());
        let mut ids = vec![
            old.clone(),
            model.model_name(),
            self.title(model),
            name.clone(),
            stem.to_owned(),
            format!("{name} [{old}]"),
        ];
        if let Some(sha256) = self.known_hashes.get(name) {
            let short = &sha256[..10];
            ids.extend([
                short.to_owned(),
                sha256.clone(),
                format!("{name} [{short}]"),
                format!("{stem} [{short}]"),
            ]);
        }
        ids
    }

    /// The checkpoint one of whose ids is `name`; the one listed last wins, as in a dictionary.
    pub(crate) fn by_alias(&self, name: &str) -> Option<&SimModel> {
        self.checkpoints
            .iter()
            .rev()
            .find(|model| self.ids(model).iter().any(|id| id == name))
    }

    /// Forge's `get_closet_checkpoint_match`: exact, else the shortest title that contains the text.
    pub(crate) fn closest(&self, text: &str) -> Option<&SimModel> {
        if text.is_empty() {
            return None;
        }
        let containing = |text: &str| {
            let found = self
                .checkpoints
                .iter()
                .filter(|model| self.title(model).contains(text));
            found.min_by_key(|model| self.title(model).len())
        };
        let without_hash = text.rsplit_once(" [").map_or(text, |(name, _)| name);
        self.by_alias(text)
            .or_else(|| containing(text))
            .or_else(|| containing(without_hash))
    }

    /// The checkpoint the option selects, else the first in the list.
    pub(crate) fn selected(&self, option: &str) -> Option<&SimModel> {
        self.closest(option).or_else(|| self.checkpoints.first())
    }

    /// A LoRA by the name in a prompt: file stem or alias; of equal stems the last wins.
    pub(crate) fn lora(&self, name: &str) -> Option<&SimModel> {
        self.loras
            .iter()
            .rev()
            .find(|lora| lora.stem() == name || lora.output_name.as_deref() == Some(name))
    }

    /// Paths of the modules named by file name or path; unknown names vanish.
    pub(crate) fn module_paths(&self, names: &[String]) -> Vec<String> {
        let found = names.iter().filter_map(|name| {
            let base = name.rsplit(['/', '\\']).next().unwrap_or(name);
            self.modules
                .iter()
                .find(|module| module.file_name() == base)
        });
        found.map(|module| self.module_file(module)).collect()
    }
}

/// Forge lists folder by folder, each in natural order regardless of case.
pub(crate) fn listing_order(models: &mut [SimModel]) {
    models.sort_by_key(|model| {
        let lower = model.relative_path.to_lowercase();
        match lower.rsplit_once('/') {
            Some((folder, file)) => (folder.to_owned(), file.to_owned()),
            None => (String::new(), lower),
        }
    });
}
