//! Owns what a change of what is where looks like. It does not own how changes
//! are stored (`store/events.rs`) or sent (`watch.rs`).

use chrono::{DateTime, Utc};

/// What changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// A model appeared on a server.
    Added,
    /// A model vanished from a server.
    Removed,
    /// A server's inventory changed; single models are not listed.
    InventoryChanged,
    /// A model or an alias came or went, or a model was changed.
    RegistryChanged,
}

impl EventKind {
    /// The word in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::InventoryChanged => "inventory_changed",
            Self::RegistryChanged => "registry_changed",
        }
    }

    /// Reads the word in the database.
    pub fn from_word(word: &str) -> Option<Self> {
        [
            Self::Added,
            Self::Removed,
            Self::InventoryChanged,
            Self::RegistryChanged,
        ]
        .into_iter()
        .find(|kind| kind.as_str() == word)
    }
}

/// A change to be noted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// What.
    pub kind: EventKind,
    /// The server; empty for a change of the registry.
    pub server: String,
    /// The model, where it is one.
    pub model_id: Option<i64>,
}

impl NewEvent {
    /// A change of the registry.
    pub fn registry(model_id: Option<i64>) -> Self {
        Self {
            kind: EventKind::RegistryChanged,
            server: String::new(),
            model_id,
        }
    }

    /// A model came to or went from a server.
    pub fn presence(kind: EventKind, server: &str, model_id: i64) -> Self {
        Self {
            kind,
            server: server.to_owned(),
            model_id: Some(model_id),
        }
    }

    /// A server's inventory changed.
    pub fn inventory(server: &str) -> Self {
        Self {
            kind: EventKind::InventoryChanged,
            server: server.to_owned(),
            model_id: None,
        }
    }
}

/// A change that is on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its number.
    pub sequence: i64,
    /// What.
    pub what: NewEvent,
    /// When.
    pub created_at: DateTime<Utc>,
}
