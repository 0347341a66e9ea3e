//! Noting which models jobs used.

use std::time::Duration;

use prost_types::Timestamp;
use stablequeue_proto::models::v1::model_use::Model as Used;
use stablequeue_proto::models::v1::*;
use tonic::Status;

use crate::harness::{OTHER, SHA, Service, fields, listed, model, reference, time_of_start};
use crate::watching::{next, watch};

/// So many seconds after the start.
fn at(seconds: i64) -> Timestamp {
    Timestamp {
        seconds: time_of_start().timestamp() + seconds,
        nanos: 0,
    }
}

fn by_id(model_id: &str, use_time: Option<Timestamp>) -> ModelUse {
    ModelUse {
        model: Some(Used::ModelId(model_id.into())),
        use_time,
    }
}

fn by_name(text: &str, use_time: Option<Timestamp>) -> ModelUse {
    ModelUse {
        model: Some(Used::Reference(reference(text))),
        use_time,
    }
}

async fn touch(
    service: &mut Service,
    uses: Vec<ModelUse>,
) -> Result<Vec<(TouchState, String)>, Status> {
    let answer = service
        .models
        .touch_models(TouchModelsRequest { uses })
        .await?;
    let results = answer.into_inner().results.into_iter();
    Ok(results
        .map(|result| (result.state(), result.model_id))
        .collect())
}

async fn last_used(service: &mut Service, model_id: &str) -> Option<Timestamp> {
    service.get(model_id).await.unwrap().last_used_time
}

#[tokio::test]
async fn the_newest_use_counts_and_none_is_later_than_now() {
    let mut service = Service::new().await;
    let before = service.create(model("/a/x.safetensors", SHA)).await;
    let id = before.model_id.clone();
    assert_eq!(last_used(&mut service, &id).await, None);
    service.hand.advance(Duration::from_secs(100));
    let touched = (TouchState::Touched, id.clone());
    let uses = vec![
        by_id(&id, Some(at(10))),
        by_name("x.safetensors", Some(at(30))),
        by_name(SHA, Some(at(20))),
    ];
    assert_eq!(
        touch(&mut service, uses).await.unwrap(),
        vec![touched.clone(); 3]
    );
    assert_eq!(last_used(&mut service, &id).await, Some(at(30)));
    touch(&mut service, vec![by_id(&id, Some(at(29)))])
        .await
        .unwrap();
    assert_eq!(last_used(&mut service, &id).await, Some(at(30)));
    touch(&mut service, vec![by_id(&id, Some(at(5000)))])
        .await
        .unwrap();
    assert_eq!(last_used(&mut service, &id).await, Some(at(100)));
    service.hand.advance(Duration::from_secs(1));
    touch(&mut service, vec![by_id(&id, None)]).await.unwrap();
    assert_eq!(last_used(&mut service, &id).await, Some(at(101)));
    let after = service.get(&id).await.unwrap();
    assert_eq!(after.etag, before.etag, "a use is no change");
}

#[tokio::test]
async fn what_is_not_one_model_is_told_and_the_rest_is_touched() {
    let mut service = Service::new().await;
    let known = service.create(model("/a/x.safetensors", SHA)).await;
    service.create(model("/a/y.safetensors", OTHER)).await;
    service.create(model("/b/y.safetensors", "")).await;
    let other_type = ModelUse {
        model: Some(Used::Reference(ModelReference {
            r#type: ModelType::Lora.into(),
            ..reference(SHA)
        })),
        use_time: None,
    };
    let uses = vec![
        by_name("nothing", None),
        by_id("99", None),
        by_name("y.safetensors", None),
        other_type,
        by_name("x", None),
    ];
    let unknown = || (TouchState::Unknown, String::new());
    assert_eq!(
        touch(&mut service, uses).await.unwrap(),
        [
            unknown(),
            unknown(),
            (TouchState::Ambiguous, String::new()),
            unknown(),
            (TouchState::Touched, known.model_id.clone()),
        ]
    );
    let used: Vec<bool> = service
        .all_models()
        .await
        .into_iter()
        .map(|model| model.last_used_time.is_some())
        .collect();
    assert_eq!(used, [true, false, false]);
}

#[tokio::test]
async fn a_use_is_told_to_no_watcher_and_survives_a_restart() {
    let mut service = Service::new().await;
    service
        .full("left", "1", vec![listed("x.safetensors", SHA)])
        .await;
    let mut watch = watch(&mut service, "", &[]).await;
    touch(&mut service, vec![by_name("x.safetensors", None)])
        .await
        .unwrap();
    let other = service.create(model("/a/other.safetensors", "")).await;
    assert_eq!(next(&mut watch).await.0.model_id, other.model_id);
    drop(watch);
    let mut service = service.restarted().await;
    assert_eq!(last_used(&mut service, "1").await, Some(at(0)));
}

#[tokio::test]
async fn everything_wrong_with_uses_comes_back_at_once() {
    let mut service = Service::new().await;
    let created = service.create(model("/a/x.safetensors", "")).await;
    let never = Timestamp {
        seconds: i64::MAX,
        nanos: -1,
    };
    let uses = vec![
        by_id(&created.model_id, None),
        ModelUse::default(),
        by_id("0", Some(never)),
        by_name(" ", None),
    ];
    let status = touch(&mut service, uses).await.unwrap_err();
    assert_eq!(
        fields(&status),
        [
            "uses[1].model",
            "uses[2].use_time",
            "uses[2].model_id",
            "uses[3].reference.reference",
        ]
    );
    assert_eq!(last_used(&mut service, &created.model_id).await, None);
    for count in [0, 257] {
        let uses = vec![by_id(&created.model_id, None); count];
        let status = touch(&mut service, uses).await.unwrap_err();
        assert_eq!(fields(&status), ["uses"], "{count}");
    }
    let most = vec![by_id(&created.model_id, None); 256];
    assert_eq!(touch(&mut service, most).await.unwrap().len(), 256);
}
