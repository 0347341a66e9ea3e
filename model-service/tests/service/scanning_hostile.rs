//! A library that means harm, or is only broken: a scan comes to its end, finds
//! what is sound, and reads nothing outside its roots.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::process::Command;

use stablequeue_proto::models::v1::*;

use crate::shelf::{Shelf, counts, lora, problems, user_metadata};

#[tokio::test]
async fn nothing_outside_the_roots_is_read_whatever_leads_there() {
    let shelf = Shelf::new();
    let outside = shelf.folder.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(
        outside.join("secret.safetensors"),
        lora(&[("modelspec.description", "Secret.")]),
    )
    .unwrap();
    fs::write(outside.join("secret.json"), user_metadata("Secret.")).unwrap();
    shelf.put_lora("a.safetensors", "a");
    symlink(outside.join("secret.json"), shelf.path("a.json")).unwrap();
    symlink(
        "../outside/secret.safetensors",
        shelf.path("up.safetensors"),
    )
    .unwrap();
    symlink(
        outside.join("secret.safetensors"),
        shelf.path("out.safetensors"),
    )
    .unwrap();
    symlink(&outside, shelf.path("folder")).unwrap();
    symlink("..", shelf.path("parent")).unwrap();
    symlink("/proc/self/root", shelf.path("magic")).unwrap();
    let mut service = shelf.service().await;
    // What a server or a caller says of paths is text.
    let server_says = InventoryModel {
        r#type: ModelType::Lora.into(),
        title: "secret".into(),
        path: outside.join("secret.safetensors").to_str().unwrap().into(),
        ..Default::default()
    };
    service.full("forge", "1", vec![server_says]).await;
    let claimed = Model {
        name: "claimed".into(),
        r#type: ModelType::Lora.into(),
        local_path: format!("{}/../outside/secret.safetensors", shelf.path("").display()),
        ..Default::default()
    };
    service.create(claimed).await;
    let report = service.scan().await;
    assert_eq!(counts(&report), "files=1 models_created=1 new=1 problems=6");
    let left_out = [
        "a.json",
        "folder",
        "magic",
        "out.safetensors",
        "parent",
        "up.safetensors",
    ];
    let left_out = left_out.map(|name| format!("main/{name}: OUTSIDE_ROOT"));
    assert_eq!(problems(&report), left_out);
    for model in service.all_models().await {
        assert_eq!(model.description, "", "{model:?}");
        assert_eq!(
            model.file_size_bytes.is_some(),
            model.filename == "a.safetensors"
        );
    }
}

#[tokio::test]
async fn links_beneath_the_root_are_followed_and_loops_end() {
    let shelf = Shelf::new();
    shelf.put("blobs/0123", lora(&[("modelspec.description", "By link.")]));
    fs::create_dir(shelf.path("names")).unwrap();
    symlink("../blobs/0123", shelf.path("names/a.safetensors")).unwrap();
    symlink(shelf.path("blobs/0123"), shelf.path("names/b.safetensors")).unwrap();
    symlink(".", shelf.path("names/self")).unwrap();
    symlink("..", shelf.path("names/up")).unwrap();
    symlink("round.sft", shelf.path("round.sft")).unwrap();
    symlink("nowhere", shelf.path("dangling.sft")).unwrap();
    let mut service = shelf.service().await;
    let report = service.scan().await;
    assert_eq!(
        problems(&report),
        [
            "main/dangling.sft: FILE_UNREADABLE",
            "main/round.sft: FILE_UNREADABLE"
        ]
    );
    assert_eq!(
        (report.counts["files"], report.counts["models_created"]),
        (2, 1)
    );
    let models = service.all_models().await;
    assert_eq!(
        (models[0].description.as_str(), models[0].files.len()),
        ("By link.", 2)
    );
}

