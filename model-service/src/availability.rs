//! Owns what is known of models on servers, and the answer to "does this server
//! have what this reference stands for".
//! It does not fetch anything and does not read a clock.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::model::ModelKind;
use crate::reference::{self, Candidate, Decision, FileNames, Fit, MatchKind, Reference};

/// Most candidates that are named when a reference is ambiguous.
pub const CANDIDATES_MAX: usize = 16;

/// The fact that a model was seen on a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Availability {
    /// Its row, which orders lists.
    pub id: i64,
    /// The server's alias.
    pub server: String,
    /// The model's id.
    pub model_id: i64,
    /// The model's kind.
    pub kind: ModelKind,
    /// The title by which the server knows it.
    pub title: String,
    /// When it was last seen there.
    pub seen_at: Option<DateTime<Utc>>,
}

/// Which facts a list shows; at least one filter is set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AvailabilityFilter {
    /// On this server.
    pub server: Option<String>,
    /// Of this model.
    pub model_id: Option<i64>,
}

/// The last inventory of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inventory {
    /// The server's alias.
    pub server: String,
    /// Names this state of the server.
    pub generation: String,
    /// When it was taken.
    pub synced_at: DateTime<Utc>,
    /// How many checkpoints it listed.
    pub checkpoint_count: i32,
    /// How many LoRAs it listed.
    pub lora_count: i32,
    /// How many other assets it listed.
    pub asset_count: i32,
    /// How many of its models it lacked and are kept until another one agrees.
    pub doubted_count: i32,
    /// Since when it lacks them.
    pub doubted_since: Option<DateTime<Utc>>,
}

/// A file of a model on a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileOnServer {
    /// The server's alias.
    pub server: String,
    /// The title by which the server knows it.
    pub title: String,
    /// Its path there; may be empty.
    pub path: String,
    /// Another name that the server takes for it; may be empty.
    pub alias: String,
    /// Its SHA-256, when that server knows it.
    pub sha256: Option<String>,
}

/// A model with all that decides whether a reference fits it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownModel {
    /// Its id.
    pub id: i64,
    /// Its kind.
    pub kind: ModelKind,
    /// Its SHA-256.
    pub sha256: Option<String>,
    /// Its AutoV2 hash.
    pub autov2: Option<String>,
    /// Its AutoV3 hash.
    pub autov3: Option<String>,
    /// Its path in the registry.
    pub local_path: String,
    /// Its file name in the registry.
    pub filename: String,
    /// The title that Forge shows, in the registry.
    pub forge_format: String,
    /// Its aliases.
    pub aliases: Vec<String>,
    /// The servers it is on: alias, title there, when seen.
    pub seen_on: Vec<Seen>,
    /// Its files on those servers.
    pub files: Vec<FileOnServer>,
    /// Where the files of the library lie from which its hashes are, with `/`
    /// between folders; absent when they are not from the library.
    pub hashed_at: Option<Vec<String>>,
}

/// Where and when a model was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The server's alias.
    pub server: String,
    /// The title by which the server knows it; may be empty.
    pub title: String,
    /// When.
    pub at: Option<DateTime<Utc>>,
}

/// Models that may fit a reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MayFit {
    /// The models, by id, without repetition.
    pub models: Vec<Arc<KnownModel>>,
    /// Whether there are more which were not fetched.
    pub truncated: bool,
}

/// Whether a server has a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    /// Seen there.
    Seen(Found),
    /// The server's inventory does not have it.
    Missing,
    /// Nothing is known of that server.
    Unknown,
    /// The reference fits several models there: their titles. Or too many share
    /// its file name to be looked at: titles of some that do.
    Ambiguous(Vec<String>),
}

impl Presence {
    /// The same, its age reckoned anew.
    #[must_use]
    pub fn aged(mut self, freshness: Freshness) -> Self {
        if let Self::Seen(found) = &mut self {
            found.stale = freshness.is_stale(found.seen_at);
        }
        self
    }
}

