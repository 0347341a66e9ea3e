//! Hashes of real files: which, when they are taken, and what the registry makes
//! of them.

use std::fs::{self, File};
use std::io::Write as _;

use stablequeue_proto::admin::v1::{CancelOperationRequest, OperationState};
use stablequeue_proto::models::v1::*;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::harness::{SHA, listed, model, reason};
use crate::hashing_shelf::{Desk, ROOT, Shelf, count, reasons};

const ABC_SHA256: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
const ABC_BLAKE3: &str = "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85";
/// Of `body` behind a header; computed with Python's hashlib.
const BODY_SHA256: &str = "1e318d83882372dfe80f1910f22a5ea648ea03916df10c5189ff2d2affad7283";

/// A safetensors file with 1.2 MB behind its header.
fn body() -> Vec<u8> {
    let header = br#"{"__metadata__":{"a":"b"}}"#;
    let length = (header.len() as u64).to_le_bytes();
    let byte = |at: usize| ((at * 31 + (at >> 8) * 7) & 255) as u8;
    let rest: Vec<u8> = (0..1_200_000).map(byte).collect();
    [&length[..], header, &rest].concat()
}

fn by_name<'a>(models: &'a [Model], filename: &str) -> &'a Model {
    let mut found = models.iter().filter(|model| model.filename == filename);
    found
        .next()
        .unwrap_or_else(|| panic!("no {filename}: {models:#?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_hash_of_a_file_is_the_known_one_and_a_pickle_has_no_autov3() {
    let shelf = Shelf::new();
    shelf.put("lora.safetensors", &body());
    shelf.put("old.ckpt", b"abc");
    let mut service = shelf.service().await;
    let mut desk = Desk::of(&service).await;
    assert_eq!(count(&desk.scan().await, "files"), 2);
    let report = desk.hash().await;
    assert_eq!(
        (count(&report, "files"), count(&report, "bytes")),
        (2, 1_200_037)
    );
    let models = service.all_models().await;
    let lora = by_name(&models, "lora.safetensors");
    assert_eq!(lora.hash_sha256, BODY_SHA256);
    assert_eq!(lora.hash_autov2, BODY_SHA256[..10]);
    assert_eq!(
        (&*lora.hash_autov1, &*lora.hash_autov3),
        ("414aec79", "07bfa3daab04")
    );
    assert_eq!(lora.file_size_bytes, Some(1_200_034));
    assert_eq!(lora.files[0].sha256, BODY_SHA256);
    let pickle = by_name(&models, "old.ckpt");
    assert_eq!(
        (&*pickle.hash_sha256, &*pickle.hash_blake3),
        (ABC_SHA256, ABC_BLAKE3)
    );
    assert_eq!((&*pickle.hash_autov1, &*pickle.hash_autov3), ("", ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_hashed_is_not_read_again_unless_that_is_asked_for() {
    let shelf = Shelf::new();
    shelf.put("a.ckpt", b"abc");
    let mut service = shelf.service().await;
    let mut desk = Desk::of(&service).await;
    desk.scan().await;
    assert_eq!(count(&desk.hash().await, "files"), 1);
    let before = service.all_models().await;
    let second = desk.hash().await;
    assert_eq!((count(&second, "files"), count(&second, "skipped")), (0, 1));
    service.hand.advance(std::time::Duration::from_secs(1));
    let id = desk.start_hashing(true).await;
    let again = desk.end(&id).await;
    let Some(stablequeue_proto::admin::v1::operation::Result::LibraryReport(again)) = again.result
    else {
        panic!("{again:?}");
    };
    assert_eq!((count(&again, "files"), count(&again, "skipped")), (1, 0));
    assert_eq!(
        service.all_models().await,
        before,
        "the same hashes change nothing"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_grows_is_left_for_the_next_time() {
    let shelf = Shelf::new();
    shelf.put("a.ckpt", b"abc");
    let mut service = shelf.service().await;
    let mut desk = Desk::of(&service).await;
    desk.scan().await;
    let mut file = File::options()
        .append(true)
        .open(shelf.path("a.ckpt"))
        .unwrap();
    file.write_all(b"def").unwrap();
    // The clock of the service says 11:08:00.
    shelf.dated("a.ckpt", "2026-11-22T11:07:58.000Z");
    let report = desk.hash().await;
    assert_eq!(
        (count(&report, "files"), count(&report, "changing")),
        (0, 1)
    );
    assert_eq!(reasons(&report), [("main/a.ckpt", "FILE_CHANGING")]);
    assert_eq!(service.all_models().await[0].hash_sha256, "");
    desk.scan().await;
    assert_eq!(count(&desk.hash().await, "files"), 1);
    assert_eq!(service.all_models().await[0].file_size_bytes, Some(6));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_file_that_was_copied_over_a_newer_one_is_noticed() {
    let shelf = Shelf::new();
    shelf.put("a.ckpt", b"xyz");
    let mut service = shelf.service().await;
    let mut desk = Desk::of(&service).await;
    desk.scan().await;
    desk.hash().await;
    let id = service.all_models().await[0].model_id.clone();
    shelf.put("older", b"abc");
    shelf.dated("older", "2020-01-01T00:00:00.000Z");
    fs::rename(shelf.path("older"), shelf.path("a.ckpt")).unwrap();
    // A hashing that comes before the scan gives no hash to the wrong file.
    service.hand.advance(std::time::Duration::from_secs(1));
    let id_of_again = desk.start_hashing(true).await;
    let ended = desk.end(&id_of_again).await;
    assert!(format!("{ended:?}").contains("FILE_CHANGED"), "{ended:?}");
    desk.scan().await;
    assert_eq!(count(&desk.hash().await, "files"), 1);
    let models = service.all_models().await;
    // Nobody speaks for the former content: the model is that file now.
    assert_eq!((models.len(), &*models[0].model_id), (1, &*id));
    assert_eq!(models[0].hash_sha256, ABC_SHA256);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_several_machines_become_one_when_their_hashes_turn_out_equal() {
    let shelf = Shelf::new();
    shelf.put("mine.ckpt", b"abc");
    let mut service = shelf.service().await;
    let mut desk = Desk::of(&service).await;
    let theirs = InventoryModel {
        path: "D:\\models\\theirs.ckpt".to_owned(),
        ..listed("theirs.ckpt", ABC_SHA256)
    };
    service.full("forge-1", "1", vec![theirs]).await;
    let known = service.all_models().await.remove(0);
    desk.scan().await;
    assert_eq!(service.all_models().await.len(), 2);
    let report = desk.hash().await;
    assert_eq!(count(&report, "models_merged"), 1);
    let models = service.all_models().await;
    assert_eq!(models.len(), 1, "{models:#?}");
    assert_eq!(models[0].model_id, known.model_id, "the older one stays");
    assert_eq!(models[0].servers, ["forge-1"]);
    assert_eq!(models[0].files[0].path, "mine.ckpt");
    let aliases: Vec<&str> = models[0].aliases.iter().map(|it| &*it.alias_path).collect();
    assert!(
        aliases.iter().any(|it| it.ends_with("/mine.ckpt")),
        "{aliases:?}"
    );
    assert_eq!(models[0].hash_blake3, ABC_BLAKE3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hash_that_a_server_speaks_for_is_not_overwritten() {
    let shelf = Shelf::new();
    shelf.put("a.ckpt", b"xyz");
    let mut service = shelf.service().await;
    let mut desk = Desk::of(&service).await;
    desk.scan().await;
    desk.hash().await;
    let former = service.all_models().await.remove(0);
    let theirs = listed("a.ckpt", &former.hash_sha256);
    service.full("forge-1", "1", vec![theirs]).await;
    shelf.put("a.ckpt", b"abc");
    shelf.dated("a.ckpt", "2026-11-21T00:00:00.000Z");
    desk.scan().await;
    assert_eq!(count(&desk.hash().await, "models_moved"), 1);
    let kept = service.get(&former.model_id).await.unwrap();
    assert_eq!(kept.hash_sha256, former.hash_sha256);
    assert_eq!((kept.servers.len(), kept.files.len()), (1, 0));
    let models = service.all_models().await;
    let new = models
        .iter()
        .find(|model| model.hash_sha256 == ABC_SHA256)
        .unwrap();
    assert_ne!(new.model_id, former.model_id);
    assert_eq!(
        (&*new.name, &*new.filename, new.files.len()),
        ("a", "a.ckpt", 1)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_stopped_service_has_hashed_is_not_hashed_again() {
    const FILES: u64 = 12;
    const BYTES: u64 = 16 << 20;
    let shelf = Shelf::new();
    shelf.put_long(FILES, BYTES);
    let service = shelf.service().await;
    let mut desk = Desk::of(&service).await;
    desk.scan().await;
    let id = desk.start_hashing(false).await;
    // The first two are written down when the third is under way.
    let stopped_at = desk.reached(&id, 3 * BYTES as i64).await;
    assert_eq!(
        stopped_at.end_time, None,
        "it was not stopped in the middle"
    );
    drop(desk);
    let service = shelf.service_in(service.stop().await).await;
    let mut desk = Desk::of(&service).await;
    let ended = desk.end(&id).await;
    let report = desk.report(Some(ended)).await;
    let files = count(&report, "files");
    assert!((1..=FILES as i64 - 2).contains(&files), "{report:?}");
    assert_eq!(files + count(&report, "skipped"), FILES as i64);
    assert_eq!(count(&desk.hash().await, "skipped"), FILES as i64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_hashing_ends_soon_and_keeps_what_it_has() {
    const FILES: u64 = 12;
    const BYTES: u64 = 16 << 20;
    let shelf = Shelf::new();
    shelf.put_long(FILES, BYTES);
    let service = shelf.service().await;
    let mut desk = Desk::of(&service).await;
    desk.scan().await;
    let operation_id = desk.start_hashing(false).await;
    desk.reached(&operation_id, 2 * BYTES as i64).await;
    let cancel = CancelOperationRequest {
        operation_id: operation_id.clone(),
    };
    desk.operations.cancel_operation(cancel).await.unwrap();
    assert_eq!(
        desk.end(&operation_id).await.state(),
        OperationState::Cancelled
    );
    let rest = desk.hash().await;
    assert!(count(&rest, "files") > 0, "{rest:?}");
    assert!(count(&rest, "skipped") > 0, "{rest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_gone_or_unreadable_holds_up_no_other() {
    let shelf = Shelf::new();
    for name in ["a.ckpt", "b.ckpt", "c.ckpt"] {
        shelf.put(name, name.as_bytes());
    }
    let service = shelf.service().await;
    let mut desk = Desk::of(&service).await;
    desk.scan().await;
    fs::remove_file(shelf.path("a.ckpt")).unwrap();
    // What has taken its place is not opened.
    fs::remove_file(shelf.path("b.ckpt")).unwrap();
    fs::create_dir(shelf.path("b.ckpt")).unwrap();
    let report = desk.hash().await;
    assert_eq!(
        (count(&report, "files"), count(&report, "unreadable")),
        (1, 2)
    );
    let expected = [
        ("main/a.ckpt", "FILE_MISSING"),
        ("main/b.ckpt", "FILE_UNREADABLE"),
    ];
    assert_eq!(reasons(&report), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_asked_for_is_hashed_and_what_is_not_there_is_refused() {
    let shelf = Shelf::new();
    shelf.put("a.ckpt", b"a");
    shelf.put("b.ckpt", b"b");
    let mut service = shelf.service().await;
    let mut desk = Desk::of(&service).await;
    desk.scan().await;
    let models = service.all_models().await;
    let request = StartHashingRequest {
        roots: vec![ROOT.to_owned()],
        model_ids: vec![by_name(&models, "b.ckpt").model_id.clone()],
        ..StartHashingRequest::default()
    };
    let started = desk.library.start_hashing(request.clone()).await.unwrap();
    let report = desk.report(started.into_inner().operation).await;
    assert_eq!(count(&report, "files"), 1);
    let models = service.all_models().await;
    assert_eq!(by_name(&models, "a.ckpt").hash_sha256, "");
    assert_ne!(by_name(&models, "b.ckpt").hash_sha256, "");
    let no_model = StartHashingRequest {
        model_ids: vec!["999".to_owned()],
        ..request.clone()
    };
    let refused = desk.library.start_hashing(no_model).await.unwrap_err();
    assert_eq!(
        (refused.code(), &*reason(&refused)),
        (Code::NotFound, "MODEL_NOT_FOUND")
    );
    let no_root = StartHashingRequest {
        roots: vec!["other".to_owned()],
        ..request
    };
    let refused = desk.library.start_hashing(no_root).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound, "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_somebody_registered_by_its_hash_gets_the_file() {
    let shelf = Shelf::new();
    shelf.put("a.ckpt", b"abc");
    let mut service = shelf.service().await;
    let mut desk = Desk::of(&service).await;
    let registered = service
        .create(model("/elsewhere/other.ckpt", ABC_SHA256))
        .await;
    let unrelated = service.create(model("/elsewhere/x.ckpt", SHA)).await;
    desk.scan().await;
    desk.hash().await;
    let models = service.all_models().await;
    assert_eq!(models.len(), 2, "{models:#?}");
    let with_file = service.get(&registered.model_id).await.unwrap();
    assert_eq!(with_file.files.len(), 1);
    assert_eq!(
        with_file.name, registered.name,
        "what was set by hand stays"
    );
    let unrelated_now = service.get(&unrelated.model_id).await.unwrap();
    assert_eq!(unrelated_now.etag, unrelated.etag);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hash_against_a_file_of_the_library_is_refused_and_no_old_digest_outlives_a_new_one() {
    let shelf = Shelf::new();
    shelf.put("lora.safetensors", &body());
    shelf.put("other.ckpt", b"abc");
    let mut service = shelf.service().await;
    let mut desk = Desk::of(&service).await;
    desk.scan().await;
    desk.hash().await;
    let models = service.all_models().await;
    let hashed = by_name(&models, "lora.safetensors").clone();
    let with = |sha256: &str| Model {
        model_id: hashed.model_id.clone(),
        hash_sha256: sha256.to_owned(),
        ..Model::default()
    };
    let refused = service.update(with(SHA), &["hash_sha256"]).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused:?}");
    let info = refused.get_details_error_info().unwrap();
    assert_eq!(info.reason, "HASH_CONTRADICTED");
    assert_eq!(info.metadata["root"], ROOT);
    assert_eq!(info.metadata["path"], "lora.safetensors");
    let unchanged = service.get(&hashed.model_id).await.unwrap();
    assert_eq!(unchanged.etag, hashed.etag);

    // A file that is gone speaks for nothing any more.
    std::fs::remove_file(shelf.path("lora.safetensors")).unwrap();
    desk.scan().await;
    let mask = ["hash_sha256", "hash_autov2"];
    let mut changed = with(SHA);
    changed.hash_autov2 = SHA[..10].to_owned();
    let after = service.update(changed, &mask).await.unwrap();
    let digests = |model: &Model| {
        [
            model.hash_autov1.clone(),
            model.hash_autov3.clone(),
            model.hash_blake3.clone(),
        ]
    };
    assert_eq!(digests(&after), ["", "", ""]);
    assert_eq!(service.resolve(&hashed.hash_autov3).await.model, None);
    // What the library computed is known again with the hash it belongs to.
    let mut back = with(BODY_SHA256);
    back.hash_autov2 = BODY_SHA256[..10].to_owned();
    let back = service.update(back, &mask).await.unwrap();
    assert_eq!(digests(&back), digests(&hashed));
}
