//! What becomes of a model when Civitai answers, well or badly.

use std::time::Duration;

use civitai_sim::{CivitaiSim, Play, Rule, SimFile, SimImage, SimVersion, Target, digest_of};
use serde_json::json;
use stablequeue_proto::admin::v1::OperationState;
use stablequeue_proto::models::v1::*;

use super::fixture::{BULK, Enriching, counts, hashes, lora, report};

fn version(id: u64, sha256: &str) -> SimVersion {
    SimVersion::new(id).file(SimFile::new(id, sha256))
}

#[tokio::test]
async fn a_model_that_civitai_knows_is_filled_and_says_from_where() {
    let mut enriching = Enriching::with(|civitai| {
        civitai.key = Some("the-key".to_owned().into());
    })
    .await;
    let sha256 = digest_of("known");
    let images = SimImage::new("https://images.example/1.jpeg", Some("UABC"));
    let known = version(77, &sha256)
        .with("description", json!("<p>Of the harbour.</p>"))
        .with(
            "trainedWords",
            json!(["harbour, night", "harbour, night", "ハーバー"]),
        )
        .with_model("nsfw", json!(true))
        .image(SimImage::new("https://images.example/0.mp4", None).with("type", json!("video")))
        .image(images);
    enriching.sim.add(known);
    let id = enriching.lora(&sha256).await;
    let report = enriching.enrich().await;
    let expected = [("fields_filled", 14), ("matched_by_file", 1), ("models", 1)];
    assert_eq!(counts(&report), expected.into());

    let model = enriching.get(&id).await;
    assert_eq!(model.metadata_status(), MetadataStatus::Complete);
    let civitai = model.civitai.unwrap();
    assert_eq!(
        (civitai.model_id.as_str(), civitai.version_id.as_str()),
        ("770", "77")
    );
    assert_eq!(
        (civitai.model_name.as_str(), civitai.model_type.as_str()),
        ("Model 77", "LORA")
    );
    assert_eq!(
        (civitai.base_model.as_str(), civitai.version_name.as_str()),
        ("SDXL 1.0", "v1.0")
    );
    assert_eq!(civitai.version_description, "<p>Of the harbour.</p>");
    assert_eq!(civitai.version_date, "2026-03-02T09:20:12.040Z");
    assert_eq!(
        civitai.trained_words,
        ["harbour, night", "harbour, night", "ハーバー"]
    );
    assert_eq!(civitai.file_size_kib, Some(1_025));
    assert_eq!(
        (civitai.nsfw, civitai.file_matched),
        (Some(true), Some(true))
    );
    assert_eq!(
        (civitai.blurhash.as_str(), civitai.error_message.as_str()),
        ("UABC", "")
    );
    assert_eq!(civitai.preview_url, "https://images.example/1.jpeg");
    // Bulk answers name no host; it is rebuilt.
    assert_eq!(
        civitai.download_url,
        "https://downloads.example/api/download/models/77"
    );
    let is_civitais = |of: &&FieldSource| of.source() == MetadataSource::Civitai;
    let of_civitai = model.field_sources.iter().filter(is_civitais);
    assert!(
        of_civitai
            .clone()
            .all(|of| of.field.starts_with("civitai."))
    );
    assert_eq!(of_civitai.count(), 14, "{:?}", model.field_sources);

    for request in enriching.sim.requests() {
        assert_eq!(request.header("authorization"), "Bearer the-key");
        let agent = request.header("user-agent").to_owned();
        assert!(agent.starts_with("stablequeue/"), "{agent}");
    }
    assert_eq!(hashes(&enriching.asked(BULK)[0]), [sha256]);
}

#[tokio::test]
async fn what_somebody_set_stays_and_what_civitai_said_is_refreshed() {
    let mut enriching = Enriching::new().await;
    let sha256 = digest_of("set");
    enriching
        .sim
        .add(version(5, &sha256).with("baseModel", json!("Pony")));
    let mut model = lora(&sha256);
    model.civitai = Some(CivitaiMetadata {
        model_name: "My own name".to_owned(),
        ..CivitaiMetadata::default()
    });
    let id = enriching.model(model).await;
    enriching.enrich().await;
    let changed = version(5, &sha256).with("baseModel", json!("Illustrious"));
    enriching
        .sim
        .add(changed.with_model("name", json!("Renamed")));
    enriching.service.hand.advance(Duration::from_secs(1));
    let operation = enriching.start(true).await;
    report(&enriching.end(&operation).await);
    let civitai = enriching.get(&id).await.civitai.unwrap();
    assert_eq!(civitai.model_name, "My own name");
    assert_eq!(civitai.base_model, "Illustrious");
}

#[tokio::test]
async fn trouble_that_passes_is_asked_again_and_never_taken_for_not_found() {
    let mut enriching = Enriching::new().await;
    let plays = [
        Play::Sample("503-edge-challenge"),
        Play::Sample("524-edge-origin-timeout"),
        Play::Sample("502-edge"),
        Play::Sample("500-by-hash.plain-text"),
        Play::Sample("403-edge-challenge"),
        Play::Sample("200-by-hash.html-body"),
        Play::Sample("200-by-hash.cut-short"),
        Play::html(200),
        Play::json(200, &json!({ "items": [] })),
        Play::json(200, &json!([{ "versionId": 7 }])),
        Play::Cut(100),
        Play::HangUp,
    ];
    for (at, play) in plays.into_iter().enumerate() {
        let id = 100 + at as u64;
        let sha256 = digest_of(&id.to_string());
        enriching.sim.add(version(id, &sha256));
        let model_id = enriching.lora(&sha256).await;
        let before = enriching.asked(BULK).len();
        enriching
            .sim
            .script(Rule::once(Target::BulkByHash, play.clone()));
        let operation = enriching.start(false).await;
        let (ended, _) = enriching
            .end_in_time(&operation, Duration::from_secs(1))
            .await;
        assert_eq!(report(&ended).counts["matched_by_file"], 1, "{play:?}");
        let model = enriching.get(&model_id).await;
        assert_eq!(
            model.metadata_status(),
            MetadataStatus::Complete,
            "{play:?}"
        );
        assert_eq!(enriching.asked(BULK).len() - before, 2, "{play:?}");
    }
}

