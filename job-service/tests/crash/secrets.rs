//! After a full run of the real program nothing that proves anything is left
//! in what it wrote or said: databases, their logs of writes, backups, its own
//! log at its most talkative, and what its other commands print.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use forge_sim::{ForgeSim, SimConfig, Users};
use model_service::tokens::{self, Tokens};
use service_kit::{
    auth::{ApiKey, KEY_HEADER, SECRET_HEADER, Scope, Token},
    clock::Clock,
    server,
};
use stablequeue_proto::{
    admin::v1::{CreateBackupRequest, admin_service_client::AdminServiceClient},
    jobs::v1::{
        self as jobs, api_key_service_client::ApiKeyServiceClient,
        job_service_client::JobServiceClient, server_service_client::ServerServiceClient,
    },
};
use tempfile::TempDir;
use tonic::{Code, Request, metadata::MetadataMap, transport::Channel};

use crate::program::{Program, command};

mod search;

use search::Secrets;

/// In the URL of a server, where `+` and `%` are written otherwise.
const URL_PASSWORD: &str = "tamarin+4711%";
const URL_PASSWORD_ENCODED: &str = "tamarin%2B4711%25";
const UI_PASSWORD: &str = "ocelot & 0815";
const WRONG_PASSWORD: &str = "marmoset-1234-wrong";
/// No secret.
const PROMPT: &str = "a lighthouse in fog";
const TOKEN_FILE: &str = "model-token";
const KEY_FILE: &str = "first-key";
/// Holds the key that logins are encrypted with, and is all that may.
const CREDENTIALS_FILE: &str = "credentials.key";

/// The program with everything that it is given secrets in.
struct Given {
    folder: TempDir,
    models: model_service::Running,
    sim: ForgeSim,
    first: ApiKey,
    model_token: Token,
}

impl Given {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let scopes = [Scope::ModelsRead, Scope::ModelsWrite];
        let (model_token, entry) = tokens::create("job-service", &scopes, None).unwrap();
        let known = folder.path().join("tokens.json");
        fs::write(&known, entry).unwrap();
        let mut config = model_service::Config::in_folder(folder.path().join("models"));
        config.tokens = Some(Arc::new(Tokens::read(&known).unwrap()));
        let listener = server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let models = model_service::start(config, listener, Clock::system())
            .await
            .unwrap();
        let mut config = SimConfig::instant(folder.path().join("forge"));
        config.api_auth = Users::parse(&format!("alice:{URL_PASSWORD}")).unwrap();
        let sim = ForgeSim::start(config).await.unwrap();
        let first = ApiKey::generate().unwrap();
        let pair = format!("{}:{}\n", first.expose_key(), first.expose_secret());
        fs::write(folder.path().join(KEY_FILE), pair).unwrap();
        fs::write(folder.path().join(TOKEN_FILE), model_token.expose()).unwrap();
        Self {
            folder,
            models,
            sim,
            first,
            model_token,
        }
    }

    fn data_dir(&self) -> PathBuf {
        self.folder.path().join("jobs")
    }

    /// The program, to serve or to do something else with the same settings.
    fn program(&self, subcommand: &str) -> Command {
        let address = self.sim.url().replace("http://", "");
        let servers = serde_json::json!([{
            "alias": "gpu",
            "apiUrl": format!("http://alice:{URL_PASSWORD_ENCODED}@{address}"),
        }]);
        let mut program = command(&[subcommand], &self.data_dir());
        program
            .args(["--log=trace", "--listen=127.0.0.1:0", "--probe-ms=200"])
            .args(["--metrics-listen=127.0.0.1:0", "--progress-ms=50"])
            .env("JOB_SERVICE_SERVERS", servers.to_string())
            .env(
                "JOB_SERVICE_MODEL_SERVICE",
                format!("http://{}", self.models.local_addr()),
            )
            .env(
                "JOB_SERVICE_BOOTSTRAP_KEY_FILE",
                self.folder.path().join(KEY_FILE),
            )
            .env(
                "JOB_SERVICE_MODEL_TOKEN_FILE",
                self.folder.path().join(TOKEN_FILE),
            );
        program
    }
}

