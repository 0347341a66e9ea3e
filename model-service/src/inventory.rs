//! Owns what a server's inventory says and what it changes: which listed file
//! is which model of the registry.
//! It plans; the store does what the plan says.

mod assets;
mod doubt;
mod plan;
mod registry;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::model::{AutoV2, ModelKind, Sha256};
use crate::names;

pub use assets::Assets;
pub use doubt::{LACKING_LEAST, SECOND_LOOK_AFTER, is_second_look};
pub use plan::{Before, FileRow, ModelRow, Plan, plan};

/// What kind of asset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AssetKind {
    /// A VAE or text encoder.
    Module,
    /// An upscaler.
    Upscaler,
    /// A sampler.
    Sampler,
    /// A schedule type.
    Scheduler,
    /// A script.
    Script,
}

impl AssetKind {
    /// The word in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Module => "module",
            Self::Upscaler => "upscaler",
            Self::Sampler => "sampler",
            Self::Scheduler => "scheduler",
            Self::Script => "script",
        }
    }
}

/// Something else than a model that a server has.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Asset {
    /// Its kind.
    pub kind: AssetKind,
    /// Its name.
    pub name: String,
}

/// A model as a server lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedModel {
    /// Its kind.
    pub kind: ModelKind,
    /// The title by which the server knows it.
    pub title: String,
    /// Its path there; may be empty.
    pub path: String,
    /// Its SHA-256, when the server knows it.
    pub sha256: Option<Sha256>,
    /// Another name that the server takes for it; may be empty.
    pub alias: String,
}

impl ListedModel {
    /// The title without the hash that Forge adds to a checkpoint's.
    pub fn bare_title(&self) -> &str {
        match self.kind {
            ModelKind::Checkpoint => names::split_title(&self.title).0,
            ModelKind::Lora => &self.title,
        }
    }

    /// The short hash: of the full one, else from the title.
    pub fn autov2(&self) -> Option<AutoV2> {
        let full = self.sha256.as_ref().map(Sha256::autov2);
        full.or_else(|| match self.kind {
            ModelKind::Checkpoint => names::split_title(&self.title).1,
            ModelKind::Lora => None,
        })
    }

    /// The file name: the last part of the path, or of the title.
    pub fn filename(&self) -> &str {
        let whole = if self.path.is_empty() {
            self.bare_title()
        } else {
            &self.path
        };
        names::last_part(whole)
    }

    /// Where the model is, for the registry: the path, or the title.
    pub fn local_path(&self) -> &str {
        if self.path.is_empty() {
            self.bare_title()
        } else {
            &self.path
        }
    }

    /// Names the file within its server, whether or not its hash is known yet.
    pub fn item_key(&self) -> String {
        if self.path.is_empty() {
            title_item_key(self.kind, self.bare_title())
        } else {
            path_item_key(self.kind, &self.path)
        }
    }

    /// The other name that Forge takes for a checkpoint in a folder: its title
    /// with `_` for the slashes and without the ending (`model_name` of its
    /// listing, exchange 01). Empty when the server said nothing and there is
    /// no folder.
    pub fn alias_or_model_name(&self) -> String {
        let title = self.bare_title();
        let in_folder = title.contains(['/', '\\']);
        if self.alias.is_empty() && in_folder && self.kind == ModelKind::Checkpoint {
            names::without_ending(title).replace(['/', '\\'], "_")
        } else {
            self.alias.clone()
        }
    }
}

/// The [`ListedModel::item_key`] of a file at a path.
pub fn path_item_key(kind: ModelKind, path: &str) -> String {
    format!("{}:path:{path}", kind.as_str())
}

/// The [`ListedModel::item_key`] of a file whose path is not known.
pub fn title_item_key(kind: ModelKind, bare_title: &str) -> String {
    format!("{}:title:{}", kind.as_str(), names::key(bare_title))
}

/// Whether an inventory is complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InventoryMode {
    /// Everything the server has.
    Full,
    /// Changes to the inventory of this generation.
    Delta {
        /// The generation that is changed.
        base: String,
    },
}

/// What happens to an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change<T> {
    /// It is there.
    Listed(T),
    /// It is gone.
    Removed(T),
}

/// An inventory as it arrived, whole. Of two items with one name the later one
/// counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InventoryUpdate {
    /// The server's alias.
    pub server: String,
    /// Names this state of the server.
    pub generation: String,
    /// Full or delta.
    pub mode: InventoryMode,
    /// When the server was asked, when that is known.
    pub listed_at: Option<DateTime<Utc>>,
    /// Models, by [`ListedModel::item_key`].
    pub models: BTreeMap<String, Change<ListedModel>>,
    /// Assets; `false` means gone.
    pub assets: BTreeMap<Asset, bool>,
}

impl InventoryUpdate {
    /// An inventory without items.
    pub fn new(server: String, generation: String, mode: InventoryMode) -> Self {
        Self {
            server,
            generation,
            mode,
            listed_at: None,
            models: BTreeMap::new(),
            assets: BTreeMap::new(),
        }
    }

    /// When the server was asked, of one that arrives `now`.
    pub fn looked_at(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        self.listed_at.unwrap_or(now)
    }

    /// Adds a model.
    pub fn add_model(&mut self, model: ListedModel, removed: bool) {
        let key = model.item_key();
        let change = if removed {
            Change::Removed(model)
        } else {
            Change::Listed(model)
        };
        self.models.insert(key, change);
    }

    /// Adds an asset.
    pub fn add_asset(&mut self, asset: Asset, removed: bool) {
        self.assets.insert(asset, !removed);
    }
}
