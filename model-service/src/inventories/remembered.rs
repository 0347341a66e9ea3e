//! Owns the answers of CheckAvailability that still hold, since job-service asks
//! the same again before every claim. An answer holds for one state of the
//! database ([`Ledger::stand`](crate::ledger::Ledger::stand)); age is reckoned
//! anew each time. It reads nothing.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::check::{Question, ServerPresence};
use crate::availability::{AssetPresence, Freshness, Inventory, Presence};
use crate::inventory::Asset;
use crate::reference::Reference;

/// Answers, references times servers, that are remembered; the next one begins
/// anew.
const ANSWERS_REMEMBERED_MAX: usize = 65_536;

/// The answers of one state.
#[derive(Debug, Default)]
pub(super) struct Remembered(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    stand: u64,
    /// All servers that have an inventory, by alias.
    all: Option<Vec<String>>,
    servers: HashMap<String, Server>,
    answers: usize,
}

#[derive(Debug)]
struct Server {
    inventory: Option<Inventory>,
    presences: HashMap<Reference, Presence>,
    assets: HashMap<Asset, AssetPresence>,
}

impl Remembered {
    /// The answer, when all of it is remembered of `stand`.
    pub(super) fn answer(
        &self,
        stand: u64,
        question: &Question,
        freshness: Freshness,
    ) -> Option<Vec<ServerPresence>> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.stand != stand {
            return None;
        }
        let servers = if question.servers.is_empty() {
            state.all.as_deref()?
        } else {
            &question.servers
        };
        servers
            .iter()
            .map(|name| state.servers.get(name)?.answer(name, question, freshness))
            .collect()
    }

    /// Remembers an answer that was read after `stand` was asked.
    pub(super) fn keep(&self, stand: u64, question: &Question, answer: &[ServerPresence]) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let each = question.references.len() + question.assets.len() + 1;
        let more = each.saturating_mul(answer.len());
        if state.stand > stand {
            return;
        }
        if state.stand < stand || state.answers.saturating_add(more) > ANSWERS_REMEMBERED_MAX {
            *state = State {
                stand,
                ..State::default()
            };
        }
        state.answers += more;
        if question.servers.is_empty() {
            state.all = Some(answer.iter().map(|one| one.server.clone()).collect());
        }
        for one in answer {
            let server = state.servers.entry(one.server.clone());
            let server = server.or_insert_with(|| Server {
                inventory: one.inventory.clone(),
                presences: HashMap::new(),
                assets: HashMap::new(),
            });
            let presences = question.references.iter().zip(&one.presences);
            let presences = presences.map(|(asked, found)| (asked.clone(), found.clone()));
            server.presences.extend(presences);
            let assets = question.assets.iter().zip(&one.assets);
            let assets = assets.map(|(asked, found)| (asked.clone(), *found));
            server.assets.extend(assets);
        }
    }
}

impl Server {
    fn answer(
        &self,
        name: &str,
        question: &Question,
        freshness: Freshness,
    ) -> Option<ServerPresence> {
        let presence = |asked| Some(self.presences.get(asked)?.clone().aged(freshness));
        let presences: Option<Vec<Presence>> = question.references.iter().map(presence).collect();
        let asset = |asked| {
            let found = self.assets.get(asked)?;
            Some(found.aged(self.inventory.as_ref(), freshness))
        };
        let assets: Option<Vec<AssetPresence>> = question.assets.iter().map(asset).collect();
        Some(ServerPresence {
            server: name.to_owned(),
            inventory: self.inventory.clone(),
            presences: presences?,
            assets: assets?,
        })
    }
}

#[cfg(test)]
mod tests;
