//! A server that cannot be reached for a while: refusing for real, or flapping by counts.

use std::io::ErrorKind;

use forge_sim::{Fault, Flap, Outcome, SimConfig, Stage};

use crate::server::{BOUND, Server, client, flags, small};

/// What a fresh connection gets: a status, or true for a refused connect, false for one cut later.
async fn knock(server: &Server) -> Result<u16, bool> {
    let url = format!("{}/internal/ping", server.sim.url());
    match client().get(url).send().await {
        Ok(answer) => Ok(answer.status().as_u16()),
        Err(error) => Err(error.is_connect()),
    }
}

#[tokio::test]
async fn a_refusing_server_refuses_connects_and_finishes_what_it_has() {
    let server = Server::gated().await;
    let job = server.submit(small("in flight"));
    server.started(1).await;
    let app_id = server.sim.app_id();
    server.sim.refuse().await;
    assert_eq!(knock(&server).await, Err(true));
    let refused = tokio::net::TcpStream::connect(server.sim.addr()).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    server.sim.gate().open();
    assert_eq!(job.await.unwrap().unwrap().status(), 200);
    server.sim.accept().await;
    assert_eq!(knock(&server).await, Ok(200));
    assert_eq!(server.sim.app_id(), app_id, "the same process");
    assert_eq!(
        flags(&server.track("in flight").await),
        [false, false, true]
    );
}

#[tokio::test]
async fn an_open_connection_takes_no_request_while_the_server_refuses() {
    let server = Server::start(|config| config).await;
    let pooled = reqwest::Client::builder().timeout(BOUND).build().unwrap();
    let url = format!("{}/internal/ping", server.sim.url());
    assert_eq!(pooled.get(&url).send().await.unwrap().status(), 200);
    server.sim.refuse().await;
    assert!(pooled.get(&url).send().await.is_err());
}

#[tokio::test]
async fn a_server_serves_by_count_and_refuses_again_and_again() {
    let server = Server::start(|config| config).await;
    for _ in 0..3 {
        server.sim.accept_for(2).await;
        assert_eq!([knock(&server).await, knock(&server).await], [Ok(200); 2]);
        server.sim.wait_until_refusing(BOUND).await.unwrap();
        assert_eq!(knock(&server).await, Err(true));
    }
}

#[tokio::test]
async fn a_restart_of_a_refusing_server_listens() {
    let mut server = Server::start(|config| config).await;
    server.sim.refuse().await;
    server.sim.restart().await.unwrap();
    assert_eq!(knock(&server).await, Ok(200));
    server.sim.refuse().await;
    server.sim.kill().await;
    server.sim.accept().await;
    assert_eq!(knock(&server).await, Err(true), "a dead process stays dead");
}

#[tokio::test]
async fn a_flapping_server_resets_and_serves_in_turn() {
    let flap = Flap { reset: 2, serve: 3 };
    let server = Server::start(|config| SimConfig {
        flap: Some(flap),
        ..config
    })
    .await;
    let mut seen = Vec::new();
    for _ in 0..10 {
        seen.push(knock(&server).await.is_ok());
    }
    let (no, yes) = (false, true);
    assert_eq!(seen, [no, no, yes, yes, yes, no, no, yes, yes, yes]);
    assert_eq!(server.sim.requests().len(), 6, "a reset is no request");
    server.sim.flap(None);
    for _ in 0..4 {
        assert_eq!(knock(&server).await, Ok(200));
    }
}

#[tokio::test]
async fn a_server_dies_where_it_is_told_and_knows_nothing_afterwards() {
    for stage in [
        Stage::Queued,
        Stage::Loading,
        Stage::Decoding,
        Stage::Finishing,
    ] {
        let mut server = Server::start(|config| config).await;
        let old = server.sim.app_id();
        server.sim.script(Fault::DieAt { stage });
        let body = crate::server::small_with("dies", &serde_json::json!({ "save_images": true }));
        let error = server.submit(body).await.unwrap().unwrap_err();
        assert!(error.status().is_none() && !error.is_connect());
        server.sim.restart().await.unwrap();
        assert_ne!(server.sim.app_id(), old);
        assert_eq!(flags(&server.track("dies").await), [false; 3], "{stage:?}");
        let log = server.sim.log();
        if stage == Stage::Queued {
            assert!(log.is_empty());
            continue;
        }
        assert_eq!((log[0].outcome, log[0].stage), (Outcome::Killed, stage));
        let saved = usize::from(stage == Stage::Finishing);
        assert_eq!(log[0].files.len(), saved, "{stage:?}");
        for file in &log[0].files {
            let found = server.send("GET", &format!("/file={file}"), None).await;
            assert_eq!(found.status(), 200, "the new process serves it");
        }
    }
}
