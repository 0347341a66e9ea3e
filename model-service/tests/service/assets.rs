//! What jobs need besides models, and how old a sight may be.

use std::time::Duration;

use stablequeue_proto::models::v1::*;

use crate::harness::{Service, fields, header, reference};

use AvailabilityState::{Available, Missing, Stale, Unknown};

fn asset(kind: AssetKind, name: &str) -> ServerAsset {
    ServerAsset {
        kind: kind.into(),
        name: name.to_owned(),
    }
}

fn ask(servers: &[&str], assets: Vec<ServerAsset>) -> CheckAvailabilityRequest {
    CheckAvailabilityRequest {
        references: vec![reference("x")],
        servers: servers.iter().map(|&server| server.to_owned()).collect(),
        max_age: None,
        assets,
    }
}

async fn states(
    service: &mut Service,
    request: CheckAvailabilityRequest,
) -> Vec<Vec<AvailabilityState>> {
    let answer = service.availability.check_availability(request).await;
    let servers = answer.unwrap().into_inner().servers;
    servers
        .iter()
        .map(|server| server.assets().collect())
        .collect()
}

async fn list(service: &mut Service, server: &str, generation: &str, assets: &[ServerAsset]) {
    let item = |asset: &ServerAsset| InventoryItem {
        kind: Some(inventory_item::Kind::Asset(asset.clone())),
        removed: false,
    };
    let items = assets.iter().map(item).collect();
    service
        .sync(header(server, generation), items)
        .await
        .unwrap();
}

#[tokio::test]
async fn each_server_has_its_own_and_names_are_those_of_forge() {
    let mut service = Service::new().await;
    let listed = [
        asset(AssetKind::Sampler, "DPM++ 2M"),
        asset(AssetKind::Scheduler, "Karras"),
        asset(AssetKind::Script, "x/y/z plot"),
        asset(AssetKind::Module, "ae.safetensors"),
        asset(AssetKind::Upscaler, "Latent"),
    ];
    list(&mut service, "left", "1", &listed).await;
    list(&mut service, "right", "1", &listed[..1]).await;
    let asked = vec![
        asset(AssetKind::Sampler, "DPM++ 2M Karras"),
        asset(AssetKind::Sampler, "dpm++ 2m"),
        asset(AssetKind::Script, "X/Y/Z Plot"),
        asset(AssetKind::Module, r"D:\VAE\ae.safetensors"),
        asset(AssetKind::Upscaler, "latent"),
    ];
    let request = ask(&["left", "right", "third"], asked);
    // Once from the database, once from what is remembered.
    for _ in 0..2 {
        assert_eq!(
            states(&mut service, request.clone()).await,
            [
                [Available, Missing, Available, Available, Missing].to_vec(),
                [Missing; 5].to_vec(),
                [Unknown; 5].to_vec(),
            ]
        );
    }
    list(&mut service, "right", "2", &listed[2..3]).await;
    let right = states(&mut service, request).await.remove(1);
    assert_eq!(right, [Missing, Missing, Available, Missing, Missing]);
}

#[tokio::test]
async fn what_an_old_inventory_has_is_stale_after_the_configured_time() {
    let folder = tempfile::tempdir().unwrap();
    let mut service = Service::in_folder(folder, |config| {
        config.library.stale_after = Duration::from_secs(90);
    })
    .await;
    let sampler = asset(AssetKind::Sampler, "Euler");
    let item = InventoryItem {
        kind: Some(inventory_item::Kind::Asset(sampler.clone())),
        removed: false,
    };
    let mut items = crate::harness::items(vec![crate::harness::listed("x.safetensors", "")]);
    items.push(item);
    service.sync(header("left", "1"), items).await.unwrap();
    for (seconds, expected) in [(90, Available), (1, Stale)] {
        service.hand.advance(Duration::from_secs(seconds));
        let request = ask(&["left"], vec![sampler.clone()]);
        assert_eq!(states(&mut service, request).await, [[expected]]);
        assert_eq!(service.check_one("x", "left").await.state(), expected);
    }
    let mut request = ask(&["left"], vec![sampler]);
    request.max_age = Some(prost_types::Duration {
        seconds: 91,
        nanos: 0,
    });
    assert_eq!(states(&mut service, request).await, [[Available]]);
}

#[tokio::test]
async fn assets_that_are_none_are_refused_by_name() {
    let mut service = Service::new().await;
    let bad = vec![
        asset(AssetKind::Sampler, "Euler"),
        asset(AssetKind::Unspecified, "Euler"),
        ServerAsset {
            kind: 99,
            name: "Euler".into(),
        },
        asset(AssetKind::Script, ""),
        asset(AssetKind::Script, &"x".repeat(1025)),
    ];
    let refused = service.availability.check_availability(ask(&[], bad)).await;
    assert_eq!(
        fields(&refused.unwrap_err()),
        [
            "assets[1].kind",
            "assets[2].kind",
            "assets[3].name",
            "assets[4].name"
        ]
    );
    let most = vec![asset(AssetKind::Sampler, "Euler"); 64];
    let taken = service
        .availability
        .check_availability(ask(&[], most.clone()));
    taken.await.unwrap();
    let more = [most, vec![asset(AssetKind::Sampler, "Euler")]].concat();
    let refused = service
        .availability
        .check_availability(ask(&[], more))
        .await;
    assert_eq!(fields(&refused.unwrap_err()), ["assets"]);
}
