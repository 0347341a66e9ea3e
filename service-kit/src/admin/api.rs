//! The methods of AdminService: read the request, call once, convert.

use stablequeue_proto::admin::v1::admin_service_server::AdminService;
use stablequeue_proto::admin::v1::{self as wire, *};
use tonic::{Request, Response, Status};

use super::download::{self, BackupStream};
use super::{Admin, AdminError, DatabaseState, ServiceLimit, audit_events, request};
use crate::audit::AuditTarget;
use crate::auth::Caller;
use crate::clock::{from_text, to_proto_duration, to_timestamp};
use crate::layers::Deadline;
use crate::migrate::AppliedMigration;
use crate::operations::convert::{self, backup, wire_count};
use crate::operations::{Begun, OperationCaller, OperationResult};
use crate::page::PageToken;
use crate::status::{Failure, Violations};

#[tonic::async_trait]
impl AdminService for Admin {
    async fn get_service_info(
        &self,
        _: Request<GetServiceInfoRequest>,
    ) -> Result<Response<GetServiceInfoResponse>, Status> {
        let authentication_required = self.authentication_required().await?;
        let facts = &self.0.facts;
        let uptime = self.0.clock.monotonic().saturating_sub(self.0.started);
        Ok(Response::new(GetServiceInfoResponse {
            name: facts.name.to_owned(),
            version: facts.version.to_owned(),
            oldest_peer_version: facts.oldest_peer_version.to_owned(),
            start_time: Some(to_timestamp(self.0.started_at)),
            uptime: Some(to_proto_duration(uptime)),
            limits: facts.limits.iter().map(limit).collect(),
            authentication_required,
        }))
    }

    async fn get_database_status(
        &self,
        _: Request<GetDatabaseStatusRequest>,
    ) -> Result<Response<GetDatabaseStatusResponse>, Status> {
        let state = self.database_state().await.map_err(status)?;
        let file_name = self.0.database.path().file_name();
        let database = file_name.map_or_else(String::new, |name| name.to_string_lossy().into());
        Ok(Response::new(database_status(database, state)))
    }

    async fn create_backup(
        &self,
        request: Request<CreateBackupRequest>,
    ) -> Result<Response<CreateBackupResponse>, Status> {
        let target = AuditTarget::of(request.extensions());
        let deadline = request.extensions().get::<Deadline>().copied();
        let caller = caller(&request)?;
        let background = request.get_ref().background;
        let request_id = request::backup_id(request.get_ref())?;
        let asked = self.begin_backup(caller, request_id).await;
        let Begun { follow, repeated } = asked.map_err(status)?;
        let operation = if background {
            target.set(&follow.now().id);
            follow.now()
        } else {
            // Of those who begin one there are few; others may be many.
            let _place = repeated.then(|| self.0.operations.watch_place());
            let _place = _place.transpose().map_err(Failure::from)?;
            self.done(follow, deadline).await.map_err(status)?
        };
        let made = match &operation.result {
            Some(OperationResult::Backup(made)) => Some(made.clone()),
            _ => None,
        };
        target.set(made.as_ref().map_or("", |made| &made.name));
        Ok(Response::new(CreateBackupResponse {
            backup: made.map(backup),
            operation: Some(convert::wire_operation(operation)),
        }))
    }

    async fn list_backups(
        &self,
        request: Request<ListBackupsRequest>,
    ) -> Result<Response<ListBackupsResponse>, Status> {
        let (size, after) = request::backups_page(request.get_ref())?;
        let mut backups = self.backups_after(after, size + 1).await.map_err(status)?;
        let more = backups.len() > size;
        backups.truncate(size);
        let last = backups.last().filter(|_| more);
        let next_page_token = last.map_or_else(String::new, |last| {
            PageToken::encode(request::ALL_BACKUPS, &last.name)
        });
        Ok(Response::new(ListBackupsResponse {
            backups: backups.into_iter().map(backup).collect(),
            next_page_token,
        }))
    }

