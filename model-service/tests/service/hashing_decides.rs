//! What a hash decides afterwards: whose content a file is, which sidecars are
//! about it, and what of all that was written before is taken back.

use std::fs::File;
use std::time::{Duration, SystemTime};

use sha2::Digest as _;
use stablequeue_proto::models::v1::*;

use crate::harness::{SHA, Service};
use crate::shelf::{Shelf, counts, lora, problems, root, user_metadata};

impl Service {
    async fn hash_all(&mut self) -> stablequeue_proto::admin::v1::LibraryReport {
        let request = StartHashingRequest::default();
        let started = self.library.start_hashing(request).await.unwrap();
        self.report(started.into_inner().operation).await
    }
}

fn sha256(content: &[u8]) -> String {
    hex::encode(sha2::Sha256::digest(content))
}

/// What Civitai Helper keeps of a version whose file has this SHA-256.
fn of_civitai(version: u64, sha256: &str) -> String {
    serde_json::json!({
        "id": version,
        "modelId": version * 10,
        "name": format!("v{version}"),
        "baseModel": "Pony",
        "trainedWords": [format!("word{version}")],
        "model": {"name": format!("Model {version}"), "type": "LORA"},
        "files": [{"id": 1, "type": "Model", "primary": true, "hashes": {"SHA256": sha256}}],
    })
    .to_string()
}

/// Puts another content in the place of a file, changed at another time.
fn overwrite(shelf: &Shelf, name: &str, content: &[u8]) {
    let path = shelf.put(name, content);
    let file = File::options().write(true).open(path).unwrap();
    let before = SystemTime::now() - Duration::from_secs(5_000);
    file.set_modified(before).unwrap();
}

/// The LoRA that goes by this name on a server.
fn on_server(path: &str, sha256: &str) -> InventoryModel {
    InventoryModel {
        r#type: ModelType::Lora.into(),
        title: "x".into(),
        path: path.into(),
        sha256: sha256.into(),
        ..Default::default()
    }
}

fn version_of(model: &Model) -> &str {
    model.civitai.as_ref().map_or("", |it| &it.version_id)
}

#[tokio::test]
async fn what_a_sidecar_of_another_file_said_is_taken_back_once_the_hash_is_known() {
    let shelf = Shelf::new();
    let content = lora(&[("ss_session_id", "second")]);
    shelf.put("x.safetensors", &content);
    shelf.put("x.civitai.info", of_civitai(1, SHA));
    let of_manager = serde_json::json!({
        "file_name": "x", "file_path": "/x.safetensors", "model_name": "First", "sha256": SHA,
        "notes": "of the first",
    });
    shelf.put("x.metadata.json", of_manager.to_string());
    shelf.put(
        "x.json",
        r#"{"description": "Typed by hand.", "preferred weight": 0.5}"#,
    );
    let mut service = shelf.service().await;
    service.scan().await;
    let model = service.named("x.safetensors").await;
    assert_eq!((model.name.as_str(), version_of(&model)), ("First", "1"));
    assert_eq!(counts(&service.scan().await), "files=1 unchanged=1");
    service.hash_all().await;
    let report = service.scan().await;
    let others = ["main/x.civitai.info", "main/x.metadata.json"];
    assert_eq!(
        problems(&report),
        others.map(|path| format!("{path}: SIDECAR_OF_ANOTHER_FILE"))
    );
    let model = service.named("x.safetensors").await;
    assert_eq!((model.name.as_str(), version_of(&model)), ("x", ""));
    assert_eq!(
        model.civitai.clone().unwrap_or_default().trained_words,
        [""; 0]
    );
    assert_eq!(model.notes, "");
    // What nobody doubts stays.
    assert_eq!(
        (model.description.as_str(), model.preferred_weight),
        ("Typed by hand.", Some(0.5))
    );
    assert_eq!(counts(&service.scan().await), "files=1 unchanged=1");
    let full = StartScanRequest {
        full: true,
        ..Default::default()
    };
    service.scan_as(full).await;
    assert_eq!(
        service.named("x.safetensors").await,
        model,
        "it is done once"
    );
}

#[tokio::test]
async fn a_sidecar_whose_file_was_proven_says_what_it_said_before() {
    let shelf = Shelf::new();
    let content = lora(&[("ss_session_id", "first")]);
    shelf.put("x.safetensors", &content);
    shelf.put("x.civitai.info", of_civitai(1, &sha256(&content)));
    let mut service = shelf.service().await;
    service.scan().await;
    let before = service.named("x.safetensors").await;
    service.hash_all().await;
    assert_eq!(
        counts(&service.scan().await),
        "files=1 sidecars=1 unchanged=1"
    );
    assert_eq!(counts(&service.scan().await), "files=1 unchanged=1");
    let after = service.named("x.safetensors").await;
    assert_eq!((after.civitai, after.name), (before.civitai, before.name));
}

