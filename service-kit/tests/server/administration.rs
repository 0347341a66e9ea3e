//! AdminService over a real port and a real database.

use std::path::Path;
use std::sync::Arc;

use diesel_migrations::{EmbeddedMigration, EmbeddedMigrations, EmbeddedName, TomlMetadataWrapper};
use prometheus_client::registry::Registry;
use service_kit::admin::{ADMIN_RULES, ADMIN_SERVICE, Admin, ServiceFacts, ServiceLimit};
use service_kit::audit::{Audit, AuditLimits};
use service_kit::auth::Access;
use service_kit::clock::{Clock, ManualClock, to_timestamp};
use service_kit::database::{Database, DatabaseLock, DatabaseOptions};
use service_kit::migrate::{MigrateOptions, Schema, migrate};
use service_kit::operations::{OPERATION_SERVICE, Operations};
use service_kit::server::Limits;
use service_kit::status::reason_of;
use stablequeue_proto::admin::v1::admin_service_client::AdminServiceClient;
use stablequeue_proto::admin::v1::operation_service_client::OperationServiceClient;
use stablequeue_proto::admin::v1::*;
use tempfile::TempDir;
use tonic::Code;
use tonic::service::Routes;
use tonic::transport::Channel;

use crate::authentication_keys::KeyList;
use crate::harness::{Port, soon};

const NAME: &str = "notes_backup_1970-01-01T00-00-00-000Z.sqlite";

pub(crate) fn schema() -> Schema {
    let up = concat!(
        "CREATE TABLE notes (text TEXT); \
         CREATE TABLE audit_events (id INTEGER PRIMARY KEY, created_at TEXT NOT NULL, \
         key_id TEXT, caller TEXT NOT NULL, peer TEXT NOT NULL, method TEXT NOT NULL, \
         target TEXT NOT NULL, code TEXT NOT NULL, request_id TEXT NOT NULL);\n",
        include_str!("../../../migrations/jobs/0008_operations/up.sql")
    );
    let metadata = TomlMetadataWrapper::new(true);
    let migration = EmbeddedMigration::new(up, None, EmbeddedName::new("0001_notes"), metadata);
    Schema {
        database: "notes",
        migrations: EmbeddedMigrations::new(vec![migration].leak()),
        readable_from: "0001",
        program: "the test",
        adoption: None,
    }
}

pub(crate) fn database(path: &Path, clock: &Clock) -> Database {
    let lock = DatabaseLock::acquire(path, "the test").unwrap();
    let options = MigrateOptions::default();
    migrate(path, &lock, &schema(), clock.now(), &options).unwrap();
    Database::open(path, lock, DatabaseOptions::default()).unwrap()
}

pub(crate) struct Administered {
    pub(crate) client: AdminServiceClient<Channel>,
    pub(crate) operations_client: OperationServiceClient<Channel>,
    pub(crate) operations: Operations,
    pub(crate) hand: ManualClock,
    pub(crate) folder: TempDir,
    pub(crate) admin: Admin,
    pub(crate) clock: Clock,
    pub(crate) database: Database,
    pub(crate) port: Port,
}

pub(crate) async fn administered() -> Administered {
    administered_in(tempfile::tempdir().unwrap()).await
}

/// As after a start on what is in the folder.
pub(crate) async fn administered_in(folder: TempDir) -> Administered {
    administered_for(folder, None, false).await
}

/// The same with these keys, if any, and perhaps an audit.
pub(crate) async fn administered_for(
    folder: TempDir,
    keys: Option<Arc<KeyList>>,
    audited: bool,
) -> Administered {
    let (clock, hand) = Clock::manual(chrono::DateTime::UNIX_EPOCH);
    let database = database(&folder.path().join("notes.sqlite"), &clock);
    let port = Port::starting(clock.clone(), |options| {
        options.service_names = vec![ADMIN_SERVICE, OPERATION_SERVICE];
        options.descriptor_sets = vec![stablequeue_proto::FILE_DESCRIPTOR_SET];
        options.access = Access::new(&[]).with(&ADMIN_RULES);
    })
    .await;
    if audited {
        port.handle.audit_to(Audit::start(
            database.clone(),
            &AuditLimits::default(),
            &mut Registry::default(),
            &port.shutdown,
            clock.clone(),
        ));
    }
    let facts = ServiceFacts {
        name: "note-service",
        version: "1.2.3",
        oldest_peer_version: "1.0.0",
        limits: ServiceLimit::of_port(&Limits::default()),
        authenticator: None,
        schema: schema(),
    };
    let operations = Operations::new(database.clone(), clock.clone(), port.shutdown.clone());
    let admin = Admin::new(facts, database.clone(), operations.clone(), clock.clone());
    admin.take_up_operations().await.unwrap();
    let routes = Routes::new(admin.server()).add_service(operations.server());
    match keys {
        Some(keys) => port.handle.open_authenticated(routes, keys).await,
        None => port.handle.open(routes).await,
    }
    let channel = port.client().await.channel;
    let client = AdminServiceClient::new(channel.clone());
    Administered {
        client,
        operations_client: OperationServiceClient::new(channel),
        operations,
        hand,
        folder,
        admin,
        clock,
        database,
        port,
    }
}