/// A message from whoever has this token.
fn with<T>(message: T, token: &Token) -> Request<T> {
    let mut request = Request::new(message);
    let metadata = request.metadata_mut();
    metadata.insert("authorization", token.authorization());
    request
}

/// The same with the key and its secret, in one of their two forms.
fn with_pair<T>(message: T, (key, secret): (&str, &str), in_one: bool) -> Request<T> {
    let mut request = Request::new(message);
    let metadata: &mut MetadataMap = request.metadata_mut();
    if in_one {
        let pair = STANDARD.encode(format!("{key}:{secret}"));
        metadata.insert("authorization", format!("Bearer {pair}").parse().unwrap());
    } else {
        metadata.insert(KEY_HEADER, key.parse().unwrap());
        metadata.insert(SECRET_HEADER, secret.parse().unwrap());
    }
    request
}

fn small_job() -> jobs::SubmitJobRequest {
    jobs::SubmitJobRequest {
        input: Some(jobs::submit_job_request::Input::Params(
            jobs::GenerationParams {
                prompt: PROMPT.to_owned(),
                steps: Some(2),
                width: Some(64),
                height: Some(64),
                ..jobs::GenerationParams::default()
            },
        )),
        ..jobs::SubmitJobRequest::default()
    }
}

/// Makes a key and gives it another secret; what proved it and what proves it.
async fn rotated(channel: &Channel, admin: &Token, secrets: &mut Secrets) -> jobs::ApiKeyProof {
    let mut keys = ApiKeyServiceClient::new(channel.clone());
    let api_key = jobs::ApiKey {
        name: "rotated".to_owned(),
        scopes: vec!["jobs:read".to_owned(), "jobs:write".to_owned()],
        ..jobs::ApiKey::default()
    };
    let create = jobs::CreateApiKeyRequest {
        api_key: Some(api_key),
        request_id: "once".to_owned(),
    };
    let made = keys.create_api_key(with(create, admin)).await.unwrap();
    let made = made.into_inner();
    let before = made.proof.unwrap();
    let rotate = jobs::RotateApiKeyRequest {
        key_id: made.api_key.unwrap().key_id,
        overlap: None,
    };
    let after = keys.rotate_api_key(with(rotate, admin)).await.unwrap();
    let after = after.into_inner().proof.unwrap();
    secrets.add("the key of a made key", &before.key);
    secrets.add("the secret before the rotation", &before.secret);
    secrets.add("the secret after the rotation", &after.secret);
    jobs::ApiKeyProof {
        // It stays, and nobody but its owner knows it any more.
        key: before.key,
        ..after
    }
}

/// Servers with logins, one of them wrong and changed.
async fn add_servers(channel: &Channel, admin: &Token) {
    let mut servers = ServerServiceClient::new(channel.clone());
    let login = |password: &str| {
        Some(jobs::ServerLogin {
            user: "carol".to_owned(),
            password: password.to_owned(),
        })
    };
    let server = jobs::Server {
        alias: "attic".to_owned(),
        // Nobody listens there.
        base_url: "http://127.0.0.1:9".to_owned(),
        api_login: login(WRONG_PASSWORD),
        ui_login: login(UI_PASSWORD),
        ..jobs::Server::default()
    };
    let create = jobs::CreateServerRequest {
        server: Some(server.clone()),
        request_id: "once".to_owned(),
    };
    servers.create_server(with(create, admin)).await.unwrap();
    let update = jobs::UpdateServerRequest {
        server: Some(jobs::Server {
            api_login: login(UI_PASSWORD),
            ..server
        }),
        update_mask: None,
    };
    servers.update_server(with(update, admin)).await.unwrap();
}

