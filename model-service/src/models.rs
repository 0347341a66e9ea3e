//! Owns what can be asked about the registry: models, aliases, and what
//! references stand for. It does not know the wire.

use std::collections::HashMap;

use crate::availability::{self, Resolution};
use crate::error::ModelError;
use crate::events::NewEvent;
use crate::ledger::{Changed, Ledger};
use crate::model::{Model, ModelAlias, ModelFilter, NewModel};
use crate::reference::{MatchKind, Reference};
use crate::store::{self, Connection};

/// Most aliases of one model.
pub const ALIASES_MAX: usize = 1000;

/// The registry of models.
#[derive(Debug, Clone)]
pub struct Models {
    ledger: Ledger,
}

/// How much of a model is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// Without aliases and servers.
    Basic,
    /// Everything.
    Full,
}

/// What a reference stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolved {
    /// Nothing.
    None,
    /// One model.
    One(Box<Model>, MatchKind),
    /// Several: the first of them.
    Many(Vec<Model>),
}

impl Models {
    /// The registry in a database.
    pub fn new(ledger: Ledger) -> Self {
        Self { ledger }
    }

    /// Registers a model.
    ///
    /// # Errors
    /// [`ModelError::ModelExists`] when a model of the kind has its SHA-256.
    pub async fn create(&self, new: NewModel) -> Result<Model, ModelError> {
        self.ledger
            .change("create_model", move |connection, now| {
                if let Some(sha256) = &new.sha256
                    && let Some(id) = store::models::id_of_sha256(connection, new.kind, sha256)?
                {
                    return Err(ModelError::ModelExists(id));
                }
                let id = store::models::insert(connection, None, &new, now)?;
                let model = get(connection, id)?;
                Ok(Changed::with(model, NewEvent::registry(Some(id))))
            })
            .await
    }

    /// One model.
    ///
    /// # Errors
    /// [`ModelError::ModelNotFound`].
    pub async fn get(&self, id: i64, view: View) -> Result<Model, ModelError> {
        self.ledger
            .read("get_model", move |connection| {
                let mut models = vec![get(connection, id)?];
                complete(connection, &mut models, view)?;
                models.pop().ok_or(ModelError::ModelNotFound(id))
            })
            .await
    }

    /// At most `limit` models after the id `after`, by id.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn list(
        &self,
        filter: ModelFilter,
        view: View,
        after: i64,
        limit: usize,
    ) -> Result<Vec<Model>, ModelError> {
        self.ledger
            .read("list_models", move |connection| {
                let mut models = store::models::list(connection, &filter, after, limit)?;
                complete(connection, &mut models, view)?;
                Ok(models)
            })
            .await
    }

    /// Removes a model, its aliases and its availability. A server that lists it
    /// still makes it known again with its next inventory.
    ///
    /// # Errors
    /// [`ModelError::ModelNotFound`].
    pub async fn delete(&self, id: i64) -> Result<(), ModelError> {
        self.ledger
            .change("delete_model", move |connection, _| {
                store::inventories::forget_generations_with(connection, id)?;
                if !store::models::delete(connection, id)? {
                    return Err(ModelError::ModelNotFound(id));
                }
                Ok(Changed::with((), NewEvent::registry(Some(id))))
            })
            .await
    }

    /// What each reference stands for, wherever the models are.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn resolve(&self, references: Vec<Reference>) -> Result<Vec<Resolved>, ModelError> {
        self.ledger
            .read("resolve_models", move |connection| {
                resolve(connection, &references)
            })
            .await
    }

    /// Gives a model another path or name; one that it has already is answered
    /// as it is.
    ///
    /// # Errors
    /// [`ModelError::ModelNotFound`], [`ModelError::AliasLimit`].
    pub async fn add_alias(&self, model_id: i64, alias: String) -> Result<ModelAlias, ModelError> {
        self.ledger
            .change("add_model_alias", move |connection, _| {
                if !store::models::exists(connection, model_id)? {
                    return Err(ModelError::ModelNotFound(model_id));
                }
                if let Some(known) = store::aliases::find(connection, model_id, &alias)? {
                    return Ok(Changed::silent(known));
                }
                let count = store::aliases::count(connection, model_id)?;
                if usize::try_from(count).unwrap_or(usize::MAX) >= ALIASES_MAX {
                    return Err(ModelError::AliasLimit {
                        model_id,
                        limit: ALIASES_MAX,
                    });
                }
                let added = store::aliases::insert(connection, model_id, &alias)?;
                Ok(Changed::with(added, NewEvent::registry(Some(model_id))))
            })
            .await
    }

    /// At most `limit` aliases of a model after the alias id `after`, by id.
    ///
    /// # Errors
    /// [`ModelError::ModelNotFound`].
    pub async fn list_aliases(
        &self,
        model_id: i64,
        after: i64,
        limit: usize,
    ) -> Result<Vec<ModelAlias>, ModelError> {
        self.ledger
            .read("list_model_aliases", move |connection| {
                if !store::models::exists(connection, model_id)? {
                    return Err(ModelError::ModelNotFound(model_id));
                }
                Ok(store::aliases::list(connection, model_id, after, limit)?)
            })
            .await
    }

    /// Takes an alias away.
    ///
    /// # Errors
    /// [`ModelError::AliasNotFound`].
    pub async fn delete_alias(&self, id: i64) -> Result<(), ModelError> {
        self.ledger
            .change("delete_model_alias", move |connection, _| {
                let model_id =
                    store::aliases::delete(connection, id)?.ok_or(ModelError::AliasNotFound(id))?;
                Ok(Changed::with((), NewEvent::registry(Some(model_id))))
            })
            .await
    }
}

fn get(connection: &mut Connection, id: i64) -> Result<Model, ModelError> {
    store::models::get(connection, id)?.ok_or(ModelError::ModelNotFound(id))
}

/// Adds aliases and servers when everything is asked for.
fn complete(
    connection: &mut Connection,
    models: &mut [Model],
    view: View,
) -> Result<(), ModelError> {
    if view == View::Basic {
        return Ok(());
    }
    let ids: Vec<i64> = models.iter().map(|model| model.id).collect();
    let aliases = store::aliases::of_models(connection, &ids)?;
    let servers = store::availability::servers_of(connection, &ids)?;
    let mut by_id: HashMap<i64, &mut Model> =
        models.iter_mut().map(|model| (model.id, model)).collect();
    for alias in aliases {
        if let Some(model) = by_id.get_mut(&alias.model_id) {
            model.aliases.push(alias);
        }
    }
    for (model_id, server) in servers {
        if let Some(model) = by_id.get_mut(&model_id) {
            model.servers.push(server);
        }
    }
    Ok(())
}

fn resolve(
    connection: &mut Connection,
    references: &[Reference],
) -> Result<Vec<Resolved>, ModelError> {
    let may_fit = store::lookup::may_fit(connection, references)?;
    let mut resolved = Vec::with_capacity(references.len());
    for (reference, may_fit) in references.iter().zip(&may_fit) {
        resolved.push(match availability::resolve(reference, may_fit) {
            Resolution::None => Resolved::None,
            Resolution::One(id, kind) => Resolved::One(Box::new(get(connection, id)?), kind),
            Resolution::Many(ids) => Resolved::Many(store::models::by_ids(connection, &ids)?),
        });
    }
    Ok(resolved)
}
