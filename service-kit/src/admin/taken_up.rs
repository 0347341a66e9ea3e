//! Owns which work belongs to the operations of administration that a stop or
//! a kill left running, and how their ends are told to those who wait.

use super::{Admin, AdminError};
use crate::database::DatabaseError;
use crate::operations::{Follow, Operation, OperationKind};

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
    ) -> Result<Operation, AdminError> {
        let follow = begun?;
        if background {
            return Ok(follow.now());
        }
        self.done(follow).await
    }

    /// Waits for the end of an operation, for a caller who wants its result.
    pub(super) async fn done(&self, follow: Follow) -> Result<Operation, AdminError> {
        let operation = follow.end().await?;
        operation.outcome().map_err(AdminError::Ended)?;
        Ok(operation)
    }
}
