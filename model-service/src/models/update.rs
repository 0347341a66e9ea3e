//! Owns how a registered model is changed.

use super::{Models, get};
use crate::error::ModelError;
use crate::events::NewEvent;
use crate::findings::Field;
use crate::ledger::Changed;
use crate::model::{LibraryFile, Model, NewModel, Sha256};
use crate::model_change::{ModelChange, contradicts};
use crate::store::{self, Connection};

impl Models {
    /// Changes a model; a change that changes nothing is told to nobody. An
    /// `etag` must be the current one.
    ///
    /// A hash that another model has is refused rather than the two made one:
    /// a caller that mistypes it would lose a model and its id, whereas an
    /// inventory that says so speaks of a file that a server really has.
    ///
    /// # Errors
    /// [`ModelError::ModelNotFound`], [`ModelError::EtagMismatch`],
    /// [`ModelError::ChangeBreaksRules`], [`ModelError::ModelExists`] when a
    /// model of the kind has the SHA-256, [`ModelError::HashContradicted`] when
    /// a server's file has another hash, [`ModelError::HashContradictedByLibrary`] when one of the
    /// library has.
    pub async fn update(
        &self,
        id: i64,
        etag: Option<String>,
        change: ModelChange,
    ) -> Result<Model, ModelError> {
        self.ledger
            .change("update_model", move |connection, _| {
                let model = get(connection, id)?;
                if etag.as_ref().is_some_and(|etag| *etag != model.etag()) {
                    return Err(ModelError::EtagMismatch(id));
                }
                let after = change.clone().apply(&model.facts);
                let after = after.map_err(ModelError::ChangeBreaksRules)?;
                note_sources(connection, id, &change, &after)?;
                if after == model.facts {
                    return Ok(Changed::silent(model));
                }
                check_hashes(connection, id, &model.facts, &after)?;
                store::models::update(connection, id, &after)?;
                if model.facts.sha256 != after.sha256 {
                    store::models::forget_former_hash(connection, id, after.sha256.as_ref())?;
                }
                let model = get(connection, id)?;
                Ok(Changed::with(model, NewEvent::registry(Some(id))))
            })
            .await
    }
}

/// What the change names and is set now was said by hand, and nothing fills it any more; what it
/// empties may be filled again.
fn note_sources(
    connection: &mut Connection,
    id: i64,
    change: &ModelChange,
    after: &NewModel,
) -> Result<(), ModelError> {
    let said = after.said();
    let named = change.named();
    let (set, emptied): (Vec<Field>, Vec<Field>) =
        named.into_iter().partition(|field| said.contains(field));
    store::field_sources::set_manual(connection, id, &set)?;
    store::field_sources::clear(connection, id, &emptied)?;
    Ok(())
}

/// Refuses hashes that would make one model two, or two models one.
fn check_hashes(
    connection: &mut Connection,
    id: i64,
    before: &NewModel,
    after: &NewModel,
) -> Result<(), ModelError> {
    if (&before.sha256, &before.autov2) == (&after.sha256, &after.autov2) {
        return Ok(());
    }
    if before.sha256 != after.sha256
        && let Some(sha256) = &after.sha256
        && let Some(other) = store::models::id_of_sha256(connection, after.kind, sha256)?
    {
        return Err(ModelError::ModelExists(other));
    }
    for (server, file) in store::files::of_model(connection, id)? {
        if contradicts(&file, after) {
            return Err(ModelError::HashContradicted {
                model_id: id,
                server,
            });
        }
    }
    for (_, file) in store::files_of_models::of_models(connection, &[id])? {
        if file.missing_since.is_none() && was_hashed_otherwise(&file, after) {
            return Err(ModelError::HashContradictedByLibrary {
                model_id: id,
                root: file.root,
                path: file.path,
            });
        }
    }
    // What servers list is looked at again, so that a hash that was taken away
    // is learned anew.
    store::inventories::forget_generations_with(connection, id)?;
    Ok(())
}

/// Whether the library computed another hash of a file as it is than the model
/// is to have.
fn was_hashed_otherwise(file: &LibraryFile, after: &NewModel) -> bool {
    let computed = file.sha256.as_deref().and_then(Sha256::parse);
    computed.is_some_and(|computed| match (&after.sha256, &after.autov2) {
        (Some(said), _) => *said != computed,
        (None, Some(said)) => *said != computed.autov2(),
        (None, None) => false,
    })
}
