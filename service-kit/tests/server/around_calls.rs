//! Request ids, panics, and the form of errors.

use service_kit::layers::REQUEST_ID_HEADER;
use service_kit::status::{REQUEST_ID_KEY, reason_of};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use crate::harness::{Client, Port, soon};

fn with_id(id: &str) -> Request<()> {
    let mut request = Request::new(());
    request
        .metadata_mut()
        .insert(REQUEST_ID_HEADER, id.parse().unwrap());
    request
}

fn assert_internal(status: &Status, request_id: &str) {
    assert_eq!(status.code(), Code::Internal);
    assert!(!status.message().contains("purpose"), "{status:?}");
    assert!(!status.message().contains("secret"), "{status:?}");
    let info = status.get_details_error_info().unwrap();
    assert_eq!(info.reason, "INTERNAL");
    assert_eq!(info.metadata[REQUEST_ID_KEY], request_id);
}

async fn failure(client: &Client, method: &str, id: &str) -> Status {
    client.call_with(method, with_id(id)).await.unwrap_err()
}

#[tokio::test]
async fn the_callers_request_id_comes_back() {
    let port = Port::open().await;
    let answer = port
        .client()
        .await
        .call_with("Ok", with_id("order-7"))
        .await
        .unwrap();
    assert_eq!(answer.metadata().get(REQUEST_ID_HEADER).unwrap(), "order-7");
}

#[tokio::test]
async fn a_call_without_id_gets_one_of_its_own() {
    let port = Port::open().await;
    let client = port.client().await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        let answer = client.call("Ok").await.unwrap();
        let id = answer.metadata().get(REQUEST_ID_HEADER).unwrap();
        ids.push(id.to_str().unwrap().to_owned());
    }
    assert!(
        ids.iter().all(|id| uuid::Uuid::parse_str(id).is_ok()),
        "{ids:?}"
    );
    assert_ne!(ids[0], ids[1]);
}

#[tokio::test]
async fn a_panic_is_internal_and_the_service_goes_on() {
    let port = Port::open().await;
    let client = port.client().await;
    assert_internal(&failure(&client, "Panic", "p-1").await, "p-1");
    client.call("Ok").await.unwrap();
}

#[tokio::test]
async fn a_panic_in_a_stream_ends_it_as_internal() {
    let port = Port::open().await;
    let mut stream = port
        .client()
        .await
        .stream("PanicLater", with_id("p-2"))
        .await;
    assert!(soon(stream.message()).await.unwrap().is_some());
    assert_internal(&soon(stream.message()).await.unwrap_err(), "p-2");
}

#[tokio::test]
async fn the_cause_of_an_internal_failure_stays_inside() {
    let port = Port::open().await;
    assert_internal(&failure(&port.client().await, "Fail", "f-1").await, "f-1");
}

#[tokio::test]
async fn unknown_methods_and_services_have_a_reason() {
    let port = Port::open().await;
    let client = port.client().await;
    let status = client
        .unary::<(), ()>("/no.Such/Method", Request::new(()))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    assert_eq!(reason_of(&status).as_deref(), Some("METHOD_UNKNOWN"));
    let own = client.call("Missing").await.unwrap_err();
    assert_eq!(reason_of(&own).as_deref(), Some("NO_SUCH_PROBE"));
}

#[tokio::test]
async fn a_message_that_is_not_protobuf_is_the_callers_fault() {
    let port = Port::open().await;
    // As `bytes` in field 1, where health expects UTF-8 text.
    let request = Request::new(vec![0xff_u8; 4]);
    let answer = port
        .client()
        .await
        .unary::<_, ()>("/grpc.health.v1.Health/Check", request)
        .await;
    let status = answer.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(reason_of(&status).as_deref(), Some("MALFORMED_MESSAGE"));
}

#[tokio::test]
async fn a_message_over_the_limit_is_refused_with_a_reason() {
    let port = Port::open().await;
    let request = Request::new(vec![b'a'; 5 * 1024 * 1024]);
    let answer = port
        .client()
        .await
        .unary::<_, ()>("/grpc.health.v1.Health/Check", request)
        .await;
    let status = answer.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(reason_of(&status).as_deref(), Some("MESSAGE_TOO_LARGE"));
}
