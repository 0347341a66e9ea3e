use std::task::{Context, Waker};

use chrono::Duration as Span;
use service_kit::{
    auth::{Scope, Scopes},
    clock::{ManualClock, from_text},
    database::{DatabaseLock, DatabaseOptions},
    migrate::{self, MigrateOptions},
};
use tempfile::TempDir;
use tonic::codegen::http::HeaderMap;

use super::*;
use crate::{
    api_key::{KeyChange, KeysAdmin, NewKey},
    config::DATABASE_FILE,
    run::schema,
};

fn time_of_start() -> DateTime<Utc> {
    from_text("2026-11-22T11:08:30.000Z").unwrap()
}

/// Keys on a database of their own.
struct Bench {
    keys: Arc<Keys>,
    database: Database,
    hand: ManualClock,
    shutdown: Shutdown,
    _folder: TempDir,
}

impl Bench {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(DATABASE_FILE);
        let lock = DatabaseLock::acquire(&path, "test").unwrap();
        let options = MigrateOptions::default();
        migrate::migrate(&path, &lock, &schema(), time_of_start(), &options).unwrap();
        let database = Database::open(&path, lock, DatabaseOptions::default()).unwrap();
        let (clock, hand) = Clock::manual(time_of_start());
        let shutdown = Shutdown::new(clock.clone());
        let keys = Keys::load(database.clone(), clock, shutdown.clone());
        Self {
            keys: keys.await.unwrap(),
            database,
            hand,
            shutdown,
            _folder: folder,
        }
    }

    async fn create(&self, scope: Scope) -> (ApiKeyRecord, ApiKey) {
        let shown = self.keys.create(new_key(scope), KeysAdmin::LOCAL, None);
        let shown = shown.await.unwrap();
        let Some(Proof::Whole(key)) = shown.proof else {
            panic!("a new key has a proof");
        };
        (shown.record, key)
    }

    fn verdict(&self, credentials: Option<&Credentials>) -> Verdict {
        self.keys.verdict(credentials)
    }

    async fn sql(&self, sql: &'static str) {
        let written = self.database.write("test", move |conn| {
            diesel::RunQueryDsl::execute(diesel::sql_query(sql), conn)?;
            Ok::<_, Error>(())
        });
        written.await.unwrap();
    }

    async fn reloaded(&self) -> Arc<Keys> {
        let keys = Keys::load(
            self.database.clone(),
            self.keys.clock.clone(),
            self.shutdown.clone(),
        );
        keys.await.unwrap()
    }
}

fn new_key(scope: Scope) -> NewKey {
    NewKey {
        name: "one".to_owned(),
        description: String::new(),
        scopes: Scopes::from_iter([scope]),
        active: true,
        expires_at: None,
        limits: KeyLimits::default(),
    }
}

fn presented(key: &ApiKey) -> Credentials {
    let mut headers = HeaderMap::new();
    let value = format!("Bearer {}", key.token().expose());
    headers.insert("authorization", value.parse().unwrap());
    Credentials::of(&headers).unwrap()
}

#[tokio::test]
async fn authentication_is_off_only_while_there_never_was_a_key() {
    let bench = Bench::new().await;
    assert_eq!(bench.verdict(None), Verdict::Off);
    let (made, key) = bench.create(Scope::Admin).await;
    assert_eq!(bench.verdict(None), Verdict::Unknown);
    let known = Verdict::Known(made.caller());
    assert_eq!(bench.verdict(Some(&presented(&key))), known);
    bench.keys.delete(&made.id, KeysAdmin::LOCAL).await.unwrap();
    assert_eq!(bench.verdict(None), Verdict::Unknown);
    let reloaded = bench.reloaded().await;
    assert!(reloaded.is_required() && !reloaded.has_good_one());
}

#[tokio::test]
async fn a_change_is_made_whole_when_whoever_asked_goes_away() {
    let bench = Bench::new().await;
    let (made, key) = bench.create(Scope::Admin).await;
    let off = KeyChange {
        active: Some(false),
        ..KeyChange::default()
    };
    let mut asked = Box::pin(bench.keys.update(&made.id, off, None, KeysAdmin::LOCAL));
    let mut context = Context::from_waker(Waker::noop());
    assert!(asked.as_mut().poll(&mut context).is_pending());
    drop(asked);
    // The next change is made after it.
    bench.create(Scope::JobsRead).await;
    let verdict = bench.verdict(Some(&presented(&key)));
    assert_eq!(verdict, Verdict::Unknown);
    assert!(!bench.keys.get(&made.id).unwrap().active);
}

