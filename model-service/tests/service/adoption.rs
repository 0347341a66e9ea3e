//! Data folders of the earlier application, served.

use std::path::{Path, PathBuf};
use std::time::Duration;

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use stablequeue_proto::models::v1::*;
use tempfile::TempDir;

use crate::harness::Service;

const DATABASE: &str = "mobilesd_models.sqlite";
const NEWEST: &str = "2025-06-20-jobs-14-models-33";
const FIRST: &str = "2025-05-14-jobs-10-models-11";
const WITH_A_LOG: &str = "2025-06-20-wal-not-checkpointed";

pub(crate) fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/legacy-databases")
}

/// A copy of a sample folder: opening one changes it.
pub(crate) fn copied(sample: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(samples().join(sample)).unwrap() {
        let entry = entry.unwrap();
        let bytes = std::fs::read(entry.path()).unwrap();
        std::fs::write(folder.path().join(entry.file_name()), bytes).unwrap();
    }
    folder
}

fn numbers(folder: &Path, query: &str) -> Vec<i64> {
    let path = folder.join(DATABASE);
    let mut connection = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    sql::<BigInt>(query).load(&mut connection).unwrap()
}

/// The ids of a table; none where it does not exist.
fn ids(folder: &Path, table: &str) -> Vec<i64> {
    let there = format!("SELECT count(*) FROM sqlite_master WHERE name = '{table}'");
    if numbers(folder, &there) == [0] {
        return Vec::new();
    }
    numbers(folder, &format!("SELECT id FROM {table} ORDER BY id"))
}

async fn served(sample: &str) -> Service {
    let mut service = Service::in_folder(copied(sample), |_| {}).await;
    // Once the connection is known to be one: a new one has its own limit of time.
    service.all_models().await;
    // Later than anything in the samples.
    service.hand.advance(Duration::from_secs(30 * 24 * 3600));
    service
}

