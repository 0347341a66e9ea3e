//! The administration of the service: what it says of itself, backups while it
//! takes jobs, and the audit.

use std::path::Path;

use diesel::{
    dsl::sql,
    prelude::*,
    sql_types::{Nullable, Text},
};
use job_service::{admin_socket, config};
use service_kit::auth::{ApiKey as Credentials, Token};
use stablequeue_proto::{
    admin::v1::{admin_service_client::AdminServiceClient, *},
    jobs::v1::{
        api_key_service_client::ApiKeyServiceClient, server_service_client::ServerServiceClient, *,
    },
};
use tonic::{Code, transport::Channel};

use crate::harness::{Service, key, soon, with};

/// Jobs that are submitted while a backup is made.
const MEANWHILE: usize = 50;

async fn channel(service: &Service) -> Channel {
    let address = format!("http://{}", service.running.local_addr());
    let endpoint = Channel::from_shared(address).unwrap();
    endpoint.connect().await.unwrap()
}

async fn admin(service: &Service) -> AdminServiceClient<Channel> {
    AdminServiceClient::new(channel(service).await)
}

fn opened(path: &Path) -> SqliteConnection {
    SqliteConnection::establish(path.to_str().unwrap()).unwrap()
}

/// What a query answers, one text a row.
fn texts(connection: &mut SqliteConnection, query: &str) -> Vec<String> {
    sql::<Text>(query).load(connection).unwrap()
}

async fn submit(service: &mut Service) -> String {
    let params = GenerationParams {
        prompt: "a heath".to_owned(),
        ..GenerationParams::default()
    };
    let request = SubmitJobRequest {
        input: Some(submit_job_request::Input::Params(params)),
        ..SubmitJobRequest::default()
    };
    let answer = service.jobs.submit_job(request).await.unwrap();
    answer.into_inner().job.unwrap().job_id
}

/// What is noted of a call.
#[derive(Debug, PartialEq, Eq)]
struct Noted {
    key_id: Option<String>,
    caller: String,
    peer: String,
    method: String,
    target: String,
    code: String,
}

fn noted(
    key_id: Option<&str>,
    (caller, peer): (&str, &str),
    method: &str,
    target: &str,
    code: &str,
) -> Noted {
    Noted {
        key_id: key_id.map(str::to_owned),
        caller: caller.to_owned(),
        peer: peer.to_owned(),
        method: format!("stablequeue.{method}"),
        target: target.to_owned(),
        code: code.to_owned(),
    }
}

/// The audit of a data folder, oldest first.
fn audit(folder: &Path) -> Vec<Noted> {
    type Row = (Option<String>, String, String, String, String, String);
    let rows: Vec<Row> = sql::<(Nullable<Text>, Text, Text, Text, Text, Text)>(
        "SELECT key_id, caller, peer, method, target, code FROM audit_events ORDER BY id",
    )
    .load(&mut opened(&config::database(folder)))
    .unwrap();
    rows.into_iter()
        .map(|(key_id, caller, peer, method, target, code)| Noted {
            key_id,
            caller,
            peer,
            method,
            target,
            code,
        })
        .collect()
}

#[tokio::test]
async fn the_service_says_what_it_is_and_whether_it_asks_for_keys() {
    let mut service = Service::with(|config| config.limits.watches = 7).await;
    let mut client = admin(&service).await;
    let info = soon(client.get_service_info(GetServiceInfoRequest {})).await;
    let info = info.unwrap().into_inner();
    assert_eq!(info.name, "job-service");
    assert_eq!(info.version, env!("CARGO_PKG_VERSION"));
    assert!(!info.authentication_required);
    let watches = info.limits.iter().find(|limit| limit.name == "watches_max");
    let watches = watches.unwrap();
    assert_eq!((watches.value, &*watches.flag), (7, "--watches-max"));
    let token = service.admin().await;
    let request = with(GetServiceInfoRequest {}, Some(&token));
    let info = soon(client.get_service_info(request)).await.unwrap();
    assert!(info.into_inner().authentication_required);
}

#[tokio::test]
async fn the_state_of_the_database_is_told() {
    let mut service = Service::new().await;
    submit(&mut service).await;
    let mut client = admin(&service).await;
    let state = soon(client.get_database_status(GetDatabaseStatusRequest {})).await;
    let state = state.unwrap().into_inner();
    assert_eq!(state.database, config::DATABASE_FILE);
    let applied = &state.applied_migrations;
    assert_eq!(applied.last().unwrap().version, state.schema_version);
    assert!(
        applied
            .iter()
            .all(|migration| migration.apply_time.is_some())
    );
    assert!(applied.len() >= 6 && state.pending_migrations.is_empty());
    let file = std::fs::metadata(config::database(service.folder.path())).unwrap();
    assert_eq!(state.size_bytes as u64, file.len());
    assert!(state.wal_size_bytes > 0 && state.volume_free_bytes > 0);
}

