//! Owns what can be asked about models on servers, and how inventories and
//! single facts are taken in. It does not know the wire.

mod check;
mod remembered;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

pub use check::{Question, ServerPresence};
use remembered::Remembered;

use crate::availability::{Availability, AvailabilityFilter, Freshness, Inventory};
use crate::error::ModelError;
use crate::events::{EventKind, NewEvent};
use crate::inventory::{self, InventoryMode, InventoryUpdate, ListedModel};
use crate::ledger::{Changed, Ledger};
use crate::store::{self, Connection};

/// Most servers that can have an inventory.
pub const SERVERS_MAX: usize = 1000;
/// Most answers, references times servers, of one check.
pub const ANSWERS_MAX: usize = 10_000;

/// What is known of which server has what.
#[derive(Debug, Clone)]
pub struct Inventories {
    ledger: Ledger,
    remembered: Arc<Remembered>,
}

/// What an inventory changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Synced {
    /// The inventory as it is now.
    pub inventory: Inventory,
    /// Models that were not on the server before.
    pub added_count: usize,
    /// Models that are gone from the server.
    pub removed_count: usize,
    /// Models that the registry did not know.
    pub created_count: usize,
}

impl Inventories {
    /// What a database knows.
    pub fn new(ledger: Ledger) -> Self {
        Self {
            ledger,
            remembered: Arc::default(),
        }
    }

    /// Whether servers have what references and assets stand for.
    ///
    /// # Errors
    /// [`ModelError::TooManyAnswers`].
    pub async fn check(
        &self,
        question: Question,
        max_age: Duration,
    ) -> Result<Vec<ServerPresence>, ModelError> {
        let freshness = Freshness {
            now: self.ledger.clock().now(),
            max_age,
        };
        let stand = self.ledger.stand();
        let known = stand.and_then(|stand| self.remembered.answer(stand, &question, freshness));
        if let Some(answer) = known {
            return Ok(answer);
        }
        let inventories = stand.map(|stand| self.remembered.inventories(stand));
        let (question, answer) = self
            .ledger
            .read("check_availability", move |connection| {
                let inventories = inventories.unwrap_or_default();
                let answer = check::check(connection, &question, &inventories, freshness)?;
                Ok((question, answer))
            })
            .await?;
        if let Some(stand) = stand {
            self.remembered.keep(stand, &question, &answer);
        }
        Ok(answer)
    }

    /// Lets an inventory take effect, all of it at once.
    ///
    /// # Errors
    /// [`ModelError::BaseMismatch`], [`ModelError::ServerLimit`].
    pub async fn sync(&self, update: InventoryUpdate) -> Result<Synced, ModelError> {
        self.ledger
            .change("sync_server_inventory", move |connection, now| {
                let on_file = store::inventories::get(connection, &update.server)?;
                match &on_file {
                    // Said before: a repetition changes nothing but the time.
                    Some(on_file) if is_repetition(&update, on_file, now) => {
                        store::inventories::touch(connection, &update.server, now)?;
                        store::availability::touch_listed(connection, &update.server, now)?;
                        let inventory = Inventory {
                            synced_at: now,
                            ..on_file.clone()
                        };
                        return Ok(Changed::silent(Synced {
                            inventory,
                            added_count: 0,
                            removed_count: 0,
                            created_count: 0,
                        }));
                    }
                    _ => accept(connection, &update, on_file.as_ref())?,
                }
                let applied = store::sync::apply(connection, &update, on_file.as_ref(), now)?;
                Ok(Changed {
                    answer: Synced {
                        inventory: applied.inventory,
                        added_count: applied.added_count,
                        removed_count: applied.removed_count,
                        created_count: applied.created_count,
                    },
                    events: applied.events,
                })
            })
            .await
    }

