//! Listings that lack much, which need a second look (F53).

use std::time::Duration;

use service_kit::clock;
use stablequeue_proto::models::v1::*;

use crate::harness::{Service, header, items, listed, reference};

use AvailabilityState::{Available, Missing, Stale};

/// How long after the first look another one counts.
const SECOND_LOOK: Duration = Duration::from_secs(5);

fn models(numbers: std::ops::Range<u32>) -> Vec<InventoryModel> {
    let name = |number| listed(&format!("folder/{number}.safetensors"), "");
    numbers.map(name).collect()
}

fn sampler(name: &str) -> InventoryItem {
    let asset = ServerAsset {
        kind: AssetKind::Sampler.into(),
        name: name.to_owned(),
    };
    InventoryItem {
        kind: Some(inventory_item::Kind::Asset(asset)),
        removed: false,
    }
}

async fn state(service: &mut Service, text: &str) -> AvailabilityState {
    service.check_one(text, "left").await.state()
}

async fn inventory(service: &mut Service) -> Inventory {
    let request = ListInventoriesRequest::default();
    let listed = service.availability.list_inventories(request).await;
    listed.unwrap().into_inner().inventories.remove(0)
}

#[tokio::test]
async fn availability_survives_a_list_that_is_empty_for_a_moment() {
    let mut service = Service::new().await;
    service.full("left", "1", models(0..10)).await;
    let mut watch = crate::watching::watch(&mut service, "", &["left"]).await;
    let empty = service.full("left", "empty", vec![]).await;
    assert_eq!((empty.removed_count, empty.doubted_count), (0, 10));
    let shown = inventory(&mut service).await;
    assert_eq!((shown.doubted_count, shown.checkpoint_count), (10, 0));
    assert_eq!(empty.inventory, Some(shown));
    assert_eq!(state(&mut service, "3").await, Available);
    let event = crate::watching::next(&mut watch).await.0;
    assert_eq!(event.r#type(), AvailabilityEventType::InventoryChanged);

    let back = service.full("left", "1", models(0..10)).await;
    assert_eq!(
        (back.added_count, back.removed_count, back.doubted_count),
        (0, 0, 0)
    );
    assert_eq!(inventory(&mut service).await.checkpoint_count, 10);
    // The doubt is over: what lacks next is doubted anew, however late.
    service.hand.advance(SECOND_LOOK);
    let again = service.full("left", "empty", vec![]).await;
    assert_eq!((again.removed_count, again.doubted_count), (0, 10));
    assert_eq!(state(&mut service, "3").await, Available);
}

#[tokio::test]
async fn the_same_listing_again_is_the_second_look_when_it_is_later() {
    let mut service = Service::new().await;
    service.full("left", "1", models(0..10)).await;
    service.full("left", "less", models(0..2)).await;
    // An answer was lost and the same was sent again.
    let repeated = service.full("left", "less", models(0..2)).await;
    assert_eq!((repeated.removed_count, repeated.doubted_count), (0, 8));
    assert_eq!(state(&mut service, "3").await, Available);
    service.hand.advance(SECOND_LOOK);
    let second = service.full("left", "less", models(0..2)).await;
    assert_eq!((second.removed_count, second.doubted_count), (8, 0));
    assert_eq!(inventory(&mut service).await.doubted_count, 0);
    assert_eq!(state(&mut service, "3").await, Missing);
    assert_eq!(state(&mut service, "1").await, Available);
    let third = service.full("left", "less", models(0..2)).await;
    assert_eq!((third.removed_count, third.doubted_count), (0, 0));
}

#[tokio::test]
async fn one_listing_is_never_its_own_second_look_however_late_it_comes_again() {
    let mut service = Service::new().await;
    service.full("left", "1", models(0..10)).await;
    service.hand.advance(SECOND_LOOK);
    let listed_at = crate::harness::time_of_start();
    let later = |later: Duration| InventoryHeader {
        list_time: Some(clock::to_timestamp(listed_at + later)),
        ..header("left", "less")
    };
    for _ in 0..3 {
        // Its answer was lost: the caller sends what it has again.
        let same = service.sync(later(Duration::ZERO), items(models(0..2)));
        let same = same.await.unwrap();
        assert_eq!((same.removed_count, same.doubted_count), (0, 8));
        assert_eq!(state(&mut service, "3").await, Available);
        service.hand.advance(SECOND_LOOK);
    }
    let almost = SECOND_LOOK - Duration::from_millis(1);
    let early = service.sync(later(almost), items(models(0..2)));
    assert_eq!(early.await.unwrap().doubted_count, 8);
    let second = service.sync(later(SECOND_LOOK), items(models(0..2)));
    let second = second.await.unwrap();
    assert_eq!((second.removed_count, second.doubted_count), (8, 0));
    assert_eq!(state(&mut service, "3").await, Missing);
}

#[tokio::test]
async fn a_caller_whose_clock_is_far_ahead_is_heard_and_its_second_look_counts() {
    let mut service = Service::new().await;
    service.full("left", "1", models(0..10)).await;
    let ahead = Duration::from_secs(3600);
    let look = |later: Duration| InventoryHeader {
        list_time: Some(clock::to_timestamp(
            crate::harness::time_of_start() + ahead + later,
        )),
        ..header("left", "less")
    };
    let first = service.sync(look(Duration::ZERO), items(models(0..2)));
    assert_eq!(first.await.unwrap().doubted_count, 8);
    service.hand.advance(SECOND_LOOK);
    let second = service.sync(look(SECOND_LOOK), items(models(0..2)));
    let second = second.await.unwrap();
    assert_eq!((second.removed_count, second.doubted_count), (8, 0));
}

#[tokio::test]
async fn another_listing_confirms_as_well_and_a_doubt_outlives_a_restart() {
    let mut service = Service::new().await;
    service.full("left", "1", models(0..10)).await;
    service.full("left", "2", models(0..2)).await;
    let mut service = service.restarted().await;
    assert_eq!(inventory(&mut service).await.doubted_count, 8);
    service.hand.advance(SECOND_LOOK);
    let third = service.full("left", "3", models(1..3)).await;
    assert_eq!((third.removed_count, third.doubted_count), (8, 0));
    for (text, expected) in [
        ("0", Missing),
        ("1", Available),
        ("2", Available),
        ("7", Missing),
    ] {
        assert_eq!(state(&mut service, text).await, expected, "{text}");
    }
}

#[tokio::test]
async fn what_is_in_doubt_ages_and_what_is_listed_does_not() {
    let mut service = Service::new().await;
    service.full("left", "1", models(0..10)).await;
    service.hand.advance(Duration::from_secs(3600));
    service.full("left", "2", models(0..2)).await;
    assert_eq!(state(&mut service, "7").await, Available);
    service.hand.advance(Duration::from_secs(1));
    assert_eq!(state(&mut service, "7").await, Stale);
    assert_eq!(state(&mut service, "1").await, Available);
}

#[tokio::test]
async fn a_delta_that_removes_leaves_no_doubt() {
    let mut service = Service::new().await;
    service.full("left", "1", models(0..10)).await;
    let mut gone = items(models(0..10));
    for item in &mut gone {
        item.removed = true;
    }
    let header = crate::harness::delta("left", "1", "2");
    let answer = service.sync(header, gone).await.unwrap();
    assert_eq!((answer.removed_count, answer.doubted_count), (10, 0));
    assert_eq!(state(&mut service, "3").await, Missing);
}

#[tokio::test]
async fn other_assets_stay_with_the_models_in_doubt() {
    let mut service = Service::new().await;
    let mut all = items(models(0..10));
    all.push(sampler("Euler"));
    let header = |generation| crate::harness::header("left", generation);
    service.sync(header("1"), all).await.unwrap();
    let ask = CheckAvailabilityRequest {
        references: vec![reference("1")],
        servers: vec!["left".into()],
        assets: vec![ServerAsset {
            kind: AssetKind::Sampler.into(),
            name: "Euler".into(),
        }],
        ..CheckAvailabilityRequest::default()
    };
    for (generation, seconds, expected) in [("2", 0, Available), ("3", 5, Missing)] {
        service.hand.advance(Duration::from_secs(seconds));
        service.sync(header(generation), vec![]).await.unwrap();
        let answer = service.availability.check_availability(ask.clone()).await;
        let servers = answer.unwrap().into_inner().servers;
        assert_eq!(servers[0].assets, [i32::from(expected)], "{generation}");
    }
}
