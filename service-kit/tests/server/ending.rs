//! The end of the port: bounded, whatever is open.

use std::time::{Duration, Instant};

use service_kit::clock::Clock;
use service_kit::server::{CutOff, REASON_STOPPING};
use service_kit::status::reason_of;
use tokio::net::TcpStream;
use tonic::{Code, Request};

use crate::harness::{BOUND, Port, soon};

#[tokio::test]
async fn an_idle_port_ends_at_once_and_is_closed() {
    let port = Port::open().await;
    let addr = port.handle.local_addr();
    let client = port.client().await;
    client.call("Ok").await.unwrap();
    assert_eq!(soon(port.handle.finished()).await, Ok(()));
    assert!(TcpStream::connect(addr).await.is_err());
}

#[tokio::test]
async fn a_stream_that_never_ends_is_cut_at_the_end_of_the_grace() {
    let grace = Duration::from_millis(200);
    let port = Port::opened(Clock::system(), |options| options.grace = grace).await;
    let client = port.client().await;
    let mut stream = client.stream("Stream", Request::new(())).await;
    assert!(soon(stream.message()).await.unwrap().is_some());
    let begun = Instant::now();
    port.shutdown.begin();
    assert_eq!(soon(port.handle.finished()).await, Err(CutOff));
    assert!(begun.elapsed() >= grace, "{:?}", begun.elapsed());
    assert!(begun.elapsed() < BOUND / 2, "{:?}", begun.elapsed());
    soon(stream.message()).await.unwrap_err();
    assert_eq!(soon(port.shutdown.wait(BOUND)).await, Ok(()));
}

#[tokio::test]
async fn the_grace_is_counted_from_the_signal() {
    let grace = Duration::from_secs(30);
    let (port, hand) = Port::open_manual().await;
    let client = port.client().await;
    let mut stream = client.stream("Stream", Request::new(())).await;
    assert!(soon(stream.message()).await.unwrap().is_some());
    port.shutdown.begin();
    hand.advance(grace);
    assert_eq!(soon(port.handle.finished()).await, Err(CutOff));
}

#[tokio::test]
async fn a_call_under_way_is_answered_before_the_port_ends() {
    let port = Port::open().await;
    let (client, probe) = (port.client().await, port.probe.clone());
    let ending = async {
        soon(probe.entered.notified()).await;
        port.shutdown.begin();
        let finished = port.handle.finished();
        let release = async { probe.release.notify_one() };
        tokio::join!(soon(finished), release).0
    };
    let (answer, ended) = tokio::join!(client.call("Release"), ending);
    answer.unwrap();
    assert_eq!(ended, Ok(()));
}

#[tokio::test]
async fn watchers_of_health_hold_nothing_up() {
    let port = Port::open().await;
    let client = port.client().await;
    let mut watch = client.watch_health("").await;
    assert!(soon(watch.message()).await.unwrap().is_some());
    let watching = async {
        loop {
            if let Err(status) = watch.message().await {
                return status;
            }
        }
    };
    let (status, ended) = tokio::join!(soon(watching), soon(port.handle.finished()));
    assert_eq!(ended, Ok(()));
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(reason_of(&status).as_deref(), Some(REASON_STOPPING));
}

#[tokio::test]
async fn a_dropped_handle_cuts_every_connection() {
    let port = Port::open().await;
    let client = port.client().await;
    let mut stream = client.stream("Stream", Request::new(())).await;
    assert!(soon(stream.message()).await.unwrap().is_some());
    drop(port.handle);
    soon(stream.message()).await.unwrap_err();
}