#[tokio::test]
async fn devices_fifos_and_sockets_with_the_names_of_models_are_never_opened() {
    let shelf = Shelf::new();
    shelf.put_lora("a.safetensors", "a");
    for fifo in ["fifo.safetensors", "a.json"] {
        let made = Command::new("mkfifo")
            .arg(shelf.path(fifo))
            .status()
            .unwrap();
        assert!(made.success());
    }
    let _socket = UnixListener::bind(shelf.path("socket.ckpt")).unwrap();
    symlink("fifo.safetensors", shelf.path("link.gguf")).unwrap();
    let mut service = shelf.service().await;
    let report = service.scan().await;
    assert_eq!(counts(&report), "files=1 models_created=1 new=1 problems=3");
    let odd = ["fifo.safetensors", "link.gguf", "socket.ckpt"];
    assert_eq!(
        problems(&report),
        odd.map(|name| format!("main/{name}: NOT_A_FILE"))
    );
}

#[tokio::test]
async fn names_of_any_bytes_are_found_again() {
    let shelf = Shelf::new();
    shelf.put_lora("line\nbreak.safetensors", "a");
    let bytes = OsStr::from_bytes(b"not \xff utf8 \xfe.safetensors");
    fs::write(shelf.path("").join(bytes), lora(&[])).unwrap();
    let folder = shelf.path("").join(OsStr::from_bytes(b"\xfd"));
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("in.safetensors"), lora(&[])).unwrap();
    let mut service = shelf.service().await;
    assert_eq!(
        counts(&service.scan().await),
        "files=3 models_created=3 new=3"
    );
    assert_eq!(counts(&service.scan().await), "files=3 unchanged=3");
    service.named("line\nbreak.safetensors").await;
    let shown = service
        .named("not \u{fffd} utf8 \u{fffd}.safetensors")
        .await;
    assert_eq!(
        shown.files[0].path,
        "not \u{fffd} utf8 \u{fffd}.safetensors"
    );
    fs::rename(folder.join("in.safetensors"), shelf.path("in.safetensors")).unwrap();
    assert_eq!(counts(&service.scan().await), "files=3 moved=1 unchanged=2");
}

/// Headers of F52.
fn malformed() -> Vec<(&'static str, Vec<u8>)> {
    let header = |text: &[u8]| [&(text.len() as u64).to_le_bytes(), text].concat();
    let nested = format!("{{\"a\":{}1{}}}", "[".repeat(5_000), "]".repeat(5_000));
    vec![
        ("empty", Vec::new()),
        ("short", vec![1, 2, 3]),
        ("longer-than-file", 1_000_u64.to_le_bytes().to_vec()),
        ("largest", u64::MAX.to_le_bytes().to_vec()),
        ("over-limit", 100_000_001_u64.to_le_bytes().to_vec()),
        ("not-an-object", header(b"[1, 2]")),
        ("not-json", header(b"{\"a\": ")),
        ("not-utf8", header(b"{\"\xff\": {}}")),
        ("nested", header(nested.as_bytes())),
    ]
}

#[tokio::test]
async fn a_malformed_header_is_a_problem_of_its_file_alone() {
    let shelf = Shelf::new();
    for (name, content) in malformed() {
        shelf.put(&format!("{name}.safetensors"), content);
    }
    shelf.put("sound.safetensors", lora(&[]));
    shelf.put("sound.json", "no json");
    let mut service = shelf.service().await;
    let report = service.scan().await;
    let count = malformed().len();
    let mut expected: Vec<String> = malformed()
        .iter()
        .map(|(name, _)| format!("main/{name}.safetensors: HEADER_INVALID"))
        .collect();
    expected.push("main/sound.json: SIDECAR_INVALID".into());
    expected.sort();
    assert_eq!(problems(&report), expected);
    assert_eq!(report.counts["files"], i64::try_from(count).unwrap() + 1);
    for model in service.all_models().await {
        let sound = model.filename == "sound.safetensors";
        assert_eq!(model.files[0].header_problem.is_empty(), sound, "{model:?}");
    }
}

#[tokio::test]
async fn what_lies_too_deep_is_left_out_and_nothing_else() {
    let shelf = Shelf::new();
    let deepest = "d/".repeat(64);
    shelf.put_lora(&format!("{deepest}a.safetensors"), "a");
    shelf.put_lora(&format!("{deepest}d/b.safetensors"), "b");
    shelf.put_lora("c.safetensors", "c");
    let mut service = shelf.service().await;
    let report = service.scan().await;
    assert_eq!(counts(&report), "files=2 models_created=2 new=2 problems=1");
    assert_eq!(problems(&report), [format!("main/{deepest}d: TOO_DEEP")]);
}
