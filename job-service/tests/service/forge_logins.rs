//! The Forge client against a stand-in that asks for logins: what is sent
//! where, how often, and what is told where a login is wrong.

use forge_sim::{ForgeSim, SimConfig, Users};
use job_service::{
    dispatch::forge::{CallFailure, FetchFailure, Fetched, ForgeClient, ProbeFailureKind},
    server::{Logins, ServerLogin},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

const FILE: &str = "outputs/kept.txt";

/// A server that asks at its API and its UI, and a client without logins.
struct Asking {
    sim: ForgeSim,
    client: ForgeClient,
    folder: TempDir,
}

impl Asking {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("forge");
        let config = SimConfig {
            api_auth: Users::parse("alice:p:1").unwrap(),
            gradio_auth: Users::parse("carol:p&2 %").unwrap(),
            ..SimConfig::instant(&data)
        };
        let sim = ForgeSim::start(config).await.unwrap();
        std::fs::create_dir_all(data.join("outputs")).unwrap();
        std::fs::write(data.join(FILE), "kept").unwrap();
        let client = ForgeClient::new(&sim.url()).unwrap();
        Self {
            sim,
            client,
            folder,
        }
    }

    fn log_in(&self, api: &str, ui: &str) {
        self.client.set_logins(Logins {
            api: Some(login("alice", api)),
            ui: Some(login("carol", ui)),
        });
    }

    async fn file(&self) -> Result<Fetched, FetchFailure> {
        let sink = self.folder.path().join("sink");
        self.client.file(FILE, &sink).await
    }

    /// How often the login form was sent.
    fn logins(&self) -> usize {
        let requests = self.sim.requests();
        requests.iter().filter(|one| one.path == "/login").count()
    }
}

fn login(user: &str, password: &str) -> ServerLogin {
    ServerLogin::parse(user.to_owned(), password.to_owned()).unwrap()
}

fn is_refused(fetched: &Result<Fetched, FetchFailure>) -> bool {
    let Err(FetchFailure::Call(failure)) = fetched else {
        return false;
    };
    matches!(failure, CallFailure::Status { status: 401, .. })
}

#[tokio::test]
async fn with_both_logins_everything_can_be_asked() {
    let asking = Asking::new().await;
    asking.log_in("p:1", "p&2 %");
    let facts = asking.client.probe().await.unwrap();
    assert_eq!((facts.ui_mode, facts.ui_login_fault), (true, None));
    asking.client.list_inventory().await.unwrap();
    asking.client.interrupt().await.unwrap();
    let fetched = asking.file().await.unwrap();
    assert_eq!(fetched, Fetched::Found { size_bytes: 4 });
    asking.client.probe().await.unwrap();
    assert_eq!(asking.logins(), 1, "one session serves all calls");
}

#[tokio::test]
async fn a_refused_login_of_the_api_is_told_with_what_helps() {
    let asking = Asking::new().await;
    let failure = asking.client.probe().await.unwrap_err();
    assert_eq!(failure.kind, ProbeFailureKind::Unauthenticated);
    for part in ["401", "Not authenticated", "asks for a login", "api_login"] {
        assert!(failure.message.contains(part), "{part}: {failure}");
    }
    asking.log_in("hunter2", "p&2 %");
    let failure = asking.client.probe().await.unwrap_err();
    assert_eq!(failure.kind, ProbeFailureKind::Unauthenticated);
    for part in ["Incorrect username or password", "refuses server.api_login"] {
        assert!(failure.message.contains(part), "{part}: {failure}");
    }
    assert!(!failure.message.contains("hunter2"), "{failure}");
    assert!(!format!("{:?}", asking.client).contains("hunter2"));
}

#[tokio::test]
async fn a_session_that_the_server_forgot_is_made_anew_once() {
    let mut asking = Asking::new().await;
    asking.log_in("p:1", "p&2 %");
    assert!(asking.file().await.is_ok());
    assert!(asking.file().await.is_ok());
    assert_eq!(asking.logins(), 1, "the cookies are kept");
    asking.sim.restart().await.unwrap();
    assert!(asking.file().await.is_ok());
    assert_eq!(asking.logins(), 2);
}

#[tokio::test]
async fn a_wrong_login_at_the_ui_is_tried_once_and_told() {
    let asking = Asking::new().await;
    asking.log_in("p:1", "hunter2");
    for _ in 0..2 {
        let facts = asking.client.probe().await.unwrap();
        let fault = facts.ui_login_fault.unwrap();
        for part in ["ui_login", "Incorrect credentials.", "UpdateServer"] {
            assert!(fault.contains(part), "{part}: {fault}");
        }
        assert!(!fault.contains("hunter2"), "{fault}");
        assert!(is_refused(&asking.file().await));
    }
    assert_eq!(asking.logins(), 1);
    asking.log_in("p:1", "p&2 %");
    let facts = asking.client.probe().await.unwrap();
    assert_eq!(facts.ui_login_fault, None);
    assert!(asking.file().await.is_ok());
    assert_eq!(asking.logins(), 2);
}

#[tokio::test]
async fn a_ui_that_asks_is_told_once_a_file_was_refused() {
    let asking = Asking::new().await;
    let api = Some(login("alice", "p:1"));
    asking.client.set_logins(Logins { api, ui: None });
    let facts = asking.client.probe().await.unwrap();
    assert_eq!(facts.ui_login_fault, None);
    assert!(is_refused(&asking.file().await));
    let facts = asking.client.probe().await.unwrap();
    let fault = facts.ui_login_fault.unwrap();
    assert!(fault.contains("set server.ui_login"), "{fault}");
    assert_eq!(asking.logins(), 0);
    asking.log_in("p:1", "p&2 %");
    assert_eq!(asking.client.probe().await.unwrap().ui_login_fault, None);
}

#[tokio::test]
async fn no_login_follows_a_redirect() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let elsewhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = ForgeClient::new(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    client.set_logins(Logins {
        api: Some(login("alice", "secret")),
        ui: Some(login("carol", "secret")),
    });
    let target = elsewhere.local_addr().unwrap();
    let answer = format!(
        "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://{target}/taken\r\n\
         content-length: 0\r\nconnection: close\r\n\r\n"
    );
    let asked = async {
        let failure = client.progress().await.unwrap_err();
        assert!(
            matches!(failure, CallFailure::Status { status: 307, .. }),
            "{failure}"
        );
        let folder = tempfile::tempdir().unwrap();
        let fetched = client.file(FILE, &folder.path().join("sink")).await;
        assert!(fetched.is_err(), "{fetched:?}");
    };
    let served = async {
        loop {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                connection.read_exact(&mut byte).await.unwrap();
                head.extend(byte);
            }
            let head = String::from_utf8(head).unwrap().to_lowercase();
            assert!(head.contains("authorization: basic "), "{head}");
            connection.write_all(answer.as_bytes()).await.unwrap();
        }
    };
    tokio::select! {
        () = asked => {}
        () = served => {}
        taken = elsewhere.accept() => panic!("followed: {taken:?}"),
    }
}
