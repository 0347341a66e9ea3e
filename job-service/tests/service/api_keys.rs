//! What an administrator can ask about keys, and what is refused.

use service_kit::{auth::Token, status::reason_of};
use stablequeue_proto::jobs::v1::*;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::harness::{Service, key, with};

fn fields_of(status: &Status) -> Vec<String> {
    let details = status.get_details_bad_request().unwrap();
    let fields = details.field_violations.into_iter();
    fields.map(|violation| violation.field).collect()
}

fn names_scope(status: &Status, scope: &str) {
    assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
    let info = status.get_details_error_info().unwrap();
    assert_eq!(info.reason, "SCOPE_MISSING");
    assert_eq!(info.metadata["scope"], scope);
    assert!(status.message().contains(scope), "{}", status.message());
}

#[tokio::test]
async fn a_key_is_shown_whole_but_for_its_proof() {
    let mut service = Service::new().await;
    let admin = service.admin().await;
    let asked = ApiKey {
        description: "the laptop in the attic".to_owned(),
        queued_jobs_max: Some(0),
        watches_max: Some(7),
        ..key("laptop", &["jobs:write", "jobs:read"])
    };
    let (made, proof) = service.create(Some(&admin), asked).await.unwrap();
    assert_eq!(made.name, "laptop");
    assert_eq!(made.description, "the laptop in the attic");
    assert_eq!(made.scopes, ["jobs:read", "jobs:write"]);
    assert_eq!((made.queued_jobs_max, made.watches_max), (Some(0), Some(7)));
    assert_eq!(made.active, Some(true));
    assert_eq!(proof.key[3..11], made.prefix);
    assert_eq!(service.get(&admin, &made.key_id).await.unwrap(), made);
    let mut service = service.restarted().await;
    assert_eq!(service.get(&admin, &made.key_id).await.unwrap(), made);
    let status = service.get(&admin, "none").await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(reason_of(&status).as_deref(), Some("API_KEY_NOT_FOUND"));
}

#[tokio::test]
async fn every_wrong_field_is_told_at_once() {
    let mut service = Service::new().await;
    let asked = ApiKey {
        description: "x".repeat(1025),
        expire_time: Some(prost_types::Timestamp::default()),
        queued_jobs_max: Some(-1),
        watches_max: Some(i32::MAX),
        ..key("\n", &["jobs:read", "everything"])
    };
    let message = CreateApiKeyRequest {
        api_key: Some(asked),
        request_id: "ä".to_owned(),
    };
    let status = service.keys.create_api_key(message).await.unwrap_err();
    let mut fields = fields_of(&status);
    fields.sort();
    let wanted = [
        "api_key.description",
        "api_key.expire_time",
        "api_key.name",
        "api_key.queued_jobs_max",
        "api_key.scopes[1]",
        "api_key.watches_max",
        "request_id",
    ];
    assert_eq!(fields, wanted);
    service.list(None).await.unwrap();
    let status = service.create(None, key("a", &[])).await.unwrap_err();
    assert_eq!(fields_of(&status), ["api_key.scopes"]);
    let nothing = service.keys.create_api_key(CreateApiKeyRequest::default());
    assert_eq!(fields_of(&nothing.await.unwrap_err()), ["api_key"]);
}

#[tokio::test]
async fn a_change_touches_what_it_names_and_an_old_etag_is_refused() {
    let mut service = Service::new().await;
    let admin = service.admin().await;
    let asked = ApiKey {
        queued_jobs_max: Some(5),
        ..key("one", &["jobs:read"])
    };
    let (made, _) = service.create(Some(&admin), asked).await.unwrap();
    let change = ApiKey {
        key_id: made.key_id.clone(),
        name: "two".to_owned(),
        etag: made.etag.clone(),
        ..ApiKey::default()
    };
    let named = service.update(&admin, change.clone(), &[]).await.unwrap();
    assert_eq!(named.name, "two");
    assert_eq!(named.queued_jobs_max, Some(5));
    let status = service.update(&admin, change, &[]).await.unwrap_err();
    assert_eq!(status.code(), Code::Aborted);
    assert_eq!(reason_of(&status).as_deref(), Some("ETAG_MISMATCH"));
    let bare = ApiKey {
        key_id: made.key_id.clone(),
        ..ApiKey::default()
    };
    let cleared = service.update(&admin, bare.clone(), &["queued_jobs_max"]);
    assert_eq!(cleared.await.unwrap().queued_jobs_max, None);
    let status = service.update(&admin, bare.clone(), &["name", "scopes", "prefix"]);
    let status = status.await.unwrap_err();
    assert_eq!(
        fields_of(&status),
        ["api_key.name", "api_key.scopes", "update_mask.paths"]
    );
    let nobody = ApiKey {
        key_id: "none".to_owned(),
        name: "x".to_owned(),
        ..ApiKey::default()
    };
    let status = service.update(&admin, nobody, &[]).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
}

