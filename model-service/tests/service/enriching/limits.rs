//! How often Civitai is asked: its own limits, ours, and how many requests many models take.

use std::time::Duration;

use civitai_sim::{Play, Rule, SimVersion, Target, digest_of};
use stablequeue_proto::admin::v1::OperationState;
use stablequeue_proto::models::v1::*;

use super::fixture::{BULK, Enriching, IDS, hashes, lora, report};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_retry_after_is_waited_for() {
    let mut enriching = Enriching::new().await;
    let sha256 = enriching.sim.add_many(1, 1).remove(0);
    enriching.lora(&sha256).await;
    let limited = Play::Sample("429-edge-with-retry-after");
    enriching.sim.script(Rule::once(Target::BulkIds, limited));
    let operation = enriching.start(false).await;
    let (ended, passed) = enriching.end_in_time(&operation, SECOND).await;
    assert_eq!(report(&ended).counts["matched_by_file"], 1);
    assert!(passed >= Duration::from_secs(10), "{passed:?}");
    assert!(passed < Duration::from_secs(30), "{passed:?}");
    assert_eq!(enriching.asked(IDS).len(), 2);
}

#[tokio::test]
async fn a_limit_that_lasts_ends_it_with_what_it_has_and_says_when_to_go_on() {
    let mut enriching = Enriching::new().await;
    let known = enriching.sim.add_many(1, 150);
    enriching.checkpoints(&known).await;
    let limited = Play::limited(Some("3600"));
    enriching
        .sim
        .script(Rule::always(Target::BulkByHash, limited).skip(1));
    let operation = enriching.start(false).await;
    let ended = enriching.end(&operation).await;
    assert_eq!(ended.state(), OperationState::Failed);
    let error = ended.error.unwrap();
    assert_eq!(error.reason, "CIVITAI_RATE_LIMITED");
    for words in ["429", "100 of 150 models", "after 2026-11-22T12:08:0"] {
        assert!(error.message.contains(words), "{error:?}");
    }
    // An hour is not waited for.
    assert_eq!(enriching.asked(BULK).len(), 2);
    assert_eq!(enriching.with_status(MetadataStatus::Complete).await, 100);
    assert_eq!(enriching.with_status(MetadataStatus::Error).await, 0);

    enriching.sim.clear_rules();
    enriching.service.hand.advance(Duration::from_secs(3_600));
    assert_eq!(enriching.enrich().await.counts["matched_by_file"], 50);
    assert_eq!(hashes(enriching.asked(BULK).last().unwrap()).len(), 50);
}

#[tokio::test]
async fn a_limit_without_a_time_is_tried_seven_times() {
    let mut enriching = Enriching::new().await;
    enriching.lora(&digest_of("x")).await;
    let limited = Play::Sample("429-edge-without-retry-after");
    enriching.sim.script(Rule::always(Target::Any, limited));
    let operation = enriching.start(false).await;
    let (ended, passed) = enriching.end_in_time(&operation, SECOND).await;
    assert_eq!(ended.error.unwrap().reason, "CIVITAI_RATE_LIMITED");
    assert_eq!(enriching.sim.request_count(), 7);
    assert!(passed >= Duration::from_secs(61), "{passed:?}");
}

#[tokio::test]
async fn a_429_that_is_no_rate_limit_is_not_tried_again() {
    let mut enriching = Enriching::new().await;
    let sha256 = enriching.sim.add_many(1, 1).remove(0);
    let id = enriching.lora(&sha256).await;
    let too_deep = Play::Sample("429-paging-not-a-rate-limit");
    enriching
        .sim
        .script(Rule::always(Target::BulkByHash, too_deep));
    let report = enriching.enrich().await;
    assert_eq!(report.counts["no_answer"], 1);
    assert_eq!(enriching.asked(BULK).len(), 1);
    let said = enriching.get(&id).await.civitai.unwrap().error_message;
    assert!(said.contains("use cursors"), "{said}");
}

#[tokio::test]
async fn civitai_that_goes_away_is_not_asked_about_every_model() {
    let mut enriching = Enriching::new().await;
    let known = enriching.sim.add_many(1, 500);
    enriching.checkpoints(&known).await;
    enriching
        .sim
        .script(Rule::always(Target::BulkByHash, Play::HangUp));
    let operation = enriching.start(false).await;
    let (ended, _) = enriching
        .end_in_time(&operation, Duration::from_secs(10))
        .await;
    assert_eq!(ended.error.unwrap().reason, "CIVITAI_UNAVAILABLE");
    // Three look-ups, each of them tried seven times.
    assert_eq!(enriching.asked(BULK).len(), 21);
    assert_eq!(enriching.with_status(MetadataStatus::Error).await, 300);
    assert_eq!(enriching.with_status(MetadataStatus::Incomplete).await, 200);
}

#[tokio::test]
async fn no_minute_has_more_requests_than_configured() {
    let mut enriching = Enriching::with(|civitai| civitai.requests_per_minute = 6).await;
    let known = enriching.sim.add_many(1, 500);
    enriching.checkpoints(&known).await;
    let operation = enriching.start(false).await;
    let (ended, passed) = enriching.end_in_time(&operation, SECOND).await;
    assert_eq!(report(&ended).counts["matched_by_file"], 500);
    // Six requests: one at once, then one every ten seconds.
    assert_eq!(enriching.sim.request_count(), 6);
    assert!(passed >= Duration::from_secs(50), "{passed:?}");
}

#[tokio::test]
async fn five_thousand_hashes_take_at_most_sixty_requests() {
    let mut enriching = Enriching::new().await;
    let mut all = enriching.sim.add_many(1, 4_900);
    // Versions without a file, each of which would be worth a request of its own.
    for id in 10_000..10_020 {
        let sha256 = digest_of(&id.to_string());
        enriching.sim.add(SimVersion::new(id).file_missing(&sha256));
        all.push(sha256);
    }
    all.extend((0..80).map(|at| digest_of(&format!("unknown {at}"))));
    assert_eq!(all.len(), 5_000);
    enriching.checkpoints(&all).await;
    let report = enriching.enrich().await;
    let requests = enriching.sim.request_count();
    assert!(requests <= 60, "{requests} requests");
    assert_eq!(report.counts["matched_by_file"], 4_900);
    assert_eq!(enriching.with_status(MetadataStatus::Complete).await, 4_900);
    assert_eq!(
        (report.counts["not_found"], report.counts["not_asked"]),
        (88, 12)
    );
    assert_eq!(report.problems[0].reason, "CIVITAI_NOT_ASKED");
}

#[tokio::test]
async fn single_look_ups_by_autov2_have_a_limit_of_their_own() {
    let mut enriching = Enriching::new().await;
    for at in 0..103 {
        let sha256 = digest_of(&format!("begun {at}"));
        let mut model = lora(&sha256);
        model.hash_sha256.clear();
        model.hash_autov2 = sha256[..10].to_owned();
        enriching.model(model).await;
    }
    let report = enriching.enrich().await;
    assert_eq!(
        (report.counts["not_found"], report.counts["not_asked"]),
        (100, 3)
    );
    assert_eq!(enriching.sim.request_count(), 100);
    assert_eq!(enriching.enrich().await.counts["not_asked"], 0);
    assert_eq!(enriching.sim.request_count(), 103);
}
