//! Owns how one operation is followed: as it is now, as it moves, to its end.
//! It does not move it.

use std::time::Duration;

use tokio::sync::watch;

use super::{Operation, OperationError};
use crate::clock::Clock;
use crate::shutdown::Shutdown;

/// Between two looks of one watch.
pub const WATCH_EVERY: Duration = Duration::from_millis(500);

/// Somebody follows an operation. Dropping this ends nothing.
#[derive(Debug, Clone)]
pub struct Follow {
    now: watch::Receiver<Operation>,
    shutdown: Shutdown,
}

impl Follow {
    pub(super) fn new(now: watch::Receiver<Operation>, shutdown: Shutdown) -> Self {
        Self { now, shutdown }
    }

    /// The operation as it is now.
    pub fn now(&self) -> Operation {
        self.now.borrow().clone()
    }

    /// As [`Follow::now`]; [`Follow::moved`] then waits for what comes after.
    pub fn look(&mut self) -> Operation {
        self.now.borrow_and_update().clone()
    }

    /// Waits until it has moved since it was last looked at with this.
    ///
    /// # Errors
    /// [`OperationError::Stopping`] when the service stops first.
    pub async fn moved(&mut self) -> Result<Operation, OperationError> {
        tokio::select! {
            biased;
            moved = self.now.changed() => {
                if moved.is_err() {
                    // The next start goes on with it, or nobody here knows its kind; one that
                    // ended here told its end first.
                    self.shutdown.requested().await;
                    return Err(OperationError::Stopping);
                }
                Ok(self.look())
            }
            () = self.shutdown.requested() => Err(OperationError::Stopping),
        }
    }

    /// As [`Follow::moved`], but not before a moment of the monotonic clock.
    ///
    /// # Errors
    /// As [`Follow::moved`].
    pub(super) async fn moved_after(
        &mut self,
        moment: Duration,
        clock: &Clock,
    ) -> Result<Operation, OperationError> {
        self.moved().await?;
        tokio::select! {
            biased;
            () = clock.sleep_until(moment) => {}
            () = self.shutdown.requested() => {}
        }
        let operation = self.look();
        if self.shutdown.is_requested() && !operation.state.is_terminal() {
            return Err(OperationError::Stopping);
        }
        Ok(operation)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// As [`Follow::moved`]; the operation goes on with the next start then.
    pub async fn end(mut self) -> Result<Operation, OperationError> {
        let mut operation = self.look();
        while !operation.state.is_terminal() {
            operation = self.moved().await?;
        }
        Ok(operation)
    }

    /// Waits for its end, for at most `limit`, and answers it as it is then.
    ///
    /// # Errors
    /// As [`Follow::end`].
    pub async fn end_within(
        self,
        limit: Duration,
        clock: &Clock,
    ) -> Result<Operation, OperationError> {
        match clock.timeout(limit, self.clone().end()).await {
            Ok(ended) => ended,
            Err(_) => Ok(self.now()),
        }
    }
}
