//! Requests that break rules.

use futures_util::stream;
use stablequeue_proto::models::v1::sync_server_inventory_request::Part;
use stablequeue_proto::models::v1::*;
use tonic::Code;

use crate::harness::{
    OTHER, SHA, Service, fields, header, items, listed, model, reason, reference,
};

#[tokio::test]
async fn all_violations_of_a_model_come_back_at_once() {
    let mut service = Service::new().await;
    let wrong = Model {
        name: String::new(),
        r#type: 77,
        local_path: "/a/x\0.pt".into(),
        filename: "other.pt".into(),
        forge_format: "x".repeat(1025),
        hash_autov2: OTHER[..10].into(),
        hash_sha256: SHA.into(),
        metadata_status: 9,
        civitai: Some(CivitaiMetadata {
            model_name: "x".repeat(1025),
            trained_words: vec!["ok".into(), String::new()],
            file_size_kib: Some(-1),
            ..CivitaiMetadata::default()
        }),
        ..Model::default()
    };
    let status = service
        .models
        .create_model(CreateModelRequest {
            model: Some(wrong),
            ..Default::default()
        })
        .await;
    let expected = [
        "model.name",
        "model.type",
        "model.local_path",
        "model.forge_format",
        "model.filename",
        "model.hash_autov2",
        "model.metadata_status",
        "model.civitai.model_name",
        "model.civitai.trained_words[1]",
        "model.civitai.file_size_kib",
    ];
    assert_eq!(fields(&status.unwrap_err()), expected);
    let status = service
        .models
        .create_model(CreateModelRequest {
            model: None,
            ..Default::default()
        })
        .await;
    assert_eq!(fields(&status.unwrap_err()), ["model"]);
    let nameless = Model {
        local_path: String::new(),
        ..model("", "")
    };
    let status = service
        .models
        .create_model(CreateModelRequest {
            model: Some(nameless),
            ..Default::default()
        })
        .await;
    assert_eq!(fields(&status.unwrap_err()), ["model.filename"]);
}

#[tokio::test]
async fn all_violations_of_a_question_come_back_at_once() {
    let mut service = Service::new().await;
    let check = CheckAvailabilityRequest {
        references: vec![
            reference("x"),
            reference(""),
            reference("  "),
            ModelReference {
                reference: "y".repeat(1025),
                r#type: 5,
            },
        ],
        servers: vec![
            "left".into(),
            "".into(),
            "-x".into(),
            "a b".into(),
            "x".repeat(64),
        ],
        max_age: Some(prost_types::Duration {
            seconds: -1,
            nanos: 0,
        }),
        assets: Vec::new(),
    };
    let status = service
        .availability
        .check_availability(check)
        .await
        .unwrap_err();
    let expected = [
        "references[1].reference",
        "references[2].reference",
        "references[3].reference",
        "references[3].type",
        "servers[1]",
        "servers[2]",
        "servers[3]",
        "servers[4]",
        "max_age",
    ];
    assert_eq!(fields(&status), expected);
    let none = CheckAvailabilityRequest::default();
    let status = service
        .availability
        .check_availability(none)
        .await
        .unwrap_err();
    assert_eq!(fields(&status), ["references"]);
    let many = CheckAvailabilityRequest {
        references: vec![reference("x"); 257],
        servers: vec!["left".into(); 257],
        max_age: None,
        assets: Vec::new(),
    };
    let status = service
        .availability
        .check_availability(many)
        .await
        .unwrap_err();
    assert_eq!(fields(&status), ["references", "servers"]);
    let product = CheckAvailabilityRequest {
        references: vec![reference("x"); 200],
        servers: vec!["left".into(); 200],
        max_age: None,
        assets: Vec::new(),
    };
    let status = service
        .availability
        .check_availability(product)
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::ResourceExhausted, "TOO_MANY_ANSWERS")
    );
}