#[tokio::test]
async fn a_backup_that_is_made_while_jobs_come_in_holds_the_first_of_them() {
    let mut service = Service::new().await;
    let before = submit(&mut service).await;
    let mut client = admin(&service).await;
    let making = client.create_backup(CreateBackupRequest::default());
    let submitting = async {
        for _ in 0..MEANWHILE {
            submit(&mut service).await;
        }
    };
    let (made, ()) = soon(Box::pin(futures_util::future::join(making, submitting))).await;
    let made = made.unwrap().into_inner().backup.unwrap();
    let mut copy = opened(&service.folder.path().join(&made.name));
    assert_eq!(texts(&mut copy, "PRAGMA integrity_check"), ["ok"]);
    let query = "SELECT mobilesd_job_id FROM jobs ORDER BY rowid";
    let kept = texts(&mut copy, query);
    let mut database = opened(&config::database(service.folder.path()));
    let all = texts(&mut database, query);
    assert_eq!(all.len(), MEANWHILE + 1);
    assert_eq!(kept[0], before);
    assert_eq!(kept, all[..kept.len()], "it is one moment of the database");
    let listed = soon(client.list_backups(ListBackupsRequest::default())).await;
    assert_eq!(listed.unwrap().into_inner().backups, [made]);
}

#[tokio::test]
async fn what_administrators_do_is_in_the_audit_with_what_it_was_about() {
    let mut service = Service::new().await;
    let local = "127.0.0.1";
    let nobody = ("anonymous", local);
    let token = service.admin().await;
    let (made, _) = service.key(&token, &["jobs:read"]).await;
    let mut servers = ServerServiceClient::new(channel(&service).await);
    let request = DeleteServerRequest {
        alias: "attic".to_owned(),
    };
    let missing = soon(servers.delete_server(with(request, Some(&token)))).await;
    assert_eq!(missing.unwrap_err().code(), Code::NotFound);
    // An ordinary call, which is not noted.
    service.list(Some(&token)).await.unwrap();
    // A secret in the place of an id is not repeated.
    let request = GetApiKeyRequest {
        key_id: "sq_not_an_id".to_owned(),
    };
    let mistaken = service.keys.get_api_key(with(request, Some(&token)));
    soon(mistaken).await.unwrap_err();
    let socket = admin_socket::connect(service.folder.path()).await.unwrap();
    let request = DeleteApiKeyRequest {
        key_id: made.key_id.clone(),
    };
    let mut socket = ApiKeyServiceClient::new(socket);
    soon(socket.delete_api_key(request)).await.unwrap();

    let folder = service.folder.path();
    let admin = audit(folder)[0].target.clone();
    let (id, ops) = (Some(&*admin), ("admin", local));
    let keys = |method: &str| format!("jobs.v1.ApiKeyService/{method}");
    let all = [
        noted(None, nobody, &keys("CreateApiKey"), &admin, "OK"),
        noted(id, ops, &keys("CreateApiKey"), &made.key_id, "OK"),
        noted(
            id,
            ops,
            "jobs.v1.ServerService/DeleteServer",
            "attic",
            "NOT_FOUND",
        ),
        noted(id, ops, &keys("GetApiKey"), "", "NOT_FOUND"),
        noted(
            None,
            ("admin socket", "local"),
            &keys("DeleteApiKey"),
            &made.key_id,
            "OK",
        ),
    ];
    assert_eq!(audit(folder), all);
    let folder = service.stopped().await;
    assert_eq!(audit(folder.path()), all);
}

#[tokio::test]
async fn who_was_denied_is_in_the_audit_after_the_stop_and_after_the_next_start() {
    let mut service = Service::new().await;
    let token = service.admin().await;
    let (reader, reading) = service.key(&token, &["jobs:read"]).await;
    let denied = service
        .create(Some(&reading), key("more", &["admin"]))
        .await;
    assert_eq!(denied.unwrap_err().code(), Code::PermissionDenied);
    let stranger: Token = Credentials::generate().unwrap().token();
    let unknown = service.list(Some(&stranger)).await.unwrap_err();
    assert_eq!(unknown.code(), Code::Unauthenticated);
    let again = service.restarted().await;
    let local = "127.0.0.1";
    let create = "jobs.v1.ApiKeyService/CreateApiKey";
    let listed = "jobs.v1.JobService/ListJobs";
    let rows = audit(again.folder.path());
    assert_eq!(rows.len(), 4, "{rows:#?}");
    let key_id = Some(&*reader.key_id);
    for row in [
        noted(key_id, ("another", local), create, "", "PERMISSION_DENIED"),
        noted(None, ("unknown", local), listed, "", "UNAUTHENTICATED"),
    ] {
        assert!(rows.contains(&row), "{row:?}: {rows:#?}");
    }
    let bytes = std::fs::read(config::database(again.folder.path())).unwrap();
    let secret = stranger.expose().as_bytes();
    assert!(!bytes.windows(secret.len()).any(|part| part == secret));
}
