//! Where a file comes to lie, what lies beside it, and what the registry learns.

use std::os::unix::fs::{PermissionsExt as _, symlink};

use civitai_sim::{SimFile, SimImage, SimVersion};
use stablequeue_proto::models::v1::*;

use super::fixture::{Downloading, FILE, KEY, VERSION, content};
use crate::harness::SHA;
use crate::shelf::{counts, problems, safetensors};

const PNG: &[u8] = b"\x89PNG\r\n\x1a\nthe rest of it";

#[tokio::test]
async fn a_file_comes_with_what_belongs_to_it_and_is_in_the_registry() {
    let mut downloading = Downloading::new().await;
    let file = content(1, 5_000);
    let picture = downloading.sim.hold_picture("1.jpeg", PNG);
    let version = SimVersion::new(VERSION).file(SimFile::of(FILE, &file));
    let film = SimImage::new("http://127.0.0.1:1/film.mp4", None).with("type", "video".into());
    downloading.sim.add(
        version
            .image(film)
            .image(SimImage::new(&picture, Some("UABC"))),
    );
    downloading
        .sim
        .hold(FILE, "stored.safetensors", file.clone());
    let report = downloading
        .download(|asked| {
            asked.folder = "deep/er".to_owned();
            asked.filename = "fox.safetensors".to_owned();
            (asked.with_sidecar, asked.with_preview) = (true, true);
        })
        .await;
    assert_eq!(problems(&report), [""; 0]);
    let of = |name: &str| report.counts[name];
    assert_eq!(of("bytes"), i64::try_from(file.len()).unwrap());
    for name in ["files", "sidecars", "previews", "models_created"] {
        assert_eq!(of(name), 1, "{name}: {report:?}");
    }
    let names = ["fox.civitai.info", "fox.preview.png", "fox.safetensors"];
    assert_eq!(downloading.names("deep/er"), names);
    assert_eq!(downloading.read("deep/er/fox.safetensors"), file);
    assert_eq!(downloading.read("deep/er/fox.preview.png"), PNG);
    let sidecar: serde_json::Value =
        serde_json::from_slice(&downloading.read("deep/er/fox.civitai.info")).unwrap();
    assert_eq!(sidecar["id"], VERSION);
    let mode = downloading
        .shelf
        .path("deep/er/fox.safetensors")
        .metadata()
        .unwrap();
    assert_eq!(mode.permissions().mode() & 0o777, 0o644);

    let model = downloading.service.named("fox.safetensors").await;
    assert_eq!(model.r#type(), ModelType::Lora);
    assert_eq!(model.metadata_status(), MetadataStatus::Complete);
    assert_eq!(model.hash_sha256.len(), 64);
    assert!(model.has_preview);
    let civitai = model.civitai.unwrap();
    assert_eq!(civitai.version_id, VERSION.to_string());
    assert_eq!(civitai.base_model, "SDXL 1.0");
    // A scan has nothing to add.
    let scanned = downloading.service.scan().await;
    assert_eq!(counts(&scanned), "files=1 unchanged=1");
}

#[tokio::test]
async fn the_key_goes_to_civitai_and_not_to_its_storage() {
    let mut downloading = Downloading::new().await;
    downloading.publish(&content(1, 100));
    downloading.download(|_| {}).await;
    let [asked] = &downloading.asked("/api/download/")[..] else {
        panic!("it was asked more than once");
    };
    assert_eq!(asked.header("authorization"), format!("Bearer {KEY}"));
    assert_eq!(asked.query, format!("fileId={FILE}"));
    let [stored] = &downloading.asked("/storage/")[..] else {
        panic!("it was asked more than once");
    };
    assert_eq!(stored.header("authorization"), "");
    assert!(!stored.query.contains(KEY));
}

#[tokio::test]
async fn a_name_that_leads_elsewhere_becomes_one_that_does_not() {
    let mut downloading = Downloading::new().await;
    let file = content(1, 10);
    let named = SimFile::of(FILE, &file).with("name", "../../evil\n.safetensors".into());
    downloading.sim.add(SimVersion::new(VERSION).file(named));
    downloading.sim.hold(FILE, "x", file.clone());
    downloading.download(|_| {}).await;
    assert_eq!(downloading.names(""), ["evil_.safetensors"]);

    // Without a name there, that of the storage is taken in the same way.
    let nameless = SimFile::of(FILE + 1, &file).with("name", serde_json::Value::Null);
    downloading
        .sim
        .add(SimVersion::new(VERSION + 1).file(nameless));
    downloading.sim.hold(FILE + 1, "/etc/..stored.ckpt", file);
    downloading
        .download(|asked| asked.version_id = (VERSION + 1).to_string())
        .await;
    assert_eq!(downloading.names(""), ["evil_.safetensors", "stored.ckpt"]);
}

#[tokio::test]
async fn nothing_is_written_outside_the_root() {
    let mut downloading = Downloading::new().await;
    downloading.publish(&content(1, 10));
    let outside = downloading.shelf.folder.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    symlink(&outside, downloading.shelf.path("link")).unwrap();
    let error = downloading
        .failed(|asked| asked.folder = "link/new".to_owned())
        .await;
    assert_eq!(error.reason, "ROOT_NOT_WRITABLE", "{error:?}");
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
}

#[tokio::test]
async fn a_file_that_is_there_is_not_fetched_again_and_another_is_not_overwritten() {
    let mut downloading = Downloading::new().await;
    let file = content(1, 1_000);
    downloading.publish(&file);
    downloading
        .download(|asked| asked.filename = "a.safetensors".to_owned())
        .await;
    let asked = downloading.asked("/api/download/").len();
    let again = downloading
        .download(|asked| asked.filename = "a.safetensors".to_owned())
        .await;
    assert_eq!(
        (again.counts["already_there"], again.counts["bytes"]),
        (1, 0)
    );
    assert_eq!(downloading.asked("/api/download/").len(), asked);

    downloading.shelf.put("b.safetensors", "mine");
    let error = downloading
        .failed(|asked| asked.filename = "b.safetensors".to_owned())
        .await;
    assert_eq!(error.reason, "FILE_EXISTS");
    assert_eq!(downloading.read("b.safetensors"), b"mine");
    // What lies beside a file stays as well.
    downloading.shelf.put("c.civitai.info", "{}");
    let report = downloading
        .download(|asked| {
            asked.filename = "c.safetensors".to_owned();
            asked.with_sidecar = true;
        })
        .await;
    assert_eq!(problems(&report), ["main/c.civitai.info: BESIDE_EXISTS"]);
    assert_eq!(downloading.read("c.civitai.info"), b"{}");
}

#[tokio::test]
async fn a_download_with_the_name_of_a_known_model_is_a_model_of_its_own() {
    let mut downloading = Downloading::new().await;
    let theirs = InventoryModel {
        r#type: ModelType::Lora.into(),
        title: "fox".into(),
        path: "D:\\lora\\fox.safetensors".into(),
        sha256: SHA.into(),
        ..Default::default()
    };
    downloading.service.full("forge", "1", vec![theirs]).await;
    let known = downloading.service.all_models().await.remove(0);
    let file = [
        safetensors(
            &[
                ("ss_network_module", "networks.lora"),
                ("modelspec.description", "Of the download."),
            ],
            &[],
        ),
        vec![7; 500],
    ]
    .concat();
    downloading.publish(&file);
    let report = downloading
        .download(|asked| {
            asked.filename = "fox.safetensors".to_owned();
            asked.with_sidecar = true;
        })
        .await;
    assert_eq!(report.counts["models_created"], 1);
    let after = downloading.service.get(&known.model_id).await.unwrap();
    assert_eq!(after.etag, known.etag, "{after:#?}");
    let models = downloading.service.all_models().await;
    assert_eq!(models.len(), 2);
    let new = &models[1];
    assert_eq!(new.description, "Of the download.");
    assert_eq!(
        new.file_size_bytes,
        Some(i64::try_from(file.len()).unwrap())
    );
    assert_eq!(new.civitai.clone().unwrap().version_id, VERSION.to_string());
    let scanned = downloading.service.scan().await;
    assert_eq!(counts(&scanned), "files=1 unchanged=1");
}

#[tokio::test]
async fn a_download_in_the_place_of_a_vanished_file_writes_nothing_into_its_model() {
    let mut downloading = Downloading::new().await;
    let former = downloading.shelf.put_lora("fox.safetensors", "former");
    downloading.service.scan().await;
    let hashing = StartHashingRequest::default();
    let started = downloading.service.library.start_hashing(hashing).await;
    let started = started.unwrap().into_inner().operation;
    downloading.service.report(started).await;
    let known = downloading.service.named("fox.safetensors").await;
    let listed = InventoryModel {
        r#type: ModelType::Lora.into(),
        title: "fox".into(),
        path: former.to_str().unwrap().into(),
        sha256: known.hash_sha256.clone(),
        ..Default::default()
    };
    downloading.service.full("forge", "1", vec![listed]).await;
    std::fs::remove_file(former).unwrap();
    let metadata = [("modelspec.description", "Of the download.")];
    let file = safetensors(&metadata, &["lora_unet_a.alpha"]);
    downloading.publish(&file);
    downloading
        .download(|asked| asked.filename = "fox.safetensors".to_owned())
        .await;
    let after = downloading.service.get(&known.model_id).await.unwrap();
    assert_eq!(
        (
            &*after.description,
            after.file_size_bytes,
            &*after.hash_sha256
        ),
        ("", known.file_size_bytes, &*known.hash_sha256)
    );
    let models = downloading.service.all_models().await;
    let described = models
        .iter()
        .filter(|it| it.description == "Of the download.");
    assert_eq!(described.count(), 1, "{models:#?}");
}

#[tokio::test]
async fn the_model_file_is_chosen_and_what_goes_with_it_never() {
    let mut downloading = Downloading::new().await;
    let (file, small) = (content(1, 300), content(2, 200));
    let beside = |id, kind: &str| SimFile::of(id, &small).with("type", kind.into());
    let pruned = beside(73, "Pruned Model").with("primary", false.into());
    let version = SimVersion::new(VERSION)
        .file(beside(71, "VAE"))
        .file(beside(72, "Training Data"))
        .file(pruned.with("name", "small.safetensors".into()))
        .file(SimFile::of(FILE, &file).with("name", "full.safetensors".into()));
    downloading.sim.add(version);
    downloading.sim.hold(FILE, "x", file.clone());
    downloading.sim.hold(73, "x", small.clone());
    downloading.download(|_| {}).await;
    assert_eq!(downloading.read("full.safetensors"), file);
    downloading
        .download(|asked| asked.file_id = "73".to_owned())
        .await;
    assert_eq!(downloading.read("small.safetensors"), small);
    for id in ["71", "72"] {
        let error = downloading
            .failed(|asked| asked.file_id = id.to_owned())
            .await;
        assert_eq!(error.reason, "NOT_A_MODEL_FILE");
    }
    let error = downloading
        .failed(|asked| asked.file_id = "99".to_owned())
        .await;
    assert_eq!(error.reason, "CIVITAI_FILE_NOT_FOUND");
}

#[tokio::test]
async fn a_preview_that_is_none_is_left_out_and_said() {
    let mut downloading = Downloading::new().await;
    let file = content(1, 10);
    let page = downloading.sim.hold_picture("1.jpeg", &b"<html>"[..]);
    let picture = SimImage::new(&page, None);
    downloading.sim.add(
        SimVersion::new(VERSION)
            .file(SimFile::of(FILE, &file))
            .image(picture),
    );
    downloading.sim.hold(FILE, "x", file);
    let report = downloading
        .download(|asked| asked.with_preview = true)
        .await;
    assert_eq!(
        problems(&report),
        [format!("main/model_{FILE}.safetensors: NO_PREVIEW")]
    );
    assert_eq!(downloading.names(""), [format!("model_{FILE}.safetensors")]);
}