#[tokio::test]
async fn all_violations_of_a_list_come_back_at_once() {
    let mut service = Service::new().await;
    let list = ListModelsRequest {
        page_size: -1,
        page_token: "?".into(),
        view: 9,
        r#type: 9,
        metadata_status: 9,
        hash_prefix: "xyz".into(),
        base_model: "x".repeat(257),
        server: "!".into(),
        text: "x".repeat(257),
        trained_word: "x".repeat(257),
        civitai_model_id: "x".repeat(257),
        civitai_version_id: "x".repeat(257),
        search: "- ".repeat(129),
        missing: None,
        facets: true,
    };
    let mut found = fields(&service.models.list_models(list).await.unwrap_err());
    found.sort();
    let expected = [
        "base_model",
        "civitai_model_id",
        "civitai_version_id",
        "hash_prefix",
        "metadata_status",
        "page_size",
        "page_token",
        "search",
        "search",
        "server",
        "text",
        "trained_word",
        "type",
        "view",
    ];
    assert_eq!(found, expected);
    let status = service
        .availability
        .list_availability(ListAvailabilityRequest::default())
        .await;
    assert_eq!(fields(&status.unwrap_err()), ["server"]);
    let watch = WatchAvailabilityRequest {
        resume_token: "?".into(),
        servers: vec!["!".into()],
    };
    let status = service
        .availability
        .watch_availability(watch)
        .await
        .unwrap_err();
    assert_eq!(fields(&status), ["resume_token", "servers[0]"]);
    for id in ["", "0", "-1", "01", "x", "99999999999999999999"] {
        let get = GetModelRequest {
            model_id: id.into(),
            view: 0,
        };
        assert_eq!(
            fields(&service.models.get_model(get).await.unwrap_err()),
            ["model_id"],
            "{id}"
        );
    }
}

#[tokio::test]
async fn violations_of_an_inventory_name_the_item() {
    let mut service = Service::new().await;
    let send = async |service: &mut Service, parts: Vec<Option<Part>>| {
        let messages = parts
            .into_iter()
            .map(|part| SyncServerInventoryRequest { part });
        let messages: Vec<_> = messages.collect();
        let answer = service
            .availability
            .sync_server_inventory(stream::iter(messages))
            .await;
        fields(&answer.unwrap_err())
    };
    let wrong_header = InventoryHeader {
        server: "a b".into(),
        generation: String::new(),
        mode: InventoryMode::Full.into(),
        base_generation: "1".into(),
        item_count: Some(-1),
        list_time: Some(prost_types::Timestamp {
            seconds: 0,
            nanos: -1,
        }),
    };
    let found = send(&mut service, vec![Some(Part::Header(wrong_header))]).await;
    assert_eq!(
        found,
        [
            "header.server",
            "header.generation",
            "header.item_count",
            "header.base_generation",
            "header.list_time",
        ]
    );
    let mut wrong = items(vec![
        listed("x.pt", ""),
        InventoryModel {
            sha256: "12".into(),
            ..InventoryModel::default()
        },
    ]);
    wrong[0].removed = true;
    wrong.push(InventoryItem::default());
    let asset = ServerAsset {
        kind: 0,
        name: String::new(),
    };
    wrong.push(InventoryItem {
        kind: Some(inventory_item::Kind::Asset(asset)),
        removed: false,
    });
    let parts = vec![
        Some(Part::Header(header("left", "1"))),
        Some(Part::Items(InventoryItems { items: wrong })),
    ];
    let expected = [
        "items.items[0].removed",
        "items.items[1].model.type",
        "items.items[1].model.title",
        "items.items[1].model.sha256",
        "items.items[2].kind",
        "items.items[3].asset.name",
        "items.items[3].asset.kind",
    ];
    assert_eq!(send(&mut service, parts).await, expected);
    assert_eq!(send(&mut service, vec![]).await, ["header"]);
    assert_eq!(send(&mut service, vec![None]).await, ["part"]);
    let counted = InventoryHeader {
        item_count: Some(2),
        ..header("left", "1")
    };
    let one = items(vec![listed("x.pt", "")]);
    let parts = vec![
        Some(Part::Header(counted)),
        Some(Part::Items(InventoryItems { items: one })),
    ];
    assert_eq!(send(&mut service, parts).await, ["header.item_count"]);
    let early = Part::Items(InventoryItems::default());
    assert_eq!(send(&mut service, vec![Some(early)]).await, ["header"]);
    let many = InventoryItems {
        items: vec![InventoryItem::default(); 10_001],
    };
    let parts = vec![
        Some(Part::Header(header("left", "1"))),
        Some(Part::Items(many)),
    ];
    assert_eq!(send(&mut service, parts).await, ["items.items"]);
}

#[tokio::test]
async fn an_inventory_over_the_limit_is_refused_whole() {
    let mut service = Service::new().await;
    let item = items(vec![listed("x.pt", "")]).remove(0);
    let full = Part::Items(InventoryItems {
        items: vec![item; 10_000],
    });
    let mut parts = vec![Part::Header(header("left", "1"))];
    parts.extend(std::iter::repeat_n(full, 11));
    let messages: Vec<_> = parts
        .into_iter()
        .map(|part| SyncServerInventoryRequest { part: Some(part) })
        .collect();
    let status = service
        .availability
        .sync_server_inventory(stream::iter(messages))
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::ResourceExhausted, "INVENTORY_TOO_LARGE")
    );
    assert!(service.all_models().await.is_empty());
}
