//! Nothing that proves anything is left in what the real program wrote or
//! said, at its most talkative.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use model_service::tokens;
use service_kit::auth::{Scope, Token};
use stablequeue_proto::admin::v1::CreateBackupRequest;
use stablequeue_proto::admin::v1::admin_service_client::AdminServiceClient;
use stablequeue_proto::models::v1::model_service_client::ModelServiceClient;
use stablequeue_proto::models::v1::*;
use tonic::transport::Channel;
use tonic::{Code, Request};

/// Longest wait for a line.
const PATIENCE: Duration = Duration::from_secs(20);

/// The program, and every line that it says on a thread of its own, so that it
/// never waits for a reader.
fn serving(data_dir: &Path, token_file: &Path) -> (Child, Receiver<String>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_model-service"));
    command
        .args(["serve", "--listen=127.0.0.1:0", "--log=trace"])
        .arg("--metrics-listen=127.0.0.1:0")
        .arg("--data-dir")
        .arg(data_dir)
        .env("MODEL_SERVICE_TOKEN_FILE", token_file)
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let pipe = BufReader::new(child.stderr.take().unwrap());
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in pipe.lines().map_while(Result::ok) {
            // The test may be over.
            let _ = sender.send(line);
        }
    });
    (child, lines)
}

fn with<T>(message: T, token: &Token) -> Request<T> {
    let mut request = Request::new(message);
    let metadata = request.metadata_mut();
    metadata.insert("authorization", token.authorization());
    request
}

/// A model, a call of a stranger and a backup.
async fn call(channel: Channel, token: &Token, stranger: &Token) {
    let mut models = ModelServiceClient::new(channel.clone());
    let create = CreateModelRequest {
        model: Some(Model {
            name: "Lighthouse".to_owned(),
            r#type: ModelType::Lora.into(),
            local_path: "/models/Lora/lighthouse.safetensors".to_owned(),
            ..Model::default()
        }),
        request_id: "once".to_owned(),
    };
    models.create_model(with(create, token)).await.unwrap();
    let list = with(ListModelsRequest::default(), stranger);
    let refused = models.list_models(list).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let mut admin = AdminServiceClient::new(channel);
    let backup = with(CreateBackupRequest::default(), token);
    admin.create_backup(backup).await.unwrap();
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut found = Vec::new();
    for path in paths {
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.is_file() {
            found.push(path);
        }
    }
    found
}

fn has(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_is_left_in_what_the_program_wrote_or_said() {
    let folder = tempfile::tempdir().unwrap();
    let (token, _) = tokens::create("tests", &[Scope::Admin], None).unwrap();
    let (stranger, _) = tokens::create("stranger", &[Scope::Admin], None).unwrap();
    let token_file = folder.path().join("tokens.json");
    // The form that has the token itself, for secrets that are mounted.
    let entry = serde_json::json!([{
        "name": "tests", "token": token.expose(), "scopes": ["admin"],
    }]);
    fs::write(&token_file, entry.to_string()).unwrap();
    let data_dir = folder.path().join("data");
    let (mut child, lines) = serving(&data_dir, &token_file);
    let mut said = Vec::new();
    let address = loop {
        let line = lines.recv_timeout(PATIENCE).expect("it must say more");
        let address = line
            .contains("\"serving\"")
            .then(|| serde_json::from_str::<serde_json::Value>(&line).unwrap());
        said.push(line);
        if let Some(line) = address {
            break format!("http://{}", line["address"].as_str().unwrap());
        }
    };
    let channel = Channel::from_shared(address).unwrap();
    call(channel.connect().await.unwrap(), &token, &stranger).await;
    let mut written: Vec<Vec<u8>> = Vec::new();
    let names = files(&data_dir);
    written.extend(names.iter().map(|path| fs::read(path).unwrap()));
    let kill = Command::new("kill").arg(child.id().to_string()).status();
    assert!(kill.unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    written.extend(files(&data_dir).iter().map(|path| fs::read(path).unwrap()));
    said.extend(lines.iter());
    written.push(said.join("\n").into_bytes());
    assert!(names.len() > 2, "database, -wal and backup: {names:?}");
    assert!(
        written
            .iter()
            .any(|bytes| has(bytes, b"lighthouse.safetensors"))
    );
    assert!(has(written.last().unwrap(), b"TRACE"));
    for token in [&token, &stranger] {
        let text = token.expose_secret();
        for secret in [text.as_bytes(), &hex::decode(text).unwrap()] {
            assert!(!written.iter().any(|bytes| has(bytes, secret)));
        }
    }
}
