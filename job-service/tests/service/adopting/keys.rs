//! Keys of the earlier application: their pairs go on, and are gone from the
//! file.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use diesel::{prelude::*, sql_query};
use stablequeue_proto::jobs::v1::*;
use tonic::{Code, Status};

use super::{NEWEST, SAMPLES, UNDER_WAY, adopted, copy, database, texts, time_of_samples};
use crate::harness::{Service, with_headers};

/// Name, key, secret and whether it is active.
const PAIRS: &str = "SELECT name || char(10) || key || char(10) || secret || char(10) \
                         || coalesce(is_active, 0) AS text FROM api_keys ORDER BY created_at";

struct Pair {
    name: String,
    key: String,
    secret: String,
    active: bool,
}

fn pairs(folder: &Path) -> Vec<Pair> {
    let rows = texts(&mut database(folder), PAIRS);
    let pair = |row: String| {
        let mut parts = row.lines().map(str::to_owned);
        Pair {
            name: parts.next().unwrap(),
            key: parts.next().unwrap(),
            secret: parts.next().unwrap(),
            active: parts.next().unwrap() == "1",
        }
    };
    rows.into_iter().map(pair).collect()
}

async fn call(service: &mut Service, headers: &[(&'static str, &str)]) -> Result<(), Status> {
    let request = with_headers(ListJobsRequest::default(), headers);
    service.jobs.list_jobs(request).await.map(|_| ())
}

async fn opens(service: &mut Service, key: &str, secret: &str) -> bool {
    let plain = call(service, &[("x-api-key", key), ("x-api-secret", secret)]).await;
    let bearer = format!("Bearer {}", STANDARD.encode(format!("{key}:{secret}")));
    let decoded = call(service, &[("authorization", &bearer)]).await;
    match (plain, decoded) {
        (Ok(()), Ok(())) => true,
        (Err(plain), Err(decoded)) => {
            assert_eq!(plain.code(), Code::Unauthenticated, "{plain:?}");
            assert_eq!(decoded.code(), Code::Unauthenticated, "{decoded:?}");
            false
        }
        (plain, decoded) => panic!("{plain:?} {decoded:?}"),
    }
}

#[tokio::test]
async fn pairs_of_the_samples_go_on_in_both_headers_and_inactive_ones_do_not() {
    for (sample, _, keys) in SAMPLES.iter().filter(|(_, _, keys)| *keys > 0) {
        let folder = copy(sample);
        let pairs = pairs(folder.path());
        assert_eq!(pairs.len(), *keys, "{sample}");
        let (mut service, admin) = adopted(folder, time_of_samples()).await;
        for pair in &pairs {
            let opened = opens(&mut service, &pair.key, &pair.secret).await;
            assert_eq!(opened, pair.active, "{sample}: {}", pair.name);
            let other = pair.secret.chars().rev().collect::<String>();
            assert!(!opens(&mut service, &pair.key, &other).await);
        }
        let mixed = (&pairs[0].key, &pairs[pairs.len() - 1].secret);
        if pairs.len() > 1 {
            assert!(!opens(&mut service, mixed.0, mixed.1).await, "{sample}");
        }
        // What they may do is what they could do: not administer.
        let (key, secret) = (&*pairs[0].key, &*pairs[0].secret);
        let list = with_headers(
            ListApiKeysRequest::default(),
            &[("x-api-key", key), ("x-api-secret", secret)],
        );
        let refused = service.keys.list_api_keys(list).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{sample}");
        service.list(Some(&admin)).await.unwrap();
    }
}

#[tokio::test]
async fn no_key_and_no_secret_stays_in_the_file_and_only_the_backup_has_them() {
    for (sample, ..) in SAMPLES.iter().filter(|(_, _, keys)| *keys > 0) {
        let folder = copy(sample);
        let path = folder.path().to_owned();
        let pairs = pairs(&path);
        let (service, _) = adopted(folder, time_of_samples()).await;
        let clear: Vec<&str> = pairs
            .iter()
            .flat_map(|pair| [pair.key.as_str(), pair.secret.as_str()])
            .collect();
        let found = |clear: &[&str]| -> Vec<String> {
            let files = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap());
            let holds = |bytes: &[u8]| {
                let mut texts = clear.iter().map(|text| text.as_bytes());
                texts.any(|text| bytes.windows(text.len()).any(|window| window == text))
            };
            files
                .filter(|file| file.file_type().unwrap().is_file())
                .filter(|file| holds(&fs::read(file.path()).unwrap()))
                .map(|file| file.file_name().into_string().unwrap())
                .collect()
        };
        for moment in ["running", "stopped"] {
            let names = found(&clear);
            assert_eq!(names.len(), 1, "{sample}, {moment}: {names:?}");
            assert!(names[0].contains("_backup_"), "{names:?}");
            let mode = fs::metadata(path.join(&names[0])).unwrap().permissions();
            assert_eq!(mode.mode() & 0o777, 0o600);
            if moment == "running" {
                // Uses of keys and whatever else a stop writes.
                service.running.shutdown().begin();
            }
        }
        drop(service.stopped().await);
    }
}

#[tokio::test]
async fn what_was_kept_of_a_key_is_kept() {
    let (service, _) = adopted(copy(NEWEST), time_of_samples()).await;
    let folder = service.stopped().await;
    let conn = &mut database(folder.path());
    let row = "SELECT name || ' ' || rate_limit_tier || ' ' || custom_rate_limits || ' ' \
                   || permissions AS text FROM api_keys WHERE rate_limit_tier = 'unlimited'";
    let wanted = r#"inactive key unlimited {"max":5} ["jobs:read","jobs:write"]"#;
    assert_eq!(texts(conn, row), [wanted]);
    let older = "SELECT value AS text FROM adoption_values \
                 WHERE column_name = 'permissions' AND value LIKE '%extended%'";
    let wanted = r#"{"rate_limit_tier":"extended","allowed_endpoints":["*"]}"#;
    assert_eq!(texts(conn, older), [wanted]);
}

#[tokio::test]
async fn of_equal_pairs_the_active_one_counts_and_a_key_without_a_word_on_it_is_inactive() {
    let folder = copy(UNDER_WAY);
    let insert = |id: &str, key: &str, secret: &str, active: &str| {
        let sql = format!(
            "INSERT INTO api_keys (id, name, key, secret, created_at, is_active, permissions) \
             VALUES ('{id}', '{id}', '{key}', '{secret}', '2025-01-0{}T00:00:00Z', {active}, \
                 'not json')",
            id.len()
        );
        sql_query(sql)
            .execute(&mut database(folder.path()))
            .unwrap();
    };
    let (same, alone) = ("mk_000000000000000000000001", "mk_000000000000000000000002");
    let (one, other) = ("1".repeat(32), "2".repeat(32));
    insert("a", same, &one, "0");
    insert("bb", same, &one, "1");
    insert("ccc", same, &one, "1");
    insert("dddd", same, &other, "1");
    insert("eeeee", alone, &one, "NULL");
    insert("ffffff", "my own key", &other, "1");
    let (mut service, admin) = adopted(folder, time_of_samples()).await;
    assert!(opens(&mut service, same, &one).await);
    assert!(opens(&mut service, same, &other).await);
    assert!(!opens(&mut service, alone, &one).await);
    let used = |service: Service| async move {
        let folder = service.stopped().await;
        let sql = "SELECT id AS text FROM api_keys WHERE last_used IS NOT NULL \
                   AND length(id) < 8 ORDER BY id";
        texts(&mut database(folder.path()), sql)
    };
    service.list(Some(&admin)).await.unwrap();
    assert_eq!(used(service).await, ["bb", "dddd"]);
}
