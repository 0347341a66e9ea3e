//! Owns what can be asked about the registry: models, aliases, and what
//! references stand for. It does not know the wire.

mod resolve;
mod touch;
mod update;

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use service_kit::page::PAGE_BYTES_MAX;

use crate::error::ModelError;
use crate::events::NewEvent;
use crate::ledger::{Changed, Ledger};
use crate::model::{Facet, Model, ModelAlias, ModelFilter, NewModel};
use crate::request_id::{KnownRequest, RequestId};
use crate::store::{self, Connection};

pub use resolve::{Resolution, Resolved};
pub use touch::{ModelUse, Touched, UsedModel};

/// Most aliases of one model.
pub const ALIASES_MAX: usize = 1000;

/// Rows of models that are read at a time, each of some 400 KiB at most.
const READ_AT_ONCE: usize = 50;

/// The registry of models.
#[derive(Debug, Clone)]
pub struct Models {
    ledger: Ledger,
}

/// How much of a model is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// Without aliases, servers, files and sources.
    Basic,
    /// Everything.
    Full,
}

impl Models {
    /// The registry in a database.
    pub fn new(ledger: Ledger) -> Self {
        Self { ledger }
    }

    /// Registers a model; a request that comes again answers the model as it is
    /// now.
    ///
    /// # Errors
    /// [`ModelError::ModelExists`] when a model of the kind has its SHA-256,
    /// [`ModelError::RequestIdReused`], [`ModelError::CreatedIsGone`].
    pub async fn create(
        &self,
        new: NewModel,
        request_id: Option<RequestId>,
    ) -> Result<Model, ModelError> {
        let request = request_id.map(|id| KnownRequest::create_model(id, &new));
        self.ledger
            .change("create_model", move |connection, now| {
                if let Some(id) = made_before(connection, request.as_ref(), now)? {
                    return Ok(Changed::silent(get(connection, id)?));
                }
                if let Some(sha256) = &new.sha256
                    && let Some(id) = store::models::id_of_sha256(connection, new.kind, sha256)?
                {
                    return Err(ModelError::ModelExists(id));
                }
                let id = store::models::insert(connection, None, &new, now)?;
                store::field_sources::set_manual(connection, id, &new.said())?;
                remember(connection, request.as_ref(), id, now)?;
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

    /// At most `limit` models after the id `after`, by id. Fewer when they say so
    /// much that they fill a page already, with one of them at least beyond it.
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
                let ids = store::filtered::ids(connection, &filter, after, limit)?;
                let (mut models, mut bytes) = (Vec::new(), 0);
                for some in ids.chunks(READ_AT_ONCE) {
                    let mut more = store::models::by_ids(connection, some)?;
                    complete(connection, &mut more, view)?;
                    bytes += more.iter().map(Model::text_bytes).sum::<usize>();
                    models.extend(more);
                    // What is counted is less than what is sent.
                    if bytes > PAGE_BYTES_MAX && models.len() > 1 {
                        break;
                    }
                }
                Ok(models)
            })
            .await
    }

    /// How the values of some fields are spread over the models that a filter lets through.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn facets(&self, filter: ModelFilter) -> Result<Vec<Facet>, ModelError> {
        self.ledger
            .read("model_facets", move |connection| {
                Ok(store::facets::of(connection, &filter)?)
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

    /// Gives a model another path or name; one that it has already is answered
    /// as it is, and so is what a request that comes again made.
    ///
    /// # Errors
    /// [`ModelError::ModelNotFound`], [`ModelError::AliasLimit`],
    /// [`ModelError::RequestIdReused`], [`ModelError::CreatedIsGone`].
    pub async fn add_alias(
        &self,
        model_id: i64,
        alias: String,
        request_id: Option<RequestId>,
    ) -> Result<ModelAlias, ModelError> {
        let request = request_id.map(|id| KnownRequest::add_model_alias(id, model_id, &alias));
        self.ledger
            .change("add_model_alias", move |connection, now| {
                if let Some(id) = made_before(connection, request.as_ref(), now)? {
                    let made = store::aliases::get(connection, id)?;
                    return Ok(Changed::silent(made.ok_or(ModelError::AliasNotFound(id))?));
                }
                if !store::models::exists(connection, model_id)? {
                    return Err(ModelError::ModelNotFound(model_id));
                }
                if let Some(known) = store::aliases::find(connection, model_id, &alias)? {
                    remember(connection, request.as_ref(), known.id, now)?;
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
                remember(connection, request.as_ref(), added.id, now)?;
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

/// The id of what an earlier request with the same id and content made.
fn made_before(
    connection: &mut Connection,
    request: Option<&KnownRequest>,
    now: DateTime<Utc>,
) -> Result<Option<i64>, ModelError> {
    let Some(request) = request else {
        return Ok(None);
    };
    let id = || request.id.as_str().to_owned();
    match store::request_ids::find(connection, request, now)? {
        None => Ok(None),
        Some(earlier) if earlier.fingerprint != request.fingerprint => {
            Err(ModelError::RequestIdReused(id()))
        }
        Some(earlier) => match earlier.made {
            None => Err(ModelError::CreatedIsGone(id())),
            made => Ok(made),
        },
    }
}

/// Notes what a request made, when it has an id.
fn remember(
    connection: &mut Connection,
    request: Option<&KnownRequest>,
    made: i64,
    now: DateTime<Utc>,
) -> Result<(), ModelError> {
    if let Some(request) = request {
        store::request_ids::put(connection, request, made, now)?;
    }
    Ok(())
}

/// Adds aliases, servers, files and sources when everything is asked for.
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
    let files = store::files_of_models::of_models(connection, &ids)?;
    let sources = store::field_sources::of_models(connection, &ids)?;
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
    for (model_id, file) in files {
        if let Some(model) = by_id.get_mut(&model_id) {
            model.files.push(file);
        }
    }
    for (model_id, said) in sources {
        if let Some(model) = by_id.get_mut(&model_id) {
            model.sources = said;
        }
    }
    Ok(())
}
