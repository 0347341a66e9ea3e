//! What lists of models can be asked for: words, trigger words, ids of Civitai, and how values are
//! spread.

use stablequeue_proto::models::v1::*;
use tonic::Code;

use crate::harness::{Service, checkpoint, fields, file, lora};

/// The names of the models that a list shows, page by page.
async fn names(service: &mut Service, request: ListModelsRequest) -> Vec<String> {
    let mut names = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListModelsRequest {
            page_size: 2,
            page_token,
            ..request.clone()
        };
        let page = service.models.list_models(request).await.unwrap();
        let page = page.into_inner();
        assert!(page.models.len() <= 2);
        names.extend(page.models.into_iter().map(|model| model.name));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return names;
        }
    }
}

async fn found(service: &mut Service, search: &str) -> Vec<String> {
    let request = ListModelsRequest {
        search: search.to_owned(),
        ..ListModelsRequest::default()
    };
    names(service, request).await
}

fn worded(name: &str, words: &[&str]) -> Model {
    Model {
        civitai: Some(CivitaiMetadata {
            trained_words: words.iter().map(|&word| word.to_owned()).collect(),
            ..CivitaiMetadata::default()
        }),
        ..lora(name)
    }
}

#[tokio::test]
async fn words_are_found_by_their_beginnings_wherever_they_are() {
    let mut service = Service::new().await;
    let said = |name: &str, change: fn(&mut Model)| {
        let mut model = checkpoint(name);
        change(&mut model);
        model
    };
    service
        .create(said("a", |it| it.description = "A snowy Fôrest.".into()))
        .await;
    service
        .create(said("b", |it| it.activation_text = "forest, SNOW".into()))
        .await;
    service
        .create(said("c", |it| it.notes = "no forest".into()))
        .await;
    service
        .create(worded("d", &["snow_forest v1.5", "x"]))
        .await;
    service.create(said("snow-Forest.v2", |_| {})).await;
    assert_eq!(
        found(&mut service, "forest").await,
        ["a", "b", "c", "d", "snow-Forest.v2"]
    );
    assert_eq!(
        found(&mut service, "FOR snow").await,
        ["a", "b", "d", "snow-Forest.v2"]
    );
    assert_eq!(found(&mut service, "forêt").await, [""; 0]);
    assert_eq!(found(&mut service, "orest").await, [""; 0]);
    assert_eq!(
        found(&mut service, "snow-for").await,
        ["d", "snow-Forest.v2"]
    );
    assert_eq!(found(&mut service, "v1.5").await, ["d"]);
}

#[tokio::test]
async fn a_change_and_a_removal_are_searched_at_once() {
    let mut service = Service::new().await;
    let created = service.create(checkpoint("old.pt")).await;
    let change = Model {
        model_id: created.model_id.clone(),
        notes: "fresh".into(),
        name: "new".into(),
        ..Model::default()
    };
    service.update(change, &[]).await.unwrap();
    assert_eq!(found(&mut service, "fresh").await, ["new"]);
    let request = DeleteModelRequest {
        model_id: created.model_id,
    };
    service.models.delete_model(request).await.unwrap();
    assert_eq!(found(&mut service, "fresh").await, [""; 0]);
}

