//! How versions are read: as they are composed in `tests/fixtures/civitai/versions`, and worse.

use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::findings::{Field, Source, Value as Said};

fn sample(name: &str) -> Version {
    let folder = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tests/fixtures/civitai/versions"
    );
    let text = std::fs::read_to_string(format!("{folder}/{name}.json")).unwrap();
    Version::read(serde_json::from_str(&text).unwrap()).unwrap()
}

fn sha(letter: char) -> Sha256 {
    Sha256::parse(&letter.to_string().repeat(64)).unwrap()
}

fn version(id: u64, published: &str, files: Value) -> Version {
    let json = json!({ "id": id, "publishedAt": published, "files": files });
    Version::read(json).unwrap()
}

fn file(id: u64, kind: &str, primary: bool, sha256: &Sha256) -> Value {
    let sha256 = sha256.as_str().to_uppercase();
    json!({ "id": id, "type": kind, "primary": primary, "hashes": { "SHA256": sha256 } })
}

#[test]
fn only_the_id_must_be_there_and_ids_are_texts() {
    let bare = Version::read(json!({ "id": 7 })).unwrap();
    assert_eq!(bare.id(), "7");
    assert_eq!(bare.model_id(), None);
    assert_eq!(bare.files(), Vec::new());
    assert_eq!(bare.model_file(), None);
    assert!(bare.downloadable());
    assert_eq!(Version::read(json!({ "id": "0123" })).unwrap().id(), "0123");
    for wrong in [
        json!(null),
        json!([]),
        json!({}),
        json!({ "id": null }),
        json!({ "id": -1 }),
        json!({ "id": 1.5 }),
        json!({ "id": "" }),
        json!({ "id": "1/2" }),
    ] {
        assert_eq!(Version::read(wrong.clone()), None, "{wrong}");
    }
}

#[test]
fn fields_of_other_types_are_as_if_they_were_not_there() {
    let odd = json!({ "id": 1, "files": "none", "images": 3, "model": [], "usageControl": 5,
        "modelId": {}, "publishedAt": 4 });
    let odd = Version::read(odd).unwrap();
    assert_eq!(
        (odd.files(), odd.picture_url(), odd.model_id()),
        (Vec::new(), None, None)
    );
    assert!(odd.downloadable());
    let odd = json!({ "id": 1, "files": [null, 5, { "hashes": [], "sizeKB": "big", "id": "x" },
        { "hashes": { "SHA256": "zz" }, "sizeKB": -3.0 }] });
    let files = Version::read(odd).unwrap().files();
    assert_eq!(files.len(), 2);
    assert!(
        files
            .iter()
            .all(|file| file.sha256.is_none() && file.size_bytes.is_none())
    );
}

#[test]
fn the_samples_are_read_whole() {
    let two = sample("by-hash.checkpoint-two-files");
    let files = two.files();
    assert_eq!(files.len(), 2);
    assert_eq!(
        two.model_file().unwrap().id,
        files.iter().find(|f| f.primary).unwrap().id
    );
    assert!(
        files
            .iter()
            .all(|file| file.sha256.is_some() && file.size_bytes.is_some())
    );
    let odd = sample("by-hash.unknown-words-and-fields");
    assert_eq!(odd.files()[0].kind.as_deref(), Some("Hologram Weights"));
    assert_eq!(odd.files()[0].size_bytes, Some(1025));
    assert!(odd.model_file().is_some() && !odd.downloadable());
    let pending = sample("by-id.empty-hashes-scan-pending");
    assert!(pending.files().iter().all(|file| file.sha256.is_none()));
    assert!(!sample("by-hash.mode-archived").downloadable());
    assert!(!sample("by-hash.generation-only").downloadable());
}

#[test]
fn a_linked_vae_and_training_data_are_never_the_model() {
    let linked = sample("by-id.checkpoint-two-files-linked-vae");
    let vae = linked
        .files()
        .into_iter()
        .find(|file| file.kind.as_deref() == Some("VAE"));
    let vae = vae.unwrap().sha256.unwrap();
    assert_eq!(linked.matched_by(vae.as_str()), MatchedBy::Version);
    let files = json!([
        file(1, "Training Data", true, &sha('a')),
        file(2, "Pruned Model", false, &sha('b')),
        file(3, "Model", false, &sha('c'))
    ]);
    let version = version(1, "2026", files);
    assert_eq!(version.model_file().unwrap().id.as_deref(), Some("3"));
    assert_eq!(version.matched_by(sha('a').as_str()), MatchedBy::Version);
    assert_eq!(version.matched_by(sha('b').as_str()), MatchedBy::File);
}

