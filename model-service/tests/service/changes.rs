//! Changing a registered model.

use std::time::Duration;

use stablequeue_proto::models::v1::*;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::harness::{OTHER, SHA, Service, fields, listed, model, reason};
use crate::watching::{next, watch};

fn named(model_id: &str) -> Model {
    Model {
        model_id: model_id.into(),
        ..Model::default()
    }
}

fn rich() -> Model {
    Model {
        forge_format: "x [old]".into(),
        civitai: Some(CivitaiMetadata {
            model_id: "4".into(),
            base_model: "SD 1.5".into(),
            trained_words: vec!["one".into()],
            file_size_kib: Some(7),
            ..CivitaiMetadata::default()
        }),
        ..model("/a/x.safetensors", "")
    }
}

#[tokio::test]
async fn without_a_mask_what_is_set_changes_and_the_rest_stays() {
    let mut service = Service::new().await;
    let before = service.create(rich()).await;
    let change = Model {
        name: "New name".into(),
        hash_sha256: SHA.to_uppercase(),
        metadata_status: MetadataStatus::Complete.into(),
        civitai: Some(CivitaiMetadata {
            base_model: "SDXL 1.0".into(),
            file_size_kib: Some(0),
            ..CivitaiMetadata::default()
        }),
        ..named(&before.model_id)
    };
    let after = service.update(change, &[]).await.unwrap();
    let expected = Model {
        name: "New name".into(),
        hash_sha256: SHA.into(),
        hash_autov2: SHA[..10].into(),
        metadata_status: MetadataStatus::Complete.into(),
        civitai: Some(CivitaiMetadata {
            base_model: "SDXL 1.0".into(),
            file_size_kib: Some(0),
            ..before.civitai.clone().unwrap()
        }),
        etag: after.etag.clone(),
        ..before.clone()
    };
    assert_eq!(after, expected);
    assert_ne!(after.etag, before.etag);
    let mut service = service.restarted().await;
    assert_eq!(service.get_basic(&before.model_id).await, after);
}

#[tokio::test]
async fn a_field_of_the_mask_that_is_not_set_is_cleared() {
    let mut service = Service::new().await;
    let before = service
        .create(Model {
            hash_sha256: SHA.into(),
            ..rich()
        })
        .await;
    let whole = Model {
        name: "ignored, and a fault if it were not".repeat(100),
        local_path: "/b/y.safetensors".into(),
        ..named(&before.model_id)
    };
    let mask = [
        "local_path",
        "forge_format",
        "hash_sha256",
        "civitai.trained_words",
        "civitai.file_size_kib",
    ];
    let after = service.update(whole.clone(), &mask).await.unwrap();
    assert_eq!(after.name, before.name);
    assert_eq!(
        (after.local_path.as_str(), after.filename.as_str()),
        ("/b/y.safetensors", "y.safetensors")
    );
    assert_eq!(
        (after.forge_format.as_str(), after.hash_sha256.as_str()),
        ("", "")
    );
    assert_eq!(after.hash_autov2, SHA[..10], "what is known of it is kept");
    let civitai = after.civitai.unwrap();
    assert_eq!(
        (civitai.model_id.as_str(), civitai.file_size_kib),
        ("4", None)
    );
    assert!(civitai.trained_words.is_empty());
    let after = service.update(whole, &["civitai"]).await.unwrap();
    assert_eq!(after.civitai, None);
}

#[tokio::test]
async fn a_model_that_was_read_is_written_back_with_one_word_changed() {
    let mut service = Service::new().await;
    service
        .full("left", "1", vec![listed("x.safetensors", SHA)])
        .await;
    let mut read = service.all_models().await.remove(0);
    assert_eq!(read.servers, ["left"]);
    read.name = "Better".into();
    let after = service.update(read.clone(), &[]).await.unwrap();
    assert_eq!(after.name, "Better");
    let found = service.check_one("x.safetensors", "left").await;
    assert_eq!(found.state(), AvailabilityState::Available);
}

#[tokio::test]
async fn an_etag_that_is_not_the_current_one_aborts() {
    let mut service = Service::new().await;
    let before = service.create(rich()).await;
    let with = |etag: &str, name: &str| Model {
        etag: etag.into(),
        name: name.into(),
        ..named(&before.model_id)
    };
    let after = service.update(with(&before.etag, "b"), &[]).await.unwrap();
    for stale in [before.etag.as_str(), "nonsense"] {
        let status = service.update(with(stale, "c"), &[]).await.unwrap_err();
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::Aborted, "ETAG_MISMATCH")
        );
    }
    assert_eq!(service.get_basic(&before.model_id).await, after);
    // A use and an alias are no change of what the etag stands for; an
    // inventory that adds a hash is.
    let file = || listed("x.safetensors", SHA);
    let at = InventoryModel {
        path: "/a/x.safetensors".into(),
        ..file()
    };
    service.full("left", "1", vec![at]).await;
    let learned = service.get(&before.model_id).await.unwrap();
    assert_eq!(learned.hash_sha256, SHA);
    let status = service
        .update(with(&after.etag, "c"), &[])
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Aborted);
    service.update(with(&learned.etag, "c"), &[]).await.unwrap();
}

#[tokio::test]
async fn an_etag_is_not_that_of_a_later_model_with_the_same_id() {
    let mut service = Service::new().await;
    let first = service.create(rich()).await;
    let model_id = first.model_id.clone();
    service
        .models
        .delete_model(DeleteModelRequest { model_id })
        .await
        .unwrap();
    service.hand.advance(Duration::from_secs(1));
    let second = service.create(rich()).await;
    assert_eq!(second.model_id, first.model_id);
    let status = service.update(first, &["name"]).await.unwrap_err();
    assert_eq!(reason(&status), "ETAG_MISMATCH");
}

