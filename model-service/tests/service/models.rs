//! The registry.

use stablequeue_proto::models::v1::*;
use tonic::Code;

use crate::harness::{OTHER, SHA, Service, listed, model, reason};

#[tokio::test]
async fn a_model_is_answered_as_it_was_registered() {
    let mut service = Service::new().await;
    let civitai = CivitaiMetadata {
        model_id: "4".into(),
        version_id: "7".into(),
        base_model: "SDXL 1.0".into(),
        trained_words: vec!["one, two".into(), "three".into()],
        file_size_kib: Some(0),
        ..CivitaiMetadata::default()
    };
    let sent = Model {
        civitai: Some(civitai.clone()),
        metadata_status: MetadataStatus::Complete.into(),
        ..model("C:\\models\\sub\\Foo.safetensors", &SHA.to_uppercase())
    };
    let created = service.create(sent).await;
    assert_eq!(created.filename, "Foo.safetensors");
    assert_eq!(
        (created.hash_sha256.as_str(), created.hash_autov2.as_str()),
        (SHA, &SHA[..10])
    );
    assert_eq!(created.civitai, Some(civitai));
    assert_eq!(
        created.create_time.unwrap().seconds,
        crate::harness::time_of_start().timestamp()
    );
    assert_eq!(service.get_basic(&created.model_id).await, created);
}

#[tokio::test]
async fn a_hash_is_registered_once_for_each_type() {
    let mut service = Service::new().await;
    let first = service.create(model("/a/x.safetensors", SHA)).await;
    let again = CreateModelRequest {
        model: Some(model("/b/y.safetensors", SHA)),
        ..Default::default()
    };
    let status = service.models.create_model(again).await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::AlreadyExists, "MODEL_ALREADY_EXISTS")
    );
    let lora = Model {
        r#type: ModelType::Lora.into(),
        ..model("/b/y.safetensors", SHA)
    };
    assert_ne!(service.create(lora).await.model_id, first.model_id);
}

#[tokio::test]
async fn unknown_ids_are_not_found() {
    let mut service = Service::new().await;
    let model_id = || "99".to_owned();
    let models = &mut service.models;
    let page = ListModelAliasesRequest {
        model_id: model_id(),
        ..Default::default()
    };
    let add = AddModelAliasRequest {
        model_id: model_id(),
        alias_path: "a".into(),
        ..Default::default()
    };
    let set = SetModelAvailabilityRequest {
        server: "left".into(),
        model_id: model_id(),
        title: String::new(),
    };
    let unset = DeleteModelAvailabilityRequest {
        server: "left".into(),
        model_id: model_id(),
    };
    let failures = [
        models
            .get_model(GetModelRequest {
                model_id: model_id(),
                view: 0,
            })
            .await
            .unwrap_err(),
        models
            .delete_model(DeleteModelRequest {
                model_id: model_id(),
            })
            .await
            .unwrap_err(),
        models.add_model_alias(add).await.unwrap_err(),
        models.list_model_aliases(page).await.unwrap_err(),
        models
            .delete_model_alias(DeleteModelAliasRequest {
                alias_id: model_id(),
            })
            .await
            .unwrap_err(),
        service
            .availability
            .set_model_availability(set)
            .await
            .unwrap_err(),
        service
            .availability
            .delete_model_availability(unset)
            .await
            .unwrap_err(),
    ];
    for status in failures {
        assert_eq!(status.code(), Code::NotFound, "{status:?}");
        assert!(reason(&status).ends_with("_NOT_FOUND"));
    }
}

#[tokio::test]
async fn deleting_a_model_deletes_its_aliases_and_its_availability() {
    let mut service = Service::new().await;
    service
        .full("left", "1", vec![listed("x.safetensors", SHA)])
        .await;
    let id = service.all_models().await[0].model_id.clone();
    let alias = AddModelAliasRequest {
        model_id: id.clone(),
        alias_path: "best".into(),
        ..Default::default()
    };
    service.models.add_model_alias(alias).await.unwrap();
    assert_eq!(
        service.check_one("best", "left").await.state(),
        AvailabilityState::Available
    );
    service
        .models
        .delete_model(DeleteModelRequest { model_id: id })
        .await
        .unwrap();
    for text in ["best", "x.safetensors", SHA] {
        assert_eq!(
            service.check_one(text, "left").await.state(),
            AvailabilityState::Missing
        );
        assert_eq!(
            service.resolve(text).await.r#match(),
            MatchKind::Unspecified
        );
    }
    let on_left = ListAvailabilityRequest {
        server: "left".into(),
        ..Default::default()
    };
    let left = service
        .availability
        .list_availability(on_left)
        .await
        .unwrap()
        .into_inner();
    assert!(left.availabilities.is_empty());
}

