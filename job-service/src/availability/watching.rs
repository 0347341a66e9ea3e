//! Follows what model-service tells of changes, and forgets answers with each.
//! What the answers are is `availability`'s.

use std::{sync::Arc, time::Duration};

use service_kit::shutdown::Shutdown;
use stablequeue_proto::models::v1 as proto;

use super::{Availability, CALL_TIMEOUT, Unavailable};

/// The first wait before the watch is opened again.
const RETRY_FIRST: Duration = Duration::from_millis(200);
/// The longest wait before the watch is opened again.
const RETRY_MOST: Duration = Duration::from_secs(15);
/// How long the watch may be silent before it is opened again: model-service
/// sends a sign of life every 15 seconds.
const SILENCE_MAX: Duration = Duration::from_secs(45);

impl Availability {
    /// Follows what model-service tells of changes until the service stops;
    /// opens the watch again, with growing waits, whenever it ends.
    pub async fn watch(self: Arc<Self>, shutdown: Shutdown) {
        let mut wait = RETRY_FIRST;
        let stop = shutdown.token();
        while !stop.is_cancelled() {
            let outcome = tokio::select! {
                () = stop.cancelled() => return,
                outcome = self.watch_once(&mut wait) => outcome,
            };
            self.forget();
            if let Err(error) = outcome {
                tracing::debug!(%error, "the watch on model-service ended");
                self.board
                    .model_service_failed(error.to_string(), self.clock.now());
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.clock.sleep(wait) => {}
            }
            wait = (wait * 2).min(RETRY_MOST);
        }
    }

    async fn watch_once(&self, wait: &mut Duration) -> Result<(), Unavailable> {
        let request = proto::WatchAvailabilityRequest::default();
        let mut client = self.client.clone();
        let mut stream = tokio::time::timeout(CALL_TIMEOUT, client.watch_availability(request))
            .await
            .map_err(|_| Unavailable(format!("no answer within {CALL_TIMEOUT:?}")))??
            .into_inner();
        loop {
            let message = tokio::time::timeout(SILENCE_MAX, stream.message())
                .await
                .map_err(|_| Unavailable(format!("silent for {SILENCE_MAX:?}")))??
                .ok_or_else(|| Unavailable("it ended the watch".to_owned()))?;
            use proto::watch_availability_response::Update;
            match message.update {
                Some(Update::Started(_)) => {
                    *wait = RETRY_FIRST;
                    tracing::info!("model-service answers");
                    self.forget();
                    self.board.model_service_answered();
                    self.connections.send_modify(|count| *count += 1);
                    self.hints.wake_dispatcher();
                }
                Some(Update::Event(_)) => {
                    self.forget();
                    self.hints.wake_dispatcher();
                }
                Some(Update::Heartbeat(_)) | None => {}
            }
        }
    }
}