fn backups(folder: &Path) -> usize {
    let names = std::fs::read_dir(folder).unwrap();
    names
        .filter(|entry| {
            let name = entry.as_ref().unwrap().file_name();
            name.to_string_lossy().contains("_backup_")
        })
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_older_folder_is_served_with_every_row_under_its_id() {
    let mut seen = 0;
    for entry in std::fs::read_dir(samples()).unwrap() {
        let sample = entry.unwrap().file_name().into_string().unwrap();
        if !samples().join(&sample).join(DATABASE).exists() {
            continue;
        }
        seen += 1;
        let tables = ["models", "model_aliases", "model_server_availability"];
        let before = copied(&sample);
        let before = tables.map(|table| ids(before.path(), table));
        let mut service = served(&sample).await;
        let listed: Vec<i64> = service
            .all_models()
            .await
            .iter()
            .map(|model| model.model_id.parse().unwrap())
            .collect();
        assert_eq!(listed, before[0], "{sample}");
        let after = tables.map(|table| ids(service.folder.path(), table));
        assert_eq!(after, before, "{sample}");
        assert_eq!(backups(service.folder.path()), 1);

        // The second start finds nothing to do.
        let kept = ids(service.folder.path(), "adoption_values");
        let mut again = service.restarted().await;
        assert_eq!(again.all_models().await.len(), before[0].len());
        assert_eq!(ids(again.folder.path(), "adoption_values"), kept);
        assert_eq!(backups(again.folder.path()), 1);
        if sample == WITH_A_LOG {
            assert_eq!(before[0].len(), 12, "one is in the log only");
        }
    }
    assert_eq!(seen, 4);
}

#[tokio::test]
async fn adopted_models_are_found_by_true_hashes_paths_and_names() {
    let mut service = served(NEWEST).await;
    let whole = "cf6c5cd04043da55742650939a97b3bbcf68777ee26d6505c56e399cbc3f8d03";
    for (text, kind, id) in [
        (whole, MatchKind::Sha256, "9"),
        ("CF6C5CD040", MatchKind::Autov2, "9"),
        ("1581a8f654", MatchKind::Autov2, "3"),
        ("cyberrealisticPony_v8", MatchKind::Filename, "3"),
        (
            "/srv/app/models/checkpoints/A/same.safetensors",
            MatchKind::Path,
            "1",
        ),
        ("B/same.safetensors", MatchKind::Path, "2"),
    ] {
        let found = service.resolve(text).await;
        assert_eq!(found.r#match(), kind, "{text}");
        assert_eq!(found.model.unwrap().model_id, id, "{text}");
    }
    // Computed over the first megabyte, it is no file's hash.
    let wrong = service.resolve("bf37790702").await;
    assert_eq!(wrong.r#match(), MatchKind::Unspecified);
    assert_eq!(service.resolve("same").await.candidates.len(), 2);

    let known = service.get("9").await.unwrap();
    assert_eq!(known.r#type(), ModelType::Lora, "by its folder");
    assert_eq!(known.hash_sha256, whole);
    let civitai = known.civitai.unwrap();
    assert_eq!(
        (civitai.model_id.as_str(), civitai.version_id.as_str()),
        ("333444", "111222")
    );
    assert_eq!(civitai.file_size_kib, Some(1024));
    assert_eq!(civitai.trained_words, ["kw1", "kw2"]);
    assert_eq!(known.last_used_time.unwrap().seconds, 1_795_347_871);
    let partial = service.get("10").await.unwrap();
    assert_eq!(partial.metadata_status(), MetadataStatus::Incomplete);
}

#[tokio::test]
async fn adopted_aliases_and_the_hashes_of_the_first_version_are_found() {
    let mut service = served(FIRST).await;
    for (text, kind, id) in [
        ("Flux/flux1-dev-bnb.safetensors", MatchKind::Alias, "2"),
        ("Flux\\flux1-dev-bnb.safetensors", MatchKind::Alias, "2"),
        ("flux1-dev-bnb", MatchKind::Filename, "2"),
        ("31e35c80fc", MatchKind::Autov2, "1"),
        (
            "sd_xl_base_1.0.safetensors [31e35c80fc]",
            MatchKind::Alias,
            "1",
        ),
    ] {
        let found = service.resolve(text).await;
        assert_eq!(found.r#match(), kind, "{text}");
        assert_eq!(found.model.unwrap().model_id, id, "{text}");
    }
    let aliases = service.get("1").await.unwrap().aliases;
    assert_eq!(aliases.len(), 7, "they were double before");
}

#[tokio::test]
async fn a_model_of_the_log_is_found_by_name_and_not_by_a_hash_that_nothing_confirms() {
    let mut service = served(WITH_A_LOG).await;
    let found = service.resolve("wal_only").await;
    assert_eq!(
        found.model.unwrap().local_path,
        "/app/models/wal_only.safetensors"
    );
    let unconfirmed = service.resolve("aaaaaaaaaa").await;
    assert_eq!(unconfirmed.r#match(), MatchKind::Unspecified);
}

#[tokio::test]
async fn what_servers_had_is_stale_until_their_next_inventory() {
    let mut service = served(NEWEST).await;
    for (text, server, state) in [
        ("cyberrealisticPony_v8", "fake", AvailabilityState::Stale),
        ("library_copy", "fake2", AvailabilityState::Stale),
        ("cyberrealisticPony_v8", "fake2", AvailabilityState::Unknown),
        ("bighdr", "fake", AvailabilityState::Unknown),
    ] {
        let found = service.check_one(text, server).await;
        assert_eq!(found.state(), state, "{text} on {server}");
    }
    let listed = crate::harness::listed("Pony/cyberrealisticPony_v8.safetensors", "");
    service.full("fake", "1", vec![listed]).await;
    let fresh = service.check_one("cyberrealisticPony_v8", "fake").await;
    assert_eq!(fresh.state(), AvailabilityState::Available);
    let gone = service.check_one("civ_known", "fake").await;
    assert_eq!(gone.state(), AvailabilityState::Missing);
}
