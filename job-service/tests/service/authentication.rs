//! Who gets through: every form of good credentials, no form of bad ones.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use job_service::{Config, StartError, keys::BootstrapKey, start};
use service_kit::{
    auth::{self, Token, UNAUTHENTICATED_TEXT},
    clock::Clock,
    exit::Exit,
    server,
    status::reason_of,
};
use stablequeue_proto::jobs::v1::*;
use tonic::{Code, Status};

use crate::harness::{Service, key, soon, time_of_start, token, with, with_headers};

async fn list(service: &mut Service, headers: &[(&'static str, &str)]) -> Result<(), Status> {
    let request = with_headers(ListJobsRequest::default(), headers);
    service.jobs.list_jobs(request).await.map(|_| ())
}

fn is_refused(answer: Result<(), Status>, what: &str) {
    let status = answer.expect_err(what);
    assert_eq!(status.code(), Code::Unauthenticated, "{what}: {status:?}");
    assert_eq!(status.message(), UNAUTHENTICATED_TEXT, "{what}");
    assert_eq!(reason_of(&status).as_deref(), Some("UNAUTHENTICATED"));
}

#[tokio::test]
async fn without_a_key_everybody_on_this_machine_may_call() {
    let mut service = Service::new().await;
    service.list(None).await.unwrap();
    service.admin().await;
    is_refused(service.list(None).await, "there is a key now");
}

#[tokio::test]
async fn all_three_forms_are_accepted() {
    let mut service = Service::new().await;
    let asked = key("one", &["jobs:read"]);
    let (_, proof) = service.create(None, asked).await.unwrap();
    let ApiKeyProof { key, secret, token } = proof;
    let pair = STANDARD.encode(format!("{key}:{secret}"));
    for headers in [
        &[
            ("x-api-key", key.as_str()),
            ("x-api-secret", secret.as_str()),
        ][..],
        &[("authorization", &format!("Bearer {pair}"))],
        &[("authorization", &format!("bearer {token}"))],
    ] {
        list(&mut service, headers).await.unwrap();
    }
}

#[tokio::test]
async fn bad_credentials_of_every_kind_are_answered_alike() {
    let mut service = Service::new().await;
    let admin = service.admin().await;
    let asked = key("one", &["jobs:read"]);
    let (_, good) = service.create(Some(&admin), asked).await.unwrap();
    let other = auth::ApiKey::generate().unwrap();
    let (key, secret, token) = (&*good.key, &*good.secret, &*good.token);
    let bearer = format!("Bearer {token}");
    let long = format!("Bearer {}", "5".repeat(10_000));
    let wrong_token = format!("Bearer sq_{}_{}", &key[3..11], other.expose_secret());
    let unpaired = format!("Bearer {}", STANDARD.encode(key));
    let bad: &[(&str, &[(&'static str, &str)])] = &[
        ("none", &[]),
        ("half, the key", &[("x-api-key", key)]),
        ("half, the secret", &[("x-api-secret", secret)]),
        (
            "half, a pair without its secret",
            &[("authorization", &unpaired)],
        ),
        (
            "another's secret",
            &[("x-api-key", key), ("x-api-secret", other.expose_secret())],
        ),
        (
            "another's key",
            &[("x-api-key", other.expose_key()), ("x-api-secret", secret)],
        ),
        (
            "nobody's",
            &[
                ("x-api-key", other.expose_key()),
                ("x-api-secret", other.expose_secret()),
            ],
        ),
        ("a wrong token", &[("authorization", &wrong_token)]),
        (
            "doubled",
            &[
                ("x-api-key", key),
                ("x-api-key", key),
                ("x-api-secret", secret),
            ],
        ),
        (
            "two forms at once",
            &[
                ("x-api-key", key),
                ("x-api-secret", secret),
                ("authorization", &bearer),
            ],
        ),
        ("oversized", &[("authorization", &long)]),
        ("another scheme", &[("authorization", "Basic YTpi")]),
        ("no scheme", &[("authorization", token)]),
    ];
    for (what, headers) in bad {
        is_refused(list(&mut service, headers).await, what);
    }
    list(&mut service, &[("authorization", &bearer)])
        .await
        .unwrap();
}

#[tokio::test]
async fn a_revoked_key_and_a_deleted_one_are_refused_with_the_next_call() {
    let mut service = Service::new().await;
    let admin = service.admin().await;
    let (mut revoked, its) = service.key(&admin, &["jobs:read"]).await;
    service.list(Some(&its)).await.unwrap();
    revoked.active = Some(false);
    let revoked = service.update(&admin, revoked, &["active"]).await.unwrap();
    is_refused(service.list(Some(&its)).await, "revoked");
    let mut again = revoked.clone();
    again.active = Some(true);
    service.update(&admin, again, &["active"]).await.unwrap();
    service.list(Some(&its)).await.unwrap();
    service.delete(&admin, &revoked.key_id).await.unwrap();
    is_refused(service.list(Some(&its)).await, "deleted");
}

#[tokio::test]
async fn a_key_is_refused_from_the_instant_it_expires_at() {
    let mut service = Service::new().await;
    let admin = service.admin().await;
    let end = time_of_start() + chrono::Duration::seconds(60);
    let asked = ApiKey {
        expire_time: Some(service_kit::clock::to_timestamp(end)),
        ..key("short", &["jobs:read"])
    };
    let (_, proof) = service.create(Some(&admin), asked).await.unwrap();
    let short = token(&proof);
    service.hand.advance(Duration::from_millis(59_999));
    service.list(Some(&short)).await.unwrap();
    service.hand.advance(Duration::from_millis(1));
    is_refused(service.list(Some(&short)).await, "expired");
    service.list(Some(&admin)).await.unwrap();
}

#[tokio::test]
async fn a_rotated_key_is_proved_by_both_secrets_during_the_overlap() {
    let mut service = Service::new().await;
    let admin = service.admin().await;
    let asked = key("one", &["jobs:read"]);
    let (made, before) = service.create(Some(&admin), asked).await.unwrap();
    let rotate = |seconds| RotateApiKeyRequest {
        key_id: made.key_id.clone(),
        overlap: Some(prost_types::Duration { seconds, nanos: 0 }),
    };
    let request = with(rotate(60), Some(&admin));
    let rotated = service.keys.rotate_api_key(request).await.unwrap();
    let rotated = rotated.into_inner();
    let after = rotated.proof.unwrap();
    assert_eq!(after.key, "", "the key is not kept");
    assert_ne!(after.secret, before.secret);
    let shown = rotated.api_key.unwrap();
    assert!(shown.old_secret_expire_time.is_some());
    assert_ne!(shown.etag, made.etag);
    let new_pair = [
        ("x-api-key", before.key.as_str()),
        ("x-api-secret", after.secret.as_str()),
    ];
    service.hand.advance(Duration::from_millis(59_999));
    service.list(Some(&token(&before))).await.unwrap();
    service.list(Some(&token(&after))).await.unwrap();
    list(&mut service, &new_pair).await.unwrap();
    service.hand.advance(Duration::from_millis(1));
    is_refused(
        service.list(Some(&token(&before))).await,
        "the overlap is over",
    );
    let shown = service.get(&admin, &made.key_id).await.unwrap();
    assert_eq!(shown.old_secret_expire_time, None);
    // Without an overlap the secret before is refused at once.
    let request = with(rotate(0), Some(&admin));
    let last = service.keys.rotate_api_key(request).await.unwrap();
    let last = token(&last.into_inner().proof.unwrap());
    is_refused(service.list(Some(&token(&after))).await, "no overlap");
    service.list(Some(&last)).await.unwrap();
    let mut service = service.restarted().await;
    service.list(Some(&last)).await.unwrap();
    is_refused(service.list(Some(&token(&after))).await, "after a restart");
}

#[tokio::test]
async fn the_bootstrap_key_is_there_after_each_start_unless_it_was_revoked() {
    let folder = tempfile::tempdir().unwrap();
    let made = auth::ApiKey::generate().unwrap();
    let its = made.token();
    let bootstrap = |config: &mut Config| {
        config.bootstrap_key = Some(BootstrapKey::parse(its.expose()).unwrap());
    };
    let start =
        async |folder| Service::in_folder(folder, "127.0.0.1:0", time_of_start(), bootstrap).await;
    let mut service = start(folder).await;
    service.list(Some(&its)).await.unwrap();
    let pair = [
        ("x-api-key", made.expose_key()),
        ("x-api-secret", made.expose_secret()),
    ];
    is_refused(list(&mut service, &pair).await, "only the token was given");
    let mut service = start(service.stopped().await).await;
    let all = with(ListApiKeysRequest::default(), Some(&its));
    let all = service.keys.list_api_keys(all).await.unwrap().into_inner();
    assert_eq!(all.api_keys.len(), 1, "{all:?}");
    assert_eq!(all.api_keys[0].name, "bootstrap");
    assert_eq!(all.api_keys[0].scopes, ["admin"]);
    let (_, other) = service.key(&its, &["admin"]).await;
    let mut key = all.api_keys[0].clone();
    key.active = Some(false);
    service.update(&other, key, &["active"]).await.unwrap();
    let mut service = start(service.stopped().await).await;
    is_refused(service.list(Some(&its)).await, "it stays revoked");
    service.list(Some(&other)).await.unwrap();
}

#[tokio::test]
async fn a_bootstrap_key_that_was_rotated_is_not_brought_back() {
    let made = auth::ApiKey::generate().unwrap();
    let its = made.token();
    let pair = format!("{}:{}", made.expose_key(), made.expose_secret());
    let bootstrap = |config: &mut Config| {
        config.bootstrap_key = Some(BootstrapKey::parse(&pair).unwrap());
    };
    let mut service = Service::with(bootstrap).await;
    let headers = [
        ("x-api-key", made.expose_key()),
        ("x-api-secret", made.expose_secret()),
    ];
    list(&mut service, &headers).await.unwrap();
    let all = with(ListApiKeysRequest::default(), Some(&its));
    let all = service.keys.list_api_keys(all).await.unwrap().into_inner();
    let request = RotateApiKeyRequest {
        key_id: all.api_keys[0].key_id.clone(),
        overlap: Some(prost_types::Duration::default()),
    };
    let rotated = service.keys.rotate_api_key(with(request, Some(&its)));
    let fresh = token(&rotated.await.unwrap().into_inner().proof.unwrap());
    let folder = service.stopped().await;
    let now = time_of_start();
    let mut service = Service::in_folder(folder, "127.0.0.1:0", now, bootstrap).await;
    is_refused(service.list(Some(&its)).await, "its secret was given up");
    service.list(Some(&fresh)).await.unwrap();
}

#[tokio::test]
async fn beyond_loopback_is_served_only_with_a_key() {
    let folder = tempfile::tempdir().unwrap();
    let config = || Config::in_folder(folder.path(), "http://127.0.0.1:9");
    let bind = || server::bind("0.0.0.0:0".parse().unwrap());
    let started = start(config(), bind().await.unwrap(), Clock::system()).await;
    let error = started.err().expect("there is no key");
    assert!(matches!(error, StartError::NoKey(_)), "{error}");
    assert_eq!(error.exit(), Exit::BadConfiguration);
    let words = error.to_string();
    for remedy in ["api-key create", "--bootstrap-key-file"] {
        assert!(words.contains(remedy), "{words}");
    }
    let made = auth::ApiKey::generate().unwrap().token();
    let bootstrap = |config: &mut Config| {
        config.bootstrap_key = Some(BootstrapKey::parse(made.expose()).unwrap());
    };
    let mut service = Service::in_folder(folder, "0.0.0.0:0", time_of_start(), bootstrap).await;
    service.list(Some(&made)).await.unwrap();
    is_refused(service.list(None).await, "nobody");
    // The key is in the database now, so that the next start needs no file.
    let folder = service.stopped().await;
    let mut service = Service::in_folder(folder, "0.0.0.0:0", time_of_start(), |_| {}).await;
    service.list(Some(&made)).await.unwrap();
}

#[tokio::test]
async fn when_a_key_was_last_used_goes_to_disk_by_the_minute_and_at_the_end() {
    let mut service = Service::new().await;
    let admin = service.admin().await;
    let (made, its) = service.key(&admin, &["jobs:read"]).await;
    assert_eq!(made.last_use_time, None);
    service.list(Some(&its)).await.unwrap();
    let minute = time_of_start() - chrono::Duration::seconds(30);
    let minute = Some(service_kit::clock::to_timestamp(minute));
    let shown = service.get(&admin, &made.key_id).await.unwrap();
    assert_eq!(shown.last_use_time, minute);
    assert_eq!(shown.etag, made.etag, "a use is no change");
    assert_eq!(
        last_used(&service, &made.key_id),
        None,
        "not on the way of a call"
    );
    service.hand.advance(Duration::from_secs(60));
    soon(async {
        while last_used(&service, &made.key_id).is_none() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    service.list(Some(&its)).await.unwrap();
    let mut service = service.restarted().await;
    let shown = service.get(&admin, &made.key_id).await.unwrap();
    let after = minute.map(|time| time.seconds + 60);
    assert_eq!(shown.last_use_time.map(|time| time.seconds), after);
}

fn last_used(service: &Service, id: &str) -> Option<String> {
    use diesel::{Connection as _, OptionalExtension as _, RunQueryDsl as _, sql_types::Text};
    #[derive(diesel::QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        last_used: String,
    }
    let path = job_service::config::database(service.folder.path());
    let mut connection = diesel::SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    let sql = "SELECT last_used FROM api_keys WHERE id = ? AND last_used IS NOT NULL";
    let row: Option<Row> = diesel::sql_query(sql)
        .bind::<Text, _>(id)
        .get_result(&mut connection)
        .optional()
        .unwrap();
    row.map(|row| row.last_used)
}

#[test]
fn a_bootstrap_file_that_holds_no_key_is_refused_without_a_word_of_it() {
    let made = auth::ApiKey::generate().unwrap();
    let cut = &made.token().expose()[..40].to_owned();
    let fault = BootstrapKey::parse(cut).unwrap_err().to_string();
    assert!(!fault.contains(&cut[..11]), "{fault}");
    let whole = BootstrapKey::parse(made.token().expose()).unwrap();
    let printed = format!("{whole:?}");
    assert!(!printed.contains(made.expose_secret()), "{printed}");
    assert!(Token::parse(cut).is_err());
}
