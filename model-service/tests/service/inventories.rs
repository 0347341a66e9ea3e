//! How inventories take effect.

use futures_util::{StreamExt as _, stream};
use stablequeue_proto::models::v1::sync_server_inventory_request::Part;
use stablequeue_proto::models::v1::*;
use tokio::sync::mpsc;
use tonic::Code;

use crate::harness::{OTHER, SHA, Service, delta, header, items, listed, model, reason, soon};

async fn states(service: &mut Service, references: &[&str]) -> Vec<AvailabilityState> {
    let servers = service.check(references, &["left"]).await;
    servers[0]
        .references
        .iter()
        .map(ReferenceAvailability::state)
        .collect()
}

use AvailabilityState::{Available, Missing, Unknown};

#[tokio::test]
async fn a_full_inventory_replaces_the_one_before_as_one() {
    let mut service = Service::new().await;
    let first = service
        .full(
            "left",
            "1",
            vec![listed("a.safetensors", ""), listed("b.safetensors", "")],
        )
        .await;
    assert_eq!((first.added_count, first.created_count), (2, 2));
    let second = service
        .full(
            "left",
            "2",
            vec![listed("b.safetensors", ""), listed("c.safetensors", "")],
        )
        .await;
    assert_eq!(
        (
            second.added_count,
            second.removed_count,
            second.created_count
        ),
        (1, 1, 1)
    );
    let inventory = second.inventory.unwrap();
    assert_eq!(
        (inventory.generation.as_str(), inventory.checkpoint_count),
        ("2", 2)
    );
    assert_eq!(
        states(&mut service, &["a", "b", "c"]).await,
        [Missing, Available, Available]
    );
    assert_eq!(
        service.all_models().await.len(),
        3,
        "the registry forgets nothing"
    );
}

#[tokio::test]
async fn a_stream_that_breaks_changes_nothing() {
    let mut service = Service::new().await;
    let mut watch = crate::watching::watch(&mut service, "", &[]).await;
    let (sender, receiver) = mpsc::channel(4);
    let mut client = service.availability.clone();
    let messages = stream::unfold(receiver, |mut receiver: mpsc::Receiver<Part>| async {
        let part = receiver.recv().await?;
        Some((SyncServerInventoryRequest { part: Some(part) }, receiver))
    });
    let call = async move { client.sync_server_inventory(messages).await };
    let arrived = async {
        let some = items(vec![listed("a.safetensors", "")]);
        let parts = [
            Part::Header(header("left", "1")),
            Part::Items(InventoryItems { items: some }),
        ];
        for part in parts {
            sender.send(part).await.unwrap();
        }
        sender.reserve_many(4).await.unwrap();
        // Both have left the client, and the service waits for the next one.
        soon(service.hand.wait_for_waiters(1)).await;
    };
    tokio::select! {
        ended = call => panic!("{ended:?}"),
        () = arrived => {}
    }
    assert_eq!(states(&mut service, &["a"]).await, [Unknown]);
    assert!(service.all_models().await.is_empty());

    let broken = [
        Part::Header(header("left", "1")),
        Part::Items(InventoryItems {
            items: items(vec![listed("a.safetensors", "")]),
        }),
        Part::Header(header("left", "1")),
    ];
    let messages = stream::iter(broken.map(|part| SyncServerInventoryRequest { part: Some(part) }));
    let status = service
        .availability
        .sync_server_inventory(messages.boxed())
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(states(&mut service, &["a"]).await, [Unknown]);

    // Nothing came after the answers above either: the first change is this one.
    let created = service.create(model("/a/x.safetensors", "")).await;
    let event = crate::watching::next(&mut watch).await.0;
    assert_eq!(event.model_id, created.model_id);
    assert_eq!(service.all_models().await.len(), 1);
}

#[tokio::test]
async fn a_delta_changes_its_base_and_no_other_generation() {
    let mut service = Service::new().await;
    let add = || items(vec![listed("b.safetensors", "")]);
    let status = service
        .sync(delta("left", "1", "2"), add())
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::FailedPrecondition, "INVENTORY_BASE_MISMATCH")
    );
    assert_eq!(states(&mut service, &["b"]).await, [Unknown]);
    service
        .full("left", "1", vec![listed("a.safetensors", "")])
        .await;
    let status = service
        .sync(delta("left", "0", "2"), add())
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    let changed = service.sync(delta("left", "1", "2"), add()).await.unwrap();
    assert_eq!((changed.added_count, changed.removed_count), (1, 0));
    assert_eq!(changed.inventory.unwrap().checkpoint_count, 2);
    let repeated = service.sync(delta("left", "1", "2"), add()).await.unwrap();
    assert_eq!(repeated.added_count, 0, "a repeated delta is no mismatch");
    let mut gone = items(vec![listed("a.safetensors", "")]);
    gone[0].removed = true;
    service.sync(delta("left", "2", "3"), gone).await.unwrap();
    assert_eq!(
        states(&mut service, &["a", "b"]).await,
        [Missing, Available]
    );
}

