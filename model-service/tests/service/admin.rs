//! The administration of the service: what it says of itself, backups while it
//! works, and the audit.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{Nullable, Text};
use model_service::tokens::{self, Tokens};
use service_kit::auth::{Scope, Token};
use service_kit::status::reason_of;
use stablequeue_proto::admin::v1::admin_service_client::AdminServiceClient;
use stablequeue_proto::admin::v1::*;
use stablequeue_proto::models::v1::ListModelsRequest;
use tempfile::TempDir;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::harness::{Service, model, soon};

/// Models that are created while a backup is made.
const MEANWHILE: usize = 50;

async fn admin(service: &Service) -> AdminServiceClient<Channel> {
    let address = format!("http://{}", service.running.local_addr());
    let endpoint = Channel::from_shared(address).unwrap();
    AdminServiceClient::new(endpoint.connect().await.unwrap())
}

fn database(folder: &Path) -> PathBuf {
    folder.join("mobilesd_models.sqlite")
}

fn opened(path: &Path) -> SqliteConnection {
    SqliteConnection::establish(path.to_str().unwrap()).unwrap()
}

fn texts(connection: &mut SqliteConnection, query: &str) -> Vec<String> {
    sql::<Text>(query).load(connection).unwrap()
}

fn with<T>(message: T, token: &Token) -> Request<T> {
    let mut request = Request::new(message);
    let metadata = request.metadata_mut();
    metadata.insert("authorization", token.authorization());
    request
}

/// A service with the tokens of an administrator and of a reader.
async fn guarded() -> (Service, Token, Token) {
    let (admin, first) = tokens::create("ops", &[Scope::Admin], None).unwrap();
    let (reader, second) = tokens::create("reader", &[Scope::ModelsRead], None).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens.json");
    let entries: Vec<serde_json::Value> = [first, second]
        .iter()
        .flat_map(|list| serde_json::from_str::<Vec<serde_json::Value>>(list).unwrap())
        .collect();
    std::fs::write(&file, serde_json::to_string(&entries).unwrap()).unwrap();
    let tokens = Arc::new(Tokens::read(&file).unwrap());
    let service = Service::in_folder(folder, |config| config.tokens = Some(tokens)).await;
    (service, admin, reader)
}

type Noted = (Option<String>, String, String, String, String);

/// Key, caller, method, target and code of what is in the audit.
fn audit(folder: &TempDir) -> Vec<Noted> {
    sql::<(Nullable<Text>, Text, Text, Text, Text)>(
        "SELECT key_id, caller, method, target, code FROM audit_events ORDER BY id",
    )
    .load(&mut opened(&database(folder.path())))
    .unwrap()
}

#[tokio::test]
async fn the_service_says_what_it_is() {
    let service = Service::new().await;
    let mut client = admin(&service).await;
    let info = soon(client.get_service_info(GetServiceInfoRequest {}))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(info.name, "model-service");
    assert_eq!(info.version, env!("CARGO_PKG_VERSION"));
    assert!(!info.authentication_required);
    let kept = info
        .limits
        .iter()
        .find(|limit| limit.flag == "--events-kept");
    assert_eq!(kept.unwrap().value, 100_000);
    let (service, token, _) = guarded().await;
    let request = with(GetServiceInfoRequest {}, &token);
    let info = soon(admin(&service).await.get_service_info(request)).await;
    assert!(info.unwrap().into_inner().authentication_required);
}

#[tokio::test]
async fn the_state_of_the_database_is_told() {
    let service = Service::new().await;
    let mut client = admin(&service).await;
    let state = soon(client.get_database_status(GetDatabaseStatusRequest {}))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(state.database, "mobilesd_models.sqlite");
    let versions: Vec<_> = state
        .applied_migrations
        .iter()
        .map(|each| &each.version)
        .collect();
    assert_eq!(versions.last(), Some(&&state.schema_version));
    assert!(versions.len() >= 4 && state.pending_migrations.is_empty());
    let size = std::fs::metadata(database(service.folder.path()))
        .unwrap()
        .len();
    assert_eq!(state.size_bytes as u64, size);
}

#[tokio::test]
async fn a_backup_that_is_made_while_models_are_created_holds_the_first_of_them() {
    let mut service = Service::new().await;
    service
        .create(model("/srv/models/before.safetensors", ""))
        .await;
    let mut client = admin(&service).await;
    let request = CreateBackupRequest::default();
    let making = client.create_backup(request);
    let creating = async {
        for number in 0..MEANWHILE {
            let path = format!("/srv/models/{number:03}.safetensors");
            service.create(model(&path, "")).await;
        }
    };
    // Boxed: both together are large.
    let both = Box::pin(futures_util::future::join(making, creating));
    let (made, ()) = soon(both).await;
    let made = made.unwrap().into_inner().backup.unwrap();
    let file = service.folder.path().join(&made.name);
    let mut copy = opened(&file);
    assert_eq!(texts(&mut copy, "PRAGMA integrity_check"), ["ok"]);
    let query = "SELECT local_path FROM models ORDER BY id";
    let kept = texts(&mut copy, query);
    let all = texts(&mut opened(&database(service.folder.path())), query);
    assert_eq!(all.len(), MEANWHILE + 1);
    assert_eq!(kept[0], "/srv/models/before.safetensors");
    assert_eq!(kept, all[..kept.len()], "it is one moment of the database");
    let listed = soon(client.list_backups(ListBackupsRequest::default())).await;
    assert_eq!(listed.unwrap().into_inner().backups, [made]);
}

