//! What people say of a model beyond Civitai's metadata, and who said which field.

use stablequeue_proto::models::v1::*;
use tonic::Code;

use crate::harness::{Service, checkpoint, fields};

fn described(name: &str) -> Model {
    Model {
        description: "A fox.".into(),
        activation_text: "glowing fox".into(),
        preferred_weight: Some(0.75),
        negative_text: "blurry".into(),
        notes: "from a friend".into(),
        sd_version: "SDXL".into(),
        civitai: Some(CivitaiMetadata {
            base_model: "SDXL 1.0".into(),
            trained_words: vec!["fox".into()],
            ..CivitaiMetadata::default()
        }),
        ..checkpoint(name)
    }
}

fn sources(model: &Model) -> Vec<(&str, MetadataSource)> {
    let sources = model.field_sources.iter();
    sources
        .map(|said| (said.field.as_str(), said.source()))
        .collect()
}

#[tokio::test]
async fn what_is_said_of_a_model_is_kept_and_marked_as_said_by_hand() {
    let mut service = Service::new().await;
    let created = service.create(described("fox.safetensors")).await;
    let got = service.get(&created.model_id).await.unwrap();
    assert_eq!(
        (
            got.description.as_str(),
            got.activation_text.as_str(),
            got.preferred_weight,
            got.negative_text.as_str(),
            got.notes.as_str(),
            got.sd_version.as_str(),
        ),
        (
            "A fox.",
            "glowing fox",
            Some(0.75),
            "blurry",
            "from a friend",
            "SDXL"
        )
    );
    let said: Vec<&str> = sources(&got).iter().map(|(field, _)| *field).collect();
    assert_eq!(
        said,
        [
            "name",
            "description",
            "activation_text",
            "preferred_weight",
            "negative_text",
            "notes",
            "sd_version",
            "civitai.base_model",
            "civitai.trained_words",
        ]
    );
    let manual = |(_, source): &(&str, MetadataSource)| *source == MetadataSource::Manual;
    assert!(sources(&got).iter().all(manual));
    assert_eq!(
        (got.has_preview, got.missing, got.files.len()),
        (false, false, 0)
    );
    assert!(created.field_sources.is_empty());
}

#[tokio::test]
async fn a_field_that_is_emptied_may_be_filled_again() {
    let mut service = Service::new().await;
    let created = service.create(described("fox.safetensors")).await;
    let change = Model {
        model_id: created.model_id.clone(),
        notes: "mine".into(),
        ..Model::default()
    };
    let fields = [
        "notes",
        "description",
        "preferred_weight",
        "civitai.trained_words",
    ];
    let changed = service.update(change, &fields).await.unwrap();
    assert_ne!(changed.etag, created.etag);
    let got = service.get(&created.model_id).await.unwrap();
    assert_eq!((got.notes.as_str(), got.description.as_str()), ("mine", ""));
    assert_eq!(got.preferred_weight, None);
    let said: Vec<&str> = sources(&got).iter().map(|(field, _)| *field).collect();
    assert_eq!(
        said,
        [
            "name",
            "activation_text",
            "negative_text",
            "notes",
            "sd_version",
            "civitai.base_model"
        ]
    );
}

#[tokio::test]
async fn a_weight_of_nothing_is_a_weight() {
    let mut service = Service::new().await;
    let created = service.create(described("fox.safetensors")).await;
    let change = Model {
        model_id: created.model_id.clone(),
        preferred_weight: Some(0.0),
        ..Model::default()
    };
    let changed = service.update(change, &[]).await.unwrap();
    assert_eq!(changed.preferred_weight, Some(0.0));
    assert_eq!(changed.description, "A fox.");
}

#[tokio::test]
async fn what_is_too_long_or_no_number_is_refused_by_field() {
    let mut service = Service::new().await;
    let long = || "x".repeat(65_537);
    let wrong = Model {
        description: long(),
        activation_text: long(),
        preferred_weight: Some(f64::NAN),
        negative_text: long(),
        notes: "a\0b".into(),
        sd_version: "x".repeat(257),
        ..checkpoint("x.pt")
    };
    let expected = [
        "model.description",
        "model.activation_text",
        "model.negative_text",
        "model.notes",
        "model.sd_version",
        "model.preferred_weight",
    ];
    let request = CreateModelRequest {
        model: Some(wrong.clone()),
        ..CreateModelRequest::default()
    };
    let status = service.models.create_model(request).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(fields(&status), expected);
    let created = service.create(checkpoint("x.pt")).await;
    let change = Model {
        model_id: created.model_id,
        ..wrong
    };
    let named = expected.map(|field| field.trim_start_matches("model."));
    let status = service.update(change, &named).await.unwrap_err();
    assert_eq!(fields(&status), expected);
}

#[tokio::test]
async fn what_only_the_service_finds_out_cannot_be_set() {
    let mut service = Service::new().await;
    let created = service
        .create(Model {
            hash_autov1: "01234567".into(),
            hash_autov3: "0123456789ab".into(),
            hash_blake3: "0".repeat(64),
            file_size_bytes: Some(7),
            has_preview: true,
            missing: true,
            civitai: Some(CivitaiMetadata {
                nsfw: Some(true),
                blurhash: "hash".into(),
                preview_url: "http://127.0.0.1/".into(),
                file_matched: Some(true),
                error_message: "none".into(),
                ..CivitaiMetadata::default()
            }),
            ..checkpoint("x.pt")
        })
        .await;
    assert_eq!(
        created.hash_autov1 + &created.hash_autov3 + &created.hash_blake3,
        ""
    );
    assert_eq!((created.file_size_bytes, created.civitai), (None, None));
    assert!(!created.has_preview && !created.missing);
    let change = Model {
        model_id: created.model_id,
        ..Model::default()
    };
    for field in [
        "hash_autov3",
        "has_preview",
        "missing",
        "field_sources",
        "civitai.nsfw",
    ] {
        let status = service.update(change.clone(), &[field]).await.unwrap_err();
        assert_eq!(fields(&status), ["update_mask.paths[0]"], "{field}");
    }
}
