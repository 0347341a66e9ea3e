//! Who gets through an open port, and what the others are told.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use service_kit::auth::{
    Access, ApiKey, Caller, FailureLimits, REASON_SCOPE_MISSING, REASON_TOO_MANY_FAILURES,
    REASON_UNAUTHENTICATED, SCOPE_KEY, Scope, UNAUTHENTICATED_TEXT,
};
use service_kit::clock::Clock;
use service_kit::server::{REASON_STARTING, REASON_STOPPING, ServerOptions};
use service_kit::status::{reason_of, retry_delay_of};
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;
use tracing_subscriber::fmt::MakeWriter;

use crate::authentication_keys::{BUSY, KeyList, base64, pair, token, with};
use crate::harness::Port;
use crate::{probe, reflection};

/// `Fail` has no rule on purpose.
const ACCESS: Access = Access::new(&[
    ("test.v1.Probe/Ok", Scope::JobsRead),
    ("test.v1.Probe/Stream", Scope::JobsRead),
]);

async fn guarded_by(keys: &Arc<KeyList>, change: impl FnOnce(&mut ServerOptions)) -> Port {
    let port = Port::starting(Clock::system(), |options| {
        options.access = ACCESS;
        change(options);
    })
    .await;
    open(&port, keys).await;
    port
}

async fn open(port: &Port, keys: &Arc<KeyList>) {
    let routes = port.probe.routes();
    port.handle.open_authenticated(routes, keys.clone()).await;
}

/// A port that others than this machine could reach, not open yet.
async fn beyond_loopback() -> Port {
    let anywhere = SocketAddr::from(([0, 0, 0, 0], 0));
    Port::listening(anywhere, Clock::system(), |options| options.access = ACCESS).await
}

fn one_key(scopes: &[Scope]) -> (Arc<KeyList>, ApiKey) {
    let keys = Arc::new(KeyList::default());
    let key = keys.issue("k-1", scopes);
    (keys, key)
}

async fn refusal(port: &Port, request: Request<()>) -> Status {
    let client = port.client().await;
    client.call_with("Ok", request).await.unwrap_err()
}

fn assert_unauthenticated(status: &Status) {
    assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
    assert_eq!(status.message(), UNAUTHENTICATED_TEXT);
    assert_eq!(reason_of(status).as_deref(), Some(REASON_UNAUTHENTICATED));
}

#[tokio::test]
async fn each_form_of_good_credentials_passes_and_the_method_sees_the_caller() {
    let (keys, key) = one_key(&[Scope::JobsRead]);
    let port = guarded_by(&keys, |_| {}).await;
    let client = port.client().await;
    for request in [
        pair(key.expose_key(), key.expose_secret()),
        base64(key.expose_key(), key.expose_secret()),
        token(&key),
    ] {
        client.call_with("Ok", request).await.unwrap();
        let caller = port.probe.caller.lock().unwrap().take().unwrap();
        assert_eq!(caller.key_id.as_deref(), Some("k-1"));
        assert!(caller.scopes.allow(Scope::JobsRead) && !caller.scopes.allow(Scope::Admin));
    }
}

