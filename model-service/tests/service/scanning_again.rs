//! What a scan makes of a library that was scanned before: what is as it was is
//! not read, what is gone is marked, what moved stays what it is.

use std::fs;
use std::time::{Duration, SystemTime};

use stablequeue_proto::admin::v1::*;
use stablequeue_proto::models::v1::*;

use crate::harness::{Service, soon};
use crate::shelf::{Shelf, counts, lora, problems, root, user_metadata};

/// Files that take a scan longer than a call.
const MANY: usize = 3_000;

#[tokio::test]
async fn a_second_scan_finds_nothing_new_and_reads_nothing() {
    let shelf = Shelf::new();
    let path = shelf.put("a.safetensors", lora(&[("modelspec.description", "One.")]));
    let beside = shelf.put("a.json", user_metadata("Beside."));
    let mut service = shelf.service().await;
    service.scan().await;
    let before = service.all_models().await;
    assert_eq!(counts(&service.scan().await), "files=1 unchanged=1");
    assert_eq!(service.all_models().await, before);
    // Spoiled in place without a trace: who reads it would see that.
    for path in [&path, &beside] {
        let metadata = fs::metadata(path).unwrap();
        let spoiled = fs::OpenOptions::new().write(true).open(path).unwrap();
        let zeros = vec![0; usize::try_from(metadata.len()).unwrap()];
        std::io::Write::write_all(&mut &spoiled, &zeros).unwrap();
        spoiled.set_modified(metadata.modified().unwrap()).unwrap();
    }
    assert_eq!(counts(&service.scan().await), "files=1 unchanged=1");
    let full = StartScanRequest {
        full: true,
        ..Default::default()
    };
    let report = service.scan_as(full).await;
    assert_eq!(counts(&report), "files=1 problems=2 unchanged=1");
    let seen = [
        "main/a.json: SIDECAR_INVALID",
        "main/a.safetensors: HEADER_INVALID",
    ];
    assert_eq!(problems(&report), seen);
}

#[tokio::test]
async fn an_older_file_that_is_copied_over_a_newer_one_is_seen() {
    let shelf = Shelf::new();
    let path = shelf.put("a.pt", "one");
    let mut service = shelf.service().await;
    service.scan().await;
    fs::write(&path, "two").unwrap();
    let older = SystemTime::now() - Duration::from_secs(1_000_000);
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_modified(older).unwrap();
    assert_eq!(counts(&service.scan().await), "changed=1 files=1");
}

#[tokio::test]
async fn a_vanished_file_is_marked_and_comes_back_as_what_it_was() {
    let shelf = Shelf::new();
    let path = shelf.put_lora("a.safetensors", "a");
    shelf.put_lora("b.safetensors", "b");
    let mut service = shelf.service().await;
    service.scan().await;
    let before = service.named("a.safetensors").await;
    let aside = shelf.folder.path().join("aside");
    fs::rename(&path, &aside).unwrap();
    assert_eq!(
        counts(&service.scan().await),
        "files=1 unchanged=1 vanished=1"
    );
    let gone = service.get(&before.model_id).await.unwrap();
    assert!(gone.missing && gone.files[0].missing_time.is_some());
    assert_eq!(counts(&service.scan().await), "files=1 unchanged=1");
    fs::rename(&aside, &path).unwrap();
    assert_eq!(
        counts(&service.scan().await),
        "files=2 returned=1 unchanged=2"
    );
    let back = service.get(&before.model_id).await.unwrap();
    assert!(!back.missing);
    assert_eq!(back.files, before.files);
}

#[tokio::test]
async fn a_moved_file_stays_the_file_of_its_model() {
    let shelf = Shelf::new();
    let path = shelf.put_lora("a.safetensors", "a");
    shelf.put_lora("b.safetensors", "b");
    let other = shelf.folder.path().join("other");
    fs::create_dir(&other).unwrap();
    let mut service = Service::in_folder(tempfile::tempdir().unwrap(), |config| {
        let other = root("other", &other, None);
        config.library.roots = vec![root("main", &shelf.path(""), None), other];
    })
    .await;
    service.scan().await;
    let before = service.named("a.safetensors").await;
    fs::create_dir(shelf.path("deep")).unwrap();
    fs::rename(&path, shelf.path("deep/c.safetensors")).unwrap();
    assert_eq!(counts(&service.scan().await), "files=2 moved=1 unchanged=1");
    let moved = service.get(&before.model_id).await.unwrap();
    assert_eq!(moved.files[0].path, "deep/c.safetensors");
    assert_eq!(moved.local_path, before.local_path);
    fs::rename(
        shelf.path("deep/c.safetensors"),
        other.join("d.safetensors"),
    )
    .unwrap();
    assert_eq!(counts(&service.scan().await), "files=2 moved=1 unchanged=1");
    let moved = service.get(&before.model_id).await.unwrap();
    assert_eq!(
        (moved.files.len(), moved.files[0].root.as_str()),
        (1, "other")
    );
    assert_eq!(service.all_models().await.len(), 2);
}

