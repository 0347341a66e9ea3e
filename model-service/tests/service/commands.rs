//! The real program's commands that start no service: what a probe asks, and
//! what the settings are.

use std::path::Path;
use std::process::{Command, Output};

use model_service::{Config, start};
use service_kit::clock::Clock;
use service_kit::exit::Exit;
use service_kit::server;

fn said(arguments: &[&str]) -> (Option<i32>, Output) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_model-service"));
    let output = command.args(arguments).output().unwrap();
    (output.status.code(), output)
}

fn code(exit: Exit) -> Option<i32> {
    Some(exit.code().into())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_health_check_succeeds_only_while_the_service_serves() {
    let folder = tempfile::tempdir().unwrap();
    let listener = server::bind("0.0.0.0:0".parse().unwrap()).await.unwrap();
    let listens = listener.local_addr().unwrap().to_string();
    let config = Config::in_folder(folder.path());
    let running = start(config, listener, Clock::system()).await.unwrap();
    // A wildcard is asked on loopback, as a probe in a container does.
    let asked = ["healthcheck", "--address", &listens];
    let (ended, output) = said(&asked);
    assert_eq!(ended, code(Exit::Clean), "{output:?}");
    assert!(output.stdout.is_empty() && output.stderr.is_empty());
    let other = [&asked[..], &["--service", "no.such.Service"]].concat();
    let (ended, output) = said(&other);
    assert_eq!(ended, code(Exit::Failure), "{output:?}");
    running.stop().await.unwrap();
    let (ended, output) = said(&asked);
    assert_eq!(ended, code(Exit::Failure), "{output:?}");
    let why = String::from_utf8(output.stderr).unwrap();
    assert_eq!(why.lines().count(), 1, "{why}");
    assert!(why.contains("cannot be reached"), "{why}");
}

#[test]
fn the_settings_are_printed_with_their_sources_and_no_content_of_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    let tokens = r#"[{"name":"me","token":"sq_0123456789","scopes":["models:read"]}]"#;
    std::fs::write(&file, tokens).unwrap();
    let file = file.to_str().unwrap();
    let (ended, output) = said(&["print-config", "--token-file", file]);
    assert_eq!(ended, code(Exit::BadConfiguration), "{output:?}");
    let all: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(all["token_file"]["value"], file);
    assert_eq!(all["token_file"]["source"], "flag");
    assert_eq!(all["token_file"]["variable"], "MODEL_SERVICE_TOKEN_FILE");
    assert_eq!(all["events_kept"]["value"], "100000");
    for said in [output.stdout, output.stderr] {
        assert!(!String::from_utf8(said).unwrap().contains("0123456789"));
    }
}

#[test]
fn settings_are_checked_as_for_serving_and_every_fault_is_told() {
    let (ended, output) = said(&[
        "print-config",
        "--token-file=no/such/file",
        "--metrics-listen=10.0.0.1:2",
    ]);
    assert_eq!(ended, code(Exit::BadConfiguration));
    let faults = String::from_utf8(output.stderr).unwrap();
    for part in ["no/such/file", "10.0.0.1:2"] {
        assert!(faults.contains(part), "{faults}");
    }
    let (ended, output) = said(&["print-config", "--data-dir", "nowhere"]);
    assert_eq!(ended, code(Exit::Clean), "{output:?}");
    assert!(!Path::new("nowhere").exists(), "nothing was made");
}
