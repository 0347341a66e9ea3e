//! Which version a hash means: replaced files, archives, several versions, versions without files,
//! models that are gone.

use std::time::Duration;

use civitai_sim::{
    Play, Rule, SimFile, SimVersion, Target, digest_of, sample_digest, sample_version,
};
use serde_json::json;
use stablequeue_proto::models::v1::*;

use super::fixture::{BULK, Enriching, counts, lora, report};

#[tokio::test]
async fn of_two_versions_with_one_hash_the_one_published_first_is_taken() {
    let mut enriching = Enriching::new().await;
    enriching
        .sim
        .add_json(sample_version("by-id.duplicate-newer-version"));
    enriching
        .sim
        .add_json(sample_version("by-hash.duplicate-oldest-wins"));
    let oldest = sample_version("by-hash.duplicate-oldest-wins")["id"].to_string();
    let id = enriching.lora(&sample_digest("9350301-shared")).await;
    enriching.enrich().await;
    let civitai = enriching.get(&id).await.civitai.unwrap();
    assert_eq!(
        (civitai.version_id, civitai.file_matched),
        (oldest, Some(true))
    );
}

#[tokio::test]
async fn the_hash_of_a_replaced_file_finds_its_version_but_not_the_file() {
    let mut enriching = Enriching::new().await;
    let replaced = SimVersion::from_json(sample_version("by-hash.matched-file-was-replaced"));
    let old = sample_digest("9360301-old");
    let version_id = replaced.id().to_string();
    enriching.sim.add(replaced.replaced(&old));
    let id = enriching.lora(&old).await;
    let report = enriching.enrich().await;
    assert_eq!(report.counts["matched_by_version"], 1);
    let model = enriching.get(&id).await;
    assert_eq!(model.metadata_status(), MetadataStatus::Complete);
    let civitai = model.civitai.unwrap();
    assert_eq!(
        (civitai.version_id, civitai.file_matched),
        (version_id, Some(false))
    );
}

#[tokio::test]
async fn a_file_from_an_archive_is_found_by_the_version_that_somebody_named() {
    let mut enriching = Enriching::new().await;
    let zip = sample_version("by-hash.zip-archive");
    let version_id = zip["id"].to_string();
    enriching.sim.add_json(zip);
    let pending = sample_version("by-id.empty-hashes-scan-pending");
    let pending_id = pending["id"].to_string();
    enriching.sim.add_json(pending);
    let named = |unpacked: &str, version_id: &str| {
        let mut model = lora(&digest_of(unpacked));
        model.civitai = Some(CivitaiMetadata {
            version_id: version_id.to_owned(),
            ..CivitaiMetadata::default()
        });
        model
    };
    let of_zip = enriching.model(named("unpacked", &version_id)).await;
    let of_pending = enriching.model(named("not scanned", &pending_id)).await;
    let unnamed = enriching.lora(&digest_of("unpacked and unnamed")).await;
    let report = enriching.enrich().await;
    assert_eq!(
        (
            report.counts["matched_by_version"],
            report.counts["not_found"]
        ),
        (2, 1)
    );
    for id in [of_zip, of_pending] {
        let model = enriching.get(&id).await;
        assert_eq!(model.metadata_status(), MetadataStatus::Complete);
        assert_eq!(model.civitai.unwrap().file_matched, Some(false));
    }
    let status = enriching.get(&unnamed).await.metadata_status();
    assert_eq!(status, MetadataStatus::Incomplete);
}

#[tokio::test]
async fn the_hash_of_training_data_is_not_that_of_the_model() {
    let mut enriching = Enriching::new().await;
    enriching
        .sim
        .add_json(sample_version("by-hash.lora-trained-words"));
    let id = enriching.lora(&sample_digest("9310302")).await;
    enriching.enrich().await;
    let civitai = enriching.get(&id).await.civitai.unwrap();
    assert_eq!(civitai.file_matched, Some(false));
    assert_eq!(civitai.file_size_kib, Some(223_106));
}

#[tokio::test]
async fn words_that_nobody_knows_are_kept_as_they_are() {
    let mut enriching = Enriching::new().await;
    enriching
        .sim
        .add_json(sample_version("by-hash.unknown-words-and-fields"));
    let id = enriching.lora(&sample_digest("9400301")).await;
    enriching.enrich().await;
    let model = enriching.get(&id).await;
    assert_eq!(model.metadata_status(), MetadataStatus::Complete);
    let civitai = model.civitai.unwrap();
    assert_eq!(
        (civitai.base_model.as_str(), civitai.model_type.as_str()),
        ("SD 9 Ultra", "HoloNet")
    );
    // It is for generation elsewhere only.
    assert_eq!(civitai.download_url, "");
}