#[tokio::test]
async fn of_a_file_that_its_next_version_replaced_nothing_is_left_but_what_somebody_set() {
    let shelf = Shelf::new();
    let described = |text: &str| lora(&[("modelspec.description", text), ("ss_session_id", text)]);
    let (first, second) = (described("One."), described("Two."));
    shelf.put("x.safetensors", &first);
    shelf.put("x.civitai.info", of_civitai(1, &sha256(&first)));
    let mut service = shelf.service().await;
    service.hash_of_scan().await;
    let model = service.named("x.safetensors").await;
    let change = Model {
        model_id: model.model_id.clone(),
        notes: "Mine.".into(),
        ..Default::default()
    };
    service.update(change, &["notes"]).await.unwrap();
    overwrite(&shelf, "x.safetensors", &second);
    shelf.put("x.civitai.info", of_civitai(2, &sha256(&second)));
    service.hash_of_scan().await;
    service.scan().await;
    let model = service.named("x.safetensors").await;
    assert_eq!(
        (version_of(&model), model.description.as_str()),
        ("2", "Two.")
    );
    assert_eq!(model.civitai.clone().unwrap().trained_words, ["word2"]);
    assert_eq!(model.notes, "Mine.");
    assert_eq!(model.hash_sha256, sha256(&second));
    assert_eq!(counts(&service.scan().await), "files=1 unchanged=1");
}

impl Service {
    async fn hash_of_scan(&mut self) {
        self.scan().await;
        self.hash_all().await;
        self.scan().await;
    }
}

#[tokio::test]
async fn another_content_writes_nothing_into_a_model_that_is_known_by_its_hash() {
    let shelf = Shelf::new();
    let first = lora(&[("ss_session_id", "first")]);
    shelf.put("x.safetensors", &first);
    let mut service = shelf.service().await;
    service.hash_of_scan().await;
    let theirs = on_server("/srv/x.safetensors", &sha256(&first));
    service.full("forge-1", "1", vec![theirs]).await;
    let former = service.named("x.safetensors").await;
    overwrite(
        &shelf,
        "x.safetensors",
        &lora(&[("modelspec.description", "Of the second.")]),
    );
    shelf.put("x.json", user_metadata("Beside the second."));
    service.scan().await;
    let facts = |model: &Model| {
        let text = [&model.description, &model.notes, &model.sd_version].map(String::clone);
        (text, model.file_size_bytes, model.file_modify_time)
    };
    let between = service.get(&former.model_id).await.unwrap();
    assert_eq!(facts(&between), facts(&former));
    service.hash_of_scan().await;
    let after = service.get(&former.model_id).await.unwrap();
    assert_eq!(facts(&after), facts(&former));
    let models = service.all_models().await;
    let [new] = models
        .iter()
        .filter(|it| it.model_id != former.model_id)
        .collect::<Vec<_>>()[..]
    else {
        panic!("{models:#?}");
    };
    assert_eq!(new.description, "Beside the second.");
    assert_ne!(new.file_size_bytes, former.file_size_bytes);
}

#[tokio::test]
async fn a_file_with_the_name_of_a_known_model_writes_nothing_before_its_hash_agrees() {
    let shelf = Shelf::new();
    let theirs = lora(&[("ss_session_id", "theirs")]);
    shelf.put(
        "x.safetensors",
        lora(&[("modelspec.description", "Another.")]),
    );
    shelf.put("y.safetensors", &theirs);
    shelf.put("y.json", user_metadata("The same."));
    let mut service = shelf.service().await;
    let listed = |name: &str, sha256: &str| InventoryModel {
        title: name.into(),
        ..on_server(&format!("D:\\lora\\{name}.safetensors"), sha256)
    };
    let both = vec![listed("x", SHA), listed("y", &sha256(&theirs))];
    service.full("forge-1", "1", both).await;
    let before = service.all_models().await;
    let (x, y) = (&before[0].model_id, &before[1].model_id);
    service.scan().await;
    for known in &before {
        let now = service.get(&known.model_id).await.unwrap();
        assert_eq!(now.files.len(), 1, "the file goes by the model's name");
        assert_eq!((&*now.description, now.file_size_bytes), ("", None));
    }
    assert_eq!(counts(&service.scan().await), "files=2 unchanged=2");
    service.hash_all().await;
    service.scan().await;
    let kept = service.get(x).await.unwrap();
    assert_eq!(
        (kept.files.len(), &*kept.description, &*kept.hash_sha256),
        (0, "", SHA)
    );
    let same = service.get(y).await.unwrap();
    assert_eq!((same.files.len(), &*same.description), (1, "The same."));
    let models = service.all_models().await;
    assert_eq!(models.len(), 3);
    assert!(models.iter().any(|it| it.description == "Another."));
}

