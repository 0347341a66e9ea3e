//! Owns what references stand for in the registry as a whole, with the models that are told of it.
//! It does not decide that (`availability.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use service_kit::page::PAGE_BYTES_MAX;

use super::{Models, READ_AT_ONCE};
use crate::availability;
use crate::error::ModelError;
use crate::explanation;
use crate::model::Model;
use crate::reference::{MatchKind, Reference};
use crate::store::{self, Connection};

/// What a reference stands for, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolution {
    /// What it stands for.
    pub resolved: Resolved,
    /// What was compared with what, and why that came of it, in a few sentences.
    pub explanation: String,
}

/// What a reference stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolved {
    /// Nothing.
    None,
    /// One model.
    One(Arc<Model>, MatchKind),
    /// Several: the first of them; none where there are too many to look at.
    Many(Vec<Arc<Model>>),
}

impl Models {
    /// What each reference stands for, wherever the models are, and why. Models
    /// that say more than fits into one page are told of without their long
    /// texts ([`Model::leave_out_long_texts`]).
    ///
    /// # Errors
    /// Those of the database.
    pub async fn resolve(&self, references: Vec<Reference>) -> Result<Vec<Resolution>, ModelError> {
        self.ledger
            .read("resolve_models", move |connection| {
                resolve(connection, &references)
            })
            .await
    }
}

fn resolve(
    connection: &mut Connection,
    references: &[Reference],
) -> Result<Vec<Resolution>, ModelError> {
    let may_fit = store::lookup::may_fit(connection, references)?;
    let mut found = Vec::with_capacity(references.len());
    for (reference, may_fit) in references.iter().zip(&may_fit) {
        let resolution = availability::resolve(reference, may_fit);
        let explanation = explanation::explain(reference, may_fit, &resolution);
        found.push((resolution, explanation));
    }
    drop(may_fit);
    let mut uses: BTreeMap<i64, usize> = BTreeMap::new();
    for (resolution, _) in &found {
        let ids = match resolution {
            availability::Resolution::None => &[][..],
            availability::Resolution::One(id, _) => std::slice::from_ref(id),
            availability::Resolution::Many(ids) => ids,
        };
        for id in ids {
            *uses.entry(*id).or_default() += 1;
        }
    }
    let known = read(connection, &uses)?;
    let get = |id: i64| known.get(&id).cloned();
    let resolution = |(resolution, explanation)| {
        let resolved = match resolution {
            availability::Resolution::None => Resolved::None,
            availability::Resolution::One(id, kind) => {
                Resolved::One(get(id).ok_or(ModelError::ModelNotFound(id))?, kind)
            }
            availability::Resolution::Many(ids) => {
                let ids: BTreeSet<i64> = ids.into_iter().collect();
                Resolved::Many(ids.into_iter().filter_map(get).collect())
            }
        };
        Ok(Resolution {
            resolved,
            explanation,
        })
    };
    found.into_iter().map(resolution).collect()
}

/// Each model once, however often it is told of; without long texts as soon as these would be more
/// than a page.
fn read(
    connection: &mut Connection,
    uses: &BTreeMap<i64, usize>,
) -> Result<BTreeMap<i64, Arc<Model>>, ModelError> {
    let ids: Vec<i64> = uses.keys().copied().collect();
    let (mut read, mut bytes) = (BTreeMap::new(), 0);
    for some in ids.chunks(READ_AT_ONCE) {
        for mut model in store::models::by_ids(connection, some)? {
            let times = uses.get(&model.id).copied().unwrap_or_default();
            bytes += times.saturating_mul(model.text_bytes());
            if bytes > PAGE_BYTES_MAX {
                model.leave_out_long_texts();
            }
            read.insert(model.id, model);
        }
    }
    if bytes > PAGE_BYTES_MAX {
        read.values_mut().for_each(Model::leave_out_long_texts);
    }
    let shared = |(id, model)| (id, Arc::new(model));
    Ok(read.into_iter().map(shared).collect())
}
