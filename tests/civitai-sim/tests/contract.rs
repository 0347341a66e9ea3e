//! That the stand-in answers as Civitai does, and that it plays what is scripted.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::time::Duration;

use civitai_sim::{
    CivitaiSim, HASHES_MAX, Play, Rule, SimFile, SimVersion, Target, digest_of, sample_digest,
    sample_names, sample_version,
};
use reqwest::{Client, Response};
use serde_json::{Value, json};

/// Nothing here takes longer unless it hangs.
const BOUND: Duration = Duration::from_secs(20);

fn client() -> Client {
    // An error means that another test was first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().no_proxy().timeout(BOUND).build().unwrap()
}

async fn get(sim: &CivitaiSim, path: &str) -> Response {
    let url = format!("{}/api/v1/{path}", sim.url());
    client().get(url).send().await.unwrap()
}

async fn post(sim: &CivitaiSim, path: &str, body: &Value) -> Response {
    let url = format!("{}/api/v1/model-versions/{path}", sim.url());
    client().post(url).json(body).send().await.unwrap()
}

async fn json(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    (status, response.json().await.unwrap())
}

#[tokio::test]
async fn a_hash_of_any_kind_and_case_finds_the_oldest_version() {
    let sim = CivitaiSim::start().await.unwrap();
    sim.add_json(sample_version("by-id.duplicate-newer-version"));
    sim.add_json(sample_version("by-hash.duplicate-oldest-wins"));
    let oldest = &sample_version("by-hash.duplicate-oldest-wins")["id"];
    let sha256 = sample_digest("9350301-shared");
    for hash in [
        sha256.clone(),
        sha256.to_lowercase(),
        sha256[..10].to_owned(),
    ] {
        let path = format!("model-versions/by-hash/{hash}");
        let (status, version) = json(get(&sim, &path).await).await;
        assert_eq!((status, &version["id"]), (200, oldest), "{hash}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_one_of_two_kinds_of_404() {
    let sim = CivitaiSim::start().await.unwrap();
    let sha256 = digest_of("x");
    sim.add(SimVersion::new(3).file_missing(&sha256));
    let said = async |path: String| {
        let (status, body) = json(get(&sim, &path).await).await;
        (status, body["error"].as_str().unwrap().to_owned())
    };
    let by_hash = |hash: &str| format!("model-versions/by-hash/{hash}");
    assert_eq!(
        said(by_hash(&sha256)).await,
        (404, "Missing model file".into())
    );
    assert_eq!(said(by_hash("00")).await, (404, "Model not found".into()));
    assert_eq!(said("model-versions/3".into()).await.0, 404);
    assert_eq!(said("model-versions/x".into()).await.0, 400);
    assert_eq!(
        said("models/77".into()).await,
        (404, "No model with id 77".into())
    );
    let page = get(&sim, "nothing").await;
    assert_eq!(page.status(), 404);
    assert!(page.text().await.unwrap().starts_with("<!DOCTYPE html>"));
}

#[tokio::test]
async fn bulk_answers_name_no_host_have_null_and_leave_misses_out() {
    let sim = CivitaiSim::start().await.unwrap();
    let sha256 = sim.add_many(1, 1).remove(0);
    let gone = digest_of("gone");
    sim.add(SimVersion::new(2).file_missing(&gone));
    let asked = json!([sha256.to_lowercase(), digest_of("miss"), gone]);
    let (status, list) = json(post(&sim, "by-hash", &asked).await).await;
    assert_eq!((status, list.as_array().unwrap().len()), (200, 2));
    assert_eq!(list[0], Value::Null);
    let url = list[1]["files"][0]["downloadUrl"].as_str().unwrap();
    assert!(url.starts_with("https://undefined/"), "{url}");
    let (_, ids) = json(post(&sim, "by-hash/ids", &asked).await).await;
    let versions: Vec<&Value> = ids.as_array().unwrap().iter().collect();
    assert_eq!(versions.len(), 2);
    assert_eq!(
        ids[1],
        json!({ "modelVersionId": 1, "modelId": 10, "hash": sha256 })
    );
}

#[tokio::test]
async fn one_bad_hash_too_many_or_no_list_are_refused_whole() {
    let sim = CivitaiSim::start().await.unwrap();
    let sha256 = sim.add_many(1, 1).remove(0);
    let many = vec![sha256.clone(); HASHES_MAX + 1];
    for asked in [
        json!([sha256, "short"]),
        json!(many),
        json!({ "hashes": [sha256] }),
    ] {
        let (status, body) = json(post(&sim, "by-hash", &asked).await).await;
        assert_eq!(status, 400);
        let said = body["error"].as_str().unwrap();
        assert!(said.starts_with("Request must include an array"), "{said}");
    }
}

#[tokio::test]
async fn every_sample_can_be_published_and_is_answered_as_it_is() {
    let sim = CivitaiSim::start().await.unwrap();
    let names = sample_names();
    assert!(names.len() > 10, "{names:?}");
    for name in names {
        let sample = sample_version(&name);
        sim.add_json(sample.clone());
        let path = format!("model-versions/{}", sample["id"]);
        assert_eq!(json(get(&sim, &path).await).await, (200, sample), "{name}");
    }
}

#[tokio::test]
async fn rules_are_played_for_the_requests_that_they_are_for() {
    let sim = CivitaiSim::start().await.unwrap();
    sim.add(SimVersion::new(1).file(SimFile::new(1, &digest_of("1"))));
    let limited = Play::Sample("429-edge-with-retry-after");
    sim.script(Rule::once(Target::Version, limited).skip(1));
    sim.script(Rule::always(Target::Version, Play::html(503)).saying("/model-versions/9"));
    let status = async |path: &str| get(&sim, path).await.status().as_u16();
    assert_eq!(status("model-versions/1").await, 200);
    assert_eq!(status("models/10").await, 200);
    let limited = get(&sim, "model-versions/1").await;
    assert_eq!(limited.status(), 429);
    assert_eq!(limited.headers()["retry-after"], "10");
    assert_eq!(status("model-versions/1").await, 200);
    let paths: Vec<String> = sim.requests().into_iter().map(|seen| seen.path).collect();
    assert_eq!(paths.len(), 4);
    assert_eq!(paths[1], "/api/v1/models/10");
}

#[tokio::test]
async fn answers_are_cut_withheld_or_never_come() {
    let sim = CivitaiSim::start().await.unwrap();
    sim.add_many(1, 1);
    let url = format!("{}/api/v1/model-versions/1", sim.url());
    for play in [
        Play::Cut(50),
        Play::Sample("200-by-hash.cut-short"),
        Play::HangUp,
    ] {
        sim.script(Rule::once(Target::Any, play.clone()));
        let heard = match client().get(&url).send().await {
            Ok(response) => response.bytes().await.map(drop),
            Err(error) => Err(error),
        };
        assert!(heard.is_err(), "{play:?}");
    }
    sim.script(Rule::once(Target::Any, Play::Silence));
    let silent = client().get(&url).timeout(Duration::from_millis(50));
    assert!(silent.send().await.unwrap_err().is_timeout());
    assert_eq!(client().get(&url).send().await.unwrap().status(), 200);
}
