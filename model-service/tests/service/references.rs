//! How references match, through the wire.

use stablequeue_proto::models::v1::*;

use crate::harness::{OTHER, SHA, Service, listed, model};

#[tokio::test]
async fn a_model_is_found_by_everything_it_is_known_by() {
    let mut service = Service::new().await;
    service
        .full(
            "left",
            "1",
            vec![listed("sub dir/Mini (v2).safetensors", SHA)],
        )
        .await;
    let upper = SHA.to_uppercase();
    let cases = [
        (SHA, MatchKind::Sha256),
        (&upper, MatchKind::Sha256),
        (&SHA[..10], MatchKind::Autov2),
        (&upper[..10], MatchKind::Autov2),
        (
            "sub dir/Mini (v2).safetensors [2870ca6e33]",
            MatchKind::Title,
        ),
        ("sub dir\\Mini (v2).safetensors", MatchKind::Title),
        ("/srv/models/sub dir/Mini (v2).safetensors", MatchKind::Path),
        (
            "\\srv\\models\\sub dir\\Mini (v2).safetensors",
            MatchKind::Path,
        ),
        ("models\\sub dir\\Mini (v2)", MatchKind::Path),
        ("sub dir_Mini (v2)", MatchKind::Alias),
        ("mini (V2).safetensors", MatchKind::Filename),
        ("Mini (v2)", MatchKind::Filename),
    ];
    for (text, kind) in cases {
        let found = service.check_one(text, "left").await;
        assert_eq!(found.state(), AvailabilityState::Available, "{text}");
        assert_eq!(found.r#match(), kind, "{text}");
        assert_eq!(found.title, "sub dir/Mini (v2).safetensors [2870ca6e33]");
        assert_eq!(found.sha256, SHA);
        assert_eq!(service.resolve(text).await.r#match(), kind, "{text}");
    }
    for text in ["Mini", "dir/Mini (v2)", OTHER, "Mini (v2) [fc03d15844]"] {
        assert_eq!(
            service.check_one(text, "left").await.state(),
            AvailabilityState::Missing
        );
    }
}

#[tokio::test]
async fn a_name_that_fits_several_files_is_ambiguous_with_candidates() {
    let mut service = Service::new().await;
    let files = vec![
        listed("a/x.safetensors", ""),
        listed("b/x.safetensors", SHA),
    ];
    service.full("left", "1", files).await;
    let ambiguous = service.check_one("x.safetensors", "left").await;
    assert_eq!(ambiguous.state(), AvailabilityState::Ambiguous);
    assert_eq!(
        ambiguous.candidates,
        ["a/x.safetensors", "b/x.safetensors [2870ca6e33]"]
    );
    assert_eq!(
        (ambiguous.model_id.as_str(), ambiguous.title.as_str()),
        ("", "")
    );
    let resolved = service.resolve("X").await;
    assert_eq!((resolved.model, resolved.candidates.len()), (None, 2));
    let exact = service.check_one("a\\x.safetensors", "left").await;
    assert_eq!(exact.state(), AvailabilityState::Available);
}

#[tokio::test]
async fn models_of_one_name_on_different_servers_are_not_ambiguous() {
    let mut service = Service::new().await;
    service
        .full("left", "1", vec![listed("x.safetensors", SHA)])
        .await;
    service
        .full("right", "1", vec![listed("x.safetensors", OTHER)])
        .await;
    let servers = service
        .check(&["x.safetensors", SHA], &["left", "right"])
        .await;
    let facts = |server: usize, reference: usize| {
        let found = &servers[server].references[reference];
        (found.state(), found.sha256.clone())
    };
    assert_eq!(facts(0, 0), (AvailabilityState::Available, SHA.to_owned()));
    assert_eq!(
        facts(1, 0),
        (AvailabilityState::Available, OTHER.to_owned())
    );
    assert_eq!(facts(0, 1), (AvailabilityState::Available, SHA.to_owned()));
    assert_eq!(facts(1, 1), (AvailabilityState::Missing, String::new()));
    assert_eq!(service.resolve("x.safetensors").await.candidates.len(), 2);
}

#[tokio::test]
async fn ten_hexadecimal_digits_that_are_a_name_work_as_a_name() {
    let mut service = Service::new().await;
    let created = service.create(model("/a/x.safetensors", SHA)).await;
    let alias_path = "DEADBEEF00".to_owned();
    let add = AddModelAliasRequest {
        model_id: created.model_id.clone(),
        alias_path,
        ..Default::default()
    };
    service.models.add_model_alias(add).await.unwrap();
    let resolved = service.resolve("deadbeef00").await;
    assert_eq!(resolved.r#match(), MatchKind::Alias);
    assert_eq!(resolved.model.unwrap().model_id, created.model_id);
}

#[tokio::test]
async fn the_type_of_a_reference_is_a_condition() {
    let mut service = Service::new().await;
    let lora = InventoryModel {
        r#type: ModelType::Lora.into(),
        ..listed("x.safetensors", "")
    };
    service
        .full(
            "left",
            "1",
            vec![InventoryModel {
                title: "x".into(),
                ..lora
            }],
        )
        .await;
    let state = async |service: &mut Service, kind: ModelType| {
        let reference = ModelReference {
            reference: "x".into(),
            r#type: kind.into(),
        };
        let request = CheckAvailabilityRequest {
            references: vec![reference],
            servers: vec!["left".into()],
            max_age: None,
            assets: Vec::new(),
        };
        let answer = service
            .availability
            .check_availability(request)
            .await
            .unwrap()
            .into_inner();
        answer.servers[0].references[0].state()
    };
    assert_eq!(
        state(&mut service, ModelType::Lora).await,
        AvailabilityState::Available
    );
    assert_eq!(
        state(&mut service, ModelType::Checkpoint).await,
        AvailabilityState::Missing
    );
}

#[tokio::test]
async fn among_more_files_of_one_name_than_are_looked_at_none_counts_as_missing() {
    let mut service = Service::new().await;
    let name = |number| format!("f{number:04}/model.safetensors");
    let files = (0..2008).map(|number| listed(&name(number), ""));
    service.full("left", "1", files.collect()).await;
    let last = format!("/srv/models/{}", name(2007));
    for path in [last.clone(), last.replace('/', "\\")] {
        let found = service.check_one(&path, "left").await;
        assert_eq!(found.state(), AvailabilityState::Available, "{path}");
        assert_eq!(found.r#match(), MatchKind::Path);
        assert_eq!(found.title, name(2007));
        let resolved = service.resolve(&path).await.model.unwrap();
        assert_eq!(resolved.local_path, last);
    }
    // The first ones were looked at, this one was not: it may be there.
    let end = format!("models/{}", name(2007));
    let unsure = service.check_one(&end, "left").await;
    assert_eq!(unsure.state(), AvailabilityState::Ambiguous);
    assert_eq!(unsure.candidates.len(), 16);
    assert_eq!(unsure.candidates[0], name(0));
    let resolved = service.resolve(&end).await;
    assert_eq!((&resolved.model, resolved.candidates.len()), (&None, 0));
    let said = &resolved.explanation;
    assert!(
        said.contains("None of those that were looked at fits"),
        "{said}"
    );
    // Another question beside it loses nothing.
    let both = service.check(&[&end, &name(2007)], &["left"]).await;
    let states = both[0].references.iter().map(|found| found.state());
    assert!(states.eq([AvailabilityState::Ambiguous, AvailabilityState::Available]));
    let other = service.check_one("other/thing.safetensors", "left").await;
    assert_eq!(other.state(), AvailabilityState::Missing);
}
