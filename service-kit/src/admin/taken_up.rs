//! Owns which work belongs to the operations of administration that a stop or
//! a kill left running, and how their ends are told to those who wait.

use super::{Admin, AdminError};
use crate::database::DatabaseError;
use crate::layers::Deadline;
use crate::operations::{Follow, Operation, OperationKind};
use crate::status::Failure;

/// The kinds whose work is that of administration.
const KINDS: &[OperationKind] = &[
    OperationKind::CreateBackup,
    OperationKind::VerifyBackup,
    OperationKind::Optimize,
];

impl Admin {
    /// Takes up what an earlier process of this service has begun and not ended;
    /// to be called once, before calls are taken.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn take_up_operations(&self) -> Result<(), DatabaseError> {
        let operations = &self.0.operations;
        for taken in operations.take_up(KINDS).await? {
            let admin = self.clone();
            match taken.kind {
                OperationKind::CreateBackup => {
                    operations.resume(taken, move |steps| admin.back_up_again(steps));
                }
                OperationKind::VerifyBackup => {
                    let name = taken.asked("name");
                    operations.resume(taken, move |steps| admin.verify_again(name, steps));
                }
                OperationKind::Optimize => {
                    operations.resume(taken, move |steps| admin.optimize(steps));
                }
                OperationKind::Scan
                | OperationKind::Hashing
                | OperationKind::Enrichment
                | OperationKind::Download => {
                    // Not among those that were asked for; whoever adds it there reads this.
                    let failure = Failure::internal();
                    operations.resume(taken, move |_| async move { Err(failure.into()) });
                }
            }
        }
        Ok(())
    }

    /// What a caller gets of an operation that was begun: its end, or at once
    /// what there is.
    pub(super) async fn asked(
        &self,
        begun: Result<Follow, AdminError>,
        background: bool,
        deadline: Option<Deadline>,
    ) -> Result<Operation, AdminError> {
        let follow = begun?;
        if background {
            return Ok(follow.now());
        }
        self.done(follow, deadline).await
    }

    /// Waits for the end of an operation, for a caller who wants its result and
    /// waits no longer than until its deadline.
    pub(super) async fn done(
        &self,
        follow: Follow,
        deadline: Option<Deadline>,
    ) -> Result<Operation, AdminError> {
        let clock = &self.0.clock;
        let operation = match deadline {
            None => follow.end().await?,
            Some(deadline) => {
                let limit = deadline.remaining(clock);
                follow.end_within(limit, clock).await?
            }
        };
        operation.outcome().map_err(AdminError::Ended)?;
        Ok(operation)
    }
}

#[cfg(test)]
mod tests {
    use diesel::connection::SimpleConnection as _;

    use super::super::tests::admin;
    use super::*;
    use crate::operations::OperationState;

    #[tokio::test]
    async fn a_backup_that_waits_for_another_after_a_start_can_be_cancelled() {
        let (admin, _folder) = admin();
        let write = |connection: &mut diesel::SqliteConnection| {
            connection.batch_execute(
                "INSERT INTO operations (id, kind, state, created_at, updated_at, epoch, starts) \
                 SELECT 'a', 'create_backup', 'running', '1969-01-01T00:00:00.000Z', \
                 '1969-01-01T00:00:00.000Z', value, 1 FROM stablequeue_meta WHERE key = 'epoch'",
            )?;
            Ok::<_, DatabaseError>(())
        };
        admin.0.database.write("test", write).await.unwrap();
        let held = admin.0.backing_up.acquire().await.unwrap();
        admin.take_up_operations().await.unwrap();
        admin.0.operations.cancel("a").await.unwrap();
        let follow = admin.0.operations.follow("a").await.unwrap();
        let over = follow.end().await.unwrap();
        assert_eq!(over.state, OperationState::Cancelled);
        drop(held);
    }
}
