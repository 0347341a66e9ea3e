//! Requests that come again.

use std::time::Duration;

use stablequeue_proto::models::v1::*;
use tonic::{Code, Status};

use crate::harness::{OTHER, SHA, Service, fields, model, reason};
use crate::watching::{next, watch};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn create(request_id: &str, model: Model) -> CreateModelRequest {
    CreateModelRequest {
        model: Some(model),
        request_id: request_id.into(),
    }
}

async fn created(service: &mut Service, request: CreateModelRequest) -> Result<Model, Status> {
    let answer = service.models.create_model(request).await?;
    Ok(answer.into_inner().model.unwrap())
}

async fn added(service: &mut Service, request: AddModelAliasRequest) -> Result<ModelAlias, Status> {
    let answer = service.models.add_model_alias(request).await?;
    Ok(answer.into_inner().alias.unwrap())
}

fn said<T>(answer: Result<T, Status>) -> (Code, String) {
    let status = answer.err().unwrap();
    (status.code(), reason(&status))
}

fn reused() -> (Code, String) {
    (Code::AlreadyExists, "REQUEST_ID_REUSED".into())
}

fn gone() -> (Code, String) {
    (Code::NotFound, "CREATED_RESOURCE_GONE".into())
}

#[tokio::test]
async fn a_repeated_creation_answers_the_model_as_it_is_now() {
    let mut service = Service::new().await;
    let request = create("one", model("/a/x.safetensors", SHA));
    let first = created(&mut service, request.clone()).await.unwrap();
    let again = created(&mut service, request.clone()).await.unwrap();
    assert_eq!(again, first);
    // The same content in other words: derived fields, upper case.
    let same = Model {
        filename: "x.safetensors".into(),
        hash_autov2: SHA[..10].to_uppercase(),
        hash_sha256: SHA.to_uppercase(),
        metadata_status: MetadataStatus::Incomplete.into(),
        model_id: "77".into(),
        ..model("/a/x.safetensors", SHA)
    };
    let again = created(&mut service, create("one", same)).await.unwrap();
    assert_eq!(again, first);
    let renamed = Model {
        name: "renamed".into(),
        ..first.clone()
    };
    let renamed = service.update(renamed, &["name"]).await.unwrap();
    let mut service = service.restarted().await;
    let again = created(&mut service, request).await.unwrap();
    assert_eq!(again, renamed);
    assert_eq!(service.all_models().await.len(), 1);
}

#[tokio::test]
async fn a_repetition_is_told_to_no_watcher() {
    let mut service = Service::new().await;
    let mut watch = watch(&mut service, "", &[]).await;
    let request = create("one", model("/a/x.safetensors", ""));
    for _ in 0..3 {
        created(&mut service, request.clone()).await.unwrap();
    }
    let other = service.create(model("/a/y.safetensors", "")).await;
    assert_eq!(next(&mut watch).await.0.model_id, "1");
    assert_eq!(next(&mut watch).await.0.model_id, other.model_id);
}