    async fn verify_backup(
        &self,
        request: Request<VerifyBackupRequest>,
    ) -> Result<Response<VerifyBackupResponse>, Status> {
        AuditTarget::note(request.extensions(), &request.get_ref().name);
        let deadline = request.extensions().get::<Deadline>().copied();
        let caller = caller(&request)?;
        let VerifyBackupRequest { name, background } = request.into_inner();
        let follow = self.begin_verification(caller, name).await;
        let operation = self.asked(follow, background, deadline);
        let operation = operation.await.map_err(status)?;
        let checked = match &operation.result {
            Some(OperationResult::CheckedBackup(checked)) => {
                convert::checked_backup(checked.clone())
            }
            _ => wire::CheckedBackup::default(),
        };
        Ok(Response::new(VerifyBackupResponse {
            backup: checked.backup,
            schema_version: checked.schema_version,
            pre_adoption: checked.pre_adoption,
            row_count: checked.row_count,
            operation: Some(convert::wire_operation(operation)),
        }))
    }

    type DownloadBackupStream = BackupStream;

    async fn download_backup(
        &self,
        request: Request<DownloadBackupRequest>,
    ) -> Result<Response<BackupStream>, Status> {
        AuditTarget::note(request.extensions(), &request.get_ref().name);
        let DownloadBackupRequest { name, offset_bytes } = request.into_inner();
        let mut violations = Violations::new();
        let offset = u64::try_from(offset_bytes).unwrap_or_else(|_| {
            violations.add("offset_bytes", "must not be negative");
            0
        });
        violations.finish()?;
        let sending = self.open_backup(name, offset).await.map_err(status)?;
        Ok(Response::new(download::stream(sending)))
    }

    async fn prune_backups(
        &self,
        request: Request<PruneBackupsRequest>,
    ) -> Result<Response<PruneBackupsResponse>, Status> {
        let wanted = request::prune(request.get_ref())?;
        let pruned = self.prune(wanted).await.map_err(status)?;
        Ok(Response::new(PruneBackupsResponse {
            removed: pruned.removed.into_iter().map(backup).collect(),
            spared: pruned.spared.map(backup),
        }))
    }

    async fn optimize(
        &self,
        request: Request<OptimizeRequest>,
    ) -> Result<Response<OptimizeResponse>, Status> {
        let deadline = request.extensions().get::<Deadline>().copied();
        let follow = self.begin_optimization(caller(&request)?).await;
        let background = request.get_ref().background;
        let operation = self.asked(follow, background, deadline);
        let operation = operation.await.map_err(status)?;
        let optimized = match &operation.result {
            Some(OperationResult::OptimizedDatabase(optimized)) => {
                convert::optimized_database(optimized)
            }
            _ => wire::OptimizedDatabase::default(),
        };
        Ok(Response::new(OptimizeResponse {
            size_bytes: optimized.size_bytes,
            wal_pages: optimized.wal_pages,
            checkpointed_pages: optimized.checkpointed_pages,
            operation: Some(convert::wire_operation(operation)),
        }))
    }

    async fn list_audit_events(
        &self,
        request: Request<ListAuditEventsRequest>,
    ) -> Result<Response<ListAuditEventsResponse>, Status> {
        let wanted = audit_events::wanted(request.get_ref())?;
        let page = self.audit_events(wanted).await.map_err(status)?;
        Ok(Response::new(page))
    }
}

/// Who calls, as the row of an operation has it.
fn caller<T>(request: &Request<T>) -> Result<OperationCaller, Failure> {
    Caller::of(request.extensions()).map(OperationCaller::from)
}

fn limit(limit: &ServiceLimit) -> wire::ServiceLimit {
    let ServiceLimit { name, value, flag } = limit;
    wire::ServiceLimit {
        name: (*name).to_owned(),
        value: wire_count(*value),
        flag: (*flag).to_owned(),
    }
}

fn database_status(database: String, state: DatabaseState) -> GetDatabaseStatusResponse {
    let DatabaseState {
        migrations,
        epoch,
        size_bytes,
        wal_size_bytes,
        free_bytes,
        volume_free_bytes,
        last_backup,
    } = state;
    GetDatabaseStatusResponse {
        database,
        schema_version: migrations.schema_version().to_owned(),
        applied_migrations: migrations.applied.iter().map(applied).collect(),
        pending_migrations: migrations.pending,
        size_bytes: wire_count(size_bytes),
        wal_size_bytes: wire_count(wal_size_bytes),
        free_bytes: wire_count(free_bytes),
        volume_free_bytes: wire_count(volume_free_bytes),
        last_backup: last_backup.map(backup),
        epoch,
    }
}

fn applied(migration: &AppliedMigration) -> wire::AppliedMigration {
    wire::AppliedMigration {
        version: migration.version.clone(),
        apply_time: from_text(&migration.applied_at).map(to_timestamp),
    }
}

fn status(error: AdminError) -> Status {
    Failure::from(error).into_status()
}
