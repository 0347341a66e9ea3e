//! Passes on to model-service what a server lists, one inventory after another
//! and beside the looks at the server: a model-service that does not answer
//! keeps no server from being looked after. What a server lists is `listing`'s
//! to find out.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use super::{
    Monitor,
    inventory::{generation_of, items_of},
    listing::Listed,
};
use crate::availability::Unavailable;

/// An inventory that did not change is passed on again after this time, so
/// that it does not count as stale.
const PUSH_AGAIN: Duration = Duration::from_secs(15 * 60);

/// Whether what was listed last is to be passed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    /// Nothing is new.
    #[default]
    No,
    /// Unless model-service has it.
    IfNew,
    /// Even when model-service has it.
    Surely,
}

/// An inventory that model-service has.
#[derive(Clone, Debug)]
pub(super) struct Pushed {
    generation: String,
    /// Since when, in the time of the process.
    at: Duration,
}

/// An inventory on its way to model-service.
pub(super) struct Passing {
    answer: Pin<Box<dyn Future<Output = Result<i32, Unavailable>> + Send>>,
    generation: String,
    /// When it was begun, and when its server was asked for it, in the time of
    /// the process.
    at: Duration,
    listed_at: Duration,
    /// The connection that it went out on.
    connection: u64,
}

impl Passing {
    /// Waits until model-service has answered; for ever where nothing is on
    /// its way. Dropping the future loses nothing.
    pub(super) async fn answered(passing: &mut Option<Self>) -> Result<i32, Unavailable> {
        match passing {
            Some(passing) => passing.answer.as_mut().await,
            None => std::future::pending().await,
        }
    }
}

impl Monitor {
    /// Begins to pass on what was listed last, where that is due.
    pub(super) fn pass_on(&mut self) -> Option<Passing> {
        let due = std::mem::take(&mut self.due);
        let Listed {
            listing,
            at: wall,
            begun,
        } = self.listing.as_ref().filter(|_| due != Due::No)?;
        let items = items_of(listing);
        let generation = generation_of(&items);
        let now = self.core.clock.monotonic();
        let known = self.pushed.as_ref().is_some_and(|pushed| {
            pushed.generation == generation && now.saturating_sub(pushed.at) < PUSH_AGAIN
        });
        if known && due == Due::IfNew {
            return None;
        }
        let (core, alias) = (Arc::clone(&self.core), self.alias.clone());
        let (name, wall) = (generation.clone(), *wall);
        let push = async move {
            let availability = &core.availability;
            availability
                .push_inventory(&alias, &name, items, wall)
                .await
        };
        Some(Passing {
            answer: Box::pin(push),
            generation,
            at: now,
            listed_at: *begun,
            connection: self.connection,
        })
    }

    /// Takes what model-service answered to an inventory, on the connection
    /// that there is now.
    pub(super) fn passed_on(
        &mut self,
        passing: Passing,
        answer: Result<i32, Unavailable>,
        connection: u64,
    ) {
        match answer {
            Ok(doubted) => {
                // Another process may not have it.
                self.pushed = (passing.connection == connection).then_some(Pushed {
                    generation: passing.generation,
                    at: passing.at,
                });
                self.doubted = (doubted > 0).then_some(passing.listed_at);
                let at = self.core.clock.now();
                self.core
                    .board
                    .update_status(&self.alias, |status| status.inventory_at = Some(at));
                self.core.hints.wake_dispatcher();
            }
            Err(error) => {
                self.pushed = None;
                tracing::warn!(server.alias = %self.alias, %error, "model-service did not take its inventory");
            }
        }
    }
}
