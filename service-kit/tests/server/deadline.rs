//! Deadlines of callers. The port runs on a manual clock, so that the limit
//! passes there and not in the client, which counts the same hour for itself.

use std::time::Duration;

use service_kit::status::reason_of;
use tonic::{Code, Request};

use crate::harness::{Port, soon};

const HOUR: Duration = Duration::from_secs(60 * 60);

fn within_an_hour() -> Request<()> {
    let mut request = Request::new(());
    request.set_timeout(HOUR);
    request
}

#[tokio::test]
async fn a_handler_is_given_up_when_the_deadline_passes() {
    let (port, hand) = Port::open_manual().await;
    let client = port.client().await;
    let (answer, ()) = tokio::join!(client.call_with("Hang", within_an_hour()), async {
        soon(port.probe.entered.notified()).await;
        hand.advance(HOUR);
    });
    let status = answer.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(reason_of(&status).as_deref(), Some("DEADLINE_EXCEEDED"));
}

#[tokio::test]
async fn a_stream_ends_when_the_deadline_passes() {
    let (port, hand) = Port::open_manual().await;
    let mut stream = port.client().await.stream("Stream", within_an_hour()).await;
    assert!(soon(stream.message()).await.unwrap().is_some());
    hand.advance(HOUR);
    let status = soon(stream.message()).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn a_call_that_is_quick_enough_is_answered() {
    let (port, _hand) = Port::open_manual().await;
    port.client()
        .await
        .call_with("Ok", within_an_hour())
        .await
        .unwrap();
}
