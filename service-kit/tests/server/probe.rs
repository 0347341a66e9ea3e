//! A hand-written gRPC service whose methods misbehave in known ways.

use std::convert::Infallible;
use std::future::{Ready, pending, ready};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::StreamBody;
use hyper::body::Bytes;
use prost::Message as _;
use prost_types::{
    FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto, ServiceDescriptorProto,
};
use service_kit::auth::{AUTHORIZATION_HEADER, Caller, KEY_HEADER, SECRET_HEADER};
use service_kit::layers::{Deadline, RequestId};
use service_kit::status::Failure;
use tokio::sync::Notify;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic::{Code, Status};

pub(crate) const NAME: &str = "test.v1.Probe";
const METHODS: [&str; 7] = [
    "Ok",
    "Hang",
    "Stream",
    "Panic",
    "PanicLater",
    "Fail",
    "Release",
];

/// What the tests see of the service.
#[derive(Clone, Default)]
pub(crate) struct Probe {
    /// A call that hangs or waits has reached its handler.
    pub(crate) entered: Arc<Notify>,
    /// Lets `Release` answer.
    pub(crate) release: Arc<Notify>,
    /// Calls that reached a handler.
    pub(crate) calls: Arc<AtomicUsize>,
    /// Who made the last of them.
    pub(crate) caller: Arc<Mutex<Option<Caller>>>,
}

impl Probe {
    pub(crate) fn routes(&self) -> Routes {
        Routes::new(self.clone())
    }
}

impl NamedService for Probe {
    const NAME: &'static str = NAME;
}

impl tower::Service<Request<Body>> for Probe {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let probe = self.clone();
        Box::pin(async move { Ok(probe.answer(request).await) })
    }
}

impl Probe {
    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        assert!(request.extensions().get::<RequestId>().is_some());
        for name in [KEY_HEADER, SECRET_HEADER, AUTHORIZATION_HEADER] {
            assert!(!request.headers().contains_key(name));
        }
        let caller = Caller::of(request.extensions()).unwrap().clone();
        *self.caller.lock().unwrap() = Some(caller);
        let asked = request.headers().contains_key("grpc-timeout");
        assert_eq!(request.extensions().get::<Deadline>().is_some(), asked);
        match request.uri().path().rsplit('/').next() {
            Some("Ok") => body(frames([empty_message(), ok_trailers()])),
            Some("Hang") => {
                self.entered.notify_one();
                pending().await
            }
            Some("Release") => {
                self.entered.notify_one();
                self.release.notified().await;
                body(frames([empty_message(), ok_trailers()]))
            }
            Some("Stream") => {
                let never = futures_util::stream::pending();
                body(frames([empty_message()]).chain(never))
            }
            Some("Panic") => panic!("on purpose"),
            Some("PanicLater") => body(frames([empty_message()]).chain(Panics)),
            Some("Fail") => Status::internal("the secret cause").into_http(),
            _ => Failure::new(Code::Unimplemented, "NO_SUCH_PROBE", "no")
                .into_status()
                .into_http(),
        }
    }
}

type Item = Result<Frame<Bytes>, Status>;

struct Panics;

impl futures_util::Stream for Panics {
    type Item = Item;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Item>> {
        panic!("on purpose, in the stream")
    }
}

fn frames<const N: usize>(items: [Frame<Bytes>; N]) -> impl futures_util::Stream<Item = Item> {
    let later = |frame| -> Ready<Item> { ready(Ok(frame)) };
    futures_util::stream::iter(items).then(later)
}

fn body(stream: impl futures_util::Stream<Item = Item> + Send + 'static) -> Response<Body> {
    let mut response = Response::new(Body::new(StreamBody::new(stream)));
    let grpc = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert("content-type", grpc);
    response
}

/// An empty protobuf message in gRPC's framing: not compressed, zero bytes.
fn empty_message() -> Frame<Bytes> {
    Frame::data(Bytes::from_static(&[0; 5]))
}

fn ok_trailers() -> Frame<Bytes> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    Frame::trailers(trailers)
}

/// The service as a descriptor set would describe it.
pub(crate) fn descriptor_set() -> &'static [u8] {
    let method = |name: &str| MethodDescriptorProto {
        name: Some(name.to_owned()),
        input_type: Some(".test.v1.Nothing".to_owned()),
        output_type: Some(".test.v1.Nothing".to_owned()),
        ..MethodDescriptorProto::default()
    };
    let file = FileDescriptorProto {
        name: Some("test/v1/probe.proto".to_owned()),
        package: Some("test.v1".to_owned()),
        syntax: Some("proto3".to_owned()),
        service: ["Probe", "NotServedHere"]
            .map(|name| ServiceDescriptorProto {
                name: Some(name.to_owned()),
                method: METHODS.map(method).to_vec(),
                ..ServiceDescriptorProto::default()
            })
            .to_vec(),
        message_type: vec![prost_types::DescriptorProto {
            name: Some("Nothing".to_owned()),
            ..prost_types::DescriptorProto::default()
        }],
        ..FileDescriptorProto::default()
    };
    FileDescriptorSet { file: vec![file] }
        .encode_to_vec()
        .leak()
}
