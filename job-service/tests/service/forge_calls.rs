//! A server that takes connections and never answers: calls do not pile up on
//! it, and an interrupt waits behind none.

use std::time::Duration;

use job_service::dispatch::forge::{CONTROL_CALLS_MAX, ForgeClient};
use tokio::{
    io::AsyncReadExt as _,
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// How long a state may take to come about.
const BOUND: Duration = Duration::from_secs(20);

/// The next request that arrives, its first line, with its connection.
async fn next(listener: &TcpListener) -> (TcpStream, String) {
    let arrived = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = vec![0; 64];
        let read = stream.read(&mut head).await.unwrap();
        let head = String::from_utf8_lossy(&head[..read]).into_owned();
        (stream, head)
    };
    tokio::time::timeout(BOUND, arrived).await.unwrap()
}

#[tokio::test]
async fn control_calls_wait_for_each_other_and_an_interrupt_for_none() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let client = ForgeClient::new(&url).unwrap();
    let mut calls = JoinSet::new();
    for _ in 0..3 * CONTROL_CALLS_MAX {
        let client = client.clone();
        calls.spawn(async move { client.progress().await.is_err() });
    }
    let mut open = Vec::new();
    for _ in 0..CONTROL_CALLS_MAX {
        let (stream, head) = next(&listener).await;
        assert!(head.starts_with("GET /sdapi/v1/progress"), "{head}");
        open.push(stream);
    }
    // Were there room for one more, it would come before this.
    calls.spawn(async move { client.interrupt().await.is_err() });
    let (stream, head) = next(&listener).await;
    assert!(head.starts_with("POST /sdapi/v1/interrupt"), "{head}");
    drop(stream);
    // Its connection was cut.
    assert!(calls.join_next().await.unwrap().unwrap());
    // Each that ends lets another through.
    drop(open.pop());
    let (stream, head) = next(&listener).await;
    assert!(head.starts_with("GET /sdapi/v1/progress"), "{head}");
    drop((stream, open, listener));
    while let Some(failed) = calls.join_next().await {
        assert!(failed.unwrap());
    }
}
