//! Peers that take too much, or nothing at all.

use std::time::Duration;

use service_kit::clock::Clock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::{Port, soon};

/// The client's preface and an empty SETTINGS frame (RFC 9113, 3.4 and 6.5).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const FRAME_HEAD_BYTES: usize = 9;
const PING: u8 = 6;
const ACK: u8 = 1;

async fn closed(stream: &mut TcpStream) -> bool {
    let mut buffer = [0; 64];
    matches!(soon(stream.read(&mut buffer)).await, Ok(0) | Err(_))
}

#[tokio::test]
async fn a_connection_beyond_the_limit_is_closed_and_the_others_live() {
    let port = Port::opened(Clock::system(), |options| options.limits.connections = 1).await;
    let client = port.client().await;
    client.call("Ok").await.unwrap();
    let mut second = TcpStream::connect(port.handle.local_addr()).await.unwrap();
    assert!(closed(&mut second).await);
    client.call("Ok").await.unwrap();
}

#[tokio::test]
async fn a_connection_that_never_speaks_is_closed() {
    let (port, hand) = Port::open_manual().await;
    let mut silent = TcpStream::connect(port.handle.local_addr()).await.unwrap();
    soon(hand.wait_for_waiters(1)).await;
    hand.advance(Duration::from_secs(10));
    assert!(closed(&mut silent).await);
}

#[tokio::test]
async fn a_connection_that_does_not_speak_http2_is_closed() {
    let port = Port::open().await;
    let mut stream = TcpStream::connect(port.handle.local_addr()).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    // Whatever it says, it ends; an end by reset is one too.
    let _ = soon(stream.read_to_end(&mut answer)).await;
    port.client().await.call("Ok").await.unwrap();
}

#[tokio::test]
async fn aggressive_keepalive_pings_are_answered_and_not_punished() {
    const PINGS: usize = 500;
    let port = Port::open().await;
    let mut stream = TcpStream::connect(port.handle.local_addr()).await.unwrap();
    stream.write_all(PREFACE).await.unwrap();
    let mut answered = 0;
    for _ in 0..PINGS {
        stream
            .write_all(b"\0\0\x08\x06\0\0\0\0\0pingpong")
            .await
            .unwrap();
        while !soon(is_ping_answer(&mut stream)).await {}
        answered += 1;
    }
    assert_eq!(answered, PINGS);
}

/// Reads one frame.
async fn is_ping_answer(stream: &mut TcpStream) -> bool {
    let mut head = [0; FRAME_HEAD_BYTES];
    stream.read_exact(&mut head).await.unwrap();
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; length as usize];
    stream.read_exact(&mut payload).await.unwrap();
    const GOAWAY: u8 = 7;
    assert_ne!(head[3], GOAWAY, "the port gave up the connection");
    head[3] == PING && head[4] & ACK != 0 && payload == b"pingpong"
}