/// Whether a server has something else than a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AssetPresence {
    /// Its inventory has it.
    Seen {
        /// Whether that inventory is older than is fresh.
        stale: bool,
    },
    /// Its inventory does not have it.
    Missing,
    /// Nothing is known of that server.
    Unknown,
}

impl AssetPresence {
    /// Of something that a server's inventory has or not.
    pub fn of(has: bool, inventory: Option<&Inventory>, freshness: Freshness) -> Self {
        match inventory {
            None => Self::Unknown,
            Some(_) if !has => Self::Missing,
            // What is kept in doubt was last seen before that.
            Some(inventory) => Self::Seen {
                stale: freshness
                    .is_stale(Some(inventory.doubted_since.unwrap_or(inventory.synced_at))),
            },
        }
    }

    /// The same, its age reckoned anew.
    #[must_use]
    pub fn aged(self, inventory: Option<&Inventory>, freshness: Freshness) -> Self {
        match self {
            Self::Seen { .. } => Self::of(true, inventory, freshness),
            other => other,
        }
    }
}

/// A model that was found on a server. Cheap to clone, since answers are
/// remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Whether it was seen longer ago than is fresh.
    pub stale: bool,
    /// The title by which that server knows it.
    pub title: Arc<str>,
    /// The model's id.
    pub model_id: i64,
    /// Its SHA-256, when that server knows it.
    pub sha256: Option<Arc<str>>,
    /// When it was last seen there.
    pub seen_at: Option<DateTime<Utc>>,
    /// How the reference was matched.
    pub kind: MatchKind,
}

/// What is fresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freshness {
    /// What time it is.
    pub now: DateTime<Utc>,
    /// How old a sight may be. Sights are stored in whole seconds, so ages are
    /// compared in whole seconds.
    pub max_age: Duration,
}

impl Freshness {
    /// Whether a sight is older than is fresh.
    pub fn is_stale(self, seen_at: Option<DateTime<Utc>>) -> bool {
        let max_age_s = i64::try_from(self.max_age.as_secs()).unwrap_or(i64::MAX);
        seen_at.is_none_or(|at| self.now.timestamp().saturating_sub(at.timestamp()) > max_age_s)
    }
}

/// Whether `server` has what `reference` stands for. Only models on that server
/// count. `has_inventory` says whether the server ever told what it has:
/// without that, absence is not known.
pub fn presence(
    reference: &Reference,
    server: &str,
    has_inventory: bool,
    may_fit: &MayFit,
    freshness: Freshness,
) -> Presence {
    let there: Vec<(&KnownModel, &Seen)> = may_fit
        .models
        .iter()
        .filter_map(|model| {
            let seen = model.seen_on.iter().find(|seen| seen.server == server)?;
            Some((&**model, seen))
        })
        .collect();
    let fits: Vec<(usize, Fit)> = there
        .iter()
        .enumerate()
        .filter_map(|(place, (model, _))| Some((place, model.fit_on(reference, server)?)))
        .collect();
    let titles = |places: &[usize]| {
        let mut titles: Vec<String> = places
            .iter()
            .map(|place| there[*place].0.title_on(there[*place].1))
            .collect();
        titles.sort_unstable();
        titles.truncate(CANDIDATES_MAX);
        titles
    };
    match reference::decide(&fits, |place| there[place].0.sha256.as_deref()) {
        // It may be one of those that were not looked at: nothing says that it is missing.
        Decision::None if has_inventory && may_fit.truncated => {
            Presence::Ambiguous(titles(&(0..there.len()).collect::<Vec<usize>>()))
        }
        Decision::None if has_inventory => Presence::Missing,
        Decision::None => Presence::Unknown,
        Decision::Many(places) => Presence::Ambiguous(titles(&places)),
        Decision::One(place, fit) if may_fit.truncated && fit.is_partial() => {
            Presence::Ambiguous(titles(&[place]))
        }
        Decision::One(place, fit) => {
            let (model, seen) = there[place];
            Presence::Seen(model.found(server, seen, fit, freshness))
        }
    }
}