#[tokio::test]
async fn a_service_tells_what_it_is_and_for_how_long() {
    let mut all = administered().await;
    all.hand.advance(std::time::Duration::from_secs(90));
    let info = soon(all.client.get_service_info(GetServiceInfoRequest {})).await;
    let info = info.unwrap().into_inner();
    assert_eq!(
        (&*info.name, &*info.version, &*info.oldest_peer_version),
        ("note-service", "1.2.3", "1.0.0")
    );
    assert_eq!(
        info.start_time,
        Some(to_timestamp(chrono::DateTime::UNIX_EPOCH))
    );
    assert_eq!(info.uptime.unwrap().seconds, 90);
    assert!(!info.authentication_required);
    let bytes = info
        .limits
        .iter()
        .find(|limit| limit.name == "message_max_bytes");
    assert_eq!(bytes.unwrap().value, 32 * 1024 * 1024);
}

#[tokio::test]
async fn the_state_of_the_database_is_what_is_on_disk() {
    let mut all = administered().await;
    let state = soon(all.client.get_database_status(GetDatabaseStatusRequest {})).await;
    let state = state.unwrap().into_inner();
    assert_eq!(
        (&*state.database, &*state.schema_version),
        ("notes.sqlite", "0001")
    );
    let applied = &state.applied_migrations[0];
    assert_eq!(
        applied.apply_time,
        Some(to_timestamp(chrono::DateTime::UNIX_EPOCH))
    );
    assert!(state.pending_migrations.is_empty() && state.last_backup.is_none());
    let size = std::fs::metadata(all.folder.path().join("notes.sqlite")).unwrap();
    assert_eq!(state.size_bytes as u64, size.len());
    assert!(state.volume_free_bytes > 0 && state.epoch.len() == 32);
    let made = soon(all.client.create_backup(CreateBackupRequest::default())).await;
    let made = made.unwrap().into_inner().backup;
    let state = soon(all.client.get_database_status(GetDatabaseStatusRequest {})).await;
    assert_eq!(state.unwrap().into_inner().last_backup, made);
    assert_eq!(made.unwrap().name, NAME);
}

#[tokio::test]
async fn backups_are_listed_newest_first_a_page_at_a_time() {
    let mut all = administered().await;
    let mut made = Vec::new();
    for _ in 0..3 {
        let backup = soon(all.client.create_backup(CreateBackupRequest::default())).await;
        made.insert(0, backup.unwrap().into_inner().backup.unwrap());
        all.hand.advance(std::time::Duration::from_secs(1));
    }
    std::fs::write(all.folder.path().join("notes_backup_of_mine.sqlite"), "").unwrap();
    let page = |page_size, token: &str| ListBackupsRequest {
        page_size,
        page_token: token.to_owned(),
    };
    let first = soon(all.client.list_backups(page(2, ""))).await;
    let first = first.unwrap().into_inner();
    let second = soon(all.client.list_backups(page(2, &first.next_page_token))).await;
    let second = second.unwrap().into_inner();
    assert_eq!(second.next_page_token, "");
    assert_eq!([first.backups, second.backups].concat(), made);
    let refused = soon(all.client.list_backups(page(-1, "x")))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(reason_of(&refused).as_deref(), Some("INVALID_FIELDS"));
}

#[tokio::test]
async fn a_backup_that_cannot_be_made_says_why_and_leaves_nothing() {
    let mut all = administered().await;
    // A folder where the unfinished backup would be can neither be removed nor written.
    let in_the_way = all.folder.path().join(format!("{NAME}.partial"));
    std::fs::create_dir(&in_the_way).unwrap();
    let failed = soon(all.client.create_backup(CreateBackupRequest::default())).await;
    let failed = failed.unwrap_err();
    assert_eq!(reason_of(&failed).as_deref(), Some("BACKUP_FAILED"));
    std::fs::remove_dir(in_the_way).unwrap();
    let made = soon(all.client.create_backup(CreateBackupRequest::default())).await;
    assert_eq!(made.unwrap().into_inner().backup.unwrap().name, NAME);
}
