//! Owns what becomes of operations that a stop or a kill left running: they are
//! begun again, unless that makes no sense any more.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use diesel::SqliteConnection;
use tonic::Code;

use super::store::{self, Left};
use super::{
    OPERATIONS_KEPT, Operation, OperationKind, OperationResult, OperationState, Operations,
    Running, Steps, Unfinished,
};
use crate::database::DatabaseError;
use crate::migrate;
use crate::status::Failure;

/// How often an operation is begun that never comes to an end.
pub const OPERATION_STARTS_MAX: i32 = 5;
/// Reason of an operation that was begun as often as may be.
pub const OPERATION_KEEPS_ENDING: &str = "OPERATION_KEEPS_ENDING";
/// Reason of an operation that was under way in a life of the database that is
/// over.
pub const OPERATION_RESTORED: &str = "OPERATION_RESTORED";

/// An operation that is to be begun again with [`Operations::resume`]; one that
/// is dropped instead stays running, and nobody works on it.
#[derive(Debug)]
#[must_use = "it stays running for good unless it is resumed"]
pub struct TakenUp {
    /// What it does.
    pub kind: OperationKind,
    request_json: String,
    running: Running,
}

impl TakenUp {
    /// What was asked for: the `request_json` that it was begun with.
    pub fn request(&self) -> &str {
        &self.request_json
    }

    /// A text of what was asked for; empty when it is not there.
    pub fn asked(&self, field: &str) -> String {
        let asked: serde_json::Value = serde_json::from_str(&self.request_json).unwrap_or_default();
        asked[field].as_str().unwrap_or_default().to_owned()
    }
}

impl Operations {
    /// Takes up the operations of these kinds that were left running; those of
    /// other kinds, and of kinds that this program does not know, are left
    /// alone. To be called once for each kind, before calls are taken; each that
    /// is answered must be resumed.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn take_up(
        &self,
        kinds: &'static [OperationKind],
    ) -> Result<Vec<TakenUp>, DatabaseError> {
        let now = self.0.clock.now();
        let take = move |connection: &mut SqliteConnection| taken(connection, kinds, now);
        let taken = self.0.database.write("take_up_operations", take).await?;
        let entered = taken.into_iter().filter_map(|(operation, request_json)| {
            let kind = operation.kind?;
            tracing::info!(
                operation.id = operation.id,
                operation.kind = kind.as_str(),
                operation.starts = operation.starts,
                "an operation is taken up again"
            );
            let running = self.enter(operation);
            Some(TakenUp {
                kind,
                request_json,
                running,
            })
        });
        Ok(entered.collect())
    }

    /// Begins an operation again that was taken up.
    pub fn resume<W, F>(&self, taken: TakenUp, work: W)
    where
        W: FnOnce(Steps) -> F + Send + 'static,
        F: Future<Output = Result<OperationResult, Unfinished>> + Send + 'static,
    {
        let operations = self.clone();
        self.0.shutdown.spawn("operation", async move {
            let TakenUp { kind, running, .. } = taken;
            let slots = Arc::clone(operations.slots(kind));
            let slot = tokio::select! {
                biased;
                slot = slots.acquire_owned() => slot.ok(),
                () = running.cancel.cancelled() => None,
                () = operations.0.shutdown.requested() => None,
            };
            match slot {
                Some(slot) => operations.run(running, slot, work).await,
                None => operations.finish(&running, Err(Unfinished::Stopped)).await,
            }
        });
    }
}

fn taken(
    connection: &mut SqliteConnection,
    kinds: &[OperationKind],
    now: DateTime<Utc>,
) -> Result<Vec<(Operation, String)>, DatabaseError> {
    let epoch = migrate::epoch(connection)?;
    let mut taken = Vec::new();
    for left in store::left_running(connection, kinds)? {
        match fate(&left, &epoch) {
            Fate::BeginAgain => {
                store::begin_again(connection, &left.operation.id, now)?;
                let again = store::find(connection, &left.operation.id)?;
                taken.extend(again.map(|again| (again, left.request_json)));
            }
            Fate::End(state, error) => {
                let mut ended = left.operation;
                ended.state = state;
                ended.error = error;
                ended.updated_at = now;
                ended.ended_at = Some(now);
                store::end(connection, &ended, OPERATIONS_KEPT)?;
            }
        }
    }
    Ok(taken)
}

enum Fate {
    BeginAgain,
    End(OperationState, Option<Failure>),
}

fn fate(left: &Left, epoch: &str) -> Fate {
    let failed = |reason, text: String| {
        let failure = Failure::new(Code::Aborted, reason, text);
        Fate::End(OperationState::Failed, Some(failure))
    };
    let operation = &left.operation;
    if left.epoch != epoch {
        return failed(
            OPERATION_RESTORED,
            "the database was restored from a backup that was made while this went on; begin it \
             anew, with another request_id, if it is still wanted"
                .to_owned(),
        );
    }
    if operation.cancel_requested_at.is_some() {
        return Fate::End(OperationState::Cancelled, None);
    }
    if operation.starts >= OPERATION_STARTS_MAX {
        return failed(
            OPERATION_KEEPS_ENDING,
            format!(
                "the service was stopped or killed in the middle of it {} times; look into the \
                 log for why, then begin it anew, with another request_id",
                operation.starts
            ),
        );
    }
    Fate::BeginAgain
}