#[tokio::test]
async fn many_repetitions_at_once_make_one_model() {
    let service = Service::new().await;
    let calls = (0..32).map(|_| {
        let mut client = service.models.clone();
        async move {
            let request = create("one", model("/a/x.safetensors", ""));
            let answer = client.create_model(request).await.unwrap();
            answer.into_inner().model.unwrap().model_id
        }
    });
    let ids = futures_util::future::join_all(calls).await;
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

#[tokio::test]
async fn an_id_with_other_content_is_refused_and_methods_are_apart() {
    let mut service = Service::new().await;
    let request = create("one", model("/a/x.safetensors", ""));
    let first = created(&mut service, request).await.unwrap();
    let other = create("one", model("/a/y.safetensors", ""));
    assert_eq!(said(created(&mut service, other).await), reused());
    let add = |alias: &str| AddModelAliasRequest {
        model_id: first.model_id.clone(),
        alias_path: alias.into(),
        request_id: "one".into(),
    };
    let alias = added(&mut service, add("a")).await.unwrap();
    assert_eq!(added(&mut service, add("a")).await.unwrap(), alias);
    assert_eq!(said(added(&mut service, add("b")).await), reused());
    let another = service.create(model("/a/z.safetensors", "")).await;
    let elsewhere = AddModelAliasRequest {
        model_id: another.model_id,
        ..add("a")
    };
    assert_eq!(said(added(&mut service, elsewhere).await), reused());
    assert_eq!(service.all_models().await.len(), 2);
}

#[tokio::test]
async fn what_was_removed_is_not_made_again_nor_mistaken_for_another() {
    let mut service = Service::new().await;
    let request = create("one", model("/a/x.safetensors", ""));
    let first = created(&mut service, request.clone()).await.unwrap();
    let add = AddModelAliasRequest {
        model_id: first.model_id.clone(),
        alias_path: "a".into(),
        request_id: "two".into(),
    };
    let alias = added(&mut service, add.clone()).await.unwrap();
    let delete = DeleteModelAliasRequest {
        alias_id: alias.alias_id,
    };
    service.models.delete_model_alias(delete).await.unwrap();
    assert_eq!(said(added(&mut service, add).await), gone());
    let delete = DeleteModelRequest {
        model_id: first.model_id.clone(),
    };
    service.models.delete_model(delete).await.unwrap();
    // SQLite gives the id of the last row again.
    let other = service.create(model("/a/other.safetensors", "")).await;
    assert_eq!(other.model_id, first.model_id);
    assert_eq!(said(created(&mut service, request).await), gone());
    assert_eq!(service.all_models().await.len(), 1);
}

#[tokio::test]
async fn an_id_is_free_again_after_a_day() {
    let mut service = Service::new().await;
    let request = create("one", model("/a/x.safetensors", SHA));
    let first = created(&mut service, request.clone()).await.unwrap();
    service.hand.advance(DAY - Duration::from_secs(1));
    assert_eq!(
        created(&mut service, request.clone()).await.unwrap(),
        first,
        "kept for a day"
    );
    service.hand.advance(Duration::from_secs(1));
    assert_eq!(
        said(created(&mut service, request).await),
        (Code::AlreadyExists, "MODEL_ALREADY_EXISTS".into())
    );
    let other = create("one", model("/a/y.safetensors", OTHER));
    let second = created(&mut service, other).await.unwrap();
    assert_ne!(second.model_id, first.model_id);
}

#[tokio::test]
async fn a_refused_request_does_not_use_up_its_id() {
    let mut service = Service::new().await;
    let first = service.create(model("/a/x.safetensors", SHA)).await;
    let request = create("one", model("/a/y.safetensors", SHA));
    let exists = (Code::AlreadyExists, "MODEL_ALREADY_EXISTS".to_owned());
    for _ in 0..2 {
        assert_eq!(said(created(&mut service, request.clone()).await), exists);
    }
    let delete = DeleteModelRequest {
        model_id: first.model_id,
    };
    service.models.delete_model(delete).await.unwrap();
    created(&mut service, request).await.unwrap();
}

#[tokio::test]
async fn an_id_that_breaks_the_rule_is_refused_with_the_rest() {
    let mut service = Service::new().await;
    for id in ["x".repeat(129), "a\nb".into(), "ä".into()] {
        let request = create(&id, model("", ""));
        let status = created(&mut service, request).await.unwrap_err();
        assert_eq!(fields(&status), ["request_id", "model.filename"], "{id}");
        let add = AddModelAliasRequest {
            model_id: "0".into(),
            alias_path: " ".into(),
            request_id: id.clone(),
        };
        let status = added(&mut service, add).await.unwrap_err();
        assert_eq!(fields(&status), ["model_id", "alias_path", "request_id"]);
    }
}