#[tokio::test]
async fn nothing_in_a_search_is_taken_for_an_operator() {
    let mut service = Service::new().await;
    service.create(checkpoint("fox or hare")).await;
    service.create(checkpoint("fox")).await;
    for (search, expected) in [
        ("fox OR hare", vec!["fox or hare"]),
        ("fox NOT hare", vec![]),
        ("\"fox", vec!["fox or hare", "fox"]),
        ("fox\" OR \"h", vec!["fox or hare"]),
        ("fox\" OR \"x", vec![]),
        ("fox*", vec!["fox or hare", "fox"]),
        ("name:fox", vec![]),
        ("{name} : fox", vec![]),
        ("^fox (fox) +fox -fox", vec!["fox or hare", "fox"]),
        ("NEAR(fox,2)", vec![]),
        ("fox'; DROP TABLE models; --", vec![]),
        ("fox \u{93e} \u{301}", vec!["fox or hare", "fox"]),
    ] {
        assert_eq!(found(&mut service, search).await, expected, "{search}");
    }
    for (search, said) in [("\" * -", "letter"), (&"a ".repeat(17)[..], "16 words")] {
        let request = ListModelsRequest {
            search: search.to_owned(),
            ..ListModelsRequest::default()
        };
        let status = service.models.list_models(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(fields(&status), ["search"]);
        assert!(
            status.message().contains(said) || said == "letter",
            "{status:?}"
        );
    }
}

#[tokio::test]
async fn a_trigger_word_is_found_whole_and_in_either_case() {
    let mut service = Service::new().await;
    service.create(worded("a", &["Red-Fox", "hare"])).await;
    service.create(worded("b", &["red-fox tail"])).await;
    service
        .create(worded("c", &["red", "fox", "été \"quoted\""]))
        .await;
    for (trained_word, expected) in [
        ("red-fox", vec!["a"]),
        ("RED-FOX TAIL", vec!["b"]),
        ("fox", vec!["c"]),
        ("été \"QUOTED\"", vec!["c"]),
        ("--", vec![]),
        ("red_fox", vec![]),
    ] {
        let request = ListModelsRequest {
            trained_word: trained_word.to_owned(),
            ..ListModelsRequest::default()
        };
        assert_eq!(
            names(&mut service, request).await,
            expected,
            "{trained_word}"
        );
    }
    let both = ListModelsRequest {
        trained_word: "fox".into(),
        search: "quot".into(),
        ..ListModelsRequest::default()
    };
    assert_eq!(names(&mut service, both).await, ["c"]);
}

#[tokio::test]
async fn models_are_found_by_their_ids_at_civitai() {
    let mut service = Service::new().await;
    for (name, model_id, version_id) in [("a", "7", "70"), ("b", "7", "71"), ("c", "8", "70")] {
        let civitai = CivitaiMetadata {
            model_id: model_id.into(),
            version_id: version_id.into(),
            ..CivitaiMetadata::default()
        };
        let model = Model {
            civitai: Some(civitai),
            ..checkpoint(name)
        };
        service.create(model).await;
    }
    let of = |model_id: &str, version_id: &str| ListModelsRequest {
        civitai_model_id: model_id.into(),
        civitai_version_id: version_id.into(),
        ..ListModelsRequest::default()
    };
    assert_eq!(names(&mut service, of("7", "")).await, ["a", "b"]);
    assert_eq!(names(&mut service, of("", "70")).await, ["a", "c"]);
    assert_eq!(names(&mut service, of("8", "70")).await, ["c"]);
    assert_eq!(names(&mut service, of("9", "")).await, [""; 0]);
}

fn counts<'a>(facets: &'a [ModelFacet], field: &str) -> Vec<(&'a str, i64)> {
    let facet = facets.iter().find(|facet| facet.field == field).unwrap();
    let counts = facet.counts.iter();
    counts.map(|it| (it.value.as_str(), it.count)).collect()
}

#[tokio::test]
async fn facets_count_the_models_that_the_filters_let_through() {
    let mut service = Service::new().await;
    for (name, base_model, words) in [
        ("fox a", "SDXL 1.0", &["fox", "fox", "red"][..]),
        ("fox b", "SDXL 1.0", &["fox"]),
        ("fox c", "Pony", &[]),
        ("hare", "Pony", &["hare"]),
    ] {
        let mut model = worded(name, words);
        if let Some(civitai) = &mut model.civitai {
            civitai.base_model = base_model.into();
        }
        service.create(model).await;
    }
    let listed = file("fox.safetensors", "/m/fox.safetensors", "");
    service.full("left", "1", vec![listed]).await;
    let request = ListModelsRequest {
        search: "fox".into(),
        facets: true,
        page_size: 2,
        ..ListModelsRequest::default()
    };
    let first = service
        .models
        .list_models(request.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        counts(&first.facets, "type"),
        [("MODEL_TYPE_LORA", 3), ("MODEL_TYPE_CHECKPOINT", 1)]
    );
    assert_eq!(
        counts(&first.facets, "metadata_status"),
        [("METADATA_STATUS_INCOMPLETE", 4)]
    );
    assert_eq!(
        counts(&first.facets, "civitai.base_model"),
        [("SDXL 1.0", 2), ("Pony", 1)]
    );
    assert_eq!(counts(&first.facets, "server"), [("left", 1)]);
    assert_eq!(
        counts(&first.facets, "civitai.trained_words"),
        [("fox", 2), ("red", 1)]
    );
    let next = ListModelsRequest {
        page_token: first.next_page_token,
        ..request.clone()
    };
    let next = service.models.list_models(next).await.unwrap().into_inner();
    assert!(next.facets.is_empty() && !next.models.is_empty());
    let unasked = ListModelsRequest {
        facets: false,
        ..request
    };
    let unasked = service
        .models
        .list_models(unasked)
        .await
        .unwrap()
        .into_inner();
    assert!(unasked.facets.is_empty());
}
