//! Owns backups as operations: what is refused at the door, and the making of
//! the copy. It does not copy by itself, and does nothing with backups that are
//! there.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use super::{Admin, AdminError, blocking, size_bytes};
use crate::database::{sibling, volume_free_bytes};
use crate::migrate::{self, Backup, BackupError, CopyProgress};
use crate::operations::{
    Follow, NewOperation, OperationCaller, OperationKind, OperationResult, Steps, Unfinished,
};

/// In what the progress of a backup is counted.
const BYTES: &str = "bytes";

/// A backup that is being made, or was.
pub(super) struct AskedBackup {
    pub(super) follow: Follow,
    /// Whether an earlier call with the same id has begun it.
    pub(super) repeated: bool,
}

impl Admin {
    /// The right to make, check or remove backups, which one call has at a time.
    pub(super) fn backup_permit(&self) -> Result<OwnedSemaphorePermit, AdminError> {
        let permit = Arc::clone(&self.0.backing_up).try_acquire_owned();
        permit.map_err(|_| AdminError::BackupRunning)
    }

    /// The same for what was begun before the service was started: it waits.
    pub(super) async fn next_backup_permit(&self) -> Result<OwnedSemaphorePermit, AdminError> {
        let permit = Arc::clone(&self.0.backing_up).acquire_owned().await;
        // Nobody closes the semaphore.
        permit.map_err(|_| AdminError::BackupRunning)
    }

    /// Begins a backup, or finds the one that the caller has begun with this id.
    pub(super) async fn begin_backup(
        &self,
        caller: OperationCaller,
        request_id: Option<String>,
    ) -> Result<AskedBackup, AdminError> {
        let kind = OperationKind::CreateBackup;
        let operations = &self.0.operations;
        // One at a time, so that a repeated call finds the first and not its permit taken.
        let _door = self.0.door.lock().await;
        if let Some(id) = &request_id
            && let Some(follow) = operations.repeated(&caller, kind, id).await?
        {
            return Ok(AskedBackup {
                follow,
                repeated: true,
            });
        }
        let permit = self.backup_permit()?;
        let admin = self.clone();
        blocking(move || admin.make_room()).await?;
        let new = NewOperation {
            kind,
            target: String::new(),
            request_json: "{}".to_owned(),
            caller,
            request_id,
        };
        let admin = self.clone();
        let follow = operations
            .begin(new, move |steps| admin.back_up(permit, steps))
            .await?;
        Ok(AskedBackup {
            follow,
            repeated: false,
        })
    }

    /// The work of a backup.
    async fn back_up(
        self,
        permit: OwnedSemaphorePermit,
        steps: Steps,
    ) -> Result<OperationResult, Unfinished> {
        let made = blocking(move || {
            let made = self.copy(&steps);
            drop(permit);
            made
        });
        Ok(OperationResult::Backup(made.await?))
    }

    /// The work of a backup that was cut off, from its beginning.
    pub(super) async fn back_up_again(self, steps: Steps) -> Result<OperationResult, Unfinished> {
        let permit = self.next_backup_permit().await?;
        steps.go_on()?;
        let admin = self.clone();
        blocking(move || admin.make_room()).await?;
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
        let wal_size_bytes = size_bytes(sibling(path, "-wal"))?;
        let needed_bytes = size_bytes(PathBuf::from(path))?.saturating_add(wal_size_bytes);
        enough_space(needed_bytes, volume_free_bytes(path)?)
    }

    fn copy(&self, steps: &Steps) -> Result<Backup, AdminError> {
        let path = self.0.database.path();
        let database = self.0.facts.schema.database;
        let now = self.0.clock.now();
        let mut step =
            |progress: CopyProgress| steps.reach(progress.done_bytes, progress.total_bytes, BYTES);
        Ok(migrate::back_up_running(path, database, now, &mut step)?)
    }
}

/// Whether a copy of so many bytes fits.
fn enough_space(needed_bytes: u64, free_bytes: u64) -> Result<(), AdminError> {
    if free_bytes >= needed_bytes {
        return Ok(());
    }
    Err(AdminError::NoSpace {
        needed_bytes,
        free_bytes,
    })
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::super::tests::admin;
    use super::*;
    use crate::status::Failure;

    async fn made(admin: &Admin) -> Result<Backup, AdminError> {
        let asked = admin.begin_backup(OperationCaller::default(), None).await?;
        match admin.done(asked.follow).await?.result {
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

    #[test]
    fn a_copy_must_fit_and_the_refusal_names_both_sizes() {
        assert!(enough_space(7, 7).is_ok());
        let failure = Failure::from(enough_space(4096, 100).unwrap_err());
        assert_eq!(failure.code(), Code::FailedPrecondition);
        assert_eq!(failure.reason(), "NOT_ENOUGH_SPACE");
        for bytes in ["4096", "100"] {
            assert!(failure.message().contains(bytes), "{failure}");
        }
    }
}
