//! Downloads that break off, go on, come wrong, or come again.

use std::time::Duration;

use civitai_sim::{Play, Rule, SimFile, SimVersion, Target};
use stablequeue_proto::admin::v1::OperationState;

use super::fixture::{Downloading, FILE, VERSION, content};
use crate::shelf::problems;

const NAME: &str = "model_70.safetensors";

fn stored() -> Target {
    Target::Path(format!("/storage/{FILE}"))
}

#[tokio::test]
async fn a_download_that_is_cut_goes_on_where_it_was() {
    let mut downloading = Downloading::new().await;
    let file = content(1, 3_000_000);
    downloading.publish(&file);
    downloading
        .sim
        .script(Rule::once(stored(), Play::Cut(2_000_000)));
    let report = downloading.download(|_| {}).await;
    assert_eq!(downloading.read(NAME), file);
    let asked = downloading.asked("/storage/");
    let ranges: Vec<&str> = asked
        .iter()
        .map(|request| request.header("range"))
        .collect();
    let [first, second] = ranges[..] else {
        panic!("{ranges:?}");
    };
    assert_eq!(first, "");
    let from: usize = second
        .strip_prefix("bytes=")
        .unwrap()
        .strip_suffix('-')
        .unwrap()
        .parse()
        .unwrap();
    // What comes last before a connection breaks may be lost with it.
    assert!((1..=2_000_000).contains(&from), "{second}");
    assert!(asked[1].header("if-range").starts_with('"'));
    let bytes = usize::try_from(report.counts["bytes"]).unwrap();
    assert_eq!(bytes, file.len(), "nothing came twice");
}

#[tokio::test]
async fn an_expired_signature_is_renewed() {
    let mut downloading = Downloading::new().await;
    let file = content(1, 100);
    downloading.publish(&file);
    let expired = Play::Answer {
        status: 403,
        content_type: "application/xml",
        retry_after: None,
        body: "<Error><Message>Request has expired</Message></Error>".into(),
    };
    downloading.sim.script(Rule::once(stored(), expired));
    downloading.download(|_| {}).await;
    assert_eq!(downloading.read(NAME), file);
    assert_eq!(downloading.asked("/api/download/").len(), 2);
}

#[tokio::test]
async fn a_part_that_the_storage_cannot_continue_is_fetched_anew() {
    let mut downloading = Downloading::new().await;
    let file = content(1, 10_000);
    downloading.publish(&file);
    downloading
        .sim
        .script(Rule::once(stored(), Play::Cut(5_000)));
    let whole = Play::Answer {
        status: 200,
        content_type: "application/octet-stream",
        retry_after: None,
        body: file.clone().into(),
    };
    downloading.sim.script(Rule::once(stored(), whole));
    downloading.download(|_| {}).await;
    assert_eq!(downloading.read(NAME), file);
    assert_eq!(downloading.asked("/storage/").len(), 2);
}

#[tokio::test]
async fn a_part_that_is_fetched_anew_makes_room_before_anything_comes() {
    let mut downloading = Downloading::new().await;
    let (other, file) = (content(9, 50_000), content(1, 60_000));
    downloading.publish(&file);
    downloading.sim.hold(FILE, "x.safetensors", other);
    let (feed, fed) = Play::fed();
    downloading
        .sim
        .script(Rule::once(stored(), Play::Cut(20_000)));
    downloading.sim.script(Rule::once(stored(), fed));
    let started = downloading.start(|_| {}).await;
    let part = downloading
        .shelf
        .path(&format!(".civitai-{VERSION}.{}.part", started.operation_id));
    // The second answer is of the whole file, and nothing of it has come.
    let emptied = async {
        while downloading.asked("/storage/").len() < 2
            || part.metadata().is_ok_and(|part| part.len() > 0)
        {
            tokio::task::yield_now().await;
        }
    };
    crate::harness::soon(emptied).await;
    feed.give(file.clone());
    drop(feed);
    downloading.service.report(Some(started)).await;
    assert_eq!(downloading.read(NAME), file);
}

#[tokio::test]
async fn a_file_that_only_drips_is_asked_for_again() {
    let mut downloading = Downloading::new().await;
    let file = content(1, 3_000_000);
    downloading.publish(&file);
    let (feed, fed) = Play::fed();
    downloading.sim.script(Rule::once(stored(), fed));
    let started = downloading.start(|_| {}).await;
    for (at, piece) in file.chunks(1_000).take(7).enumerate() {
        feed.give(piece.to_vec());
        if at < 6 {
            let came = (at + 1) * 1_000;
            downloading.reached(&started.operation_id, came).await;
            // Never silent for long enough.
            downloading.service.hand.advance(Duration::from_secs(50));
        }
    }
    downloading.service.report(Some(started)).await;
    drop(feed);
    assert_eq!(downloading.read(NAME), file);
    let asked = downloading.asked("/storage/");
    let ranges: Vec<&str> = asked
        .iter()
        .map(|request| request.header("range"))
        .collect();
    assert_eq!(ranges, ["", "bytes=7000-"]);
}

