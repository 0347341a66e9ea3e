//! Owns how the use of models by jobs is noted.

use chrono::{DateTime, Utc};

use super::Models;
use crate::availability::{self, Resolution};
use crate::error::ModelError;
use crate::reference::Reference;
use crate::store::{self, Connection};

/// That a job used a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelUse {
    /// Which.
    pub model: UsedModel,
    /// When; absent: now.
    pub used_at: Option<DateTime<Utc>>,
}

/// Which model a job used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UsedModel {
    /// The model with this id.
    Id(i64),
    /// The model that this stands for.
    Reference(Reference),
}

/// What became of a use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Touched {
    /// The model's last use is at least that late now.
    Model(i64),
    /// There is no such model.
    Unknown,
    /// The reference fits several models; none was touched.
    Ambiguous,
}

impl Models {
    /// Notes when jobs used models; the newest time counts, and none is later
    /// than now. Answers what became of each use, in their order. Nobody is
    /// told and nothing forgotten, since no reference stands for anything else afterwards.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn touch(&self, uses: Vec<ModelUse>) -> Result<Vec<Touched>, ModelError> {
        self.ledger
            .note("touch_models", move |connection, now| {
                let mut touched = Vec::with_capacity(uses.len());
                for (one, found) in uses.iter().zip(find(connection, &uses)?) {
                    let used_at = one.used_at.map_or(now, |time| time.min(now));
                    touched.push(match found {
                        Touched::Model(id) if !store::models::touch(connection, id, used_at)? => {
                            Touched::Unknown
                        }
                        found => found,
                    });
                }
                Ok(touched)
            })
            .await
    }
}

/// The model of each use; one that is named by its id is not looked up.
fn find(connection: &mut Connection, uses: &[ModelUse]) -> Result<Vec<Touched>, ModelError> {
    let references: Vec<Reference> = uses
        .iter()
        .filter_map(|one| match &one.model {
            UsedModel::Reference(reference) => Some(reference.clone()),
            UsedModel::Id(_) => None,
        })
        .collect();
    let may_fit = store::lookup::may_fit(connection, &references)?;
    let resolved = references.iter().zip(&may_fit);
    let mut resolved =
        resolved.map(
            |(reference, may_fit)| match availability::resolve(reference, may_fit) {
                Resolution::None => Touched::Unknown,
                Resolution::One(id, _) => Touched::Model(id),
                Resolution::Many(_) => Touched::Ambiguous,
            },
        );
    let found = uses.iter().map(|one| match &one.model {
        UsedModel::Id(id) => Touched::Model(*id),
        UsedModel::Reference(_) => resolved.next().unwrap_or(Touched::Unknown),
    });
    Ok(found.collect())
}
