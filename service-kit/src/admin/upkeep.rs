//! Owns what is done with backups that are there, and with the database while
//! it is used. It does not make backups.

use diesel::connection::SimpleConnection as _;
use diesel::sql_types::BigInt;
use diesel::{QueryableByName, RunQueryDsl as _, SqliteConnection};
use tokio::sync::OwnedSemaphorePermit;

use super::{Admin, AdminError, blocking, size_bytes};
use crate::database::{DatabaseError, DatabaseOptions, open_writer};
use crate::migrate::{MigrateError, Prune, Pruned, prune_backups_until, verify_backup_until};
use crate::operations::{
    Follow, NewOperation, OperationCaller, OperationKind, OperationResult, OptimizedDatabase,
    Steps, Unfinished,
};

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

impl Admin {
    /// Begins to look into a backup.
    pub(super) async fn begin_verification(
        &self,
        caller: OperationCaller,
        name: String,
    ) -> Result<Follow, AdminError> {
        let (admin, wanted) = (self.clone(), name.clone());
        blocking(move || {
            if admin.backups()?.iter().any(|each| each.name == wanted) {
                return Ok(());
            }
            Err(MigrateError::NoBackup { name: wanted }.into())
        })
        .await?;
        let new = NewOperation {
            kind: OperationKind::VerifyBackup,
            target: name.clone(),
            request_json: serde_json::json!({ "name": name }).to_string(),
            caller,
            request_id: None,
        };
        let (door, admin) = (self.clone(), self.clone());
        let admit = move || Ok(door.backup_permit()?);
        let work = move |permit, steps| admin.verify(name, permit, steps);
        let begun = self.0.operations.begin_if(new, admit, work).await?;
        Ok(begun.follow)
    }

    /// The work of looking into a backup that was cut off.
    pub(super) async fn verify_again(
        self,
        name: String,
        steps: Steps,
    ) -> Result<OperationResult, Unfinished> {
        let permit = self.next_backup_permit(&steps).await?;
        self.verify(name, permit, steps).await
    }

    async fn verify(
        self,
        name: String,
        permit: OwnedSemaphorePermit,
        steps: Steps,
    ) -> Result<OperationResult, Unfinished> {
        let checked = blocking(move || {
            let inner = &self.0;
            let (path, schema) = (inner.database.path(), &inner.facts.schema);
            let checked = verify_backup_until(path, &name, schema, &steps.stop());
            drop(permit);
            checked.map_err(|error| match error {
                error @ MigrateError::NoBackup { .. } => AdminError::Migrate(error),
                error if error.is_bad_data() => AdminError::NotGood { name, error },
                error => AdminError::Migrate(error),
            })
        });
        Ok(OperationResult::CheckedBackup(checked.await?))
    }

    pub(super) async fn prune(&self, prune: Prune) -> Result<Pruned, AdminError> {
        let permit = self.backup_permit()?;
        let admin = self.clone();
        blocking(move || {
            let inner = &admin.0;
            let (path, now) = (inner.database.path(), inner.clock.now());
            let stop = inner.operations.stop();
            let pruned = prune_backups_until(path, &inner.facts.schema, &prune, now, &stop);
            drop(permit);
            Ok(pruned?)
        })
        .await
    }

    /// Begins to look after the database.
    pub(super) async fn begin_optimization(
        &self,
        caller: OperationCaller,
    ) -> Result<Follow, AdminError> {
        let new = NewOperation {
            kind: OperationKind::Optimize,
            target: String::new(),
            request_json: "{}".to_owned(),
            caller,
            request_id: None,
        };
        let admin = self.clone();
        let work = move |steps| admin.optimize(steps);
        Ok(self.0.operations.begin(new, work).await?.follow)
    }

    /// The work of looking after the database. The checkpoint is one that waits
    /// for nobody and keeps nobody waiting.
    pub(super) async fn optimize(self, steps: Steps) -> Result<OperationResult, Unfinished> {
        let analyse = |connection: &mut SqliteConnection| {
            connection.batch_execute(&format!(
                "PRAGMA analysis_limit = {ANALYSIS_ROWS}; PRAGMA optimize(0x10002)"
            ))?;
            Ok::<_, DatabaseError>(())
        };
        let analysed = self.0.database.write("optimize", analyse).await;
        analysed.map_err(AdminError::from)?;
        steps.go_on()?;
        let optimized = blocking(move || {
            let path = self.0.database.path();
            let mut connection = open_writer(path, &DatabaseOptions::default())?;
            let Checkpoint { log, checkpointed } =
                diesel::sql_query("PRAGMA wal_checkpoint(PASSIVE)")
                    .get_result(&mut connection)
                    .map_err(DatabaseError::from)?;
            Ok(OptimizedDatabase {
                size_bytes: size_bytes(path.to_owned())?,
                wal_pages: log.max(0),
                checkpointed_pages: checkpointed.max(0),
            })
        });
        Ok(OperationResult::OptimizedDatabase(optimized.await?))
    }
}
