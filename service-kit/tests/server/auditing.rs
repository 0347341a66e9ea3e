//! What comes into the audit, when, and what does not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::{Nullable, Text};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use service_kit::audit::{Audit, AuditLimits, AuditedService};
use service_kit::auth::{Access, ApiKey, Caller, FailureLimits, Scope};
use service_kit::clock::Clock;
use service_kit::database::{Database, DatabaseError, DatabaseLock, DatabaseOptions};
use service_kit::server::ServerOptions;
use tempfile::TempDir;
use tonic::{Code, Request};

use crate::authentication_keys::{KeyList, token, with};
use crate::harness::{BOUND, Port, soon};

/// All others have no rule and so are administrative.
const ACCESS: Access = Access::new(&[
    ("test.v1.Probe/Ok", Scope::JobsRead),
    ("test.v1.Probe/Stream", Scope::JobsRead),
]);
const TABLE: &str = "CREATE TABLE audit_events (id INTEGER PRIMARY KEY, created_at TEXT NOT NULL, \
     key_id TEXT, caller TEXT NOT NULL, peer TEXT NOT NULL, method TEXT NOT NULL, \
     target TEXT NOT NULL, code TEXT NOT NULL, request_id TEXT NOT NULL)";

#[derive(Debug, Clone, QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    created_at: String,
    #[diesel(sql_type = Nullable<Text>)]
    key_id: Option<String>,
    #[diesel(sql_type = Text)]
    caller: String,
    #[diesel(sql_type = Text)]
    peer: String,
    #[diesel(sql_type = Text)]
    method: String,
    #[diesel(sql_type = Text)]
    target: String,
    #[diesel(sql_type = Text)]
    code: String,
    #[diesel(sql_type = Text)]
    request_id: String,
}

struct Audited {
    port: Port,
    admin: ApiKey,
    reader: ApiKey,
    database: Database,
    registry: Registry,
    _folder: TempDir,
}

impl Audited {
    async fn new() -> Self {
        Self::with(&AuditLimits::default(), |_| {}).await
    }

    /// A port with an admin's and a reader's key, whose clock stands still.
    async fn with(limits: &AuditLimits, change: impl FnOnce(&mut ServerOptions)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sqlite");
        let lock = DatabaseLock::acquire(&path, "the test").unwrap();
        let database = Database::open(&path, lock, DatabaseOptions::default()).unwrap();
        let create = |connection: &mut SqliteConnection| Ok(connection.batch_execute(TABLE)?);
        database
            .write::<_, DatabaseError, _>("create", create)
            .await
            .unwrap();
        let (clock, _hand) = Clock::manual(chrono::DateTime::UNIX_EPOCH);
        let port = Port::starting(clock.clone(), |options| {
            options.access = ACCESS;
            change(options);
        })
        .await;
        let mut registry = Registry::default();
        let shutdown = &port.shutdown;
        let audit = Audit::start(database.clone(), limits, &mut registry, shutdown, clock);
        port.handle.audit_to(audit);
        let keys = Arc::new(KeyList::default());
        let admin = keys.issue("k-1", &[Scope::Admin]);
        let reader = keys.issue("k-2", &[Scope::JobsRead]);
        let routes = port.probe.routes();
        port.handle.open_authenticated(routes, keys).await;
        Self {
            port,
            admin,
            reader,
            database,
            registry,
            _folder: folder,
        }
    }

    async fn code(&self, method: &str, request: Request<()>) -> Code {
        let client = self.port.client().await;
        let answer = client.call_with(method, request).await;
        answer.map_or_else(|status| status.code(), |_| Code::Ok)
    }

    async fn rows(&self) -> Vec<Row> {
        self.database
            .read("rows", |connection| {
                let query = diesel::sql_query("SELECT * FROM audit_events ORDER BY id");
                Ok::<_, DatabaseError>(query.load(connection)?)
            })
            .await
            .unwrap()
    }

    /// The rows, once there are so many.
    async fn rows_at_last(&self, count: usize) -> Vec<Row> {
        let begun = Instant::now();
        loop {
            let rows = self.rows().await;
            if rows.len() >= count {
                return rows;
            }
            assert!(begun.elapsed() < BOUND, "{rows:#?}");
        }
    }

    fn figures(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).unwrap();
        text
    }
}