#[tokio::test]
async fn what_was_registered_of_another_path_is_not_replaced_by_a_file_of_the_same_name() {
    let shelf = Shelf::new();
    shelf.put_lora("x.safetensors", "another");
    let mut service = shelf.service().await;
    let registered = Model {
        name: "Registered".into(),
        r#type: ModelType::Lora.into(),
        local_path: "D:\\lora\\x.safetensors".into(),
        hash_sha256: SHA.into(),
        ..Default::default()
    };
    let registered = service.create(registered).await;
    service.hash_of_scan().await;
    let kept = service.get(&registered.model_id).await.unwrap();
    assert_eq!((&*kept.hash_sha256, kept.files.len()), (SHA, 0));
    assert_eq!(service.all_models().await.len(), 2);
}

#[tokio::test]
async fn a_hash_of_the_library_is_that_of_a_servers_file_only_at_the_same_path() {
    let shelf = Shelf::new();
    let content = lora(&[("ss_session_id", "ours")]);
    shelf.put("detail.safetensors", &content);
    let mut service = shelf.service().await;
    let elsewhere = on_server("D:\\sd\\lora\\detail.safetensors", "");
    service.full("left", "1", vec![elsewhere]).await;
    service.hash_of_scan().await;
    let model = service.named("detail.safetensors").await;
    assert_eq!(
        (model.files.len(), &*model.hash_sha256),
        (1, &*sha256(&content))
    );
    let hash = sha256(&content);
    for text in [
        hash.as_str(),
        &hash[..10],
        &hash[..12],
        model.hash_autov3.as_str(),
    ] {
        let found = service.check_one(text, "left").await;
        assert_eq!(
            found.state(),
            AvailabilityState::Missing,
            "{text}: {found:?}"
        );
    }
    let named = service.check_one("detail", "left").await;
    assert_eq!(named.state(), AvailabilityState::Available);
    assert_eq!(named.sha256, "");
    // A server that shares the folder has the same file.
    let ours = shelf.put_lora("shared.safetensors", "shared");
    service.hash_of_scan().await;
    let shared = on_server(ours.to_str().unwrap(), "");
    service.full("right", "1", vec![shared]).await;
    let hash = service.named("shared.safetensors").await.hash_sha256;
    let found = service.check_one(&hash, "right").await;
    assert_eq!(
        (found.state(), found.r#match()),
        (AvailabilityState::Available, MatchKind::Sha256)
    );
}

#[tokio::test]
async fn a_model_that_was_deleted_comes_back_with_its_file_and_its_hash() {
    let shelf = Shelf::new();
    let content = lora(&[("modelspec.description", "One.")]);
    shelf.put("x.safetensors", &content);
    shelf.put("copy/y.safetensors", &content);
    let mut service = Service::in_folder(tempfile::tempdir().unwrap(), |config| {
        config.library.roots = vec![root("main", &shelf.path(""), None)];
    })
    .await;
    service.hash_of_scan().await;
    let model = service.all_models().await.remove(0);
    assert_eq!(model.files.len(), 2);
    let delete = DeleteModelRequest {
        model_id: model.model_id.clone(),
    };
    service.models.delete_model(delete).await.unwrap();
    assert!(service.all_models().await.is_empty());
    service.scan().await;
    let models = service.all_models().await;
    assert_eq!(models.len(), 1, "{models:#?}");
    assert_eq!(models[0].files.len(), 2);
    assert_eq!(
        (&*models[0].description, &*models[0].hash_sha256),
        ("One.", &*sha256(&content))
    );
    assert_eq!(counts(&service.scan().await), "files=2 unchanged=2");
}

#[tokio::test]
async fn a_file_larger_than_any_model_is_left_out_and_holds_up_no_other() {
    let shelf = Shelf::new();
    shelf.put_lora("a.safetensors", "a");
    let huge = File::create(shelf.path("huge.ckpt")).unwrap();
    huge.set_len((1 << 40) + 1).unwrap();
    let mut service = shelf.service().await;
    service.scan().await;
    let report = service.hash_all().await;
    assert_eq!(
        (report.counts["files"], report.counts["unreadable"]),
        (1, 1)
    );
    assert_eq!(problems(&report), ["main/huge.ckpt: FILE_TOO_LARGE"]);
    assert_ne!(service.named("a.safetensors").await.hash_sha256, "");
}
