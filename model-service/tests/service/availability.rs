//! Single facts, freshness and lists.

use std::time::Duration;

use stablequeue_proto::models::v1::*;

use crate::harness::{SHA, Service, listed, model, time_of_start};

#[tokio::test]
async fn a_server_that_never_told_what_it_has_is_unknown() {
    let mut service = Service::new().await;
    service.create(model("/a/x.safetensors", SHA)).await;
    let servers = service.check(&[SHA, "nothing"], &["never"]).await;
    assert_eq!(servers[0].sync_time, None);
    for found in &servers[0].references {
        assert_eq!(found.state(), AvailabilityState::Unknown);
    }
    service.full("never", "1", vec![]).await;
    let servers = service.check(&[SHA, "nothing"], &["never"]).await;
    assert!(servers[0].sync_time.is_some());
    for found in &servers[0].references {
        assert_eq!(found.state(), AvailabilityState::Missing);
    }
}

#[tokio::test]
async fn a_sight_gets_stale_and_a_repeated_inventory_refreshes_it() {
    let mut service = Service::new().await;
    service
        .full("left", "1", vec![listed("x.safetensors", "")])
        .await;
    service.hand.advance(Duration::from_secs(3600));
    assert_eq!(
        service.check_one("x", "left").await.state(),
        AvailabilityState::Available
    );
    service.hand.advance(Duration::from_secs(1));
    let stale = service.check_one("x", "left").await;
    assert_eq!(stale.state(), AvailabilityState::Stale);
    assert_eq!(
        stale.seen_time.unwrap().seconds,
        time_of_start().timestamp()
    );
    let repeated = service.full("left", "1", vec![]).await;
    assert_eq!((repeated.added_count, repeated.removed_count), (0, 0));
    let fresh = service.check_one("x", "left").await;
    assert_eq!(fresh.state(), AvailabilityState::Available);
    assert_eq!(
        fresh.seen_time.unwrap().seconds,
        time_of_start().timestamp() + 3601
    );
    let request = CheckAvailabilityRequest {
        references: vec![crate::harness::reference("x")],
        servers: vec!["left".into()],
        max_age: Some(prost_types::Duration {
            seconds: 0,
            nanos: 0,
        }),
        assets: Vec::new(),
    };
    service.hand.advance(Duration::from_secs(1));
    let answer = service
        .availability
        .check_availability(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        answer.servers[0].references[0].state(),
        AvailabilityState::Stale
    );
}

#[tokio::test]
async fn a_file_without_a_hash_is_available_by_name_and_claims_no_hash() {
    let mut service = Service::new().await;
    service
        .create(model("/srv/models/x.safetensors", SHA))
        .await;
    service
        .full("left", "1", vec![listed("x.safetensors", "")])
        .await;
    for text in ["x.safetensors", SHA] {
        let found = service.check_one(text, "left").await;
        assert_eq!(found.state(), AvailabilityState::Available, "{text}");
        assert_eq!(found.sha256, "");
        assert_eq!(found.title, "x.safetensors");
    }
}

#[tokio::test]
async fn a_fact_can_be_set_and_taken_back() {
    let mut service = Service::new().await;
    let model_id = service
        .create(model("/a/x.safetensors", SHA))
        .await
        .model_id;
    let set = |title: &str| SetModelAvailabilityRequest {
        server: "left".into(),
        model_id: model_id.clone(),
        title: title.into(),
    };
    let first = service
        .availability
        .set_model_availability(set(""))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(first.availability.unwrap().title, "x.safetensors");
    service
        .availability
        .set_model_availability(set("here/y.safetensors"))
        .await
        .unwrap();
    for text in ["here/y.safetensors", "y", SHA] {
        let found = service.check_one(text, "left").await;
        assert_eq!(found.state(), AvailabilityState::Available, "{text}");
        assert_eq!(
            (found.title.as_str(), found.sha256.as_str()),
            ("here/y.safetensors", SHA)
        );
    }
    assert_eq!(
        service.check_one("other", "left").await.state(),
        AvailabilityState::Unknown
    );
    let delete = DeleteModelAvailabilityRequest {
        server: "left".into(),
        model_id,
    };
    service
        .availability
        .delete_model_availability(delete)
        .await
        .unwrap();
    assert_eq!(
        service.check_one(SHA, "left").await.state(),
        AvailabilityState::Unknown
    );
}

#[tokio::test]
async fn what_was_said_not_to_be_there_is_there_again_with_the_next_inventory() {
    let mut service = Service::new().await;
    let items = || vec![listed("x.safetensors", SHA)];
    service.full("left", "1", items()).await;
    let found = service.check_one(SHA, "left").await;
    assert_eq!(found.state(), AvailabilityState::Available);
    let delete = DeleteModelAvailabilityRequest {
        server: "left".into(),
        model_id: found.model_id,
    };
    service
        .availability
        .delete_model_availability(delete)
        .await
        .unwrap();
    assert_eq!(
        service.check_one(SHA, "left").await.state(),
        AvailabilityState::Missing
    );
    // The same listing as before, but taken later.
    service.full("left", "1", items()).await;
    assert_eq!(
        service.check_one(SHA, "left").await.state(),
        AvailabilityState::Available
    );
}

#[tokio::test]
async fn what_is_where_is_listed_by_server_and_by_model() {
    let mut service = Service::new().await;
    let files =
        (0..3).map(|number| listed(&format!("{number}.safetensors"), &format!("{number:064x}")));
    service.full("left", "1", files.clone().collect()).await;
    service.full("right", "1", files.take(1).collect()).await;
    let mut request = ListAvailabilityRequest {
        server: "left".into(),
        page_size: 2,
        ..ListAvailabilityRequest::default()
    };
    let first = service
        .availability
        .list_availability(request.clone())
        .await
        .unwrap()
        .into_inner();
    request.page_token = first.next_page_token;
    let second = service
        .availability
        .list_availability(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (first.availabilities.len(), second.availabilities.len()),
        (2, 1)
    );
    assert_eq!(second.next_page_token, "");
    let by_model = ListAvailabilityRequest {
        model_id: first.availabilities[0].model_id.clone(),
        ..ListAvailabilityRequest::default()
    };
    let facts = service
        .availability
        .list_availability(by_model)
        .await
        .unwrap()
        .into_inner();
    let servers: Vec<_> = facts
        .availabilities
        .iter()
        .map(|fact| fact.server.as_str())
        .collect();
    assert_eq!(servers, ["left", "right"]);
    let page = ListInventoriesRequest {
        page_size: 1,
        ..ListInventoriesRequest::default()
    };
    let first = service
        .availability
        .list_inventories(page)
        .await
        .unwrap()
        .into_inner();
    let rest = ListInventoriesRequest {
        page_size: 1,
        page_token: first.next_page_token,
    };
    let second = service
        .availability
        .list_inventories(rest)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(first.inventories[0].checkpoint_count, 3);
    assert_eq!(
        (
            second.inventories[0].server.as_str(),
            second.next_page_token.as_str()
        ),
        ("right", "")
    );
}
