//! What the board keeps of a server's failures: its breaker, its cooldowns,
//! and what it listed last. Which failure means what is decided in
//! `dispatch::lessons`.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};

use super::{Board, Listed};
use crate::{
    breaker::{Breaker, Moment},
    cooldowns::{Cooldown, Cooldowns, Subject},
    dispatch::forge::Listing,
};

impl Board {
    /// Changes the breaker of a server and answers what became of it; `None`
    /// when there is no such server.
    pub fn update_breaker<T>(
        &self,
        alias: &str,
        change: impl FnOnce(&mut Breaker) -> T,
    ) -> Option<(T, Breaker)> {
        let mut servers = self.write();
        let state = servers.get_mut(alias)?;
        let answer = change(&mut state.breaker);
        Some((answer, state.breaker.clone()))
    }

    /// Changes the cooldowns of a server; `None` when there is no such server.
    pub fn update_cooldowns<T>(
        &self,
        alias: &str,
        change: impl FnOnce(&mut Cooldowns) -> T,
    ) -> Option<T> {
        let mut servers = self.write();
        servers
            .get_mut(alias)
            .map(|state| change(&mut state.cooldowns))
    }

    /// Puts a cooldown up that was kept.
    pub fn put_back(&self, alias: &str, cooldown: Cooldown) {
        self.update_cooldowns(alias, |cooldowns| cooldowns.put_back(cooldown));
    }

    /// Lets servers try again whose breaker has been open long enough, and
    /// answers them.
    pub fn advance_breakers(&self, monotonic: Duration) -> Vec<String> {
        let mut servers = self.write();
        servers
            .values_mut()
            .filter_map(|state| {
                let changed = state.breaker.advance(monotonic);
                changed.then(|| state.server.alias.clone())
            })
            .collect()
    }

    /// After how long the next breaker or cooldown is over, if any is under
    /// way.
    #[must_use]
    pub fn next_end(&self, now: Moment) -> Option<Duration> {
        let servers = self.read();
        let ends = servers.values().flat_map(|state| {
            let breaker = state.breaker.due(now.monotonic);
            let cooldowns = state.cooldowns.under_way(now.wall);
            let cooldowns = cooldowns.filter_map(|one| (one.until - now.wall).to_std().ok());
            breaker.into_iter().chain(cooldowns)
        });
        ends.min()
    }

    /// Forgets cooldowns that are long over, and answers them with their
    /// servers.
    pub fn prune_cooldowns(&self, now: DateTime<Utc>) -> Vec<(String, Vec<Subject>)> {
        let mut servers = self.write();
        servers
            .values_mut()
            .map(|state| (state.server.alias.clone(), state.cooldowns.prune(now)))
            .filter(|(_, gone)| !gone.is_empty())
            .collect()
    }

    /// A server was listed; `for_a_job` when a job that lacked something there
    /// asked for it.
    pub fn put_listing(&self, alias: &str, listing: Listing, at: Duration, for_a_job: bool) {
        if let Some(state) = self.write().get_mut(alias) {
            let before = state.listed.as_ref().and_then(|listed| listed.for_a_job);
            state.listed = Some(Listed {
                listing: Arc::new(listing),
                at,
                for_a_job: if for_a_job { Some(at) } else { before },
            });
        }
    }

    /// The server is another one now, or an operator says that all is well:
    /// nothing that failed there counts any more.
    pub fn forget_failures(&self, alias: &str) {
        if let Some(state) = self.write().get_mut(alias) {
            state.breaker.close();
            state.cooldowns.clear();
        }
    }

    /// The server is another one now: what it listed says nothing.
    pub fn forget_listing(&self, alias: &str) {
        if let Some(state) = self.write().get_mut(alias) {
            state.listed = None;
        }
    }
}
