//! Why a reference stands for one model, for several or for none; and that nothing is guessed.

use prost::Message as _;
use stablequeue_proto::models::v1::*;

use crate::harness::{OTHER, SHA, Service, checkpoint, file, lora};

#[track_caller]
fn assert_says(resolution: &ModelResolution, parts: &[&str]) {
    for part in parts {
        let said = &resolution.explanation;
        assert!(said.contains(part), "{part:?} is not in: {said}");
    }
}

#[tokio::test]
async fn two_files_of_one_name_are_named_and_none_is_guessed() {
    let mut service = Service::new().await;
    let models = vec![
        file("a/foo.safetensors", "/m/a/foo.safetensors", ""),
        file("b/foo.safetensors", "C:\\m\\b\\foo.safetensors", ""),
    ];
    service.full("left", "1", models).await;
    let resolution = service.resolve("foo").await;
    assert_eq!(resolution.r#match(), MatchKind::Unspecified);
    assert_eq!(resolution.candidates.len(), 2);
    assert_says(&resolution, &["fit equally well, and none is guessed"]);
    for (text, path) in [
        ("a\\foo.safetensors", "/m/a/foo.safetensors"),
        ("b/FOO", "C:\\m\\b\\foo.safetensors"),
        ("c:/m/b/foo.safetensors", "C:\\m\\b\\foo.safetensors"),
    ] {
        let resolution = service.resolve(text).await;
        assert_eq!(
            resolution.model.as_ref().unwrap().local_path,
            path,
            "{text}"
        );
        assert_says(&resolution, &["It fits model", "on server left"]);
    }
}

#[tokio::test]
async fn two_files_of_one_short_hash_are_named_and_none_is_guessed() {
    let mut service = Service::new().await;
    let twin = format!("{}{}", &SHA[..12], "0".repeat(52));
    for (name, sha256) in [("a.pt", SHA), ("b.pt", twin.as_str())] {
        let model = Model {
            hash_sha256: sha256.into(),
            ..lora(name)
        };
        service.create(model).await;
    }
    for short in [&SHA[..10], &SHA[..12]] {
        let resolution = service.resolve(short).await;
        assert_eq!(resolution.candidates.len(), 2, "{short}");
        assert_says(&resolution, &["a.pt", "b.pt", "none is guessed"]);
    }
    let resolution = service.resolve(SHA).await;
    assert_eq!(resolution.r#match(), MatchKind::Sha256);
    assert_says(&resolution, &["by its SHA-256", "a.pt"]);
}

#[tokio::test]
async fn a_lora_is_found_by_the_twelve_digits_that_forge_writes() {
    let mut service = Service::new().await;
    let model = Model {
        hash_sha256: SHA.into(),
        ..lora("fox.safetensors")
    };
    let created = service.create(model).await;
    for text in [SHA[..12].to_owned(), SHA[..12].to_uppercase()] {
        let resolution = service.resolve(&text).await;
        assert_eq!(resolution.r#match(), MatchKind::Autov2);
        assert_eq!(
            resolution.model.as_ref().unwrap().model_id,
            created.model_id
        );
        assert_says(
            &resolution,
            &["by its AutoV3 or the beginning of its SHA-256"],
        );
    }
    assert!(service.resolve(&SHA[..11]).await.model.is_none());
    let none = service.resolve(&OTHER[..12]).await;
    assert_says(
        &none,
        &[
            "Read as 12 digits of an AutoV3 or of a SHA-256",
            "No model fits.",
        ],
    );
}

#[tokio::test]
async fn a_title_goes_on_standing_for_its_file_after_the_first_hash() {
    let mut service = Service::new().await;
    let path = "/m/a/foo.safetensors";
    service
        .full("left", "1", vec![file("a/foo.safetensors", path, "")])
        .await;
    let before = service.resolve("a/foo.safetensors").await.model.unwrap();
    let hashed = format!("a/foo.safetensors [{}]", &SHA[..10]);
    service
        .full("left", "2", vec![file(&hashed, path, SHA)])
        .await;
    for text in ["a/foo.safetensors", &hashed, "foo", SHA] {
        let after = service.resolve(text).await;
        assert_eq!(
            after.model.as_ref().unwrap().model_id,
            before.model_id,
            "{text}"
        );
    }
    let other = format!("a/foo.safetensors [{}]", &OTHER[..10]);
    let resolution = service.resolve(&other).await;
    assert!(resolution.model.is_none());
    assert_says(
        &resolution,
        &["has that name and the AutoV2 2870ca6e33 and not fc03d15844"],
    );
}

#[tokio::test]
async fn a_model_of_another_type_is_a_near_miss() {
    let mut service = Service::new().await;
    service.create(checkpoint("foo.safetensors")).await;
    let request = ResolveModelsRequest {
        references: vec![ModelReference {
            reference: "foo".into(),
            r#type: ModelType::Lora.into(),
        }],
    };
    let answer = service.models.resolve_models(request).await.unwrap();
    let resolution = &answer.into_inner().resolutions[0];
    assert_says(
        resolution,
        &[
            "No model fits.",
            "is a checkpoint and a LoRA was asked for.",
        ],
    );
}

#[tokio::test]
async fn an_answer_with_long_texts_is_one_that_clients_receive() {
    let mut service = Service::new().await;
    for at in 0..16 {
        let model = Model {
            local_path: format!("/{at}/foo.pt"),
            description: "x".repeat(65_000),
            notes: "x".repeat(65_000),
            ..checkpoint("foo.pt")
        };
        service.create(model).await;
    }
    let references = vec![
        ModelReference {
            reference: "foo".into(),
            ..ModelReference::default()
        };
        4
    ];
    let request = ResolveModelsRequest { references };
    let answer = service
        .models
        .resolve_models(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answer.resolutions.len(), 4);
    for resolution in &answer.resolutions {
        assert_eq!(resolution.candidates.len(), 16);
        assert!(
            resolution
                .candidates
                .iter()
                .all(|model| model.notes.is_empty())
        );
    }
}

#[tokio::test]
async fn an_answer_about_many_models_with_long_names_is_one_that_clients_receive() {
    let mut service = Service::new().await;
    for at in 0..16 {
        let model = Model {
            local_path: format!("/{at}/{}/foo.pt", "d".repeat(4000)),
            description: "x".repeat(65_000),
            ..checkpoint("foo.pt")
        };
        service.create(model).await;
    }
    let resolve = async |service: &mut Service, count: usize| {
        let reference = ModelReference {
            reference: "foo".into(),
            ..ModelReference::default()
        };
        let references = vec![reference; count];
        let request = ResolveModelsRequest { references };
        let answer = service.models.resolve_models(request).await;
        let answer = answer.unwrap().into_inner();
        assert_eq!(answer.resolutions.len(), count);
        assert!(answer.encoded_len() <= 2 * 1024 * 1024);
        for resolution in &answer.resolutions {
            assert_eq!(resolution.candidates.len(), 16);
            assert!(
                resolution
                    .candidates
                    .iter()
                    .all(|it| !it.model_id.is_empty())
            );
        }
        answer.resolutions[0].candidates[15].clone()
    };
    // As much is told of each as there is room for.
    let shown = resolve(&mut service, 1).await;
    assert_eq!(shown.description.len(), 65_000);
    let shown = resolve(&mut service, 2).await;
    assert_eq!(
        (shown.description.len(), shown.filename.as_str()),
        (0, "foo.pt")
    );
    let shown = resolve(&mut service, 256).await;
    assert_eq!((shown.name.as_str(), shown.local_path.as_str()), ("", ""));
}

#[tokio::test]
async fn a_list_of_models_with_long_texts_leaves_none_out() {
    let mut service = Service::new().await;
    let mut made = Vec::new();
    for at in 0..60 {
        let model = Model {
            local_path: format!("/{at}/foo.pt"),
            description: "x".repeat(65_000),
            ..checkpoint("foo.pt")
        };
        made.push(service.create(model).await.model_id);
    }
    let mut request = ListModelsRequest {
        page_size: 1000,
        ..ListModelsRequest::default()
    };
    let mut listed = Vec::new();
    loop {
        let page = service.models.list_models(request.clone()).await;
        let page = page.unwrap().into_inner();
        assert!(page.encoded_len() <= 2 * 1024 * 1024 + 1024);
        listed.extend(page.models.into_iter().map(|model| model.model_id));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!(listed, made);
}
