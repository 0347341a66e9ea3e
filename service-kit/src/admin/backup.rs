//! Owns backups as operations: what is refused at the door, and the making of
//! the copy. It does not copy by itself, and does nothing with backups that are
//! there.

use std::ops::ControlFlow;
use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use super::{Admin, AdminError, blocking};
use crate::migrate::{self, Backup, BackupError, CopyProgress};
use crate::operations::{
    Begun, NewOperation, OperationCaller, OperationKind, OperationResult, Steps, Unfinished,
};

/// Steps of a copy, of a MiB each, from one look at the free space to the next.
const STEPS_BETWEEN_LOOKS: u32 = 16;

/// A copy that has left its service no more than this is ended; it began with twice as much to
/// spare, so others took the rest.
const COPY_ENDS_BELOW_BYTES: u64 = migrate::SERVICE_MARGIN_BYTES / 2;

/// In what the progress of a backup is counted.
const BYTES: &str = "bytes";

impl Admin {
    /// The right to make, check or remove backups, which one call has at a time.
    pub(super) fn backup_permit(&self) -> Result<OwnedSemaphorePermit, AdminError> {
        let permit = Arc::clone(&self.0.backing_up).try_acquire_owned();
        permit.map_err(|_| AdminError::BackupRunning)
    }

    /// The same for what was begun before the service was started: it waits, until
    /// it is told to stop.
    pub(super) async fn next_backup_permit(
        &self,
        steps: &Steps,
    ) -> Result<OwnedSemaphorePermit, Unfinished> {
        let permit = tokio::select! {
            biased;
            permit = Arc::clone(&self.0.backing_up).acquire_owned() => permit,
            () = steps.cancelled() => return Err(Unfinished::Stopped),
        };
        // Nobody closes the semaphore.
        permit.map_err(|_| AdminError::BackupRunning.into())
    }

    /// Begins a backup, or finds the one that the caller has begun with this id.
    pub(super) async fn begin_backup(
        &self,
        caller: OperationCaller,
        request_id: Option<String>,
    ) -> Result<Begun, AdminError> {
        let new = NewOperation {
            kind: OperationKind::CreateBackup,
            target: String::new(),
            request_json: "{}".to_owned(),
            caller,
            request_id,
        };
        let (door, admin) = (self.clone(), self.clone());
        let admit = move || Ok(door.backup_permit()?);
        let work = move |permit, steps| admin.back_up(permit, steps);
        Ok(self.0.operations.begin_if(new, admit, work).await?)
    }

    /// The work of a backup.
    async fn back_up(
        self,
        permit: OwnedSemaphorePermit,
        steps: Steps,
    ) -> Result<OperationResult, Unfinished> {
        let made = blocking(move || {
            let made = self.make_room().and_then(|()| self.copy(&steps));
            drop(permit);
            made
        });
        Ok(OperationResult::Backup(made.await?))
    }

    /// The work of a backup that was cut off, from its beginning.
    pub(super) async fn back_up_again(self, steps: Steps) -> Result<OperationResult, Unfinished> {
        let permit = self.next_backup_permit(&steps).await?;
        self.back_up(permit, steps).await
    }

    /// Removes what was never finished, and looks whether a copy fits then.
    fn make_room(&self) -> Result<(), AdminError> {
        let path = self.0.database.path();
        let database = self.0.facts.schema.database;
        // What a killed program left may be the very space that is wanting.
        migrate::remove_unfinished_backups(path, database).map_err(|error| BackupError {
            path: path.to_owned(),
            reason: error.to_string(),
            cancelled: false,
        })?;
        let free_bytes = (self.0.free_bytes)(path)?;
        Ok(migrate::for_copy_beside_service(path, free_bytes)?)
    }

