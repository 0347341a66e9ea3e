//! The commands `scan` and `hash` of the real program, against a running
//! service.

use std::io::Read as _;
use std::process::{Child, Command, Stdio};

use model_service::{Config, Running, start};
use service_kit::clock::Clock;
use service_kit::exit::Exit;
use service_kit::server;
use stablequeue_proto::admin::v1::{ListOperationsRequest, OperationState};

use crate::harness::soon;
use crate::hashing_shelf::{Desk, ROOT, Shelf};

/// A service whose clock goes by itself: it tells the command how far it is
/// every while.
struct Service {
    running: Running,
    _data: tempfile::TempDir,
}

impl Service {
    async fn of(shelf: &Shelf) -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut config = Config::in_folder(data.path());
        shelf.configure(&mut config);
        let listener = server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let running = start(config, listener, Clock::system()).await.unwrap();
        Self {
            running,
            _data: data,
        }
    }
}

fn program(service: &Service, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_model-service"));
    let address = service.running.local_addr().to_string();
    command.args(arguments).args(["--address", &address]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// How it ended and what it said, while the service goes on beside.
async fn ended(mut child: Child) -> (Option<i32>, String, String) {
    let wait = tokio::task::spawn_blocking(move || {
        let (mut out, mut err) = (String::new(), String::new());
        child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut out)
            .unwrap();
        child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut err)
            .unwrap();
        (child.wait().unwrap().code(), out, err)
    });
    soon(wait).await.unwrap()
}

async fn said(service: &Service, arguments: &[&str]) -> (Option<i32>, String, String) {
    ended(program(service, arguments).spawn().unwrap()).await
}

fn code(exit: Exit) -> Option<i32> {
    Some(exit.code().into())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_library_is_scanned_and_hashed_from_the_shell() {
    let shelf = Shelf::new();
    shelf.put("a.ckpt", b"abc");
    let service = Service::of(&shelf).await;
    let (exit, out, err) = said(&service, &["scan"]).await;
    assert_eq!(exit, code(Exit::Clean), "{out}{err}");
    assert!(out.starts_with("scanning: done\n"), "{out}");
    let path = shelf.path("");
    for root in [ROOT, path.to_str().unwrap()] {
        let (exit, out, err) = said(&service, &["hash", root, "--again"]).await;
        assert_eq!(exit, code(Exit::Clean), "{out}{err}");
        assert!(out.contains("\n  files: "), "{out}");
    }
    std::fs::remove_file(shelf.path("a.ckpt")).unwrap();
    let (_, out, _) = said(&service, &["hash", "--again"]).await;
    assert!(out.contains("left out: 1\n  main/a.ckpt: "), "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_asked_is_told_with_what_can() {
    let shelf = Shelf::new();
    let service = Service::of(&shelf).await;
    let (exit, out, err) = said(&service, &["hash", "nowhere"]).await;
    assert_eq!((exit, &*out), (code(Exit::BadConfiguration), ""));
    assert!(
        err.contains("\"nowhere\" is no root") && err.contains(ROOT),
        "{err}"
    );
    let no_file = ["scan", "--token-file", "no/such/file"];
    let (exit, _, err) = said(&service, &no_file).await;
    assert_eq!(exit, code(Exit::BadConfiguration));
    assert!(err.contains("no/such/file"), "{err}");
    let mut command = program(&service, &["scan"]);
    service.running.stop().await.unwrap();
    let (exit, _, err) = ended(command.spawn().unwrap()).await;
    assert_eq!(exit, code(Exit::Failure));
    assert!(err.contains("cannot be reached"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_cancels_the_operation_and_says_so() {
    const BYTES: u64 = 64 << 20;
    let shelf = Shelf::new();
    shelf.put_long(12, BYTES);
    let service = Service::of(&shelf).await;
    let mut desk = Desk::at(service.running.local_addr()).await;
    desk.scan().await;
    let child = program(&service, &["hash"]).spawn().unwrap();
    let begun = async {
        loop {
            let running = ListOperationsRequest {
                states: vec![OperationState::Running.into()],
                ..ListOperationsRequest::default()
            };
            let page = desk.operations.list_operations(running).await.unwrap();
            if let Some(operation) = page.into_inner().operations.pop() {
                return operation.operation_id;
            }
        }
    };
    let id = soon(begun).await;
    // The command listens to Ctrl-C before it asks how far it is.
    desk.reached(&id, BYTES as i64).await;
    let pid = child.id().to_string();
    let sent = Command::new("kill").args(["-INT", &pid]).status().unwrap();
    assert!(sent.success());
    let (exit, out, err) = ended(child).await;
    assert_eq!(exit, code(Exit::Failure), "{out}{err}");
    assert!(
        out.contains("cancelled") && err.contains("cancelling"),
        "{out}{err}"
    );
    assert_eq!(desk.end(&id).await.state(), OperationState::Cancelled);
}