/// Submits with credentials in every form, good ones and others, and sees one
/// job to its end.
async fn submit(channel: &Channel, proof: &jobs::ApiKeyProof, secrets: &mut Secrets) {
    let mut client = JobServiceClient::new(channel.clone());
    let (key, secret) = (proof.key.as_str(), proof.secret.as_str());
    for in_one in [false, true] {
        let request = with_pair(small_job(), (key, secret), in_one);
        client.submit_job(request).await.unwrap();
    }
    let stranger = ApiKey::generate().unwrap();
    secrets.add_key("a stranger", &stranger);
    let wrong = (stranger.expose_key(), stranger.expose_secret());
    let doubled = format!("{secret}{secret}");
    let half = &secret[..secret.len() / 2];
    for pair in [wrong, (key, wrong.1), (key, half), (key, &doubled)] {
        for in_one in [false, true] {
            let refused = client
                .submit_job(with_pair(small_job(), pair, in_one))
                .await;
            assert_eq!(refused.unwrap_err().code(), Code::Unauthenticated);
        }
    }
    let token = Token::parse(&proof.token).unwrap();
    let taken = client.submit_job(with(small_job(), &token)).await.unwrap();
    let request = jobs::WaitJobRequest {
        job_id: taken.into_inner().job.unwrap().job_id,
        timeout: Some(prost_types::Duration {
            seconds: 60,
            nanos: 0,
        }),
    };
    let ended = client.wait_job(with(request, &token)).await.unwrap();
    let job = ended.into_inner().job.unwrap();
    assert_eq!(job.state(), jobs::JobState::Completed, "{job:#?}");
}

/// Every file below a folder that may not hold secrets.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.is_file() && !path.ends_with(CREDENTIALS_FILE) {
            found.push(path);
        }
    }
    found
}

fn assert_no_file_has(secrets: &Secrets, given: &Given) -> Vec<PathBuf> {
    let mut all = files(&given.data_dir());
    all.extend(files(&given.folder.path().join("models")));
    let mut looked_into = false;
    for path in &all {
        let bytes = fs::read(path).unwrap();
        secrets.assert_absent(&path.display().to_string(), &bytes);
        looked_into |= bytes
            .windows(PROMPT.len())
            .any(|part| part == PROMPT.as_bytes());
    }
    assert!(looked_into, "what is no secret is found");
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_left_in_what_the_program_wrote_or_said() {
    let given = Given::new().await;
    let mut secrets = Secrets::default();
    secrets.add_key("the first key", &given.first);
    secrets.add_token("the token for model-service", &given.model_token);
    for password in [
        URL_PASSWORD,
        URL_PASSWORD_ENCODED,
        UI_PASSWORD,
        WRONG_PASSWORD,
    ] {
        secrets.add(password, password);
    }
    let mut program = Program::start(&mut given.program("serve"));
    let address = format!("http://{}", program.serves().await);
    let channel = Channel::from_shared(address).unwrap().connect().await;
    let channel = channel.unwrap();
    let admin = given.first.token();
    let proof = rotated(&channel, &admin, &mut secrets).await;
    add_servers(&channel, &admin).await;
    submit(&channel, &proof, &mut secrets).await;
    let mut client = AdminServiceClient::new(channel);
    let backup = client
        .create_backup(with(CreateBackupRequest::default(), &admin))
        .await;
    backup.unwrap();
    let sealing = fs::read_to_string(given.data_dir().join(CREDENTIALS_FILE)).unwrap();
    secrets.add("the key of the logins", sealing.trim());
    // While it runs, its writes are in the -wal; behind its end, in the file.
    let running = assert_no_file_has(&secrets, &given);
    let named = |end: &str| {
        running
            .iter()
            .any(|path| path.to_string_lossy().ends_with(end))
    };
    assert!(named(".sqlite") && named("-wal"), "{running:?}");
    assert!(
        running
            .iter()
            .any(|path| path.to_string_lossy().contains("backup"))
    );
    program.terminate();
    assert_eq!(program.ends().await.code(), Some(0), "{}", program.said());
    assert_no_file_has(&secrets, &given);
    let said = program.said();
    assert!(said.contains("TRACE"), "it was to say everything");
    secrets.assert_absent("the log", said.as_bytes());
    let printed = given.program("print-config").output().unwrap();
    assert_eq!(printed.status.code(), Some(0), "{printed:?}");
    assert!(printed.stdout.windows(3).any(|part| part == b"gpu"));
    secrets.assert_absent("print-config", &printed.stdout);
    secrets.assert_absent("what print-config logs", &printed.stderr);
    let mut list = command(&["api-key", "list"], &given.data_dir());
    let listed = list.output().unwrap();
    assert_eq!(listed.status.code(), Some(0), "{listed:?}");
    assert!(String::from_utf8_lossy(&listed.stdout).contains("rotated"));
    secrets.assert_absent("api-key list", &listed.stdout);
}
