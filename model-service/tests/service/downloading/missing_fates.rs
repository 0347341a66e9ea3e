//! Models that jobs wait for and that are not downloaded: why, and when it is tried again.

use std::time::Duration;

use civitai_sim::{Play, Rule, SimFile, SimVersion, Target};
use stablequeue_proto::admin::v1::OperationState;
use stablequeue_proto::models::v1::MissingModelState as State;

use super::fixture::{Downloading, content};
use super::missing::{a_lora, digest, loras_go_to_new};

const HOUR: Duration = Duration::from_secs(3_600);

#[tokio::test]
async fn a_name_alone_is_never_downloaded_and_nobody_is_asked() {
    let mut downloading = Downloading::for_jobs().await;
    downloading.publish(&content(1, 100));
    for text in [
        "fox",
        "fox.safetensors",
        "model_70.safetensors",
        "loras/fox",
        "2870ca6e",
    ] {
        let missing = downloading.missing(text).await;
        assert_eq!(missing.state(), State::NotIdentified, "{missing:?}");
        assert!(missing.message.contains("name"), "{missing:?}");
        assert!(missing.retry_after.is_some());
    }
    assert_eq!(downloading.sim.request_count(), 0);
}

#[tokio::test]
async fn what_civitai_does_not_know_is_asked_once_while_its_answer_is_kept() {
    let mut downloading = Downloading::for_jobs().await;
    let unknown = "ab".repeat(32);
    for _ in 0..3 {
        let missing = downloading.missing(&unknown).await;
        assert_eq!(missing.state(), State::NotAtCivitai, "{missing:?}");
        assert!(missing.message.contains("does not know"), "{missing:?}");
    }
    assert_eq!(downloading.sim.request_count(), 1);
    downloading.service.hand.advance(25 * HOUR);
    downloading.missing(&unknown).await;
    assert_eq!(downloading.sim.request_count(), 2);
}

#[tokio::test]
async fn a_version_without_the_file_or_that_may_not_be_had_is_not_downloaded() {
    let mut downloading = Downloading::for_jobs().await;
    let (old, new) = ("ab".repeat(32), "cd".repeat(32));
    let version = SimVersion::new(3).file(SimFile::new(30, &new));
    downloading.sim.add(version.replaced(&old));
    let archived = "ef".repeat(32);
    let version = SimVersion::new(4).file(SimFile::new(40, &archived));
    downloading
        .sim
        .add(version.with_model("mode", "Archived".into()));
    for (sha256, said) in [(&old, "has no file"), (&archived, "archived")] {
        let missing = downloading.missing(sha256).await;
        assert_eq!(missing.state(), State::NotAtCivitai, "{missing:?}");
        assert!(missing.message.contains(said), "{missing:?}");
    }
    let checkpoint = "12".repeat(32);
    let version = SimVersion::new(5).file(SimFile::new(50, &checkpoint));
    downloading
        .sim
        .add(version.with_model("type", "Checkpoint".into()));
    let missing = downloading.missing(&checkpoint).await;
    assert_eq!(missing.state(), State::NotIdentified, "{missing:?}");
    assert!(
        missing.message.contains("\"Checkpoint\" at Civitai"),
        "{missing:?}"
    );
    assert_eq!(downloading.asked("/api/download/").len(), 0);
}

#[tokio::test]
async fn without_a_place_or_offline_nobody_is_asked() {
    let file = content(1, 100);
    let mut downloading = Downloading::new().await;
    downloading.publish(&file);
    let missing = downloading.missing(&digest(&file)).await;
    assert_eq!(missing.state(), State::NotAllowed, "{missing:?}");
    assert!(
        missing.message.contains("--download-missing lora="),
        "{missing:?}"
    );
    assert_eq!(missing.retry_after, None);
    let offline = |config: &mut model_service::Config| {
        loras_go_to_new(config);
        config.library.civitai.offline = true;
    };
    let mut downloading = downloading.restarted_as(|_| {}, offline).await;
    let missing = downloading.missing(&digest(&file)).await;
    assert_eq!(missing.state(), State::Unavailable, "{missing:?}");
    assert!(missing.message.contains("--offline"), "{missing:?}");
    assert_eq!(downloading.sim.request_count(), 0);
}

