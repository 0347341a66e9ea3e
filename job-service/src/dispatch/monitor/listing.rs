//! What a server has: lists it when that is due, and doubts a listing that
//! shrank. Whether the server answers at all is `monitor`'s to find out, and
//! passing on what it lists is `passing`'s work.

use std::{sync::atomic::Ordering, time::Duration};

use chrono::{DateTime, Utc};

use super::{Monitor, passing::Due};
use crate::dispatch::forge::{CallFailure, ForgeClient, Listing};

/// What a server listed.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    /// All its lists.
    pub(super) listing: Listing,
    /// When it was asked for them.
    pub(super) at: DateTime<Utc>,
    /// The same in the time of the process.
    pub(super) begun: Duration,
}

impl Monitor {
    /// Lists the server when that is due, and notes whether that is to be
    /// passed on.
    pub(super) async fn list_when_due(&mut self, client: &ForgeClient) {
        let now = self.core.clock.monotonic();
        let asked = self.calls.relist.swap(false, Ordering::AcqRel);
        let old = self
            .listed
            .is_none_or(|(at, _)| now.saturating_sub(at) >= self.core.pace.inventory);
        let doubted = self.doubt_ends().is_some_and(|end| end <= now);
        if !asked && !old && !doubted {
            if self.pushed.is_none() {
                // model-service did not take it; the server was not the fault.
                self.due = self.due.max(Due::IfNew);
            }
            return;
        }
        let push = asked && self.calls.push.swap(false, Ordering::AcqRel);
        if push {
            // What was listed before must not undo what is known since.
            self.listing = None;
        }
        if doubted {
            // Not again at once, whatever comes of it.
            self.doubted = Some(now);
        }
        if asked {
            self.refresh_when_idle(client).await;
        }
        match self.list_twice_when_less(client).await {
            Ok(Some(listed)) => {
                self.listing = Some(listed);
                let due = if push || doubted {
                    Due::Surely
                } else {
                    Due::IfNew
                };
                self.due = self.due.max(due);
                return;
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(server.alias = %self.alias, %error, "its models could not be listed");
            }
        }
        // Who asked is owed a listing still.
        self.calls.relist.fetch_or(asked, Ordering::AcqRel);
        self.calls.push.fetch_or(push, Ordering::AcqRel);
    }

    /// When the server is to be listed again since model-service doubts what
    /// it had of it last, in the time of the process.
    pub(super) fn doubt_ends(&self) -> Option<Duration> {
        // One that it does not have yet comes first.
        self.pushed.as_ref()?;
        let listed_at = self.doubted?;
        Some(listed_at.saturating_add(self.core.pace.doubted_look))
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
    ) -> Result<Option<Listed>, CallFailure> {
        let mut listed = self.list(client).await?;
        let listing = &listed.listing;
        let count = listing.checkpoints.len() + listing.loras.len();
        let less = self.listed.map_or(count == 0, |(_, before)| count < before);
        if less {
            self.core.clock.sleep(self.core.pace.second_look).await;
            let again = self.list(client).await?;
            if again.listing != listed.listing {
                return Ok(None);
            }
            listed = again;
        }
        let listing = &listed.listing;
        let at = self.core.clock.monotonic();
        self.listed = Some((at, count));
        let board = &self.core.board;
        board.put_listing(&self.alias, listing.clone(), at, false);
        board.update_status(&self.alias, |status| {
            status.checkpoint_count = listing.checkpoints.len();
            status.lora_count = listing.loras.len();
        });
        Ok(Some(listed))
    }

    async fn list(&self, client: &ForgeClient) -> Result<Listed, CallFailure> {
        let clock = &self.core.clock;
        let (at, begun) = (clock.now(), clock.monotonic());
        let listing = client.list_inventory().await?;
        Ok(Listed { listing, at, begun })
    }
}
