//! Owns the answers of CheckAvailability that still hold, since job-service asks
//! the same again before every claim. An answer holds for one state of the
//! database ([`Ledger::stand`](crate::ledger::Ledger::stand)); age is reckoned
//! anew each time. It reads nothing.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::{Arc, PoisonError, RwLock};

use super::check::{Question, ServerPresence};
use crate::availability::{AssetPresence, Freshness, Inventory, Presence};
use crate::inventory::Asset;
use crate::reference::Reference;

/// Answers, references times servers, that are remembered, a candidate of an
/// ambiguous one counting as one; the next one begins anew.
const ANSWERS_REMEMBERED_MAX: usize = 65_536;

/// The last inventories of servers, by alias; `None` of one that has none.
pub(super) type Inventories = BTreeMap<String, Option<Arc<Inventory>>>;

/// The answers of one state.
#[derive(Debug, Default)]
pub(super) struct Remembered(RwLock<State>);

#[derive(Debug, Default)]
struct State {
    stand: u64,
    /// All servers that have an inventory, by alias.
    all: Option<Vec<String>>,
    inventories: Arc<Inventories>,
    /// The place of each server in the answers.
    places: HashMap<String, usize>,
    presences: Answers<Arc<Reference>, Presence>,
    assets: Answers<Asset, AssetPresence>,
    /// How much is remembered, in the measure of [`ANSWERS_REMEMBERED_MAX`].
    weight: usize,
}

/// For each thing that was asked for, what was answered: place of the server
/// and answer, by place.
type Answers<K, V> = HashMap<K, Vec<(usize, V)>>;

impl Remembered {
    /// The answer, when all of it is remembered of `stand`.
    pub(super) fn answer(
        &self,
        stand: u64,
        question: &Question,
        freshness: Freshness,
    ) -> Option<Vec<ServerPresence>> {
        let state = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if state.stand != stand {
            return None;
        }
        let servers = match question.servers.as_slice() {
            [] => state.all.as_deref()?,
            named => named,
        };
        let of_reference = |asked| state.presences.get(asked).map(Vec::as_slice);
        let presences: Option<Vec<_>> = question.references.iter().map(of_reference).collect();
        let of_asset = |asked| state.assets.get(asked).map(Vec::as_slice);
        let assets: Option<Vec<_>> = question.assets.iter().map(of_asset).collect();
        let (presences, assets) = (presences?, assets?);
        let of_server = |server: &String| {
            let place = *state.places.get(server)?;
            let inventory = state.inventories.get(server)?.clone();
            let presence =
                |known: &[(usize, Presence)]| Some(at(known, place)?.clone().aged(freshness));
            let asset = |known: &[(usize, AssetPresence)]| {
                Some(at(known, place)?.aged(inventory.as_deref(), freshness))
            };
            let presences = presences.iter().copied().map(presence);
            let assets = assets.iter().copied().map(asset);
            Some(ServerPresence {
                server: server.clone(),
                presences: presences.collect::<Option<_>>()?,
                assets: assets.collect::<Option<_>>()?,
                inventory,
            })
        };
        servers.iter().map(of_server).collect()
    }

    /// The inventories that are remembered of `stand`.
    pub(super) fn inventories(&self, stand: u64) -> Arc<Inventories> {
        let state = self.0.read().unwrap_or_else(PoisonError::into_inner);
        match state.stand == stand {
            true => Arc::clone(&state.inventories),
            false => Arc::default(),
        }
    }

    /// Remembers an answer that was read after `stand` was asked.
    pub(super) fn keep(&self, stand: u64, question: &Question, answer: &[ServerPresence]) {
        // What takes long is done before the lock is taken, and after it is given back.
        let references: Vec<_> = question.references.iter().cloned().map(Arc::new).collect();
        let more: usize = answer.iter().map(weight_of).sum();
        let mut begun_anew = State::default();
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if state.stand > stand {
            return;
        }
        let is_full = |more: usize| state.weight.saturating_add(more) > ANSWERS_REMEMBERED_MAX;
        // Most of it may be known by now.
        let is_full =
            is_full(more) && is_full(state.not_known(&references, &question.assets, answer));
        if state.stand < stand || is_full {
            begun_anew.stand = stand;
            std::mem::swap(&mut *state, &mut begun_anew);
        }
        if question.servers.is_empty() {
            state.all = Some(answer.iter().map(|one| one.server.clone()).collect());
        }
        for one in answer {
            let place = state.place(one);
            for (asked, found) in references.iter().zip(&one.presences) {
                let weight = weight(found);
                if put(&mut state.presences, asked, place, found.clone()) {
                    state.weight += weight;
                }
            }
            for (asked, found) in question.assets.iter().zip(&one.assets) {
                if put(&mut state.assets, asked, place, *found) {
                    state.weight += 1;
                }
            }
        }
        drop(state);
        drop(begun_anew);
    }
}

impl State {
    /// How much of an answer is not remembered, in the measure of
    /// [`ANSWERS_REMEMBERED_MAX`].
    fn not_known(
        &self,
        references: &[Arc<Reference>],
        assets: &[Asset],
        answer: &[ServerPresence],
    ) -> usize {
        let mut more = 0;
        for one in answer {
            let Some(&place) = self.places.get(&one.server) else {
                more += weight_of(one);
                continue;
            };
            let presences = references.iter().zip(&one.presences);
            let presences = presences
                .filter(|(asked, _)| !is_known(&self.presences, asked, place))
                .map(|(_, found)| weight(found));
            let assets = assets
                .iter()
                .filter(|asked| !is_known(&self.assets, *asked, place));
            more += presences.sum::<usize>() + assets.count();
        }
        more
    }

    fn place(&mut self, one: &ServerPresence) -> usize {
        if let Some(place) = self.places.get(&one.server) {
            return *place;
        }
        let place = self.places.len();
        self.places.insert(one.server.clone(), place);
        let inventories = Arc::make_mut(&mut self.inventories);
        inventories.insert(one.server.clone(), one.inventory.clone());
        self.weight += 1;
        place
    }
}

fn weight(presence: &Presence) -> usize {
    match presence {
        Presence::Ambiguous(candidates) => 1 + candidates.len(),
        Presence::Seen(_) | Presence::Missing | Presence::Unknown => 1,
    }
}

/// Of all that one server's answer can add.
fn weight_of(one: &ServerPresence) -> usize {
    let presences: usize = one.presences.iter().map(weight).sum();
    presences + one.assets.len() + 1
}

fn at<V>(answers: &[(usize, V)], place: usize) -> Option<&V> {
    let found = answers.binary_search_by_key(&place, |(place, _)| *place);
    answers.get(found.ok()?).map(|(_, answer)| answer)
}

fn is_known<K: Eq + Hash, V>(answers: &Answers<K, V>, asked: &K, place: usize) -> bool {
    let known = answers.get(asked);
    known.is_some_and(|known| at(known, place).is_some())
}

/// Adds an answer unless it is there; whether it was added.
fn put<K: Clone + Eq + Hash, V>(
    answers: &mut Answers<K, V>,
    asked: &K,
    place: usize,
    answer: V,
) -> bool {
    if !answers.contains_key(asked) {
        answers.insert(asked.clone(), Vec::new());
    }
    let Some(known) = answers.get_mut(asked) else {
        return false;
    };
    match known.binary_search_by_key(&place, |(place, _)| *place) {
        Ok(_) => false,
        Err(gap) => {
            known.insert(gap, (place, answer));
            true
        }
    }
}

#[cfg(test)]
mod tests;