#[tokio::test]
async fn a_title_that_gains_its_hash_keeps_the_model() {
    let mut service = Service::new().await;
    service
        .full("left", "1", vec![listed("sub/x.safetensors", "")])
        .await;
    let before = service.all_models().await.remove(0);
    let synced = service
        .full("left", "2", vec![listed("sub/x.safetensors", SHA)])
        .await;
    assert_eq!(
        (
            synced.added_count,
            synced.removed_count,
            synced.created_count
        ),
        (0, 0, 0)
    );
    let models = service.all_models().await;
    assert_eq!(models.len(), 1);
    assert_eq!(models[0].model_id, before.model_id);
    assert_eq!(models[0].hash_sha256, SHA);
    assert_eq!(models[0].forge_format, "sub/x.safetensors [2870ca6e33]");
    for text in [
        "sub/x.safetensors",
        "sub/x.safetensors [2870ca6e33]",
        "2870CA6E33",
    ] {
        let found = service.check_one(text, "left").await;
        assert_eq!(found.title, "sub/x.safetensors [2870ca6e33]", "{text}");
    }
}

#[tokio::test]
async fn rows_whose_hashes_turn_out_equal_become_one_with_aliases_and_availability() {
    let mut service = Service::new().await;
    let registered = service
        .create(model("/library/best.safetensors", SHA))
        .await;
    service
        .full("left", "1", vec![listed("l.safetensors", "")])
        .await;
    let right = InventoryModel {
        path: "/other/r.safetensors".into(),
        ..listed("r.safetensors", "")
    };
    service.full("right", "1", vec![right.clone()]).await;
    let ids: Vec<_> = service
        .all_models()
        .await
        .into_iter()
        .map(|model| model.model_id)
        .collect();
    assert_eq!(ids.len(), 3);
    let add = AddModelAliasRequest {
        model_id: ids[1].clone(),
        alias_path: "mine".into(),
        ..Default::default()
    };
    service.models.add_model_alias(add).await.unwrap();
    service
        .full("left", "2", vec![listed("l.safetensors", SHA)])
        .await;
    let hashed = InventoryModel {
        sha256: SHA.into(),
        ..right
    };
    service.full("right", "2", vec![hashed]).await;
    let models = service.all_models().await;
    assert_eq!(models.len(), 1, "{models:?}");
    assert_eq!(models[0].model_id, registered.model_id);
    assert_eq!(models[0].servers, ["left", "right"]);
    assert_eq!(models[0].aliases[0].alias_path, "mine");
    for server in ["left", "right"] {
        for text in ["mine", SHA, "best.safetensors"] {
            let found = service.check_one(text, server).await;
            assert_eq!(found.state(), Available, "{text} on {server}");
        }
    }
    assert_eq!(
        service.check_one("mine", "right").await.title,
        "r.safetensors"
    );
}

#[tokio::test]
async fn two_different_known_hashes_are_never_one_model() {
    let mut service = Service::new().await;
    service
        .full("left", "1", vec![listed("x.safetensors", SHA)])
        .await;
    let replaced = service
        .full("left", "2", vec![listed("x.safetensors", OTHER)])
        .await;
    assert_eq!(
        (
            replaced.added_count,
            replaced.removed_count,
            replaced.created_count
        ),
        (1, 1, 1)
    );
    assert_eq!(service.all_models().await.len(), 2);
    assert_eq!(
        states(&mut service, &[SHA, OTHER]).await,
        [Missing, Available]
    );
}

#[tokio::test]
async fn two_copies_of_a_file_are_one_model_under_both_names() {
    let mut service = Service::new().await;
    let copies = vec![
        listed("a/x.safetensors", SHA),
        listed("b/y.safetensors", SHA),
    ];
    let synced = service.full("left", "1", copies).await;
    assert_eq!((synced.added_count, synced.created_count), (1, 1));
    assert_eq!(synced.inventory.unwrap().checkpoint_count, 2);
    for title in [
        "a/x.safetensors [2870ca6e33]",
        "b/y.safetensors [2870ca6e33]",
    ] {
        assert_eq!(service.check_one(title, "left").await.title, title);
    }
}

#[tokio::test]
async fn a_deleted_model_that_a_server_still_lists_comes_back_with_the_next_inventory() {
    let mut service = Service::new().await;
    service
        .full("left", "1", vec![listed("x.safetensors", SHA)])
        .await;
    let model_id = service.all_models().await.remove(0).model_id;
    service
        .models
        .delete_model(DeleteModelRequest { model_id })
        .await
        .unwrap();
    assert_eq!(states(&mut service, &[SHA]).await, [Missing]);
    let again = service
        .full("left", "1", vec![listed("x.safetensors", SHA)])
        .await;
    assert_eq!((again.added_count, again.created_count), (1, 1));
    assert_eq!(states(&mut service, &[SHA]).await, [Available]);
}