/// What a reference stands for in the registry as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// Nothing.
    None,
    /// One model.
    One(i64, MatchKind),
    /// Several: the first of them, by id. None are named where there are too many to look at, and
    /// those that were do not fit.
    Many(Vec<i64>),
}

/// What `reference` stands for among all models, wherever they are.
pub fn resolve(reference: &Reference, may_fit: &MayFit) -> Resolution {
    let models = &may_fit.models;
    let fits: Vec<(usize, Fit)> = models
        .iter()
        .enumerate()
        .filter_map(|(place, model)| Some((place, model.fit_anywhere(reference)?)))
        .collect();
    let ids = |places: &[usize]| {
        places
            .iter()
            .take(CANDIDATES_MAX)
            .map(|place| models[*place].id)
            .collect()
    };
    match reference::decide(&fits, |place| models[place].sha256.as_deref()) {
        // It may be one of those that were not looked at.
        Decision::None if may_fit.truncated => Resolution::Many(Vec::new()),
        Decision::None => Resolution::None,
        Decision::Many(places) => Resolution::Many(ids(&places)),
        Decision::One(place, fit) if may_fit.truncated && fit.is_partial() => {
            Resolution::Many(ids(&[place]))
        }
        Decision::One(place, fit) => Resolution::One(models[place].id, fit.kind()),
    }
}

impl KnownModel {
    fn files_on<'a>(&'a self, server: &'a str) -> impl Iterator<Item = &'a FileOnServer> {
        self.files.iter().filter(move |file| file.server == server)
    }

    /// The registry's names count as much as any server's.
    pub(crate) fn fit_anywhere(&self, reference: &Reference) -> Option<Fit> {
        let mut files: Vec<FileNames<'_>> = self.files.iter().map(FileOnServer::names).collect();
        files.push(self.registry_names());
        // A model without a path has its file name alone.
        reference.fit(&Candidate {
            files: &files,
            registry_filename: &self.filename,
            ..self.candidate()
        })
    }

    fn registry_names(&self) -> FileNames<'_> {
        FileNames {
            title: &self.forge_format,
            path: &self.local_path,
            alias: "",
        }
    }

    fn candidate(&self) -> Candidate<'_> {
        Candidate {
            kind: self.kind,
            sha256: self.sha256.as_deref(),
            autov2: self.autov2.as_deref(),
            autov3: self.autov3.as_deref(),
            aliases: &self.aliases,
            files: &[],
            registry: FileNames::default(),
            registry_filename: "",
        }
    }

    fn title_on(&self, seen: &Seen) -> String {
        let title = [&seen.title, &self.forge_format, &self.filename]
            .into_iter()
            .find(|title| !title.is_empty());
        title.cloned().unwrap_or_default()
    }

    fn found(&self, server: &str, seen: &Seen, fit: Fit, freshness: Freshness) -> Found {
        let named = fit.file.and_then(|place| self.files_on(server).nth(place));
        let main = || self.files_on(server).find(|file| file.title == seen.title);
        let file = named.or_else(main);
        Found {
            stale: freshness.is_stale(seen.at),
            title: file.map_or_else(
                || self.title_on(seen).into(),
                |file| file.title.as_str().into(),
            ),
            model_id: self.id,
            sha256: file.and_then(|file| file.sha256.as_deref().map(Arc::from)),
            seen_at: seen.at,
            kind: fit.kind(),
        }
    }
}

impl FileOnServer {
    fn names(&self) -> FileNames<'_> {
        FileNames {
            title: &self.title,
            path: &self.path,
            alias: &self.alias,
        }
    }
}

mod on_server;
#[cfg(test)]
mod tests;
