//! Owns the messages of a watch: that it began, events, signs of life, and its
//! end with a place to begin again. It does not own which events there are.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::{Stream, stream};
use service_kit::clock::{self, Clock};
use service_kit::shutdown::Shutdown;
use service_kit::status::Failure;
use stablequeue_proto::models::v1 as wire;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tonic::Status;
use wire::watch_availability_response::Update;

use super::convert;
use crate::events::Event;
use crate::ledger::Ledger;
use crate::metrics::WatchGuard;
use crate::watch::Watcher;

/// How long a watch is quiet before it gives a sign of life.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(15);
/// When a watcher should come back after a stop.
const RETRY_AFTER: Duration = Duration::from_secs(1);

type Message = wire::WatchAvailabilityResponse;

/// A watch under way.
pub(super) struct Watch {
    pub(super) watcher: Watcher,
    pub(super) clock: Clock,
    pub(super) shutdown: Shutdown,
    changes: watch::Receiver<()>,
    waiting: VecDeque<Event>,
    more: bool,
    state: State,
    _permit: OwnedSemaphorePermit,
    _counted: WatchGuard,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Running,
    Ended,
}

impl Watch {
    pub(super) fn new(
        ledger: &Ledger,
        watcher: Watcher,
        shutdown: Shutdown,
        permit: OwnedSemaphorePermit,
        counted: WatchGuard,
    ) -> Self {
        Self {
            watcher,
            clock: ledger.clock().clone(),
            shutdown,
            changes: ledger.changes(),
            waiting: VecDeque::new(),
            // What happened since the watcher began is in the table.
            more: true,
            state: State::New,
            _permit: permit,
            _counted: counted,
        }
    }

    /// The messages; nothing is read before the client takes them.
    pub(super) fn messages(self) -> impl Stream<Item = Result<Message, Status>> + Send {
        stream::unfold(self, |mut watch| async move {
            if watch.state == State::Ended {
                return None;
            }
            let next = watch.next().await;
            if next.is_err() {
                watch.state = State::Ended;
            }
            Some((next, watch))
        })
    }

    async fn next(&mut self) -> Result<Message, Status> {
        if self.state == State::New {
            self.state = State::Running;
            let started = wire::WatchStarted {
                start_time: self.now(),
            };
            return Ok(self.message(Update::Started(started)));
        }
        let heartbeat = self.clock.sleep(HEARTBEAT_INTERVAL);
        let mut heartbeat = std::pin::pin!(heartbeat);
        let mut quiet = false;
        loop {
            if let Some(event) = self.waiting.pop_front() {
                let resume_token = self.watcher.token_at(event.sequence).to_string();
                let update = Some(Update::Event(convert::to_event(event)));
                return Ok(Message {
                    update,
                    resume_token,
                });
            }
            if self.shutdown.is_requested() {
                return Err(self.stopping().into());
            }
            if self.more || quiet {
                // Changes after this line wake again; changes before it are read.
                self.changes.mark_unchanged();
                let batch = self.watcher.read().await.map_err(Failure::from)?;
                self.waiting.extend(batch.events);
                self.more = batch.more;
                if quiet && self.waiting.is_empty() && !self.more {
                    let sent = wire::Heartbeat {
                        send_time: self.now(),
                    };
                    return Ok(self.message(Update::Heartbeat(sent)));
                }
                continue;
            }
            tokio::select! {
                changed = self.changes.changed() => {
                    // The sender lives in the ledger, which this watch holds.
                    self.more = changed.is_ok();
                }
                () = &mut heartbeat, if !quiet => quiet = true,
                () = self.shutdown.requested() => {}
            }
        }
    }

    fn now(&self) -> Option<prost_types::Timestamp> {
        Some(clock::to_timestamp(self.clock.now()))
    }

    fn message(&self, update: Update) -> Message {
        Message {
            update: Some(update),
            resume_token: self.watcher.token().to_string(),
        }
    }

    fn stopping(&self) -> Failure {
        Failure::unavailable(
            "STOPPING",
            "the service is stopping; watch again with the last resume token",
            RETRY_AFTER,
        )
        .with_metadata("resume_token", self.watcher.token().to_string())
    }
}
