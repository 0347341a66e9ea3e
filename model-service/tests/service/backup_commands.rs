//! The commands for the database, beside a running service and without one.

use std::path::Path;
use std::process::{Command, Output};

use service_kit::exit::Exit;

use crate::harness::{Service, model};

/// What the command said, and how it ended.
fn ended(arguments: &[&str], data_dir: &Path) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_model-service"));
    let Output {
        status,
        stdout,
        stderr,
    } = command
        .args(arguments)
        .arg("--data-dir")
        .arg(data_dir)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

/// What a command said that ended well.
fn said(arguments: &[&str], data_dir: &Path) -> String {
    let (code, said, errors) = ended(arguments, data_dir);
    assert_eq!(code, Some(0), "{arguments:?}: {errors}");
    said
}

fn first_word(text: &str) -> String {
    text.split_whitespace().next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_registry_is_the_one_of_the_backup() {
    let mut service = Service::new().await;
    service.create(model("/models/kept.safetensors", "")).await;
    let status = said(&["migrate", "--status"], service.folder.path());
    assert!(status.contains("applied 0001"), "{status}");
    // A running service is asked over its port, by whoever has a token for it.
    for command in [&["backup"][..], &["migrate"], &["migrate", "--dry-run"]] {
        let (code, _, errors) = ended(command, service.folder.path());
        assert_eq!(code, Some(Exit::Locked.code().into()), "{errors}");
        assert_eq!(
            errors.contains("AdminService/CreateBackup"),
            command == ["backup"]
        );
    }
    let folder = service.stop().await;
    let data_dir = folder.path();
    let backup = first_word(&said(&["backup"], data_dir));
    let tried = said(&["migrate", "--dry-run", "--verbose"], data_dir);
    assert!(tried.contains("rows of models: 1, then 1"), "{tried}");

    let mut service = Service::in_folder(folder, |_| {}).await;
    service.create(model("/models/lost.safetensors", "")).await;
    let folder = service.stop().await;
    let restored = said(&["backups", "restore", &backup], folder.path());
    assert!(
        restored.contains("the database from before is "),
        "{restored}"
    );
    let good = said(&["backups", "verify"], folder.path());
    assert!(good.starts_with(&format!("{backup}: good")), "{good}");
    let mut service = Service::in_folder(folder, |_| {}).await;
    let models = service.all_models().await;
    assert_eq!(models.len(), 1);
    assert!(models[0].local_path.ends_with("kept.safetensors"));
}