#[tokio::test]
async fn a_silent_civitai_is_given_up_on_and_asked_again() {
    let mut enriching = Enriching::new().await;
    let sha256 = enriching.sim.add_many(1, 1).remove(0);
    enriching.lora(&sha256).await;
    enriching
        .sim
        .script(Rule::once(Target::BulkByHash, Play::Silence));
    let operation = enriching.start(false).await;
    let (ended, passed) = enriching
        .end_in_time(&operation, Duration::from_secs(10))
        .await;
    assert_eq!(report(&ended).counts["matched_by_file"], 1);
    assert!(passed >= Duration::from_secs(100), "{passed:?}");
}

#[tokio::test]
async fn trouble_that_lasts_is_noted_at_the_model_and_goes_when_civitai_answers() {
    let mut enriching = Enriching::new().await;
    let sha256 = enriching.sim.add_many(1, 1).remove(0);
    let id = enriching.lora(&sha256).await;
    enriching
        .sim
        .script(Rule::always(Target::BulkByHash, Play::html(503)));
    let operation = enriching.start(false).await;
    let (ended, passed) = enriching
        .end_in_time(&operation, Duration::from_secs(1))
        .await;
    let report = report(&ended);
    assert_eq!(counts(&report), [("models", 1), ("no_answer", 1)].into());
    assert_eq!(report.problems[0].reason, "CIVITAI_NO_ANSWER");
    // It was asked seven times, 1, 2, 4, 8, 16 and 30 seconds apart.
    assert_eq!(enriching.asked(BULK).len(), 7);
    assert!(passed >= Duration::from_secs(61), "{passed:?}");
    let model = enriching.get(&id).await;
    assert_eq!(model.metadata_status(), MetadataStatus::Error);
    let said = model.civitai.unwrap().error_message;
    assert!(said.contains("503") && said.contains("HTML"), "{said}");

    enriching.sim.clear_rules();
    enriching.enrich().await;
    let model = enriching.get(&id).await;
    assert_eq!(model.metadata_status(), MetadataStatus::Complete);
    assert_eq!(model.civitai.unwrap().error_message, "");
}

#[tokio::test]
async fn a_region_that_is_not_served_ends_it_at_once_in_those_words() {
    let mut enriching = Enriching::new().await;
    let hashes = enriching.sim.add_many(1, 3);
    for sha256 in &hashes {
        enriching.lora(sha256).await;
    }
    enriching
        .sim
        .script(Rule::always(Target::Any, Play::Sample("451-region")));
    let operation = enriching.start(false).await;
    let ended = enriching.end(&operation).await;
    assert_eq!(ended.state(), OperationState::Failed);
    let error = ended.error.unwrap();
    assert_eq!(error.reason, "CIVITAI_REFUSES");
    assert!(
        error.message.contains("451") && error.message.contains("region"),
        "{error:?}"
    );
    assert_eq!(enriching.sim.request_count(), 1);
    assert_eq!(enriching.with_status(MetadataStatus::Incomplete).await, 3);
}

#[tokio::test]
async fn a_wrong_address_is_told_and_is_no_reason_to_call_a_model_unknown() {
    let mut enriching = Enriching::new().await;
    let id = enriching.lora(&digest_of("x")).await;
    enriching
        .sim
        .script(Rule::always(Target::Any, Play::Sample("404-no-such-route")));
    let report = enriching.enrich().await;
    assert_eq!(counts(&report), [("models", 1), ("no_answer", 1)].into());
    let said = enriching.get(&id).await.civitai.unwrap().error_message;
    assert!(
        said.contains("404") && said.contains("--civitai-url"),
        "{said}"
    );
}

#[tokio::test]
async fn a_redirect_is_not_followed_so_that_the_key_stays_here() {
    let other = CivitaiSim::start().await.unwrap();
    let mut enriching = Enriching::with(|civitai| {
        civitai.key = Some("the-key".to_owned().into());
    })
    .await;
    let id = enriching.lora(&digest_of("x")).await;
    let to = Play::Redirect(format!("{}/api/v1/model-versions/by-hash", other.url()));
    enriching.sim.script(Rule::always(Target::Any, to));
    let report = enriching.enrich().await;
    assert_eq!(counts(&report), [("models", 1), ("no_answer", 1)].into());
    let said = enriching.get(&id).await.civitai.unwrap().error_message;
    assert!(said.contains(&other.url()), "{said}");
    assert_eq!(other.request_count(), 0);
}

#[tokio::test]
async fn the_answers_are_counted_by_what_they_were() {
    let mut enriching = Enriching::new().await;
    let sha256 = enriching.sim.add_many(1, 1).remove(0);
    enriching.lora(&sha256).await;
    enriching
        .sim
        .script(Rule::once(Target::BulkIds, Play::limited(Some("1"))));
    let operation = enriching.start(false).await;
    let (ended, _) = enriching
        .end_in_time(&operation, Duration::from_secs(1))
        .await;
    report(&ended);
    assert_eq!(enriching.counted("limited").await, "1");
    assert_eq!(enriching.counted("found").await, "2");
    assert_eq!(enriching.counted("not_found").await, "0");
}
