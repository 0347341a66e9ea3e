//! Owns how CheckAvailability is answered from the database. It does not
//! remember (`remembered.rs`) and does not decide what fits (`availability.rs`).

use std::sync::Arc;

use super::remembered::Inventories;
use super::{ANSWERS_MAX, SERVERS_MAX};
use crate::availability::{self, AssetPresence, Freshness, Inventory, Presence};
use crate::error::ModelError;
use crate::inventory::{Asset, Assets};
use crate::reference::Reference;
use crate::store::{self, Connection};

/// What is asked of servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The models.
    pub references: Vec<Reference>,
    /// Other things.
    pub assets: Vec<Asset>,
    /// The servers; none: all that have an inventory, by alias.
    pub servers: Vec<String>,
}

/// What one server has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerPresence {
    /// The server's alias.
    pub server: String,
    /// Its last inventory, if there is one.
    pub inventory: Option<Arc<Inventory>>,
    /// One for each reference, in its order.
    pub presences: Vec<Presence>,
    /// One for each asset, in its order.
    pub assets: Vec<AssetPresence>,
}

/// A server that is asked, and its last inventory.
type Asked = (String, Option<Arc<Inventory>>);

/// Answers a question in one state of the database, as far as the inventories
/// are not known already.
pub(super) fn check(
    connection: &mut Connection,
    question: &Question,
    known: &Inventories,
    freshness: Freshness,
) -> Result<Vec<ServerPresence>, ModelError> {
    let Question {
        references,
        assets,
        servers,
    } = question;
    let asked = inventories(connection, servers, known)?;
    if references.len().saturating_mul(asked.len()) > ANSWERS_MAX {
        return Err(ModelError::TooManyAnswers {
            references: references.len(),
            servers: asked.len(),
            limit: ANSWERS_MAX,
        });
    }
    let may_fit = store::lookup::may_fit(connection, references)?;
    let mut answers = Vec::with_capacity(asked.len());
    for (server, inventory) in asked {
        let known = inventory.is_some();
        let presences = references.iter().zip(&may_fit).map(|(reference, may_fit)| {
            availability::presence(reference, &server, known, may_fit, freshness)
        });
        let presences = presences.collect();
        let assets = if assets.is_empty() {
            Vec::new()
        } else {
            let there = Assets::new(store::assets::of_server(connection, &server)?);
            let presence =
                |asset| AssetPresence::of(there.have(asset), inventory.as_deref(), freshness);
            assets.iter().map(presence).collect()
        };
        answers.push(ServerPresence {
            server,
            inventory,
            presences,
            assets,
        });
    }
    Ok(answers)
}

fn inventories(
    connection: &mut Connection,
    servers: &[String],
    known: &Inventories,
) -> Result<Vec<Asked>, ModelError> {
    if servers.is_empty() {
        let all = store::inventories::list(connection, "", SERVERS_MAX)?;
        let with_name = |known: Inventory| (known.server.clone(), Some(Arc::new(known)));
        return Ok(all.into_iter().map(with_name).collect());
    }
    let mut asked = Vec::with_capacity(servers.len());
    for server in servers {
        let inventory = match known.get(server) {
            Some(known) => known.clone(),
            None => store::inventories::get(connection, server)?.map(Arc::new),
        };
        asked.push((server.clone(), inventory));
    }
    Ok(asked)
}