#[test]
fn of_several_versions_the_one_with_the_file_then_the_oldest_is_meant() {
    let with = |id, published| version(id, published, json!([file(id, "Model", true, &sha('a'))]));
    let without = version(1, "2020-01-01T00:00:00.000Z", json!([]));
    let (newer, older) = (
        with(2, "2026-02-01T00:00:00.000Z"),
        with(9, "2026-01-01T00:00:00.000Z"),
    );
    let same_age = with(10, "2026-01-01T00:00:00.000Z");
    let all = [&newer, &without, &same_age, &older];
    assert_eq!(chosen(all, sha('a').as_str()).unwrap().id(), "9");
    assert_eq!(chosen(all, sha('b').as_str()).unwrap().id(), "1");
    assert_eq!(chosen([], sha('b').as_str()), None);
}

#[test]
fn bulk_answers_may_hold_null_and_repeat_a_version() {
    let list = json!([null, { "id": 1 }, { "id": 2 }, { "id": 1 }, "x", { "id": null }]);
    let versions = versions(list).unwrap();
    let ids: Vec<&str> = versions.iter().map(Version::id).collect();
    assert_eq!(ids, ["1", "2"]);
    assert_eq!(super::versions(json!({ "error": "x" })), None);
    let rows =
        json!([{ "modelVersionId": 3, "hash": "AB".repeat(32) }, { "modelVersionId": 4 }, null]);
    let known = known_hashes(rows).unwrap();
    assert_eq!(known.len(), 1);
    assert_eq!(
        (known[0].sha256.as_str(), known[0].version_id.as_str()),
        ("ab".repeat(32).as_str(), "3")
    );
}

fn said(version: &Version, digits: Option<&str>) -> BTreeMap<Field, Said> {
    let findings = version.findings(Source::Civitai, digits);
    let pairs = findings
        .iter()
        .map(|finding| (finding.field(), finding.value().clone()));
    pairs.collect()
}

#[test]
fn the_fields_of_a_version_become_ours_as_they_are() {
    let lora = sample("by-hash.lora-trained-words");
    let said_of_it = said(&lora, None);
    let text = |field| match &said_of_it[&field] {
        Said::Text(text) => text.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(text(Field::CivitaiVersionId), "9110201");
    assert_eq!(text(Field::CivitaiModelId), "9110101");
    assert_eq!(text(Field::CivitaiModelName), "Harbour Style");
    assert_eq!(text(Field::BaseModel), "Illustrious");
    assert_eq!(text(Field::CivitaiModelType), "LORA");
    assert_eq!(text(Field::CivitaiVersionDate), "2026-03-02T09:20:12.040Z");
    assert_eq!(
        said_of_it[&Field::CivitaiFileSizeKib],
        Said::Integer(223_106)
    );
    assert_eq!(said_of_it[&Field::CivitaiNsfw], Said::Flag(false));
    let Said::Words(words) = &said_of_it[&Field::TrainedWords] else {
        panic!("words");
    };
    assert_eq!(words.len(), 4);
    assert!(text(Field::CivitaiBlurhash).len() > 5);
    assert!(text(Field::PreviewUrl).starts_with("https://"));
    // The description is null, so that nothing is said of it.
    assert!(!said_of_it.contains_key(&Field::CivitaiVersionDescription));
    assert!(!said_of_it.contains_key(&Field::CivitaiDownloadUrl));
}

#[test]
fn unknown_words_stay_as_they_are_and_no_words_are_known_to_be_none() {
    let odd = said(&sample("by-hash.unknown-words-and-fields"), None);
    assert_eq!(odd[&Field::BaseModel], Said::Text("SD 9 Ultra".to_owned()));
    assert_eq!(
        odd[&Field::CivitaiModelType],
        Said::Text("HoloNet".to_owned())
    );
    assert_eq!(odd[&Field::TrainedWords], Said::Words(Vec::new()));
    let unsaid = version(1, "2026", json!([]));
    assert!(!said(&unsaid, None).contains_key(&Field::TrainedWords));
}

#[test]
fn the_size_is_that_of_the_file_with_the_hash() {
    let two = sample("by-hash.checkpoint-two-files");
    for file in two.files().into_iter().filter(VersionFile::is_model) {
        let sha256 = file.sha256.clone().unwrap();
        let size_kib = (file.size_bytes.unwrap() + 512) / 1024;
        let size = said(&two, Some(sha256.as_str()))[&Field::CivitaiFileSizeKib].clone();
        assert_eq!(size, Said::Integer(i64::try_from(size_kib).unwrap()));
        let by_autov2 = two.file_of(sha256.autov2().as_str()).unwrap();
        assert_eq!(by_autov2.id, file.id);
    }
}

#[test]
fn a_picture_is_no_video_and_its_address_is_one_of_the_web() {
    let images = json!([{ "type": "video", "url": "https://x/1.mp4", "hash": "VIDEO" },
        { "type": "image", "url": "javascript:alert(1)", "hash": null },
        { "type": "image", "url": "https://x/2.png", "hash": "LATER" }]);
    let version = Version::read(json!({ "id": 1, "images": images })).unwrap();
    let said = said(&version, None);
    assert!(!said.contains_key(&Field::PreviewUrl));
    assert_eq!(
        said[&Field::CivitaiBlurhash],
        Said::Text("LATER".to_owned())
    );
}