#[tokio::test]
async fn the_two_kinds_of_not_found_are_told_apart_from_what_is_there() {
    let mut enriching = Enriching::new().await;
    let (without_file, unknown, known) = (
        digest_of("without file"),
        digest_of("unknown"),
        digest_of("known"),
    );
    enriching
        .sim
        .add(SimVersion::new(1).file_missing(&without_file));
    enriching
        .sim
        .add(SimVersion::new(2).file(SimFile::new(2, &known)));
    for sha256 in [&without_file, &unknown, &known] {
        enriching.lora(sha256).await;
    }
    let report = enriching.enrich().await;
    assert_eq!(
        (report.counts["matched_by_file"], report.counts["not_found"]),
        (1, 2)
    );
    assert_eq!(enriching.with_status(MetadataStatus::Incomplete).await, 2);
    // The bulk answer has null for the first; one more question tells what that means.
    let single = format!("/by-hash/{without_file}");
    assert_eq!(enriching.asked(&single).len(), 1);
    assert_eq!(enriching.sim.request_count(), 3);
}

#[tokio::test]
async fn a_model_that_is_deleted_there_keeps_what_is_known_of_it() {
    let mut enriching = Enriching::new().await;
    let sha256 = enriching.sim.add_many(9, 1).remove(0);
    let id = enriching.lora(&sha256).await;
    enriching.enrich().await;
    enriching.sim.remove(9);
    enriching.service.hand.advance(Duration::from_secs(1));
    let operation = enriching.start(true).await;
    let report = report(&enriching.end(&operation).await);
    assert_eq!(report.counts["not_found"], 1);
    let model = enriching.get(&id).await;
    assert_eq!(model.metadata_status(), MetadataStatus::Complete);
    assert_eq!(model.civitai.unwrap().version_id, "9");
}

#[tokio::test]
async fn models_with_one_hash_are_all_filled_by_one_question() {
    let mut enriching = Enriching::new().await;
    let sha256 = enriching.sim.add_many(1, 1).remove(0);
    enriching.lora(&sha256).await;
    let mut checkpoint = lora(&sha256);
    checkpoint.r#type = ModelType::Checkpoint.into();
    enriching.model(checkpoint).await;
    let report = enriching.enrich().await;
    assert_eq!(report.counts["matched_by_file"], 2);
    let asked = enriching.asked(BULK);
    assert_eq!(super::fixture::hashes(&asked[0]), [sha256]);
}

#[tokio::test]
async fn a_model_of_which_only_the_autov2_is_known_is_asked_about_singly() {
    let mut enriching = Enriching::new().await;
    let sha256 = enriching.sim.add_many(1, 1).remove(0);
    let mut model = lora(&sha256);
    model.hash_sha256.clear();
    model.hash_autov2 = sha256[..10].to_owned();
    let id = enriching.model(model).await;
    let report = enriching.enrich().await;
    assert_eq!(report.counts["matched_by_file"], 1);
    let requests = enriching.sim.requests();
    let paths: Vec<&str> = requests
        .iter()
        .map(|request| request.path.as_str())
        .collect();
    assert_eq!(
        paths,
        [format!("/api/v1/model-versions/by-hash/{}", &sha256[..10])]
    );
    // The rest of the hash is Civitai's word and not that of the file.
    assert_eq!(enriching.get(&id).await.hash_sha256, "");
}

#[tokio::test]
async fn one_hash_that_civitai_refuses_does_not_spoil_the_others() {
    let mut enriching = Enriching::new().await;
    let hashes = enriching.sim.add_many(1, 7);
    for sha256 in &hashes {
        enriching.lora(sha256).await;
    }
    let refused = Play::Sample("400-bulk-hash-not-64");
    enriching
        .sim
        .script(Rule::always(Target::BulkByHash, refused).saying(&hashes[3]));
    let report = enriching.enrich().await;
    let expected = [("matched_by_file", 6), ("models", 7), ("no_answer", 1)];
    let mut counted = counts(&report);
    counted.remove("fields_filled");
    assert_eq!(counted, expected.into());
    assert_eq!(enriching.with_status(MetadataStatus::Error).await, 1);
}