#[tokio::test]
async fn a_restart_goes_on_with_what_there_is() {
    let mut downloading = Downloading::new().await;
    let file = content(1, 50_000);
    downloading.publish(&file);
    downloading.sim.shut_gate(20_000);
    let started = downloading.start(|_| {}).await;
    downloading.reached(&started.operation_id, 20_000).await;
    let mut downloading = downloading.restarted(|sim| sim.open_gate()).await;
    let report = downloading.service.report(Some(started)).await;
    assert_eq!(downloading.read(NAME), file);
    assert_eq!(
        report.counts["bytes"],
        i64::try_from(file.len() - 20_000).unwrap()
    );
    let asked = downloading.asked("/storage/");
    assert_eq!(asked[1].header("range"), "bytes=20000-");
    downloading.assert_nothing_unfinished();
}

#[tokio::test]
async fn a_part_of_another_file_is_thrown_away_when_the_hash_says_so() {
    let mut downloading = Downloading::new().await;
    let (other, file) = (content(9, 50_000), content(1, 50_000));
    downloading.publish(&file);
    downloading.sim.hold(FILE, "x.safetensors", other);
    downloading.sim.shut_gate(20_000);
    let started = downloading.start(|_| {}).await;
    downloading.reached(&started.operation_id, 20_000).await;
    let right = file.clone();
    let mut downloading = downloading
        .restarted(|sim| {
            sim.hold(FILE, "x.safetensors", right);
            sim.open_gate();
        })
        .await;
    downloading.service.report(Some(started)).await;
    assert_eq!(downloading.read(NAME), file);
    let asked = downloading.asked("/storage/");
    let ranges: Vec<&str> = asked
        .iter()
        .map(|request| request.header("range"))
        .collect();
    assert_eq!(ranges, ["", "bytes=20000-", ""]);
}

#[tokio::test]
async fn a_cancelled_download_leaves_nothing() {
    let mut downloading = Downloading::new().await;
    downloading.publish(&content(1, 50_000));
    downloading.sim.shut_gate(20_000);
    let started = downloading.start(|_| {}).await;
    downloading.reached(&started.operation_id, 20_000).await;
    assert_eq!(downloading.names("").len(), 1);
    downloading.cancel(&started.operation_id).await;
    let ended = downloading.service.ended(Some(started)).await;
    assert_eq!(ended.state(), OperationState::Cancelled);
    assert_eq!(downloading.names(""), [""; 0]);
}

#[tokio::test]
async fn a_file_with_another_hash_is_not_kept() {
    let mut downloading = Downloading::new().await;
    downloading.publish(&content(1, 100));
    downloading.sim.hold(FILE, "x", content(2, 100));
    let error = downloading.failed(|_| {}).await;
    assert_eq!(error.reason, "HASH_MISMATCH");
    assert_eq!(downloading.names(""), [""; 0]);
    assert!(downloading.service.all_models().await.is_empty());
}

#[tokio::test]
async fn without_a_hash_the_size_must_do_and_that_is_said() {
    let mut downloading = Downloading::new().await;
    let file = content(1, 100);
    let unscanned = SimFile::of(FILE, &file).with("hashes", serde_json::json!({}));
    downloading
        .sim
        .add(SimVersion::new(VERSION).file(unscanned));
    downloading.sim.hold(FILE, "x", content(1, 99));
    let error = downloading.failed(|_| {}).await;
    assert_eq!(error.reason, "HASH_MISMATCH");
    downloading.sim.hold(FILE, "x", file.clone());
    let report = downloading.download(|_| {}).await;
    assert_eq!(problems(&report), [format!("main/{NAME}: NOT_VERIFIED")]);
    assert_eq!(downloading.read(NAME), file);
}

#[tokio::test]
async fn a_page_is_not_taken_for_a_file() {
    let mut downloading = Downloading::new().await;
    downloading.publish(&content(1, 100));
    for target in [
        Target::Path(format!("/api/download/models/{VERSION}")),
        stored(),
    ] {
        downloading.sim.script(Rule::once(target, Play::html(200)));
        let error = downloading.failed(|_| {}).await;
        assert_eq!(error.reason, "CIVITAI_PAGE");
    }
    // One that does not say what it is.
    downloading
        .sim
        .hold(FILE, "x", &b"<!DOCTYPE html><html>"[..]);
    let error = downloading.failed(|_| {}).await;
    assert_eq!(error.reason, "CIVITAI_PAGE");
}
