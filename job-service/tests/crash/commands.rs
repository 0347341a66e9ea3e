//! What the program's commands say that start no service.

use std::process::Output;

use service_kit::exit::Exit;

use crate::{
    program::{command, healthcheck},
    world::World,
};

fn code(exit: Exit) -> Option<i32> {
    Some(exit.code().into())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_health_check_succeeds_only_while_the_service_serves() {
    let world = World::new().await;
    let mut program = world.start(&[]);
    let address = program.serves().await.to_string();
    let healthy = healthcheck(&address);
    assert_eq!(healthy.status.code(), code(Exit::Clean), "{healthy:?}");
    program.terminate();
    assert!(program.ends().await.success());
    let gone = healthcheck(&address);
    assert_eq!(gone.status.code(), code(Exit::Failure), "{gone:?}");
    let why = String::from_utf8(gone.stderr).unwrap();
    assert_eq!(why.lines().count(), 1, "{why}");
}

/// What `print-config` says with these flags.
fn printed(flags: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let arguments = [&["print-config"], flags].concat();
    let output = command(&arguments, folder.path()).output().unwrap();
    let made = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(made, 0, "nothing was made");
    output
}

#[test]
fn the_settings_are_printed_without_a_secret_even_where_they_are_refused() {
    let servers = r#"[{"alias":"a","apiUrl":"http://user:hunter2@forge:7860"},
        {"alias":"b","apiUrl":"http://b:1","auth":{"username":"u","password":"hunter2"}},
        {"alias":"c","apiUrl":"http://c:1","username":"u","password":"hunter2","usage":"hers"}]"#;
    let output = printed(&[
        "--servers",
        servers,
        "--model-service=http://user:hunter2@models:50052/?token=hunter2",
        "--metrics-listen=10.0.0.1:9464",
    ]);
    assert_eq!(output.status.code(), code(Exit::BadConfiguration));
    let shown = String::from_utf8(output.stdout).unwrap();
    let faults = String::from_utf8(output.stderr).unwrap();
    let all: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(
        all["model_service"]["value"],
        "http://***@models:50052/?***"
    );
    assert_eq!(
        all["servers"]["value"][0]["apiUrl"],
        "http://***@forge:7860"
    );
    assert_eq!(all["servers"]["value"][1]["auth"], "***");
    assert_eq!(all["servers"]["value"][2]["alias"], "c");
    for part in ["--model-service", "10.0.0.1:9464", "\"hers\""] {
        assert!(faults.contains(part), "{part}: {faults}");
    }
    for said in [shown, faults] {
        assert!(!said.contains("hunter2"), "{said}");
    }
}

#[test]
fn good_settings_are_printed_with_where_each_comes_from() {
    let output = printed(&["--probe-ms=700"]);
    assert_eq!(output.status.code(), code(Exit::Clean), "{output:?}");
    let all: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(all["probe_ms"]["value"], "700");
    assert_eq!(all["probe_ms"]["source"], "flag");
    assert_eq!(all["progress_ms"]["source"], "default");
    assert_eq!(all["listen"]["variable"], "JOB_SERVICE_LISTEN");
}