#[tokio::test]
async fn nobody_gives_or_touches_what_it_has_not_itself() {
    let mut service = Service::new().await;
    let admin = service.admin().await;
    let (all_mighty, _) = service.key(&admin, &["admin"]).await;
    let (_, keeper) = service.key(&admin, &["keys:admin", "jobs:read-all"]).await;
    let (reader, _) = service.key(&keeper, &["jobs:read"]).await;
    let asked = key("x", &["jobs:read", "jobs:write"]);
    let status = service.create(Some(&keeper), asked).await.unwrap_err();
    names_scope(&status, "jobs:write");
    let mut more = reader.clone();
    more.scopes.push("servers:admin".to_owned());
    let status = service
        .update(&keeper, more, &["scopes"])
        .await
        .unwrap_err();
    names_scope(&status, "servers:admin");
    let mut other = all_mighty.clone();
    other.name = "mine".to_owned();
    let status = service.update(&keeper, other, &["name"]).await.unwrap_err();
    names_scope(&status, "admin");
    let status = service
        .delete(&keeper, &all_mighty.key_id)
        .await
        .unwrap_err();
    names_scope(&status, "admin");
    let request = RotateApiKeyRequest {
        key_id: all_mighty.key_id.clone(),
        overlap: None,
    };
    let rotated = service.keys.rotate_api_key(with(request, Some(&keeper)));
    names_scope(&rotated.await.unwrap_err(), "admin");
    let unchanged = service.get(&admin, &all_mighty.key_id).await.unwrap();
    assert_eq!(unchanged.etag, all_mighty.etag);
    service.delete(&keeper, &reader.key_id).await.unwrap();
}

#[tokio::test]
async fn a_key_without_keys_admin_is_told_so_by_every_method() {
    let mut service = Service::new().await;
    let admin = service.admin().await;
    let (own, user) = service.key(&admin, &["jobs:read", "jobs:write"]).await;
    let by = Some(&user);
    let status = service
        .create(by, key("x", &["jobs:read"]))
        .await
        .unwrap_err();
    names_scope(&status, "keys:admin");
    let status = service.get(&user, &own.key_id).await.unwrap_err();
    names_scope(&status, "keys:admin");
    let status = service.delete(&user, &own.key_id).await.unwrap_err();
    names_scope(&status, "keys:admin");
    let status = service.update(&user, own, &["name"]).await.unwrap_err();
    names_scope(&status, "keys:admin");
    let all = with(ListApiKeysRequest::default(), by);
    let status = service.keys.list_api_keys(all).await.unwrap_err();
    names_scope(&status, "keys:admin");
}

#[tokio::test]
async fn the_last_key_that_manages_keys_stays() {
    let mut service = Service::new().await;
    let admin = service.admin().await;
    let all = with(ListApiKeysRequest::default(), Some(&admin));
    let all = service.keys.list_api_keys(all).await.unwrap().into_inner();
    let own = all.api_keys[0].clone();
    service.key(&admin, &["jobs:read"]).await;
    let is_kept = |answer: Result<(), Status>| {
        let status = answer.unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
        assert_eq!(reason_of(&status).as_deref(), Some("LAST_KEYS_ADMIN"));
        assert!(status.message().contains("api-key"), "{status:?}");
    };
    is_kept(service.delete(&admin, &own.key_id).await);
    let mut off = own.clone();
    off.active = Some(false);
    is_kept(service.update(&admin, off, &["active"]).await.map(|_| ()));
    let mut less = own.clone();
    less.scopes = vec!["jobs:read".to_owned()];
    is_kept(service.update(&admin, less, &["scopes"]).await.map(|_| ()));
    let (_, other) = service.key(&admin, &["keys:admin", "admin"]).await;
    service.delete(&admin, &own.key_id).await.unwrap();
    service.list(Some(&other)).await.unwrap();
}

