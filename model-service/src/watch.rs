//! Owns how a watcher follows events: from the table, in order, without gap;
//! wake-ups are hints. It does not know the wire.

use std::collections::BTreeSet;

use service_kit::resume::ResumeToken;

use crate::error::ModelError;
use crate::events::{Event, EventKind};
use crate::ledger::Ledger;
use crate::store;

/// Events that are read at once; a reader that is behind gets the rest next.
const EVENTS_PER_READ: usize = 500;

/// A place in the history of availability from which events are read on.
#[derive(Debug)]
pub struct Watcher {
    ledger: Ledger,
    /// Only these servers; none: all. Changes of the registry always pass.
    servers: BTreeSet<String>,
    position: i64,
}

impl Watcher {
    /// Begins after `token`, or now.
    ///
    /// # Errors
    /// [`ModelError::WatchHistoryGone`] when the token is of another life of the
    /// database or its events are not kept any more.
    pub async fn begin(
        ledger: Ledger,
        token: Option<ResumeToken>,
        servers: BTreeSet<String>,
    ) -> Result<Self, ModelError> {
        let history = ledger
            .read("begin_watch", |connection| {
                Ok(store::events::history(connection)?)
            })
            .await?;
        let position = match token {
            None => history.last,
            Some(token)
                if token.epoch == ledger.epoch()
                    && (history.forgotten..=history.last).contains(&token.sequence) =>
            {
                token.sequence
            }
            Some(_) => return Err(ModelError::WatchHistoryGone),
        };
        Ok(Self {
            ledger,
            servers,
            position,
        })
    }

    /// Where to begin again after everything that was read so far.
    pub fn token(&self) -> ResumeToken {
        self.token_at(self.position)
    }

    /// Where to begin again after an event.
    pub fn token_at(&self, sequence: i64) -> ResumeToken {
        ResumeToken::new(self.ledger.epoch(), sequence)
    }

    /// The next events; none when there is nothing new. May be none as well
    /// when there were only events of other servers.
    ///
    /// # Errors
    /// [`ModelError::WatchHistoryGone`] when the watcher was so slow that events
    /// it has not seen were forgotten.
    pub async fn read(&mut self) -> Result<Batch, ModelError> {
        let after = self.position;
        let (history, mut events) = self
            .ledger
            .read("read_events", move |connection| {
                let history = store::events::history(connection)?;
                Ok((
                    history,
                    store::events::after(connection, after, EVENTS_PER_READ)?,
                ))
            })
            .await?;
        if after < history.forgotten {
            return Err(ModelError::WatchHistoryGone);
        }
        let more = events.len() == EVENTS_PER_READ;
        self.position = events.last().map_or(after, |event| event.sequence);
        events.retain(|event| {
            self.servers.is_empty()
                || event.what.kind == EventKind::RegistryChanged
                || self.servers.contains(&event.what.server)
        });
        Ok(Batch { events, more })
    }
}

/// Events in their order.
#[derive(Debug)]
pub struct Batch {
    /// The events.
    pub events: Vec<Event>,
    /// Whether there are more already.
    pub more: bool,
}