#[tokio::test]
async fn pages_of_models_join_without_gap_and_filters_hold() {
    let mut service = Service::new().await;
    for number in 0..5 {
        service
            .create(model(
                &format!("/a/{number}_x.safetensors"),
                &format!("{number:064x}"),
            ))
            .await;
    }
    service
        .create(Model {
            name: "100% Lora".into(),
            r#type: ModelType::Lora.into(),
            ..model("/l.pt", OTHER)
        })
        .await;
    service
        .full("left", "1", vec![listed("seen.safetensors", "")])
        .await;
    let mut names = Vec::new();
    let mut request = ListModelsRequest {
        page_size: 2,
        r#type: ModelType::Checkpoint.into(),
        ..ListModelsRequest::default()
    };
    loop {
        let page = service
            .models
            .list_models(request.clone())
            .await
            .unwrap()
            .into_inner();
        assert!(page.models.len() <= 2);
        names.extend(page.models.into_iter().map(|model| model.filename));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!(names.len(), 6, "{names:?}");
    request.r#type = ModelType::Lora.into();
    let status = service.models.list_models(request).await.unwrap_err();
    assert_eq!(
        status.code(),
        Code::InvalidArgument,
        "a token of another filter"
    );
    let filters = [
        (
            ListModelsRequest {
                text: "100% L".into(),
                ..Default::default()
            },
            1,
        ),
        (
            ListModelsRequest {
                text: "3_X".into(),
                ..Default::default()
            },
            1,
        ),
        (
            ListModelsRequest {
                text: "%".into(),
                ..Default::default()
            },
            1,
        ),
        (
            ListModelsRequest {
                hash_prefix: OTHER[..6].to_uppercase(),
                ..Default::default()
            },
            1,
        ),
        (
            ListModelsRequest {
                hash_prefix: "0000".into(),
                ..Default::default()
            },
            5,
        ),
        (
            ListModelsRequest {
                server: "left".into(),
                ..Default::default()
            },
            1,
        ),
        (
            ListModelsRequest {
                metadata_status: MetadataStatus::Error.into(),
                ..Default::default()
            },
            0,
        ),
        (
            ListModelsRequest {
                base_model: "SDXL 1.0".into(),
                ..Default::default()
            },
            0,
        ),
    ];
    for (filter, count) in filters {
        let page = service
            .models
            .list_models(filter.clone())
            .await
            .unwrap()
            .into_inner();
        assert_eq!(page.models.len(), count, "{filter:?}");
    }
}

#[tokio::test]
async fn an_alias_that_is_there_is_answered_and_one_that_is_deleted_is_gone() {
    let mut service = Service::new().await;
    let created = service.create(model("/a/x.safetensors", "")).await;
    let add = AddModelAliasRequest {
        model_id: created.model_id.clone(),
        alias_path: "a\\B".into(),
        ..Default::default()
    };
    let first = service
        .models
        .add_model_alias(add.clone())
        .await
        .unwrap()
        .into_inner()
        .alias
        .unwrap();
    let again = service
        .models
        .add_model_alias(add)
        .await
        .unwrap()
        .into_inner()
        .alias
        .unwrap();
    assert_eq!(first, again);
    assert_eq!(
        service.get(&created.model_id).await.unwrap().aliases,
        std::slice::from_ref(&first)
    );
    assert_eq!(service.resolve("A/b").await.r#match(), MatchKind::Alias);
    let delete = DeleteModelAliasRequest {
        alias_id: first.alias_id,
    };
    service.models.delete_model_alias(delete).await.unwrap();
    assert_eq!(
        service.resolve("A/b").await.r#match(),
        MatchKind::Unspecified
    );
    let list = ListModelAliasesRequest {
        model_id: created.model_id,
        ..Default::default()
    };
    let left = service
        .models
        .list_model_aliases(list)
        .await
        .unwrap()
        .into_inner();
    assert!(left.aliases.is_empty());
}

#[tokio::test]
async fn a_restart_keeps_everything() {
    let mut service = Service::new().await;
    service.create(model("/a/x.safetensors", OTHER)).await;
    service
        .full("left", "1", vec![listed("sub/y.safetensors", SHA)])
        .await;
    let models = service.all_models().await;
    let checked = service.check(&[SHA, OTHER], &[]).await;
    let inventories = |service: &mut Service| {
        let mut client = service.availability.clone();
        async move {
            client
                .list_inventories(ListInventoriesRequest::default())
                .await
                .unwrap()
                .into_inner()
        }
    };
    let before = inventories(&mut service).await;
    assert_eq!(before.inventories[0].checkpoint_count, 1);
    let mut service = service.restarted().await;
    assert_eq!(service.all_models().await, models);
    assert_eq!(service.check(&[SHA, OTHER], &[]).await, checked);
    assert_eq!(inventories(&mut service).await, before);
}
