//! The monitoring port and the figures of calls.

use std::net::SocketAddr;
use std::sync::Arc;

use service_kit::clock::Clock;
use service_kit::metrics_http::MetricsHttp;
use service_kit::server::bind;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::Request;

use crate::harness::{Port, loopback, soon};

async fn monitored() -> (Port, MetricsHttp) {
    let port = Port::open().await;
    let listener = bind(loopback()).await.unwrap();
    let http = MetricsHttp::start(listener, Arc::clone(&port.registry), Clock::system()).unwrap();
    (port, http)
}

async fn exchange(addr: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await.unwrap();
    answer
}

async fn get(addr: SocketAddr, path: &str) -> String {
    exchange(addr, &format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n")).await
}

#[tokio::test]
async fn calls_are_counted_by_method_and_code() {
    let (port, http) = monitored().await;
    let client = port.client().await;
    client.call("Ok").await.unwrap();
    client.call("Ok").await.unwrap();
    client.call("Panic").await.unwrap_err();
    let text = get(http.local_addr(), "/metrics").await;
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    assert!(
        text.contains("content-type: application/openmetrics-text"),
        "{text}"
    );
    for line in [
        r#"stablequeue_rpc_requests_total{service="test.v1.Probe",method="Ok",code="OK"} 2"#,
        r#"stablequeue_rpc_requests_total{service="test.v1.Probe",method="Panic",code="INTERNAL"} 1"#,
        r#"stablequeue_rpc_duration_seconds_count{service="test.v1.Probe",method="Ok"} 2"#,
        "stablequeue_rpc_in_flight 0",
        "stablequeue_rpc_connections 1",
    ] {
        assert!(text.contains(line), "{line} is missing in:\n{text}");
    }
    assert!(text.ends_with("# EOF\n"), "{text}");
}

#[tokio::test]
async fn made_up_methods_share_one_figure() {
    let (port, http) = monitored().await;
    let client = port.client().await;
    for number in 0..20 {
        let path = format!("/made.Up{number}/Method");
        client
            .unary::<(), ()>(&path, Request::new(()))
            .await
            .unwrap_err();
    }
    let text = get(http.local_addr(), "/metrics").await;
    let line = r#"rpc_requests_total{service="unknown",method="unknown",code="UNIMPLEMENTED"} 20"#;
    assert!(text.contains(line), "{text}");
    assert!(!text.contains("made.Up"), "{text}");
}

#[tokio::test]
async fn a_call_given_up_by_its_caller_is_counted_as_cancelled() {
    let (port, http) = monitored().await;
    let client = port.client().await;
    let stream = client.stream("Stream", Request::new(())).await;
    drop(stream);
    let line = r#"method="Stream",code="CANCELLED"} 1"#;
    let counted = async { while !get(http.local_addr(), "/metrics").await.contains(line) {} };
    soon(counted).await;
}

#[tokio::test]
async fn liveness_answers_and_everything_else_is_refused() {
    let (_port, http) = monitored().await;
    let addr = http.local_addr();
    let alive = get(addr, "/livez").await;
    assert!(
        alive.starts_with("HTTP/1.1 200") && alive.ends_with("ok\n"),
        "{alive}"
    );
    assert!(get(addr, "/secret").await.starts_with("HTTP/1.1 404"));
    let posted = exchange(
        addr,
        "POST /metrics HTTP/1.1\r\nhost: t\r\ncontent-length: 0\r\n\r\n",
    )
    .await;
    assert!(posted.starts_with("HTTP/1.1 405"), "{posted}");
    let endless = exchange(addr, &format!("GET /{} HTTP/1.1\r\n", "a".repeat(9000))).await;
    assert!(!endless.starts_with("HTTP/1.1 200"), "{endless}");
    soon(http.finished()).await;
    assert!(TcpStream::connect(addr).await.is_err());
}