#[tokio::test]
async fn while_civitai_does_not_answer_it_is_asked_once_a_call_and_the_next_call_goes_on() {
    let mut downloading = Downloading::for_jobs().await;
    let file = content(1, 100);
    let sha256 = digest(&file);
    downloading.publish(&file);
    downloading
        .sim
        .script(Rule::once(Target::ByHash, Play::html(503)));
    let references = vec![a_lora(&sha256), a_lora(&"ab".repeat(32))];
    let models = downloading.missing_as(references).await.unwrap();
    for missing in &models {
        assert_eq!(missing.state(), State::Unavailable, "{missing:?}");
        assert!(missing.message.contains("503"), "{missing:?}");
        assert!(missing.retry_after.is_some_and(|after| after.seconds >= 60));
    }
    assert_eq!(downloading.sim.request_count(), 1);
    downloading.under_way(&sha256).await;
}

#[tokio::test]
async fn a_download_that_failed_is_tried_again_only_after_its_time() {
    let mut downloading = Downloading::for_jobs().await;
    let file = content(1, 100);
    let sha256 = digest(&file);
    downloading.publish(&file);
    // What comes is another file.
    downloading
        .sim
        .hold(super::fixture::FILE, "fox.safetensors", content(2, 100));
    let first = downloading.under_way(&sha256).await;
    assert_eq!(downloading.end_of(&first).await, OperationState::Failed);
    for _ in 0..2 {
        let missing = downloading.missing(&sha256).await;
        assert_eq!(missing.state(), State::Failed, "{missing:?}");
        assert!(missing.message.contains("SHA-256"), "{missing:?}");
        assert_eq!(missing.operation.unwrap().operation_id, first);
        assert_eq!(missing.retry_after.unwrap().seconds, 3_600);
    }
    downloading.assert_nothing_unfinished();
    downloading
        .sim
        .hold(super::fixture::FILE, "fox.safetensors", file.clone());
    downloading.service.hand.advance(HOUR);
    let second = downloading.under_way(&sha256).await;
    assert_ne!(second, first);
    assert_eq!(downloading.end_of(&second).await, OperationState::Succeeded);
}

#[tokio::test]
async fn one_that_somebody_cancelled_stays_so_for_its_time() {
    let mut downloading = Downloading::for_jobs().await;
    let file = content(1, 5_000);
    let sha256 = digest(&file);
    downloading.publish(&file);
    downloading.sim.shut_gate(1_000);
    let operation = downloading.under_way(&sha256).await;
    downloading.reached(&operation, 1_000).await;
    downloading.cancel(&operation).await;
    assert_eq!(
        downloading.end_of(&operation).await,
        OperationState::Cancelled
    );
    let missing = downloading.missing(&sha256).await;
    assert_eq!(missing.state(), State::Failed, "{missing:?}");
    assert!(missing.message.contains("was cancelled"), "{missing:?}");
    downloading.sim.open_gate();
}

#[tokio::test]
async fn jobs_never_take_more_than_their_share_of_the_downloads() {
    let mut downloading = Downloading::for_jobs().await;
    let mut shas = Vec::new();
    for id in 1..=5 {
        let file = content(u8::try_from(id).unwrap(), 5_000);
        downloading
            .sim
            .add(SimVersion::new(id).file(SimFile::of(id, &file)));
        downloading.sim.hold(id, "x", file.clone());
        shas.push(digest(&file));
    }
    downloading.sim.shut_gate(1_000);
    let mut under_way = Vec::new();
    for sha256 in &shas[..4] {
        under_way.push(downloading.under_way(sha256).await);
    }
    let missing = downloading.missing(&shas[4]).await;
    assert_eq!(missing.state(), State::Unavailable, "{missing:?}");
    assert!(missing.message.contains("as many as may"), "{missing:?}");
    // One that is under way is still told of.
    assert_eq!(downloading.under_way(&shas[0]).await, under_way[0]);
    downloading.sim.open_gate();
    for operation in &under_way {
        assert_eq!(
            downloading.end_of(operation).await,
            OperationState::Succeeded
        );
    }
    downloading.under_way(&shas[4]).await;
}