    /// Says that a model is on a server now; without a title, the title on file
    /// stays, or is the model's file name.
    ///
    /// # Errors
    /// [`ModelError::ModelNotFound`].
    pub async fn set(
        &self,
        server: String,
        model_id: i64,
        title: Option<String>,
    ) -> Result<Availability, ModelError> {
        self.ledger
            .change("set_model_availability", move |connection, now| {
                let model = store::models::get(connection, model_id)?
                    .ok_or(ModelError::ModelNotFound(model_id))?;
                let before = store::availability::get(connection, &server, model_id)?;
                let new_title = match (&title, &before) {
                    (Some(title), _) => Some(title.clone()),
                    (None, None) => Some(model.facts.filename.clone()),
                    (None, Some(_)) => None,
                };
                let new_title = new_title.as_deref();
                store::availability::put(connection, &server, model_id, new_title, now)?;
                if let Some(title) = new_title {
                    let file = ListedModel {
                        kind: model.facts.kind,
                        title: title.to_owned(),
                        path: String::new(),
                        sha256: model.facts.sha256,
                        alias: String::new(),
                    };
                    store::files::put_set(connection, &server, model_id, &file)?;
                }
                let after = get(connection, &server, model_id)?;
                let events = match &before {
                    None => vec![NewEvent::presence(EventKind::Added, &server, model_id)],
                    Some(before) if before.title != after.title => {
                        vec![NewEvent::inventory(&server)]
                    }
                    Some(_) => Vec::new(),
                };
                Ok(Changed {
                    answer: after,
                    events,
                })
            })
            .await
    }

    /// Says that a model is not on a server. The next inventory decides anew,
    /// even when it is the one on file: it was taken later.
    ///
    /// # Errors
    /// [`ModelError::AvailabilityNotFound`].
    pub async fn delete(&self, server: String, model_id: i64) -> Result<(), ModelError> {
        self.ledger
            .change("delete_model_availability", move |connection, _| {
                if !store::availability::delete(connection, &server, model_id)? {
                    let server = server.clone();
                    return Err(ModelError::AvailabilityNotFound { server, model_id });
                }
                store::inventories::forget_generation(connection, &server)?;
                store::files::delete_of(connection, &server, model_id)?;
                let event = NewEvent::presence(EventKind::Removed, &server, model_id);
                Ok(Changed::with((), event))
            })
            .await
    }

    /// At most `limit` facts after the row `after`.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn list(
        &self,
        filter: AvailabilityFilter,
        after: i64,
        limit: usize,
    ) -> Result<Vec<Availability>, ModelError> {
        self.ledger
            .read("list_availability", move |connection| {
                Ok(store::availability::list(
                    connection, &filter, after, limit,
                )?)
            })
            .await
    }

    /// At most `limit` inventories of servers after `after`, by alias.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn list_inventories(
        &self,
        after: String,
        limit: usize,
    ) -> Result<Vec<Inventory>, ModelError> {
        self.ledger
            .read("list_inventories", move |connection| {
                Ok(store::inventories::list(connection, &after, limit)?)
            })
            .await
    }
}

fn get(
    connection: &mut Connection,
    server: &str,
    model_id: i64,
) -> Result<Availability, ModelError> {
    store::availability::get(connection, server, model_id)?.ok_or_else(|| {
        ModelError::AvailabilityNotFound {
            server: server.to_owned(),
            model_id,
        }
    })
}

/// Whether an inventory was taken over before and is to change nothing. A full
/// one that finds the same anew while the one before is in doubt is the second
/// look; one that is only sent again is not.
fn is_repetition(update: &InventoryUpdate, on_file: &Inventory, now: DateTime<Utc>) -> bool {
    let looked_at = update.looked_at(now);
    let is_full = update.mode == InventoryMode::Full;
    on_file.generation == update.generation
        && !(is_full && inventory::is_second_look(on_file.doubted_since, looked_at))
}

fn accept(
    connection: &mut Connection,
    update: &InventoryUpdate,
    on_file: Option<&Inventory>,
) -> Result<(), ModelError> {
    let generation = on_file.map(|inventory| inventory.generation.as_str());
    if let InventoryMode::Delta { base } = &update.mode
        && generation != Some(base.as_str())
    {
        return Err(ModelError::BaseMismatch {
            server: update.server.clone(),
            asked: base.clone(),
            on_file: generation.map(str::to_owned),
        });
    }
    let servers = usize::try_from(store::inventories::count(connection)?).unwrap_or(usize::MAX);
    if on_file.is_none() && servers >= SERVERS_MAX {
        return Err(ModelError::ServerLimit { limit: SERVERS_MAX });
    }
    Ok(())
}