    fn copy(&self, steps: &Steps) -> Result<Backup, AdminError> {
        let path = self.0.database.path();
        let database = self.0.facts.schema.database;
        let now = self.0.clock.now();
        let (mut told, mut free_bytes) = (0_u32, None);
        let mut step = |progress: CopyProgress| {
            if told % STEPS_BETWEEN_LOOKS == 0 {
                // What cannot be asked is no reason to end it; the disk will say.
                let free = (self.0.free_bytes)(path).unwrap_or(u64::MAX);
                if free < COPY_ENDS_BELOW_BYTES {
                    free_bytes = Some(free);
                    return ControlFlow::Break(());
                }
            }
            told = told.wrapping_add(1);
            steps.reach(progress.done_bytes, progress.total_bytes, BYTES)
        };
        let stop = steps.stop();
        let made = migrate::back_up_running(path, database, now, &stop, &mut step);
        match free_bytes {
            None => Ok(made?),
            Some(free_bytes) => Err(AdminError::NoSpace {
                needed_bytes: COPY_ENDS_BELOW_BYTES,
                free_bytes,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::super::tests::{admin, admin_on};
    use super::*;
    use crate::migrate::SERVICE_MARGIN_BYTES;
    use crate::status::Failure;

    async fn made(admin: &Admin) -> Result<Backup, AdminError> {
        let asked = admin.begin_backup(OperationCaller::default(), None).await?;
        match admin.done(asked.follow, None).await?.result {
            Some(OperationResult::Backup(backup)) => Ok(backup),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn one_backup_is_made_at_a_time() {
        let (admin, _folder) = admin();
        let held = admin.0.backing_up.acquire().await.unwrap();
        let failure = Failure::from(made(&admin).await.unwrap_err());
        assert_eq!(failure.code(), Code::FailedPrecondition);
        assert_eq!(failure.reason(), "BACKUP_RUNNING");
        assert!(admin.backups().unwrap().is_empty());
        drop(held);
        let made = made(&admin).await.unwrap();
        assert_eq!(admin.backups().unwrap(), [made]);
    }

    #[tokio::test]
    async fn a_backup_that_nobody_waits_for_is_finished() {
        let (admin, folder) = admin();
        let asked = admin.begin_backup(OperationCaller::default(), None).await;
        drop(asked.unwrap());
        drop(admin.0.backing_up.acquire().await.unwrap());
        assert_eq!(admin.backups().unwrap().len(), 1);
        let names = std::fs::read_dir(folder.path()).unwrap();
        let mut names = names.map(|entry| entry.unwrap().file_name());
        assert!(!names.any(|name| name.to_string_lossy().ends_with(".partial")));
    }

    #[tokio::test]
    async fn a_copy_must_fit_and_leave_some_space_and_the_refusal_names_both_sizes() {
        let (admin, _hand, _folder) = admin_on(|_| Ok(SERVICE_MARGIN_BYTES));
        let failure = Failure::from(made(&admin).await.unwrap_err());
        assert_eq!(failure.code(), Code::FailedPrecondition);
        assert_eq!(failure.reason(), "NOT_ENOUGH_SPACE");
        let free = SERVICE_MARGIN_BYTES.to_string();
        assert!(failure.message().contains(&free), "{failure}");
        assert!(admin.backups().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_copy_is_ended_when_others_take_the_space_meanwhile() {
        // Full as soon as there is a file of the copy.
        let (admin, _hand, folder) = admin_on(|path| {
            let names = std::fs::read_dir(path.parent().unwrap())?;
            let mut names = names.map(|entry| entry.unwrap().file_name());
            let begun = names.any(|name| name.to_string_lossy().ends_with(".partial"));
            Ok(if begun { 1 } else { u64::MAX })
        });
        let failure = Failure::from(made(&admin).await.unwrap_err());
        assert_eq!(failure.reason(), "NOT_ENOUGH_SPACE");
        let names = std::fs::read_dir(folder.path()).unwrap();
        let mut names = names.map(|entry| entry.unwrap().file_name());
        assert!(!names.any(|name| name.to_string_lossy().contains("_backup_")));
    }

    #[tokio::test]
    async fn a_check_that_is_told_to_stop_is_cancelled_and_no_failure() {
        let (admin, _folder) = admin();
        let made = made(&admin).await.unwrap();
        let stopped = Unfinished::from(AdminError::Migrate(migrate::MigrateError::Stopped));
        assert!(matches!(stopped, Unfinished::Stopped));
        let schema = &admin.0.facts.schema;
        let stop: migrate::Stop = Arc::new(|| true);
        let path = admin.0.database.path();
        let checked = migrate::verify_backup_until(path, &made.name, schema, &stop);
        assert!(matches!(checked, Err(migrate::MigrateError::Stopped)));
        let prune = migrate::Prune {
            pre_adoption: true,
            keep: Some(0),
            ..migrate::Prune::default()
        };
        let now = admin.0.clock.now();
        let pruned = migrate::prune_backups_until(path, schema, &prune, now, &stop);
        assert!(matches!(pruned, Err(migrate::MigrateError::Stopped)));
        assert_eq!(admin.backups().unwrap(), [made]);
    }
}
