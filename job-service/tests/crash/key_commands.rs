//! The commands `api-key`, on a stopped service and on a running one, and that
//! no secret comes into what the service says and keeps.

use std::{path::Path, process::Output};

use job_service::admin_socket::SOCKET_FILE;
use serde_json::Value;
use service_kit::{auth::Token, exit::Exit};
use stablequeue_proto::jobs::v1::{ListJobsRequest, job_service_client::JobServiceClient};
use tonic::{Code, Request};

use crate::{
    program::{Program, command},
    world::World,
};

const SERVE: [&str; 4] = [
    "serve",
    "--listen=127.0.0.1:0",
    "--metrics-listen=127.0.0.1:0",
    "--model-service=http://127.0.0.1:9",
];

/// What a command prints, and how it ended.
fn run(arguments: &[&str], data_dir: &Path) -> (Option<i32>, String, String) {
    let line: Vec<&str> = std::iter::once("api-key")
        .chain(arguments.iter().copied())
        .collect();
    let Output {
        status,
        stdout,
        stderr,
    } = command(&line, data_dir).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

fn json(arguments: &[&str], data_dir: &Path) -> Value {
    let (code, said, errors) = run(arguments, data_dir);
    assert_eq!(code, Some(0), "{errors}");
    serde_json::from_str(&said).unwrap()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap()
}

fn token(made: &Value) -> Token {
    Token::parse(text(made, "token")).unwrap()
}

/// How a call of a running service with this token ends.
async fn call(program: &Program, by: Option<&Token>) -> Code {
    let address = format!("http://{}", program.serves().await);
    let mut jobs = JobServiceClient::connect(address).await.unwrap();
    let mut request = Request::new(ListJobsRequest::default());
    if let Some(token) = by {
        let metadata = request.metadata_mut();
        metadata.insert("authorization", token.authorization());
    }
    match jobs.list_jobs(request).await {
        Ok(_) => Code::Ok,
        Err(status) => status.code(),
    }
}

fn file_with(folder: &Path, text: &str) -> String {
    let file = folder.join("first.key");
    std::fs::write(&file, text).unwrap();
    format!("--bootstrap-key-file={}", file.display())
}

async fn stop(mut program: Program) -> String {
    program.terminate();
    assert!(program.ends().await.success(), "{}", program.said());
    program.said()
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_made_listed_and_revoked_on_a_stopped_service() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let first = json(
        &["create", "--name=first", "--scopes=admin", "--json"],
        data,
    );
    let second = json(
        &[
            "create",
            "--name=second",
            "--scopes=jobs:read,jobs:write",
            "--json",
            "--description=an old laptop",
            "--expires-in-hours=1",
        ],
        data,
    );
    let all = json(&["list", "--json"], data);
    let names: Vec<_> = all
        .as_array()
        .unwrap()
        .iter()
        .map(|key| text(key, "name"))
        .collect();
    assert_eq!(names, ["first", "second"]);
    assert_eq!(
        all[1]["scopes"],
        serde_json::json!(["jobs:read", "jobs:write"])
    );
    assert!(all[1]["expireTime"].is_string() && all[0]["expireTime"].is_null());
    let (code, said, _) = run(&["revoke", text(&second, "keyId")], data);
    assert_eq!(code, Some(0), "{said}");
    let (_, table, _) = run(&["list"], data);
    assert!(
        table.contains("revoked") && table.contains("first"),
        "{table}"
    );
    for made in [&first, &second] {
        let shown = format!("{all}{table}");
        for secret in ["key", "secret", "token"] {
            assert!(!shown.contains(text(made, secret)), "{secret}: {shown}");
        }
    }
    let program = Program::start(&mut command(&SERVE, data));
    assert_eq!(call(&program, None).await, Code::Unauthenticated);
    assert_eq!(call(&program, Some(&token(&first))).await, Code::Ok);
    assert_eq!(
        call(&program, Some(&token(&second))).await,
        Code::Unauthenticated
    );
    stop(program).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_commands_go_through_the_socket_of_a_running_service() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    // A leftover of a killed process.
    std::fs::write(data.join(SOCKET_FILE), "").unwrap();
    let program = Program::start(&mut command(&SERVE, data));
    assert_eq!(call(&program, None).await, Code::Ok);
    let made = json(
        &["create", "--name=first", "--scopes=admin", "--json"],
        data,
    );
    assert_eq!(call(&program, None).await, Code::Unauthenticated);
    assert_eq!(call(&program, Some(&token(&made))).await, Code::Ok);
    assert_eq!(json(&["list", "--json"], data).as_array().unwrap().len(), 1);
    // The last key that manages keys can be taken here, and here alone.
    let (code, _, errors) = run(&["revoke", "--delete", text(&made, "keyId")], data);
    assert_eq!(code, Some(0), "{errors}");
    assert_eq!(json(&["list", "--json"], data), serde_json::json!([]));
    assert_eq!(
        call(&program, Some(&token(&made))).await,
        Code::Unauthenticated
    );
    assert_eq!(call(&program, None).await, Code::Unauthenticated);
    stop(program).await;
    assert!(!data.join(SOCKET_FILE).exists(), "it is removed at the end");
    let program = Program::start(&mut command(&SERVE, data));
    assert_eq!(
        call(&program, None).await,
        Code::Unauthenticated,
        "for good"
    );
    stop(program).await;
}

#[test]
fn what_a_command_refuses_is_told_by_its_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let bad = Some(Exit::BadConfiguration.code().into());
    for (arguments, word) in [
        (&["create"][..], "--name"),
        (&["create", "--name=x", "--scopes=everything"], "jobs:read"),
        (&["create", "--name=\n"], "name"),
        (&["create", "--name=x", "--expires-in-hours=0"], "expires"),
        (&["revoke"], "KEY_ID"),
        (&["rotate"], "rotate"),
    ] {
        let (code, _, errors) = run(arguments, data);
        assert_eq!(code, bad, "{arguments:?}: {errors}");
        assert!(errors.contains(word), "{arguments:?}: {errors}");
    }
    let (code, _, errors) = run(&["revoke", "none"], data);
    assert_eq!(code, Some(Exit::Failure.code().into()), "{errors}");
    assert!(errors.contains("none"), "{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_folder_with_a_long_path_is_served_without_its_socket() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("d".repeat(120));
    let program = Program::start(&mut command(&SERVE, &data));
    program.says("there is no admin socket").await;
    assert_eq!(call(&program, None).await, Code::Ok);
    let (code, _, errors) = run(&["create", "--name=x"], &data);
    assert_eq!(code, Some(Exit::Locked.code().into()), "{errors}");
    assert!(errors.contains("shorter"), "{errors}");
    stop(program).await;
    let (code, _, errors) = run(&["create", "--name=x"], &data);
    assert_eq!(code, Some(0), "{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_loopback_the_program_starts_with_a_bootstrap_key_only() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut wide = SERVE;
    wide[1] = "--listen=0.0.0.0:0";
    let ended = command(&wide, &data).output().unwrap();
    let errors = String::from_utf8(ended.stderr).unwrap();
    let code = ended.status.code();
    assert_eq!(code, Some(Exit::BadConfiguration.code().into()), "{errors}");
    assert!(errors.contains("--bootstrap-key-file"), "{errors}");
    let made = service_kit::auth::ApiKey::generate().unwrap().token();
    let flag = file_with(folder.path(), &format!("{}\n", made.expose()));
    let mut arguments = wide.to_vec();
    arguments.push(&flag);
    let program = Program::start(&mut command(&arguments, &data));
    let port = program.serves().await.port();
    let address = format!("http://127.0.0.1:{port}");
    let mut jobs = JobServiceClient::connect(address).await.unwrap();
    let mut request = Request::new(ListJobsRequest::default());
    let refused = jobs.list_jobs(ListJobsRequest::default()).await;
    assert_eq!(refused.unwrap_err().code(), Code::Unauthenticated);
    let metadata = request.metadata_mut();
    metadata.insert("authorization", made.authorization());
    jobs.list_jobs(request).await.unwrap();
    stop(program).await;
    let cut = file_with(folder.path(), &made.expose()[..40]);
    let ended = command(&["serve", &cut], &data).output().unwrap();
    let errors = String::from_utf8(ended.stderr).unwrap();
    let code = ended.status.code();
    assert_eq!(code, Some(Exit::BadConfiguration.code().into()), "{errors}");
    assert!(!errors.contains(&made.expose()[12..40]), "{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_with_keys_leaves_no_secret_in_its_files_and_its_log() {
    let world = World::new().await;
    let bootstrap = service_kit::auth::ApiKey::generate().unwrap();
    let pair = format!("{}:{}", bootstrap.expose_key(), bootstrap.expose_secret());
    let keys = tempfile::tempdir().unwrap();
    let flag = file_with(keys.path(), &pair);
    let program = world.start(&[&flag, "--log=debug"]);
    let admin = bootstrap.token();
    assert_eq!(call(&program, Some(&admin)).await, Code::Ok);
    let data = world.data_dir();
    let made = json(&["create", "--name=x", "--json"], &data);
    assert_eq!(call(&program, Some(&token(&made))).await, Code::Ok);
    let wrong = service_kit::auth::ApiKey::generate().unwrap();
    assert_eq!(
        call(&program, Some(&wrong.token())).await,
        Code::Unauthenticated
    );
    let secrets = [
        bootstrap.expose_key(),
        bootstrap.expose_secret(),
        text(&made, "key"),
        text(&made, "secret"),
        wrong.expose_secret(),
    ];
    // The write-ahead log is there while it runs only.
    no_file_holds(&data, &secrets);
    let said = stop(program).await;
    no_file_holds(&data, &secrets);
    assert!(said.contains("serving"));
    for secret in secrets {
        assert!(!said.contains(secret));
    }
}

fn no_file_holds(folder: &Path, secrets: &[&str]) {
    let mut databases = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if !path.is_file() {
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        databases += usize::from(bytes.starts_with(b"SQLite format 3"));
        for secret in secrets {
            let found = bytes
                .windows(secret.len())
                .any(|at| at == secret.as_bytes());
            assert!(!found, "{}", path.display());
        }
    }
    assert!(databases >= 1, "there was something to look at");
}