#[tokio::test]
async fn of_two_backups_at_once_one_is_refused_or_both_are_made_one_after_the_other() {
    let service = Service::new().await;
    let (mut one, mut other) = (admin(&service).await, admin(&service).await);
    let both = futures_util::future::join(
        one.create_backup(CreateBackupRequest::default()),
        other.create_backup(CreateBackupRequest::default()),
    );
    let (first, second) = soon(both).await;
    let (made, refused): (Vec<_>, Vec<_>) = [first, second].into_iter().partition(Result::is_ok);
    assert!(!made.is_empty());
    for refusal in refused {
        let status: Status = refusal.unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert_eq!(reason_of(&status).as_deref(), Some("BACKUP_RUNNING"));
    }
    let listed = soon(one.list_backups(ListBackupsRequest::default())).await;
    assert_eq!(listed.unwrap().into_inner().backups.len(), made.len());
}

#[tokio::test]
async fn administration_and_denials_are_in_the_audit_and_stay_there() {
    let (mut service, token, reader) = guarded().await;
    let list = ListModelsRequest::default();
    service
        .models
        .list_models(with(list.clone(), &reader))
        .await
        .unwrap();
    let mut client = admin(&service).await;
    let denied = client.create_backup(with(CreateBackupRequest::default(), &reader));
    assert_eq!(
        soon(denied).await.unwrap_err().code(),
        Code::PermissionDenied
    );
    let (stranger, _) = tokens::create("stranger", &[Scope::Admin], None).unwrap();
    let unknown = service.models.list_models(with(list, &stranger)).await;
    assert_eq!(unknown.unwrap_err().code(), Code::Unauthenticated);
    let made = soon(client.create_backup(with(CreateBackupRequest::default(), &token))).await;
    let name = made.unwrap().into_inner().backup.unwrap().name;
    drop(client);
    let Service {
        running,
        folder,
        models,
        availability,
        ..
    } = service;
    drop((models, availability));
    running.stop().await.unwrap();
    let mut noted = audit(&folder);
    // The denials are written beside the calls.
    noted.sort_by(|a, b| a.4.cmp(&b.4));
    let text = |text: &str| text.to_owned();
    let backup = "stablequeue.admin.v1.AdminService/CreateBackup";
    let list = "stablequeue.models.v1.ModelService/ListModels";
    let keys: Vec<_> = noted.iter().map(|each| each.0.is_some()).collect();
    assert_eq!(keys, [true, true, false]);
    let rest: Vec<_> = noted
        .into_iter()
        .map(|(_, a, b, c, d)| (a, b, c, d))
        .collect();
    assert_eq!(
        rest,
        [
            (text("ops"), text(backup), name, text("OK")),
            (
                text("reader"),
                text(backup),
                text(""),
                text("PERMISSION_DENIED")
            ),
            (
                text("unknown"),
                text(list),
                text(""),
                text("UNAUTHENTICATED")
            ),
        ]
    );
    let again = Service::in_folder(folder, |_| {}).await;
    assert_eq!(audit(&again.folder).len(), 3);
}

#[tokio::test]
async fn an_administrator_reads_in_the_audit_what_was_done_and_denied() {
    let (service, token, reader) = guarded().await;
    let mut client = admin(&service).await;
    let made = soon(client.create_backup(with(CreateBackupRequest::default(), &token))).await;
    let name = made.unwrap().into_inner().backup.unwrap().name;
    let verified = client.verify_backup(with(
        VerifyBackupRequest {
            name: name.clone(),
            ..Default::default()
        },
        &token,
    ));
    soon(verified).await.unwrap();
    let denied = client.list_audit_events(with(ListAuditEventsRequest::default(), &reader));
    assert_eq!(
        soon(denied).await.unwrap_err().code(),
        Code::PermissionDenied
    );
    let request = ListAuditEventsRequest {
        method: "stablequeue.admin.v1.AdminService/VerifyBackup".to_owned(),
        ..ListAuditEventsRequest::default()
    };
    let listed = soon(client.list_audit_events(with(request, &token))).await;
    let events = listed.unwrap().into_inner().audit_events;
    let [event] = &events[..] else {
        panic!("{events:?}");
    };
    assert_eq!((&*event.caller, &*event.code), ("ops", "OK"));
    assert_eq!(event.target, name);
    assert!(event.create_time.is_some() && !event.key_id.is_empty());
    // The calls of one key, its reading of the audit included.
    let request = ListAuditEventsRequest {
        key_id: event.key_id.clone(),
        ..ListAuditEventsRequest::default()
    };
    let listed = soon(client.list_audit_events(with(request, &token))).await;
    let events = listed.unwrap().into_inner().audit_events;
    let methods: Vec<&str> = events
        .iter()
        .map(|event| event.method.rsplit('/').next().unwrap())
        .collect();
    assert_eq!(methods, ["ListAuditEvents", "VerifyBackup", "CreateBackup"]);
}