#[tokio::test]
async fn a_change_is_told_and_what_changes_nothing_is_not() {
    let mut service = Service::new().await;
    let before = service.create(rich()).await;
    let mut watch = watch(&mut service, "", &[]).await;
    let same = service.update(before.clone(), &[]).await.unwrap();
    assert_eq!(same, before);
    let change = Model {
        filename: "z.safetensors".into(),
        ..named(&before.model_id)
    };
    let mask = ["local_path", "filename"];
    service.update(change, &mask).await.unwrap();
    let (event, _) = next(&mut watch).await;
    assert_eq!(
        (event.r#type(), event.model_id.as_str()),
        (
            AvailabilityEventType::RegistryChanged,
            before.model_id.as_str()
        )
    );
    assert_eq!(service.resolve("z").await.r#match(), MatchKind::Filename);
    assert_eq!(service.resolve("x").await.r#match(), MatchKind::Unspecified);
    let other = service.create(model("/a/other.safetensors", "")).await;
    assert_eq!(next(&mut watch).await.0.model_id, other.model_id);
}

#[tokio::test]
async fn a_hash_of_another_model_or_against_a_servers_file_is_refused() {
    let mut service = Service::new().await;
    let first = service.create(model("/a/x.safetensors", SHA)).await;
    let second = service.create(model("/a/y.safetensors", "")).await;
    let hashed = |sha256: &str| Model {
        hash_sha256: sha256.into(),
        ..named(&second.model_id)
    };
    let status = service.update(hashed(SHA), &[]).await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::AlreadyExists, "MODEL_ALREADY_EXISTS")
    );
    let named_there = status.get_details_resource_info().unwrap().resource_name;
    assert_eq!(named_there, first.model_id);
    let file = InventoryModel {
        path: "/a/y.safetensors".into(),
        ..listed("y.safetensors", OTHER)
    };
    service.full("left", "1", vec![file.clone()]).await;
    let third = "ab".repeat(32);
    let status = service.update(hashed(&third), &[]).await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::FailedPrecondition, "HASH_CONTRADICTED")
    );
    let info = status.get_details_error_info().unwrap();
    assert_eq!(info.metadata["server"], "left");
    // A hash that is taken away is learned anew from the same inventory.
    let mask = ["hash_sha256", "hash_autov2"];
    let cleared = service.update(hashed(""), &mask).await.unwrap();
    assert_eq!(
        (cleared.hash_sha256.as_str(), cleared.hash_autov2.as_str()),
        ("", "")
    );
    service.full("left", "1", vec![file]).await;
    let learned = service.get(&second.model_id).await.unwrap();
    assert_eq!(learned.hash_sha256, OTHER);
}

#[tokio::test]
async fn everything_wrong_with_a_change_comes_back_at_once() {
    let mut service = Service::new().await;
    let created = service.create(rich()).await;
    let output_only = [
        "model_id",
        "type",
        "last_used_time",
        "create_time",
        "aliases",
        "servers",
        "etag",
        "civitai.nothing",
        "*",
        "",
    ];
    let status = service
        .update(named(&created.model_id), &output_only)
        .await
        .unwrap_err();
    let expected: Vec<String> = (0..output_only.len())
        .map(|index| format!("update_mask.paths[{index}]"))
        .collect();
    assert_eq!(fields(&status), expected);
    let wrong = Model {
        model_id: "01".into(),
        local_path: "/a\0".into(),
        filename: "a/b".into(),
        forge_format: "x".repeat(1025),
        hash_autov2: "12".into(),
        hash_sha256: "34".into(),
        metadata_status: 9,
        civitai: Some(CivitaiMetadata {
            base_model: "x".repeat(1025),
            trained_words: vec![String::new()],
            file_size_kib: Some(-1),
            ..CivitaiMetadata::default()
        }),
        ..Model::default()
    };
    let mask = [
        "name",
        "local_path",
        "filename",
        "forge_format",
        "hash_autov2",
        "hash_sha256",
        "metadata_status",
        "civitai",
    ];
    let mut found = fields(&service.update(wrong, &mask).await.unwrap_err());
    found.sort();
    let expected = [
        "model.civitai.base_model",
        "model.civitai.file_size_kib",
        "model.civitai.trained_words[0]",
        "model.filename",
        "model.forge_format",
        "model.hash_autov2",
        "model.hash_sha256",
        "model.local_path",
        "model.metadata_status",
        "model.model_id",
        "model.name",
    ];
    assert_eq!(found, expected);
    let apart = Model {
        filename: "z.safetensors".into(),
        hash_autov2: OTHER[..10].into(),
        hash_sha256: SHA.into(),
        ..named(&created.model_id)
    };
    let status = service.update(apart, &[]).await.unwrap_err();
    assert_eq!(fields(&status), ["model.filename", "model.hash_autov2"]);
    let many = vec!["name"; 65];
    let status = service.update(created.clone(), &many).await.unwrap_err();
    assert_eq!(fields(&status), ["update_mask.paths"]);
    let none = UpdateModelRequest::default();
    let status = service.models.update_model(none).await.unwrap_err();
    assert_eq!(fields(&status), ["model", "model.model_id"]);
    assert_eq!(service.get_basic(&created.model_id).await, created);
    let status = service.update(named("99"), &[]).await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::NotFound, "MODEL_NOT_FOUND")
    );
}