#[tokio::test]
async fn an_administrative_call_is_on_disk_before_its_answer_and_an_ordinary_one_never() {
    let audited = Audited::new().await;
    assert_eq!(audited.code("Ok", token(&audited.admin)).await, Code::Ok);
    assert_eq!(audited.code("Ok", token(&audited.reader)).await, Code::Ok);
    assert!(audited.rows().await.is_empty());
    let mut request = token(&audited.admin);
    let id = "order-7".parse().unwrap();
    request.metadata_mut().insert("x-request-id", id);
    assert_eq!(audited.code("Fail", request).await, Code::Internal);
    audited.port.probe.release.notify_one();
    let answer = audited.code("Release", token(&audited.admin)).await;
    assert_eq!(answer, Code::Ok);
    assert_eq!(
        audited.code("Panic", token(&audited.admin)).await,
        Code::Internal
    );
    let rows = audited.rows().await;
    let said: Vec<_> = rows.iter().map(|r| (&*r.method, &*r.code)).collect();
    assert_eq!(
        said,
        [
            ("test.v1.Probe/Fail", "INTERNAL"),
            ("test.v1.Probe/Release", "OK"),
            ("test.v1.Probe/Panic", "INTERNAL")
        ]
    );
    let first = &rows[0];
    assert_eq!(first.created_at, "1970-01-01T00:00:00.000Z");
    assert_eq!(first.key_id.as_deref(), Some("k-1"));
    assert_eq!(
        (&*first.caller, &*first.peer, &*first.request_id),
        ("key k-1", "127.0.0.1", "order-7")
    );
    assert_eq!(first.target, "");
    assert!(
        audited.figures().contains(r#"outcome="written"} 3"#),
        "{}",
        audited.figures()
    );
}

#[tokio::test]
async fn denied_calls_are_noted_with_whom_they_were_denied() {
    let limits = FailureLimits {
        burst: 1,
        ..FailureLimits::default()
    };
    let audited = Audited::with(&AuditLimits::default(), |options| options.failures = limits).await;
    let denied = audited.code("Fail", token(&audited.reader)).await;
    assert_eq!(denied, Code::PermissionDenied);
    let stranger = ApiKey::generate().unwrap();
    let unknown = audited.code("Ok", token(&stranger)).await;
    assert_eq!(unknown, Code::Unauthenticated);
    let too_often = audited.code("Ok", token(&stranger)).await;
    assert_eq!(too_often, Code::ResourceExhausted);
    let rows = audited.rows_at_last(3).await;
    let said: Vec<_> = rows
        .iter()
        .map(|r| (r.key_id.as_deref(), &*r.caller, &*r.method, &*r.code))
        .collect();
    assert_eq!(
        said,
        [
            (
                Some("k-2"),
                "key k-2",
                "test.v1.Probe/Fail",
                "PERMISSION_DENIED"
            ),
            (None, "unknown", "test.v1.Probe/Ok", "UNAUTHENTICATED"),
            (None, "unknown", "test.v1.Probe/Ok", "RESOURCE_EXHAUSTED")
        ]
    );
    for row in &rows {
        let text = format!("{row:?}");
        for secret in [stranger.expose_key(), stranger.expose_secret()] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}

#[tokio::test]
async fn the_same_denial_is_written_once_a_minute_and_many_are_only_counted() {
    let limits = AuditLimits {
        denials_per_minute: 2,
        ..AuditLimits::default()
    };
    let audited = Audited::with(&limits, |_| {}).await;
    for method in ["Ok", "Ok", "Ok", "Fail", "Hang", "Release"] {
        let code = audited.code(method, with(&[("x-api-key", "x")])).await;
        assert_eq!(code, Code::Unauthenticated);
    }
    let rows = audited.rows_at_last(2).await;
    let methods: Vec<_> = rows.iter().map(|row| &*row.method).collect();
    assert_eq!(methods, ["test.v1.Probe/Ok", "test.v1.Probe/Fail"]);
    let figures = audited.figures();
    for line in [r#"{outcome="repeated"} 2"#, r#"{outcome="dropped"} 2"#] {
        assert!(figures.contains(line), "{line}: {figures}");
    }
}

#[tokio::test]
async fn made_up_methods_share_one_name() {
    let audited = Audited::new().await;
    for method in ["Nope", "Secret%20words"] {
        let code = audited.code(method, Request::new(())).await;
        assert_eq!(code, Code::Unauthenticated);
    }
    let rows = audited.rows_at_last(1).await;
    assert_eq!((rows.len(), &*rows[0].method), (1, "unknown"));
}

#[tokio::test]
async fn an_administrative_call_that_nobody_waits_for_is_noted_when_it_has_ended() {
    let audited = Audited::new().await;
    let client = audited.port.client().await;
    let given_up = {
        let call = client.call_with("Release", token(&audited.admin));
        tokio::select! {
            _ = call => false,
            () = soon(audited.port.probe.entered.notified()) => true,
        }
    };
    assert!(given_up);
    drop(client);
    assert!(audited.rows().await.is_empty());
    audited.port.probe.release.notify_one();
    let rows = audited.rows_at_last(1).await;
    assert_eq!(rows[0].code, "OK");
}

#[tokio::test]
async fn an_administrative_call_that_is_cut_is_noted_before_the_port_has_ended() {
    let audited = Audited::with(&AuditLimits::default(), |options| {
        options.grace = Duration::ZERO;
    })
    .await;
    let client = audited.port.client().await;
    let hanging = client.call_with("Hang", token(&audited.admin));
    let Audited { port, database, .. } = &audited;
    let entered = port.probe.entered.notified();
    tokio::select! {
        _ = hanging => panic!("it never answers"),
        () = soon(entered) => {}
    }
    let database = database.clone();
    let Audited { port, .. } = audited;
    // Cut, or ended in time because the call's client is gone: noted either way.
    let _ = soon(port.handle.finished()).await;
    let codes: Vec<String> = database
        .read("codes", |connection| {
            let codes = diesel::dsl::sql::<Text>("SELECT code FROM audit_events");
            Ok::<_, DatabaseError>(codes.load(connection)?)
        })
        .await
        .unwrap();
    assert_eq!(codes, ["UNAVAILABLE"]);
}

#[tokio::test]
async fn only_the_newest_rows_are_kept() {
    let limits = AuditLimits {
        rows: 3,
        ..AuditLimits::default()
    };
    let audited = Audited::with(&limits, |_| {}).await;
    for number in 0..5 {
        let mut request = token(&audited.admin);
        let id = format!("call-{number}").parse().unwrap();
        request.metadata_mut().insert("x-request-id", id);
        audited.code("Fail", request).await;
    }
    let rows = audited.rows().await;
    let ids: Vec<_> = rows.iter().map(|row| &*row.request_id).collect();
    assert_eq!(ids, ["call-2", "call-3", "call-4"]);
}

#[tokio::test]
async fn a_database_that_cannot_be_written_does_not_take_the_answer_away() {
    let audited = Audited::new().await;
    audited.database.clone().close().await.unwrap();
    let code = audited.code("Fail", token(&audited.admin)).await;
    assert_eq!(code, Code::Internal);
    let figures = audited.figures();
    assert!(figures.contains(r#"outcome="failed"} 1"#), "{figures}");
}

#[tokio::test]
async fn a_service_beside_the_port_is_audited_whole() {
    let audited = Audited::new().await;
    let (clock, _hand) = Clock::manual(chrono::DateTime::UNIX_EPOCH);
    let mut registry = Registry::default();
    let limits = AuditLimits::default();
    let shutdown = &audited.port.shutdown;
    let database = audited.database.clone();
    let audit = Audit::start(database, &limits, &mut registry, shutdown, clock);
    let mut service = AuditedService::new(audited.port.probe.clone(), audit);
    let mut request = http::Request::new(tonic::body::Body::empty());
    *request.uri_mut() = "/test.v1.Probe/Ok".parse().unwrap();
    request.extensions_mut().insert(Caller {
        name: "somebody here".to_owned(),
        ..Caller::anonymous()
    });
    soon(tower::Service::call(&mut service, request))
        .await
        .unwrap();
    let row = &audited.rows().await[0];
    assert_eq!(
        (&*row.caller, &*row.peer, &*row.method, &*row.code),
        ("somebody here", "local", "test.v1.Probe/Ok", "OK")
    );
    assert_eq!(row.request_id.len(), 36);
}
