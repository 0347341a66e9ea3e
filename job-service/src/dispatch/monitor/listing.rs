//! What a server has: lists it when that is due, doubts a listing that shrank,
//! and passes it on to model-service. Whether the server answers at all is
//! `monitor`'s to find out.

use std::time::Duration;

use super::{
    Monitor,
    inventory::{generation_of, items_of},
};
use crate::dispatch::forge::{CallFailure, ForgeClient, Listing};

/// An inventory that did not change is passed on again after this time, so
/// that it does not count as stale.
const PUSH_AGAIN: Duration = Duration::from_secs(15 * 60);

impl Monitor {
    /// Lists the server when that is due, and passes on what it lists.
    pub(super) async fn list_when_due(&mut self, client: &ForgeClient) {
        let now = self.core.clock.monotonic();
        let asked = self
            .calls
            .relist
            .swap(false, std::sync::atomic::Ordering::AcqRel);
        let old = self
            .listed
            .is_none_or(|(at, _)| now.saturating_sub(at) >= self.core.pace.inventory);
        if !asked && !old {
            if self.pushed.is_none()
                && let Some(listing) = self.listing.take()
            {
                // model-service did not take it; the server was not the fault.
                self.push(&listing).await;
                self.listing = Some(listing);
            }
            return;
        }
        if asked {
            if self
                .calls
                .push
                .swap(false, std::sync::atomic::Ordering::AcqRel)
            {
                self.pushed = None;
            }
            self.refresh_when_idle(client).await;
        }
        match self.list_twice_when_less(client).await {
            Ok(Some(listing)) => {
                self.push(&listing).await;
                self.listing = Some(listing);
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(server.alias = %self.alias, %error, "its models could not be listed");
            }
        }
    }

    /// Lets an idle server look at its folders, so that a file that was put
    /// there since its start is listed. A busy one would keep us waiting.
    async fn refresh_when_idle(&self, client: &ForgeClient) {
        let ours = self.core.board.get(&self.alias);
        if ours.is_none_or(|state| state.running_job.is_some()) {
            return;
        }
        let idle = client.progress().await;
        if !idle.is_ok_and(|progress| progress.is_idle()) {
            return;
        }
        if let Err(error) = client.refresh().await {
            tracing::warn!(server.alias = %self.alias, %error, "it did not look at its folders again");
        }
    }

    /// Lists the server; when it has fewer models than before, a second look
    /// must agree before anything counts as gone.
    async fn list_twice_when_less(
        &mut self,
        client: &ForgeClient,
    ) -> Result<Option<Listing>, CallFailure> {
        let listing = client.list_inventory().await?;
        let count = listing.checkpoints.len() + listing.loras.len();
        let less = self.listed.map_or(count == 0, |(_, before)| count < before);
        if less {
            self.core.clock.sleep(self.core.pace.second_look).await;
            let again = client.list_inventory().await?;
            if again != listing {
                return Ok(None);
            }
        }
        self.listed = Some((self.core.clock.monotonic(), count));
        let at = self.core.clock.monotonic();
        let board = &self.core.board;
        board.put_listing(&self.alias, listing.clone(), at, false);
        board.update_status(&self.alias, |status| {
            status.checkpoint_count = listing.checkpoints.len();
            status.lora_count = listing.loras.len();
        });
        Ok(Some(listing))
    }

    async fn push(&mut self, listing: &Listing) {
        let items = items_of(listing);
        let generation = generation_of(&items);
        let now = self.core.clock.monotonic();
        let known = self.pushed.as_ref().is_some_and(|(pushed, at)| {
            *pushed == generation && now.saturating_sub(*at) < PUSH_AGAIN
        });
        if known {
            return;
        }
        let pushed = self
            .core
            .availability
            .push_inventory(&self.alias, &generation, items)
            .await;
        match pushed {
            Ok(()) => {
                self.pushed = Some((generation, now));
                let at = self.core.clock.now();
                self.core
                    .board
                    .update_status(&self.alias, |status| status.inventory_at = Some(at));
            }
            Err(error) => {
                self.pushed = None;
                tracing::warn!(server.alias = %self.alias, %error, "model-service did not take its inventory");
            }
        }
    }
}