#[tokio::test]
async fn without_the_look_up_of_ids_all_hashes_are_asked_for_versions() {
    let mut enriching = Enriching::new().await;
    let sha256 = enriching.sim.add_many(1, 1).remove(0);
    enriching.lora(&sha256).await;
    enriching.lora(&digest_of("unknown")).await;
    let away = Play::Sample("404-no-such-route");
    enriching.sim.script(Rule::always(Target::BulkIds, away));
    let report = enriching.enrich().await;
    assert_eq!(
        (report.counts["matched_by_file"], report.counts["not_found"]),
        (1, 1)
    );
}

#[tokio::test]
async fn an_answer_with_fields_of_other_types_is_read_as_far_as_it_goes() {
    let mut enriching = Enriching::new().await;
    let sha256 = digest_of("odd");
    let odd = SimVersion::new(3)
        .file(SimFile::new(3, &sha256).with("sizeKB", json!("large")))
        .with("name", json!(7))
        .with("trainedWords", json!("a, b"))
        .with("images", json!({}))
        .without("model")
        .without("publishedAt");
    enriching.sim.add(odd);
    let id = enriching.lora(&sha256).await;
    enriching.enrich().await;
    let model = enriching.get(&id).await;
    assert_eq!(model.metadata_status(), MetadataStatus::Complete);
    let civitai = model.civitai.unwrap();
    assert_eq!(
        (civitai.version_id.as_str(), civitai.version_name.as_str()),
        ("3", "")
    );
    assert_eq!(civitai.version_date, "2026-03-02T08:55:00.112Z");
    assert_eq!((civitai.file_size_kib, civitai.nsfw), (None, None));
}

#[tokio::test]
async fn a_look_up_in_bulk_that_is_not_found_calls_no_model_unknown() {
    let mut enriching = Enriching::new().await;
    let sha256 = enriching.sim.add_many(1, 1).remove(0);
    let id = enriching.lora(&sha256).await;
    let unknown = digest_of("unknown");
    enriching.lora(&unknown).await;
    // Something between has only the look-ups of single hashes.
    let away = Play::Sample("404-no-such-route");
    let not_found = Play::json(404, &json!({ "error": "Not found" }));
    enriching.sim.script(Rule::always(Target::BulkIds, away));
    enriching
        .sim
        .script(Rule::always(Target::BulkByHash, not_found));
    let report = enriching.enrich().await;
    assert_eq!(
        (report.counts["matched_by_file"], report.counts["not_found"]),
        (1, 1)
    );
    assert_eq!(
        enriching.get(&id).await.metadata_status(),
        MetadataStatus::Complete
    );
    for sha256 in [&sha256, &unknown] {
        assert_eq!(enriching.asked(&format!("/by-hash/{sha256}")).len(), 1);
    }
}

#[tokio::test]
async fn ids_that_cannot_be_read_call_no_model_unknown() {
    let mut enriching = Enriching::new().await;
    let sha256 = enriching.sim.add_many(1, 1).remove(0);
    enriching.lora(&sha256).await;
    enriching.lora(&digest_of("unknown")).await;
    let renamed = Play::json(200, &json!([{ "sha256": sha256, "versionId": 1 }]));
    enriching.sim.script(Rule::always(Target::BulkIds, renamed));
    let operation = enriching.start(false).await;
    let (ended, _) = enriching
        .end_in_time(&operation, Duration::from_secs(10))
        .await;
    let report = report(&ended);
    assert_eq!(
        (report.counts["matched_by_file"], report.counts["not_found"]),
        (1, 1)
    );
}

#[tokio::test]
async fn versions_that_name_no_hash_leave_open_which_model_they_are() {
    let mut enriching = Enriching::new().await;
    let sha256 = enriching.sim.add_many(1, 1).remove(0);
    enriching.lora(&sha256).await;
    let away = Play::Sample("404-no-such-route");
    enriching.sim.script(Rule::always(Target::BulkIds, away));
    let nameless = SimVersion::new(1).file(SimFile::new(1, &sha256).with("hashes", json!({})));
    let nameless = Play::json(200, &json!([nameless.json()]));
    enriching
        .sim
        .script(Rule::once(Target::BulkByHash, nameless));
    let report = enriching.enrich().await;
    assert_eq!(report.counts["matched_by_file"], 1, "{report:?}");
}
