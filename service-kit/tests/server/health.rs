//! What health says and which calls get through, from start to stop.

use std::sync::atomic::Ordering;
use std::time::Duration;

use service_kit::clock::Clock;
use service_kit::health::{self, NotHealthy};
use service_kit::server::{REASON_STARTING, REASON_STOPPING, bind};
use service_kit::status::{reason_of, retry_delay_of};
use tonic::{Code, Status};
use tonic_health::pb::health_check_response::ServingStatus::{NotServing, Serving};

use crate::harness::{Client, Port, loopback, soon};
use crate::probe;

const NOT_SERVING: i32 = NotServing as i32;
const SERVING: i32 = Serving as i32;

async fn assert_health(client: &Client, status: i32) {
    for name in ["", probe::NAME] {
        assert_eq!(client.health(name).await.unwrap(), status, "of {name:?}");
    }
}

fn assert_refused(status: &Status, reason: &str) {
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(reason_of(status).as_deref(), Some(reason));
    assert_eq!(retry_delay_of(status), Some(Duration::from_secs(1)));
}

#[tokio::test]
async fn health_goes_from_not_serving_to_serving_and_back() {
    let port = Port::starting(Clock::system(), |_| {}).await;
    let client = port.client().await;
    assert_health(&client, NOT_SERVING).await;
    port.handle.open(port.probe.routes()).await;
    assert_health(&client, SERVING).await;
    port.handle.stop_accepting_work().await;
    assert_health(&client, NOT_SERVING).await;
}

#[tokio::test]
async fn health_of_a_name_that_is_not_served_is_not_found() {
    let port = Port::open().await;
    let status = port
        .client()
        .await
        .health("test.v1.Other")
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
}

#[tokio::test]
async fn calls_get_through_only_while_the_service_is_open() {
    let port = Port::starting(Clock::system(), |_| {}).await;
    let client = port.client().await;
    assert_refused(&client.call("Ok").await.unwrap_err(), REASON_STARTING);
    port.handle.open(port.probe.routes()).await;
    client.call("Ok").await.unwrap();
    port.handle.stop_accepting_work().await;
    assert_refused(&client.call("Ok").await.unwrap_err(), REASON_STOPPING);
    assert_eq!(port.probe.calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_requested_shutdown_stops_work_at_once_and_for_good() {
    let port = Port::open().await;
    let client = port.client().await;
    let mut watch = client.watch_health(probe::NAME).await;
    assert_eq!(
        soon(watch.message()).await.unwrap().unwrap().status,
        SERVING
    );
    port.shutdown.begin();
    assert_eq!(
        soon(watch.message()).await.unwrap().unwrap().status,
        NOT_SERVING
    );
    port.handle.open(port.probe.routes()).await;
    assert_health(&client, NOT_SERVING).await;
    assert_refused(&client.call("Ok").await.unwrap_err(), REASON_STOPPING);
}

#[tokio::test]
async fn a_probe_learns_whether_the_service_takes_calls_and_why_not() {
    let clock = Clock::system();
    let port = Port::starting(clock.clone(), |_| {}).await;
    let address = port.handle.local_addr();
    let closed = health::check(address, "", &clock).await.unwrap_err();
    assert!(closed.to_string().contains("NOT_SERVING"), "{closed}");
    port.handle.open(port.probe.routes()).await;
    health::check(address, "", &clock).await.unwrap();
    health::check(address, probe::NAME, &clock).await.unwrap();
    let unknown = health::check(address, "test.v1.Other", &clock).await;
    let refused = |it: &NotHealthy| {
        matches!(
            it,
            NotHealthy::Refused {
                code: Code::NotFound,
                ..
            }
        )
    };
    assert!(unknown.as_ref().is_err_and(refused), "{unknown:?}");
}

#[tokio::test]
async fn a_probe_of_nobody_or_of_somebody_silent_ends_in_time() {
    let clock = Clock::system();
    let silent = bind(loopback()).await.unwrap();
    let address = silent.local_addr().unwrap();
    let late = soon(health::check(address, "", &clock)).await.unwrap_err();
    assert!(matches!(late, NotHealthy::TooLate { .. }), "{late:?}");
    drop(silent);
    let nobody = soon(health::check(address, "", &clock)).await.unwrap_err();
    assert!(
        matches!(nobody, NotHealthy::Unreachable { .. }),
        "{nobody:?}"
    );
}
