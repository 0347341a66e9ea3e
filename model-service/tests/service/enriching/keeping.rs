//! What is kept: answers until they expire, and what an enrichment had when it ended half-way.

use std::time::Duration;

use civitai_sim::{Play, Rule, Target, digest_of};
use stablequeue_proto::admin::v1::OperationState;
use stablequeue_proto::models::v1::*;
use tonic::Code;

use super::fixture::{BULK, Enriching, counts, hashes, lora, report};
use crate::harness::{reason, soon};

/// Longest wait for requests that must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// An enrichment of 250 models that has those of the first look-up in bulk and waits for the
/// second.
async fn half_way() -> (Enriching, String) {
    let mut enriching = Enriching::new().await;
    let hashes = enriching.sim.add_many(1, 250);
    enriching.checkpoints(&hashes).await;
    enriching
        .sim
        .script(Rule::always(Target::BulkByHash, Play::Silence).skip(1));
    let operation = enriching.start(false).await;
    // Ids, the first hundred, and the second hundred.
    enriching.sim.wait_for_requests(3, PATIENCE).await.unwrap();
    (enriching, operation)
}

#[tokio::test]
async fn an_enrichment_that_is_cancelled_keeps_what_it_has_and_the_next_asks_for_the_rest() {
    let (mut enriching, operation) = half_way().await;
    enriching.cancel(&operation).await;
    let ended = enriching.end(&operation).await;
    assert_eq!(ended.state(), OperationState::Cancelled);
    assert_eq!(ended.progress.unwrap().done, 100);
    assert_eq!(enriching.with_status(MetadataStatus::Complete).await, 100);
    // Nothing is wrong with the others.
    assert_eq!(enriching.with_status(MetadataStatus::Incomplete).await, 150);

    enriching.sim.clear_rules();
    let before = enriching.asked(BULK).len();
    let report = enriching.enrich().await;
    assert_eq!(
        (report.counts["models"], report.counts["matched_by_file"]),
        (150, 150)
    );
    let sizes: Vec<usize> = enriching.asked(BULK)[before..]
        .iter()
        .map(|request| hashes(request).len())
        .collect();
    assert_eq!(sizes, [100, 50]);
}

#[tokio::test]
async fn an_enrichment_goes_on_after_a_restart_without_asking_twice() {
    let (enriching, operation) = half_way().await;
    enriching.sim.clear_rules();
    let before = enriching.asked(BULK).len();
    let mut enriching = enriching.restarted(|_| {}).await;
    let ended = enriching.end(&operation).await;
    let report = report(&ended);
    assert_eq!(report.counts["matched_by_file"], 150);
    assert_eq!(enriching.with_status(MetadataStatus::Complete).await, 250);
    let asked: usize = enriching.asked(BULK)[before..]
        .iter()
        .map(|request| hashes(request).len())
        .sum();
    assert_eq!(asked, 150);
}

#[tokio::test]
async fn a_refresh_goes_on_after_a_restart_with_what_it_has_asked() {
    let mut enriching = Enriching::new().await;
    let known = enriching.sim.add_many(1, 150);
    enriching.checkpoints(&known).await;
    enriching.enrich().await;
    enriching.service.hand.advance(Duration::from_secs(1));
    enriching
        .sim
        .script(Rule::always(Target::BulkByHash, Play::Silence).skip(1));
    let before = enriching.sim.request_count();
    let operation = enriching.start(true).await;
    enriching
        .sim
        .wait_for_requests(before + 3, PATIENCE)
        .await
        .unwrap();
    enriching.sim.clear_rules();
    let before = enriching.asked(BULK).len();
    let mut enriching = enriching.restarted(|_| {}).await;
    let report = report(&enriching.end(&operation).await);
    let counted = (
        report.counts["matched_by_file"],
        report.counts["from_kept_answers"],
    );
    assert_eq!(counted, (150, 100));
    let rest = &enriching.asked(BULK)[before..];
    assert_eq!(rest.len(), 1);
    assert_eq!(hashes(&rest[0]).len(), 50);
}

#[tokio::test]
async fn what_civitai_does_not_know_is_asked_again_when_that_answer_has_expired() {
    let mut enriching = Enriching::new().await;
    enriching.lora(&digest_of("later")).await;
    assert_eq!(enriching.enrich().await.counts["not_found"], 1);
    assert_eq!(enriching.sim.request_count(), 1);
    let report = enriching.enrich().await;
    let expected = [("from_kept_answers", 1), ("models", 1), ("not_found", 1)];
    assert_eq!(counts(&report), expected.into());
    assert_eq!(enriching.sim.request_count(), 1);
    // It is published meanwhile.
    let version = civitai_sim::SimVersion::new(8);
    enriching
        .sim
        .add(version.file(civitai_sim::SimFile::new(8, &digest_of("later"))));
    enriching
        .service
        .hand
        .advance(Duration::from_secs(24 * 3_600));
    assert_eq!(enriching.enrich().await.counts["matched_by_file"], 1);
}

#[tokio::test]
async fn offline_only_kept_answers_are_used_and_the_report_says_so() {
    let mut enriching = Enriching::new().await;
    let sha256 = enriching.sim.add_many(1, 1).remove(0);
    enriching.lora(&sha256).await;
    enriching.enrich().await;
    let asked = enriching.sim.request_count();
    let mut enriching = enriching.restarted(|civitai| civitai.offline = true).await;
    let mut checkpoint = lora(&sha256);
    checkpoint.r#type = ModelType::Checkpoint.into();
    let kept = enriching.model(checkpoint).await;
    let open = enriching.lora(&digest_of("open")).await;
    let report = enriching.enrich().await;
    assert_eq!(
        (
            report.counts["from_kept_answers"],
            report.counts["not_asked"]
        ),
        (1, 1)
    );
    assert_eq!(report.problems[0].reason, "CIVITAI_OFFLINE");
    assert_eq!(
        enriching.get(&kept).await.metadata_status(),
        MetadataStatus::Complete
    );
    assert_eq!(
        enriching.get(&open).await.metadata_status(),
        MetadataStatus::Incomplete
    );
    assert_eq!(enriching.sim.request_count(), asked);
}

#[tokio::test]
async fn only_named_models_are_asked_about_and_they_must_exist() {
    let mut enriching = Enriching::new().await;
    let hashes = enriching.sim.add_many(1, 2);
    let first = enriching.lora(&hashes[0]).await;
    enriching.lora(&hashes[1]).await;
    let operation = enriching.start_of(&[&first], false).await.unwrap();
    let report = report(&enriching.end(&operation.operation_id).await);
    assert_eq!(
        (report.counts["models"], report.counts["matched_by_file"]),
        (1, 1)
    );
    assert_eq!(enriching.with_status(MetadataStatus::Incomplete).await, 1);
    let refused = enriching
        .start_of(&[&first, "987654"], false)
        .await
        .unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::NotFound, "MODEL_NOT_FOUND")
    );
}

#[tokio::test]
async fn a_repeated_call_is_the_same_enrichment() {
    let mut enriching = Enriching::new().await;
    let request = StartEnrichmentRequest {
        request_id: "once".to_owned(),
        ..StartEnrichmentRequest::default()
    };
    let mut ids = Vec::new();
    for _ in 0..2 {
        let answer = soon(enriching.service.library.start_enrichment(request.clone())).await;
        ids.push(answer.unwrap().into_inner().operation.unwrap().operation_id);
    }
    assert_eq!(ids[0], ids[1]);
}
