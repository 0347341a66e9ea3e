//! The methods of AdminService: read the request, call once, convert.

use chrono::TimeDelta;
use stablequeue_proto::admin::v1::admin_service_server::AdminService;
use stablequeue_proto::admin::v1::{self as wire, *};
use tonic::{Request, Response, Status};

use super::download::{self, BackupStream};
use super::{Admin, AdminError, DatabaseState, ServiceLimit, audit_events};
use crate::audit::AuditTarget;
use crate::clock::{from_proto_duration, from_text, to_proto_duration, to_timestamp};
use crate::migrate::{self, AppliedMigration, NOTHING, Prune};
use crate::page::{self, PageToken};
use crate::status::{Failure, Violations};

/// What a page token of ListBackups is made for; there is no filter.
const ALL_BACKUPS: &[u8] = b"ListBackups";
/// Most backups that a request may let stay.
const KEEP_MAX: usize = 1_000_000;

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
        let made = self.back_up().await.map_err(status)?;
        target.set(&made.name);
        Ok(Response::new(CreateBackupResponse {
            backup: Some(backup(made)),
        }))
    }

    async fn list_backups(
        &self,
        request: Request<ListBackupsRequest>,
    ) -> Result<Response<ListBackupsResponse>, Status> {
        let (size, after) = page(request.get_ref())?;
        let mut backups = self.backups_after(after, size + 1).await.map_err(status)?;
        let more = backups.len() > size;
        backups.truncate(size);
        let last = backups.last().filter(|_| more);
        let next_page_token = last.map_or_else(String::new, |last| {
            PageToken::encode(ALL_BACKUPS, &last.name)
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
        let name = request.into_inner().name;
        let checked = self.verify(name).await.map_err(status)?;
        let schema_version = Some(checked.schema_version).filter(|version| version != NOTHING);
        Ok(Response::new(VerifyBackupResponse {
            backup: Some(backup(checked.backup)),
            schema_version: schema_version.unwrap_or_default(),
            pre_adoption: checked.pre_adoption,
            row_count: checked.rows,
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
        let wanted = prune(request.get_ref())?;
        let pruned = self.prune(wanted).await.map_err(status)?;
        Ok(Response::new(PruneBackupsResponse {
            removed: pruned.removed.into_iter().map(backup).collect(),
            spared: pruned.spared.map(backup),
        }))
    }

    async fn optimize(
        &self,
        _: Request<OptimizeRequest>,
    ) -> Result<Response<OptimizeResponse>, Status> {
        let done = Self::optimize(self).await.map_err(status)?;
        Ok(Response::new(OptimizeResponse {
            size_bytes: wire_bytes(done.size_bytes),
            wal_pages: done.wal_pages,
            checkpointed_pages: done.checkpointed_pages,
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

/// What is to be removed.
fn prune(request: &PruneBackupsRequest) -> Result<Prune, Failure> {
    let mut violations = Violations::new();
    let keep = usize::try_from(request.keep)
        .ok()
        .filter(|keep| *keep <= KEEP_MAX);
    if keep.is_none() {
        violations.add("keep", format!("must be from 0 to {KEEP_MAX}"));
    }
    let keep = keep.filter(|keep| *keep > 0);
    if request.keep == 0 && !request.pre_adoption {
        violations.add("keep", "must be at least 1 unless pre_adoption is set");
    }
    let older_than = request.older_than.as_ref().map(from_proto_duration);
    let older_than = older_than.map(|age| age.and_then(|age| TimeDelta::from_std(age).ok()));
    if older_than == Some(None) {
        violations.add("older_than", "must be a positive duration");
    }
    if older_than.is_some() && keep.is_none() {
        violations.add("older_than", "narrows keep, which is not set");
    }
    violations.finish()?;
    Ok(Prune {
        keep,
        older_than: older_than.flatten(),
        pre_adoption: request.pre_adoption,
    })
}

/// The size of the page, and the backup after which it begins.
fn page(request: &ListBackupsRequest) -> Result<(usize, Option<String>), Failure> {
    let mut violations = Violations::new();
    let size = page::page_size(request.page_size).unwrap_or_else(|error| {
        violations.add("page_size", error.to_string());
        0
    });
    let after = match request.page_token.as_str() {
        "" => None,
        token => PageToken::decode(token, ALL_BACKUPS)
            .map_err(|error| violations.add("page_token", error.to_string()))
            .ok(),
    };
    violations.finish()?;
    Ok((size, after))
}

fn limit(limit: &ServiceLimit) -> wire::ServiceLimit {
    let ServiceLimit { name, value, flag } = limit;
    wire::ServiceLimit {
        name: (*name).to_owned(),
        value: wire_bytes(*value),
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
        size_bytes: wire_bytes(size_bytes),
        wal_size_bytes: wire_bytes(wal_size_bytes),
        free_bytes: wire_bytes(free_bytes),
        volume_free_bytes: wire_bytes(volume_free_bytes),
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

pub(super) fn backup(backup: migrate::Backup) -> wire::Backup {
    let migrate::Backup {
        name,
        created_at,
        size_bytes,
    } = backup;
    wire::Backup {
        name,
        create_time: Some(to_timestamp(created_at)),
        size_bytes: wire_bytes(size_bytes),
    }
}

/// A count as the wire carries it; what no file reaches is cut.
pub(super) fn wire_bytes(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn status(error: AdminError) -> Status {
    Failure::from(error).into_status()
}
