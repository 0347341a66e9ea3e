//! Owns how a command waits for an operation: its progress on the terminal, a
//! service that is started again meanwhile, and Ctrl-C.

use std::time::Duration;

use service_kit::clock::Clock;
use service_kit::commands::{Counted, Progress};
use stablequeue_proto::admin::v1::{
    CancelOperationRequest, Operation, WatchOperationRequest, WatchOperationResponse,
};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tonic::{Code, Status, Streaming};

use super::ClientError;
use super::client::Clients;

/// Between two tries to follow when the service does not answer.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Tries in a row without an answer.
const TRIES_MAX: u32 = 60;

/// Waits for the end of an operation and tells how far it is. The first Ctrl-C
/// cancels it, and its end is still waited for; the second leaves it.
///
/// # Errors
/// [`ClientError`]; the operation goes on then.
pub(super) async fn to_its_end(
    clients: Clients,
    started: Operation,
    what: &'static str,
    counted: Counted,
    clock: &Clock,
) -> Result<Operation, ClientError> {
    let interrupts = signal(SignalKind::interrupt()).map_err(ClientError::Signal)?;
    let mut waiting = Waiting {
        clients,
        id: started.operation_id.clone(),
        progress: Progress::begin(what, counted, clock),
        interrupts,
        cancelled: false,
        silent_tries: 0,
    };
    let mut operation = started;
    while operation.end_time.is_none() {
        match waiting.watch().await? {
            Some(ended) => operation = ended,
            None => waiting.pause(clock).await?,
        }
    }
    Ok(operation)
}

struct Waiting {
    clients: Clients,
    id: String,
    progress: Progress,
    interrupts: Signal,
    cancelled: bool,
    /// Since the service last said something.
    silent_tries: u32,
}

impl Waiting {
    /// One watch, up to the operation's end; `None` when it was cut before.
    async fn watch(&mut self) -> Result<Option<Operation>, ClientError> {
        let request = WatchOperationRequest {
            operation_id: self.id.clone(),
        };
        let mut watch = match self.clients.operations.watch_operation(request).await {
            Ok(watch) => watch.into_inner(),
            Err(status) => return passing(status),
        };
        loop {
            tokio::select! {
                said = next(&mut watch) => match said {
                    Ok(Some(operation)) => {
                        self.silent_tries = 0;
                        self.tell(&operation);
                        if operation.end_time.is_some() {
                            return Ok(Some(operation));
                        }
                    }
                    Ok(None) => return Ok(None),
                    Err(status) => return passing(status),
                },
                _ = self.interrupts.recv() => self.interrupted().await?,
            }
        }
    }

    fn tell(&mut self, operation: &Operation) {
        if let Some(progress) = &operation.progress {
            let count = |count| u64::try_from(count).unwrap_or_default();
            self.progress
                .at(count(progress.done), count(progress.total));
        }
    }

    /// Somebody pressed Ctrl-C.
    async fn interrupted(&mut self) -> Result<(), ClientError> {
        if self.cancelled {
            return Err(ClientError::Left(self.id.clone()));
        }
        self.cancelled = true;
        eprintln!("model-service: cancelling; what is done stays. Ctrl-C again does not wait");
        let request = CancelOperationRequest {
            operation_id: self.id.clone(),
        };
        self.clients.operations.cancel_operation(request).await?;
        Ok(())
    }

    /// Waits before the next try.
    async fn pause(&mut self, clock: &Clock) -> Result<(), ClientError> {
        self.silent_tries += 1;
        if self.silent_tries > TRIES_MAX {
            return Err(ClientError::Left(self.id.clone()));
        }
        tokio::select! {
            () = clock.sleep(RETRY_AFTER) => Ok(()),
            _ = self.interrupts.recv() => Err(ClientError::Left(self.id.clone())),
        }
    }
}

async fn next(watch: &mut Streaming<WatchOperationResponse>) -> Result<Option<Operation>, Status> {
    let said = watch.message().await?;
    Ok(said.and_then(|response| response.operation))
}

/// Whether the service may come back: it is stopped for an upgrade, or the
/// connection broke.
fn passing<T>(status: Status) -> Result<Option<T>, ClientError> {
    match status.code() {
        Code::Unavailable | Code::Cancelled | Code::Unknown | Code::ResourceExhausted => Ok(None),
        _ => Err(status.into()),
    }
}
