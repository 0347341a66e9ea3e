//! The real program: exit codes, the lock, the signal to stop.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use model_service::{Config, StartError, start};
use service_kit::clock::Clock;
use service_kit::exit::Exit;
use service_kit::server;

use crate::harness::soon;

fn program(data_dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_model-service"));
    command.args([
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--metrics-listen",
        "127.0.0.1:0",
        "--data-dir",
    ]);
    command.arg(data_dir);
    command
}

fn output(command: &mut Command) -> Output {
    command.output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A program that takes calls, with the rest of what it says.
fn serving(data_dir: &Path) -> (Child, BufReader<std::process::ChildStderr>) {
    begun(program(data_dir))
}

fn begun(mut program: Command) -> (Child, BufReader<std::process::ChildStderr>) {
    let mut child = program.stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("\"serving\"") {
        line.clear();
        assert_ne!(lines.read_line(&mut line).unwrap(), 0, "it ended early");
    }
    (child, lines)
}

fn terminate(child: &Child) {
    let id = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &id])
            .status()
            .unwrap()
            .success()
    );
}

#[test]
fn a_machine_without_root_certificates_is_served_as_a_bare_container_is() {
    let (folder, none) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = none.path().join("none.pem");
    std::fs::write(&file, "").unwrap();
    let mut program = program(folder.path());
    program
        .env("SSL_CERT_FILE", &file)
        .env("SSL_CERT_DIR", none.path());
    let (mut child, _lines) = begun(program);
    terminate(&child);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn sigterm_ends_the_program_cleanly_and_a_second_process_is_refused_until_then() {
    let folder = tempfile::tempdir().unwrap();
    let (mut first, mut lines) = serving(folder.path());
    let second = output(&mut program(folder.path()));
    assert_eq!(second.status.code(), Some(Exit::Locked.code().into()));
    let said = text(&second);
    assert!(
        said.contains(&format!("model-service (process {})", first.id())),
        "{said}"
    );
    terminate(&first);
    assert_eq!(first.wait().unwrap().code(), Some(0));
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    assert!(!rest.contains("ERROR"), "{rest}");
    let (mut third, _lines) = serving(folder.path());
    terminate(&third);
    assert_eq!(third.wait().unwrap().code(), Some(0));
}

#[test]
fn a_newer_database_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let migrate = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_model-service"));
        command.arg("migrate").arg("--data-dir").arg(folder.path());
        command
    };
    assert_eq!(output(&mut migrate()).status.code(), Some(0));
    let file = folder.path().join("mobilesd_models.sqlite");
    let sql = "INSERT INTO __diesel_schema_migrations (version) VALUES ('9999')";
    use diesel::{Connection as _, RunQueryDsl as _};
    let mut connection = diesel::SqliteConnection::establish(file.to_str().unwrap()).unwrap();
    diesel::sql_query(sql).execute(&mut connection).unwrap();
    drop(connection);
    let before = std::fs::read(&file).unwrap();
    for command in [&mut migrate(), &mut program(folder.path())] {
        let refused = output(command);
        assert_eq!(refused.status.code(), Some(Exit::BadData.code().into()));
        assert!(text(&refused).contains("9999"), "{}", text(&refused));
    }
    assert!(std::fs::read(&file).unwrap() == before);
}

#[test]
fn a_database_that_a_newer_program_left_open_to_this_one_is_served() {
    use diesel::{Connection as _, RunQueryDsl as _};
    let folder = tempfile::tempdir().unwrap();
    let (mut first, _lines) = serving(folder.path());
    terminate(&first);
    assert_eq!(first.wait().unwrap().code(), Some(0));
    let file = folder.path().join("mobilesd_models.sqlite");
    let mut connection = diesel::SqliteConnection::establish(file.to_str().unwrap()).unwrap();
    // A program later by one migration that only expands.
    for sql in [
        "ALTER TABLE models ADD COLUMN colour TEXT NOT NULL DEFAULT 'white'",
        "REPLACE INTO stablequeue_meta \
         SELECT 'oldest_schema_version', max(version) FROM stablequeue_migrations",
        "INSERT INTO stablequeue_migrations VALUES \
         ('9999', '9999_a', 'a', '2026-11-22T11:08:00.123Z')",
        "INSERT INTO __diesel_schema_migrations (version) VALUES ('9999')",
    ] {
        diesel::sql_query(sql).execute(&mut connection).unwrap();
    }
    drop(connection);
    let (mut second, mut lines) = serving(folder.path());
    terminate(&second);
    assert_eq!(second.wait().unwrap().code(), Some(0));
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    assert!(!rest.contains("ERROR"), "{rest}");
}

#[test]
fn a_wrong_command_line_ends_as_bad_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = [
        vec!["--no-such-flag"],
        vec!["--listen", "not an address"],
        vec!["--listen", "0.0.0.0:50052"],
        vec!["--log", "a=b=c"],
    ];
    for arguments in wrong {
        let mut command = Command::new(env!("CARGO_BIN_EXE_model-service"));
        command
            .args(&arguments)
            .arg("--data-dir")
            .arg(folder.path());
        let ended = output(&mut command);
        assert_eq!(
            ended.status.code(),
            Some(Exit::BadConfiguration.code().into()),
            "{arguments:?}"
        );
        assert!(!ended.stderr.is_empty());
    }
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        0,
        "nothing was made"
    );
}

#[tokio::test]
async fn a_database_in_use_is_an_error_of_start_too() {
    let folder = tempfile::tempdir().unwrap();
    let listen = || server::bind("127.0.0.1:0".parse().unwrap());
    let config = || Config::in_folder(folder.path());
    let running = start(config(), listen().await.unwrap(), Clock::system())
        .await
        .unwrap();
    let second = start(config(), listen().await.unwrap(), Clock::system())
        .await
        .unwrap_err();
    assert!(matches!(second, StartError::Lock(_)), "{second:?}");
    assert_eq!(second.exit(), Exit::Locked);
    running.stop().await.unwrap();
    let again = start(config(), listen().await.unwrap(), Clock::system())
        .await
        .unwrap();
    again.stop().await.unwrap();
}

#[tokio::test]
async fn metrics_are_served_with_the_figures_of_this_service() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::in_folder(folder.path());
    config.metrics_listen = Some("127.0.0.1:0".parse().unwrap());
    config.grace = Duration::from_secs(5);
    let listener = server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let running = start(config, listener, Clock::system()).await.unwrap();
    let mut stream = tokio::net::TcpStream::connect(running.metrics_addr().unwrap())
        .await
        .unwrap();
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await.unwrap();
    for figure in [
        "stablequeue_inventory_syncs_total 0",
        "stablequeue_availability_watches 0",
        "stablequeue_database_commits_total",
        "stablequeue_database_queue_length 0",
    ] {
        assert!(answer.contains(figure), "{figure} is not in\n{answer}");
    }
    running.stop().await.unwrap();
}
