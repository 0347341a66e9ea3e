//! Watching what is where.

use std::time::Duration;

use stablequeue_proto::models::v1::watch_availability_response::Update;
use stablequeue_proto::models::v1::*;
use tonic::{Code, Streaming};
use tonic_types::StatusExt as _;

use crate::harness::{SHA, Service, listed, model, reason, soon};

pub(crate) type Watch = Streaming<WatchAvailabilityResponse>;

pub(crate) async fn watch(service: &mut Service, token: &str, servers: &[&str]) -> Watch {
    let request = WatchAvailabilityRequest {
        resume_token: token.to_owned(),
        servers: servers.iter().map(|&server| server.to_owned()).collect(),
    };
    let mut watch = service
        .availability
        .watch_availability(request)
        .await
        .unwrap()
        .into_inner();
    let first = soon(watch.message()).await.unwrap().unwrap();
    assert!(
        matches!(first.update, Some(Update::Started(_))),
        "{first:?}"
    );
    watch
}

/// The next event, which must be one, and where to begin after it.
pub(crate) async fn next(watch: &mut Watch) -> (AvailabilityEvent, String) {
    let message = soon(watch.message()).await.unwrap().unwrap();
    match message.update {
        Some(Update::Event(event)) => (event, message.resume_token),
        other => panic!("no event: {other:?}"),
    }
}