#[tokio::test]
async fn a_file_that_was_copied_elsewhere_is_recognised_by_its_hash() {
    let shelf = Shelf::new();
    let path = shelf.put_lora("a.safetensors", "a");
    shelf.put_lora("b.safetensors", "b");
    let mut service = shelf.service().await;
    service.scan().await;
    let hash = |service: &Service| {
        let mut library = service.library.clone();
        async move {
            library
                .start_hashing(StartHashingRequest::default())
                .await
                .unwrap()
        }
    };
    let hashing = hash(&service).await.into_inner().operation;
    service.report(hashing).await;
    let before = service.named("a.safetensors").await;
    assert_eq!(before.hash_sha256.len(), 64);
    shelf.put("new/place.safetensors", fs::read(&path).unwrap());
    fs::remove_file(&path).unwrap();
    let report = service.scan().await;
    assert_eq!(
        counts(&report),
        "files=2 models_created=1 new=1 unchanged=1 vanished=1"
    );
    let hashing = hash(&service).await.into_inner().operation;
    service.report(hashing).await;
    let moved = service.get(&before.model_id).await.unwrap();
    assert!(!moved.missing);
    assert_eq!(
        (moved.files.len(), moved.files[0].path.as_str()),
        (1, "new/place.safetensors")
    );
    assert_eq!(service.all_models().await.len(), 2);
    assert_eq!(counts(&service.scan().await), "files=2 unchanged=2");
}

#[tokio::test]
async fn a_root_that_is_not_mounted_loses_nothing() {
    let shelf = Shelf::new();
    shelf.put_lora("a.safetensors", "a");
    let mut service = shelf.service().await;
    service.scan().await;
    let aside = shelf.folder.path().join("aside");
    fs::rename(shelf.path(""), &aside).unwrap();
    let report = service.scan().await;
    assert_eq!(
        (counts(&report).as_str(), problems(&report)),
        ("problems=1", vec!["main: ROOT_UNREADABLE".to_owned()])
    );
    fs::create_dir(shelf.path("")).unwrap();
    let report = service.scan().await;
    assert_eq!(
        (counts(&report).as_str(), problems(&report)),
        ("problems=1", vec!["main: ROOT_EMPTY".to_owned()])
    );
    assert!(!service.named("a.safetensors").await.missing);
    // With anything in it, it is there, and its model is not.
    shelf.put("readme", "text");
    assert_eq!(counts(&service.scan().await), "vanished=1");
    assert!(service.named("a.safetensors").await.missing);
}

fn many(shelf: &Shelf) {
    for number in 0..MANY {
        let folder = number % 50;
        shelf.put_lora(
            &format!("{folder}/{number}.safetensors"),
            &number.to_string(),
        );
    }
}

#[tokio::test]
async fn a_cancelled_scan_keeps_what_it_has_and_the_next_one_finds_the_rest() {
    let shelf = Shelf::new();
    many(&shelf);
    let mut service = shelf.service().await;
    let started = service
        .library
        .start_scan(StartScanRequest::default())
        .await
        .unwrap();
    let operation = started.into_inner().operation;
    let operation_id = operation.as_ref().unwrap().operation_id.clone();
    let cancel = CancelOperationRequest { operation_id };
    soon(service.operations.cancel_operation(cancel))
        .await
        .unwrap();
    let ended = service.ended(operation).await;
    assert_eq!(ended.state(), OperationState::Cancelled);
    let report = service.scan().await;
    assert_eq!(report.counts["files"], 3_000);
    assert_eq!(report.counts["new"] + report.counts["unchanged"], 3_000);
    assert_eq!(report.counts["vanished"], 0);
    assert_eq!(counts(&service.scan().await), "files=3000 unchanged=3000");
}

#[tokio::test]
async fn a_scan_goes_on_after_a_restart() {
    let shelf = Shelf::new();
    many(&shelf);
    let mut service = shelf.service().await;
    let started = service
        .library
        .start_scan(StartScanRequest::default())
        .await
        .unwrap();
    let operation = started.into_inner().operation;
    let folder = service.stop().await;
    let mut service = Service::in_folder(folder, |config| shelf.configure(config)).await;
    let ended = service.ended(operation).await;
    assert_eq!(
        ended.state(),
        OperationState::Succeeded,
        "{:?}",
        ended.error
    );
    assert_eq!(counts(&service.scan().await), "files=3000 unchanged=3000");
}