#[tokio::test]
async fn all_bad_credentials_are_looked_up_alike_and_answered_alike() {
    let (keys, key) = one_key(&[Scope::Admin]);
    let revoked = keys.issue("k-2", &[Scope::Admin]);
    keys.revoke("k-2");
    let port = guarded_by(&keys, |_| {}).await;
    let stranger = ApiKey::generate().unwrap();
    let (good_key, good_secret) = (key.expose_key(), key.expose_secret());
    let long = "a".repeat(4096);
    let wrong_tail = format!("{}{}", &good_key[..11], &stranger.expose_key()[11..]);
    let bad = [
        pair(&wrong_tail, good_secret),
        pair(good_key, stranger.expose_secret()),
        base64(&wrong_tail, good_secret),
        base64(good_key, stranger.expose_secret()),
        token(&stranger),
        token(&revoked),
        pair(revoked.expose_key(), revoked.expose_secret()),
        with(&[("x-api-key", good_key)]),
        with(&[("x-api-secret", good_secret)]),
        with(&[
            ("x-api-key", good_key),
            ("x-api-secret", good_secret),
            ("x-api-secret", good_secret),
        ]),
        with(&[
            ("x-api-key", good_key),
            ("x-api-secret", good_secret),
            ("authorization", "Bearer x"),
        ]),
        with(&[("x-api-key", good_key), ("x-api-secret", &long)]),
        with(&[("authorization", &long)]),
        with(&[("authorization", "Basic c3E6c3E=")]),
    ];
    let mut answers = Vec::new();
    for (index, request) in bad.into_iter().enumerate() {
        let status = refusal(&port, request).await;
        assert_unauthenticated(&status);
        answers.push(status.details().to_vec());
        assert_eq!(keys.asked.load(Ordering::SeqCst), index + 1);
    }
    answers.dedup();
    assert_eq!(answers.len(), 1);
    assert_unauthenticated(&refusal(&port, Request::new(())).await);
    assert_eq!(port.probe.calls.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_known_caller_without_the_scope_is_told_which() {
    let (keys, reader) = one_key(&[Scope::ModelsRead, Scope::JobsWrite]);
    let admin = keys.issue("k-2", &[Scope::Admin]);
    let port = guarded_by(&keys, |_| {}).await;
    let client = port.client().await;
    // A method without a rule needs the most.
    for (method, scope) in [("Ok", "jobs:read"), ("Fail", "admin")] {
        let status = client.call_with(method, token(&reader)).await.unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied);
        assert_eq!(reason_of(&status).as_deref(), Some(REASON_SCOPE_MISSING));
        assert!(status.message().contains(scope), "{status:?}");
        let metadata = status.get_details_error_info().unwrap().metadata;
        assert_eq!(metadata[SCOPE_KEY], scope);
    }
    assert_eq!(port.probe.calls.load(Ordering::SeqCst), 0);
    client.call_with("Ok", token(&admin)).await.unwrap();
    let reached = client.call_with("Fail", token(&admin)).await.unwrap_err();
    assert_eq!(reached.code(), Code::Internal);
    // What does not exist is not a matter of scopes.
    let unknown = client.call_with("Missing", token(&reader)).await;
    assert_eq!(unknown.unwrap_err().code(), Code::Unimplemented);
}

#[tokio::test]
async fn without_any_key_loopback_passes_until_the_first_key_exists() {
    let keys = Arc::new(KeyList::default());
    let port = guarded_by(&keys, |_| {}).await;
    let client = port.client().await;
    client.call("Ok").await.unwrap();
    client
        .call_with("Ok", with(&[("x-api-key", "x")]))
        .await
        .unwrap();
    let caller = port.probe.caller.lock().unwrap().take();
    assert_eq!(caller, Some(Caller::anonymous()));
    let key = keys.issue("k-1", &[Scope::JobsRead]);
    assert_unauthenticated(&client.call("Ok").await.unwrap_err());
    client.call_with("Ok", token(&key)).await.unwrap();
}

#[tokio::test]
async fn without_any_key_nobody_passes_beyond_loopback() {
    let port = beyond_loopback().await;
    let keys = Arc::new(KeyList::default());
    open(&port, &keys).await;
    assert_unauthenticated(&refusal(&port, Request::new(())).await);
    let key = keys.issue("k-1", &[Scope::JobsRead]);
    let client = port.client().await;
    client.call_with("Ok", token(&key)).await.unwrap();
}

#[tokio::test]
async fn without_an_authenticator_nobody_passes_beyond_loopback() {
    let port = beyond_loopback().await;
    port.handle.open(port.probe.routes()).await;
    let key = ApiKey::generate().unwrap();
    assert_unauthenticated(&refusal(&port, token(&key)).await);
    let listed = reflection::list(&port.client().await, MetadataMap::new()).await;
    assert_unauthenticated(&listed.unwrap_err());
}

#[tokio::test]
async fn starting_stopping_and_health_are_told_to_anybody() {
    let port = beyond_loopback().await;
    let (keys, _key) = one_key(&[Scope::JobsRead]);
    let client = port.client().await;
    let starting = client.call("Ok").await.unwrap_err();
    assert_eq!(reason_of(&starting).as_deref(), Some(REASON_STARTING));
    client.health(probe::NAME).await.unwrap();
    open(&port, &keys).await;
    client.health(probe::NAME).await.unwrap();
    port.handle.stop_accepting_work().await;
    client.health(probe::NAME).await.unwrap();
    let stopping = client.call("Ok").await.unwrap_err();
    assert_eq!(reason_of(&stopping).as_deref(), Some(REASON_STOPPING));
    assert_eq!(keys.asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn reflection_is_open_on_loopback_and_asks_for_a_key_elsewhere() {
    let (keys, key) = one_key(&[]);
    let near = guarded_by(&keys, |_| {}).await;
    let listed = reflection::list(&near.client().await, MetadataMap::new()).await;
    listed.unwrap();
    let far = beyond_loopback().await;
    let client = far.client().await;
    let none = MetadataMap::new;
    let starting = reflection::list(&client, none()).await.unwrap_err();
    assert_eq!(reason_of(&starting).as_deref(), Some(REASON_STARTING));
    open(&far, &keys).await;
    assert_unauthenticated(&reflection::list(&client, none()).await.unwrap_err());
    let good = token(&key).metadata().clone();
    reflection::list(&client, good).await.unwrap();
}

#[tokio::test]
async fn a_peer_that_fails_too_often_waits_and_its_good_neighbours_do_not() {
    let (keys, good) = one_key(&[Scope::JobsRead]);
    let late = keys.issue("k-2", &[Scope::JobsRead]);
    let (clock, hand) = Clock::manual(chrono::DateTime::UNIX_EPOCH);
    let interval = Duration::from_secs(1);
    let port = Port::starting(clock, |options| {
        options.access = ACCESS;
        options.failures = FailureLimits {
            burst: 3,
            interval,
            ..FailureLimits::default()
        };
    })
    .await;
    open(&port, &keys).await;
    let client = port.client().await;
    client.call_with("Ok", token(&good)).await.unwrap();
    let stranger = ApiKey::generate().unwrap();
    for _ in 0..3 {
        assert_unauthenticated(&refusal(&port, token(&stranger)).await);
    }
    let asked = keys.asked.load(Ordering::SeqCst);
    for request in [token(&stranger), token(&late), Request::new(())] {
        let limited = refusal(&port, request).await;
        assert_eq!(limited.code(), Code::ResourceExhausted);
        assert_eq!(
            reason_of(&limited).as_deref(),
            Some(REASON_TOO_MANY_FAILURES)
        );
        assert_eq!(retry_delay_of(&limited), Some(interval));
    }
    assert_eq!(keys.asked.load(Ordering::SeqCst), asked);
    client.call_with("Ok", token(&good)).await.unwrap();
    hand.advance(interval);
    client.call_with("Ok", token(&late)).await.unwrap();
}

#[tokio::test]
async fn a_list_of_keys_that_cannot_be_read_lets_nobody_in() {
    let (keys, key) = one_key(&[Scope::Admin]);
    let port = guarded_by(&keys, |_| {}).await;
    keys.busy.store(true, Ordering::SeqCst);
    let status = refusal(&port, token(&key)).await;
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(reason_of(&status).as_deref(), Some(BUSY));
    assert_eq!(port.probe.calls.load(Ordering::SeqCst), 0);
}

/// Everything that is logged, at every level.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn no_secret_gets_into_logs_or_answers() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(log.clone())
        .finish();
    // For the whole process: where tests share one, a subscriber of one thread
    // misses the places that other threads have passed without one. What those
    // tests log comes here too, and holds none of the secrets below.
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let (keys, key) = one_key(&[Scope::JobsRead]);
    let port = guarded_by(&keys, |_| {}).await;
    let client = port.client().await;
    let stranger = ApiKey::generate().unwrap();
    let request = pair(key.expose_key(), key.expose_secret());
    client.call_with("Ok", request).await.unwrap();
    let mut told = String::new();
    for request in [
        pair(key.expose_key(), stranger.expose_secret()),
        base64(stranger.expose_key(), key.expose_secret()),
        token(&stranger),
    ] {
        let status = refusal(&port, request).await;
        told += &format!("{status:?} {}", String::from_utf8_lossy(status.details()));
    }
    told += &String::from_utf8_lossy(&log.0.lock().unwrap());
    assert!(told.contains("caller.id=\"k-1\""), "the log was not caught");
    assert!(told.contains("a call was not authenticated"));
    for secret in [&key, &stranger] {
        assert!(!told.contains(&secret.expose_key()[11..]));
        assert!(!told.contains(secret.expose_secret()));
        assert!(!told.contains(&secret.hashes().secret.to_hex()));
    }
}