async fn next_types(watch: &mut Watch, count: usize) -> Vec<AvailabilityEventType> {
    let mut types = Vec::new();
    for _ in 0..count {
        types.push(next(watch).await.0.r#type());
    }
    types
}

use AvailabilityEventType::{Added, InventoryChanged, RegistryChanged, Removed};

#[tokio::test]
async fn every_change_is_told_in_order() {
    let mut service = Service::new().await;
    let mut watch = watch(&mut service, "", &[]).await;
    service
        .full("left", "1", vec![listed("x.safetensors", "")])
        .await;
    assert_eq!(
        next_types(&mut watch, 3).await,
        [RegistryChanged, Added, InventoryChanged]
    );
    service
        .full("left", "2", vec![listed("x.safetensors", SHA)])
        .await;
    assert_eq!(next_types(&mut watch, 1).await, [InventoryChanged]);
    service.full("left", "2", vec![]).await;
    // What is suddenly lacking is believed at the second look.
    service.full("left", "3", vec![]).await;
    assert_eq!(next_types(&mut watch, 1).await, [InventoryChanged]);
    service.hand.advance(std::time::Duration::from_secs(5));
    service.full("left", "3", vec![]).await;
    let (removed, _) = next(&mut watch).await;
    assert_eq!(
        (removed.r#type(), removed.server.as_str()),
        (Removed, "left")
    );
    // Its inventory has nothing in doubt any more.
    assert_eq!(next_types(&mut watch, 1).await, [InventoryChanged]);
    let created = service.create(model("/a/y.safetensors", "")).await;
    let (registered, _) = next(&mut watch).await;
    assert_eq!(
        (registered.r#type(), registered.model_id),
        (RegistryChanged, created.model_id.clone())
    );
    let set = SetModelAvailabilityRequest {
        server: "left".into(),
        model_id: created.model_id.clone(),
        title: String::new(),
    };
    service
        .availability
        .set_model_availability(set)
        .await
        .unwrap();
    let add = AddModelAliasRequest {
        model_id: created.model_id.clone(),
        alias_path: "z".into(),
        ..Default::default()
    };
    let alias = service
        .models
        .add_model_alias(add)
        .await
        .unwrap()
        .into_inner()
        .alias
        .unwrap();
    service
        .models
        .delete_model_alias(DeleteModelAliasRequest {
            alias_id: alias.alias_id,
        })
        .await
        .unwrap();
    let unset = DeleteModelAvailabilityRequest {
        server: "left".into(),
        model_id: created.model_id.clone(),
    };
    service
        .availability
        .delete_model_availability(unset)
        .await
        .unwrap();
    service
        .models
        .delete_model(DeleteModelRequest {
            model_id: created.model_id,
        })
        .await
        .unwrap();
    let types = next_types(&mut watch, 5).await;
    assert_eq!(
        types,
        [
            Added,
            RegistryChanged,
            RegistryChanged,
            Removed,
            RegistryChanged
        ]
    );
}

#[tokio::test]
async fn a_watch_goes_on_without_gap_or_repetition_after_a_restart() {
    let mut service = Service::new().await;
    let mut first = watch(&mut service, "", &[]).await;
    for number in 0..3 {
        service
            .create(model(&format!("/a/{number}.safetensors"), ""))
            .await;
    }
    let (seen, token) = next(&mut first).await;
    drop(first);
    let mut service = service.restarted().await;
    service.create(model("/a/3.safetensors", "")).await;
    let mut again = watch(&mut service, &token, &[]).await;
    let mut ids = vec![seen.model_id];
    for _ in 0..3 {
        ids.push(next(&mut again).await.0.model_id);
    }
    assert_eq!(ids, ["1", "2", "3", "4"]);
}

#[tokio::test]
async fn a_reader_that_is_far_behind_is_fed_from_the_table() {
    let mut service = Service::new().await;
    let mut watch = watch(&mut service, "", &[]).await;
    for generation in 0..3 {
        // More than single models are told of, but for the first.
        let count = if generation == 0 { 900 } else { 1_800 };
        let files = (0..count).map(|number| listed(&format!("{generation}-{number}.pt"), ""));
        service
            .full("left", &generation.to_string(), files.collect())
            .await;
    }
    let mut added = 0;
    while added < 900 {
        let (event, _) = next(&mut watch).await;
        added += usize::from(event.r#type() == Added);
    }
    assert_eq!(next(&mut watch).await.0.r#type(), InventoryChanged);
    let types = next_types(&mut watch, 4).await;
    assert_eq!(
        types,
        [
            RegistryChanged,
            InventoryChanged,
            RegistryChanged,
            InventoryChanged
        ]
    );
}

#[tokio::test]
async fn only_the_servers_asked_for_are_told_and_the_registry_always() {
    let mut service = Service::new().await;
    let mut watch = watch(&mut service, "", &["right"]).await;
    let model_id = service.create(model("/a/x.safetensors", "")).await.model_id;
    for server in ["left", "right"] {
        let set = SetModelAvailabilityRequest {
            server: server.into(),
            model_id: model_id.clone(),
            title: String::new(),
        };
        service
            .availability
            .set_model_availability(set)
            .await
            .unwrap();
    }
    assert_eq!(next(&mut watch).await.0.r#type(), RegistryChanged);
    assert_eq!(next(&mut watch).await.0.server, "right");
}

#[tokio::test]
async fn history_that_is_gone_is_said_to_be_gone() {
    let folder = tempfile::tempdir().unwrap();
    let mut service = Service::in_folder(folder, |config| config.events_kept = 3).await;
    let mut first = watch(&mut service, "", &[]).await;
    service.create(model("/a/0.safetensors", "")).await;
    let (_, token) = next(&mut first).await;
    drop(first);
    for number in 1..=3 {
        service
            .create(model(&format!("/a/{number}.safetensors"), ""))
            .await;
    }
    let mut again = watch(&mut service, &token, &[]).await;
    assert_eq!(next(&mut again).await.0.model_id, "2");
    service.create(model("/a/4.safetensors", "")).await;
    let mut other = Service::new().await;
    for service in [&mut service, &mut other] {
        let request = WatchAvailabilityRequest {
            resume_token: token.clone(),
            servers: vec![],
        };
        let status = service
            .availability
            .watch_availability(request)
            .await
            .unwrap_err();
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::OutOfRange, "WATCH_HISTORY_GONE")
        );
    }
}

#[tokio::test]
async fn a_quiet_watch_gives_signs_of_life() {
    let mut service = Service::new().await;
    let mut watch = watch(&mut service, "", &[]).await;
    for _ in 0..2 {
        let waiters = service.hand.waiters();
        soon(service.hand.wait_for_waiters(waiters.max(1))).await;
        service.hand.advance(Duration::from_secs(15));
        let message = soon(watch.message()).await.unwrap().unwrap();
        assert!(
            matches!(message.update, Some(Update::Heartbeat(_))),
            "{message:?}"
        );
        assert!(!message.resume_token.is_empty());
    }
}

#[tokio::test]
async fn a_stop_ends_a_watch_as_unavailable_with_its_last_token() {
    let mut service = Service::new().await;
    let mut ending = watch(&mut service, "", &[]).await;
    service.create(model("/a/x.safetensors", "")).await;
    let (_, token) = next(&mut ending).await;
    let Service {
        models,
        availability,
        running,
        folder,
        ..
    } = service;
    drop((models, availability));
    let (ended, stopped) = tokio::join!(soon(ending.message()), soon(running.stop()));
    stopped.unwrap();
    let status = ended.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let info = status.get_details_error_info().unwrap();
    assert_eq!(info.metadata["resume_token"], token);
    assert!(status.get_details_retry_info().is_some());
    let mut service = Service::in_folder(folder, |_| {}).await;
    let mut again = watch(&mut service, &token, &[]).await;
    service.create(model("/a/y.safetensors", "")).await;
    assert_eq!(next(&mut again).await.0.model_id, "2");
}