#[tokio::test]
async fn a_key_of_an_older_database_has_the_scopes_of_old() {
    let bench = Bench::new().await;
    let (made, key) = bench.create(Scope::Admin).await;
    bench.sql("UPDATE api_keys SET permissions = NULL").await;
    let keys = bench.reloaded().await;
    let wanted = Scopes::from_iter([Scope::JobsRead, Scope::JobsWrite]);
    assert_eq!(keys.get(&made.id).unwrap().scopes, wanted);
    let verdict = keys.verdict(Some(&presented(&key)));
    assert!(matches!(verdict, Verdict::Known(caller) if caller.scopes == wanted));
}

#[tokio::test]
async fn a_key_that_cannot_be_read_stops_no_other_and_opens_nothing() {
    let bench = Bench::new().await;
    let (_, broken) = bench.create(Scope::Admin).await;
    bench
        .sql("UPDATE api_keys SET permissions = 'all of them', created_at = 'once'")
        .await;
    let (_, good) = bench.create(Scope::JobsRead).await;
    let (unhashed, _) = bench.create(Scope::JobsRead).await;
    let sql = "UPDATE api_keys SET key_prefix = 'mk_', secret_hash = 'x' WHERE rowid = 3";
    bench.sql(sql).await;
    let keys = bench.reloaded().await;
    assert!(keys.is_required());
    let good = keys.verdict(Some(&presented(&good)));
    assert!(matches!(good, Verdict::Known(_)));
    let broken = keys.verdict(Some(&presented(&broken)));
    assert_eq!(broken, Verdict::Unknown);
    let rotated = keys.rotate(&unhashed.id, Span::zero(), KeysAdmin::LOCAL);
    let rotated = rotated.await;
    assert!(
        matches!(rotated, Err(Error::ApiKeyUnknownForm(_))),
        "{rotated:?}"
    );
    keys.delete(&unhashed.id, KeysAdmin::LOCAL).await.unwrap();
}

#[tokio::test]
async fn a_use_is_kept_through_a_change_and_written_once() {
    let bench = Bench::new().await;
    let (made, key) = bench.create(Scope::JobsRead).await;
    bench.verdict(Some(&presented(&key)));
    let renamed = KeyChange {
        name: Some("two".to_owned()),
        ..KeyChange::default()
    };
    let update = bench.keys.update(&made.id, renamed, None, KeysAdmin::LOCAL);
    let minute = time_of_start() - Span::seconds(30);
    assert_eq!(update.await.unwrap().last_used, Some(minute));
    assert_eq!(bench.keys.ring().unkept_uses(), [(made.id.clone(), minute)]);
    bench.keys.flush_uses().await.unwrap();
    assert_eq!(bench.keys.ring().unkept_uses(), []);
    bench.verdict(Some(&presented(&key)));
    assert_eq!(bench.keys.ring().unkept_uses(), [], "the same minute");
    bench.hand.advance(Duration::from_secs(30));
    bench.verdict(Some(&presented(&key)));
    let next = minute + Span::seconds(60);
    assert_eq!(bench.keys.ring().unkept_uses(), [(made.id.clone(), next)]);
    bench.keys.reload().await.unwrap();
    assert_eq!(bench.keys.get(&made.id).unwrap().last_used, Some(next));
    let reloaded = bench.reloaded().await;
    assert_eq!(reloaded.get(&made.id).unwrap().last_used, Some(minute));
}

#[tokio::test]
async fn limits_of_a_key_are_its_own_and_follow_its_changes() {
    let bench = Bench::new().await;
    let (made, _) = bench.create(Scope::JobsRead).await;
    assert_eq!(bench.keys.limits_of(&made.id), KeyLimits::default());
    let limits = KeyChange {
        queued_jobs_max: Some(Some(3)),
        ..KeyChange::default()
    };
    let update = bench.keys.update(&made.id, limits, None, KeysAdmin::LOCAL);
    update.await.unwrap();
    let limits = bench.keys.limits_of(&made.id);
    assert_eq!(limits.queued_jobs_max, Some(3));
    assert_eq!(bench.keys.limits_of("none"), KeyLimits::default());
}

#[tokio::test]
async fn two_keys_may_share_their_first_digits() {
    let bench = Bench::new().await;
    let (one, its) = bench.create(Scope::JobsRead).await;
    let (other, others) = bench.create(Scope::JobsWrite).await;
    let sql = "UPDATE api_keys SET key_prefix = (SELECT key_prefix FROM api_keys WHERE rowid = 1)";
    bench.sql(sql).await;
    let keys = bench.reloaded().await;
    let shared = Token::parse(&format!("sq_{}_{}", one.prefix, others.expose_secret())).unwrap();
    let mut headers = HeaderMap::new();
    headers.insert(
        "authorization",
        format!("Bearer {}", shared.expose()).parse().unwrap(),
    );
    let verdict = keys.verdict(Credentials::of(&headers).as_ref());
    assert!(matches!(verdict, Verdict::Known(caller) if caller.key_id == Some(other.id)));
    let verdict = keys.verdict(Some(&presented(&its)));
    assert!(matches!(verdict, Verdict::Known(caller) if caller.key_id == Some(one.id)));
}