#[tokio::test]
async fn keys_are_listed_oldest_first_a_page_at_a_time() {
    let mut service = Service::new().await;
    let admin = service.admin().await;
    let mut ids = Vec::new();
    for _ in 0..4 {
        service.hand.advance(std::time::Duration::from_secs(1));
        ids.push(service.key(&admin, &["jobs:read"]).await.0.key_id);
    }
    let mut seen = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListApiKeysRequest {
            page_size: 2,
            page_token,
        };
        let page = service.keys.list_api_keys(with(request, Some(&admin)));
        let page = page.await.unwrap().into_inner();
        assert!(page.api_keys.len() <= 2);
        seen.extend(page.api_keys.into_iter().map(|key| key.key_id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(seen.len(), 5);
    assert_eq!(seen[1..], ids);
    let request = ListApiKeysRequest {
        page_size: -1,
        page_token: "AAAA".to_owned(),
    };
    let status = service.keys.list_api_keys(with(request, Some(&admin)));
    let fields = fields_of(&status.await.unwrap_err());
    assert_eq!(fields, ["page_size", "page_token"]);
}

async fn repeat(
    service: &mut Service,
    by: &Token,
    name: &str,
    request_id: &str,
) -> Result<CreateApiKeyResponse, Status> {
    let message = CreateApiKeyRequest {
        api_key: Some(key(name, &["jobs:read"])),
        request_id: request_id.to_owned(),
    };
    let answer = service.keys.create_api_key(with(message, Some(by))).await;
    answer.map(tonic::Response::into_inner)
}

#[tokio::test]
async fn a_repeated_creation_answers_the_key_without_its_proof() {
    let mut service = Service::new().await;
    let admin = service.admin().await;
    let first = repeat(&mut service, &admin, "one", "r1").await.unwrap();
    assert!(first.proof.is_some());
    let again = repeat(&mut service, &admin, "one", "r1").await.unwrap();
    assert_eq!(again.api_key, first.api_key);
    assert_eq!(again.proof, None);
    let other = repeat(&mut service, &admin, "two", "r1").await.unwrap_err();
    assert_eq!(other.code(), Code::AlreadyExists);
    // Another caller's ids are its own.
    let (_, keeper) = service.key(&admin, &["keys:admin", "jobs:read"]).await;
    let its = repeat(&mut service, &keeper, "two", "r1").await.unwrap();
    assert!(its.proof.is_some());
}

#[tokio::test]
async fn what_is_on_disk_holds_no_key_and_no_secret() {
    let mut service = Service::new().await;
    let admin = service.admin().await;
    let asked = key("one", &["jobs:read"]);
    let (made, proof) = service.create(Some(&admin), asked).await.unwrap();
    service
        .list(Some(&Token::parse(&proof.token).unwrap()))
        .await
        .unwrap();
    let request = RotateApiKeyRequest {
        key_id: made.key_id,
        overlap: None,
    };
    let rotated = service.keys.rotate_api_key(with(request, Some(&admin)));
    let fresh = rotated.await.unwrap().into_inner().proof.unwrap();
    let secrets = [
        proof.key.as_str(),
        proof.secret.as_str(),
        fresh.secret.as_str(),
        admin.expose_secret(),
    ];
    let running = service.folder.path().to_owned();
    no_file_holds(&running, &secrets);
    let folder = service.stopped().await;
    no_file_holds(folder.path(), &secrets);
}

fn no_file_holds(folder: &std::path::Path, secrets: &[&str]) {
    let mut looked_at = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if !path.is_file() {
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        looked_at += bytes.len();
        for secret in secrets {
            let found = bytes
                .windows(secret.len())
                .any(|at| at == secret.as_bytes());
            assert!(!found, "{}", path.display());
        }
    }
    assert!(looked_at > 4096, "there was something to look at");
}
