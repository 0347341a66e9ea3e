//! Owns what is done with backups that are there, and with the database while
//! it is used. It does not make backups.

use std::sync::Arc;

use diesel::connection::SimpleConnection as _;
use diesel::sql_types::BigInt;
use diesel::{QueryableByName, RunQueryDsl as _, SqliteConnection};
use tokio::sync::OwnedSemaphorePermit;

use super::{Admin, AdminError, blocking, size_bytes};
use crate::database::{DatabaseError, DatabaseOptions, open_writer};
use crate::migrate::{CheckedBackup, MigrateError, Prune, Pruned, prune_backups, verify_backup};

/// Rows of an index that are looked at to know what it is good for
/// (<https://sqlite.org/pragma.html#pragma_analysis_limit>).
const ANALYSIS_ROWS: u32 = 1_000;

/// What SQLite says of a checkpoint
/// (<https://sqlite.org/pragma.html#pragma_wal_checkpoint>).
#[derive(Debug, QueryableByName)]
struct Checkpoint {
    #[diesel(sql_type = BigInt)]
    log: i64,
    #[diesel(sql_type = BigInt)]
    checkpointed: i64,
}

/// A database that was looked after.
#[derive(Debug)]
pub(super) struct Optimized {
    pub(super) size_bytes: u64,
    pub(super) wal_pages: i64,
    pub(super) checkpointed_pages: i64,
}

impl Admin {
    /// The right to make, check or remove backups, which one call has at a time.
    pub(super) fn backup_permit(&self) -> Result<OwnedSemaphorePermit, AdminError> {
        let permit = Arc::clone(&self.0.backing_up).try_acquire_owned();
        permit.map_err(|_| AdminError::BackupRunning)
    }

    pub(super) async fn verify(&self, name: String) -> Result<CheckedBackup, AdminError> {
        let permit = self.backup_permit()?;
        let admin = self.clone();
        blocking(move || {
            let inner = &admin.0;
            let checked = verify_backup(inner.database.path(), &name, &inner.facts.schema);
            drop(permit);
            checked.map_err(|error| match error {
                error @ MigrateError::NoBackup { .. } => AdminError::Migrate(error),
                error if error.is_bad_data() => AdminError::NotGood { name, error },
                error => AdminError::Migrate(error),
            })
        })
        .await
    }

    pub(super) async fn prune(&self, prune: Prune) -> Result<Pruned, AdminError> {
        let permit = self.backup_permit()?;
        let admin = self.clone();
        blocking(move || {
            let inner = &admin.0;
            let (path, now) = (inner.database.path(), inner.clock.now());
            let pruned = prune_backups(path, &inner.facts.schema, &prune, now);
            drop(permit);
            Ok(pruned?)
        })
        .await
    }

    /// The checkpoint is one that waits for nobody and keeps nobody waiting.
    pub(super) async fn optimize(&self) -> Result<Optimized, AdminError> {
        let analyse = |connection: &mut SqliteConnection| {
            connection.batch_execute(&format!(
                "PRAGMA analysis_limit = {ANALYSIS_ROWS}; PRAGMA optimize(0x10002)"
            ))?;
            Ok::<_, DatabaseError>(())
        };
        self.0.database.write("optimize", analyse).await?;
        let admin = self.clone();
        blocking(move || {
            let path = admin.0.database.path();
            let mut connection = open_writer(path, &DatabaseOptions::default())?;
            let Checkpoint { log, checkpointed } =
                diesel::sql_query("PRAGMA wal_checkpoint(PASSIVE)")
                    .get_result(&mut connection)
                    .map_err(DatabaseError::from)?;
            Ok(Optimized {
                size_bytes: size_bytes(path.to_owned())?,
                wal_pages: log.max(0),
                checkpointed_pages: checkpointed.max(0),
            })
        })
        .await
    }
}
