//! Owns what happens around every RPC, whatever it does: request id, span,
//! figures, panics turned into INTERNAL, deadline, the final form of errors.
//! It does not route and does not know whether the service is open.
//!
//! These are not separate tower layers: each step is a plain function, and
//! `Layers::call` is the one place that fixes their order.

mod body;
mod deadline;
mod methods;
mod metrics;
mod request_id;

use std::future::Future;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;
use http::{HeaderMap, Request, Response};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::{Code, Status};
use tracing::Instrument as _;

use crate::clock::Clock;
use crate::status::{Failure, complete};

pub(crate) use body::RpcBody;
pub use deadline::Deadline;
pub(crate) use methods::{Method, Methods};
pub use metrics::RpcMetrics;
pub use request_id::{REQUEST_ID_BYTES_MAX, REQUEST_ID_HEADER, RequestId};

/// The span field with the id of the key that a call was made with.
pub(crate) const CALLER_FIELD: &str = "caller.id";

/// The steps around a call, with what they share.
#[derive(Debug)]
pub(crate) struct Layers {
    clock: Clock,
    metrics: RpcMetrics,
    methods: Methods,
}

impl Layers {
    pub(crate) fn new(clock: Clock, metrics: RpcMetrics, methods: Methods) -> Self {
        Self {
            clock,
            metrics,
            methods,
        }
    }

    /// The described method of a request path.
    pub(crate) fn method(&self, path: &str) -> Method {
        self.methods.find(path)
    }

    /// Runs one call. A response stream ends as UNAVAILABLE once `ends` is
    /// cancelled, if one is given.
    pub(crate) async fn call<F>(
        &self,
        mut request: Request<Body>,
        ends: Option<CancellationToken>,
        inner: impl FnOnce(Request<Body>) -> F,
    ) -> Response<RpcBody>
    where
        F: Future<Output = Response<Body>>,
    {
        let request_id = RequestId::of(request.headers(), self.clock.now());
        let method = self.methods.find(request.uri().path());
        let span = tracing::info_span!(
            "rpc",
            rpc.service = method.service().as_str(),
            rpc.method = method.name().as_str(),
            request.id = request_id.as_str(),
            caller.id = tracing::field::Empty,
        );
        let call = self.metrics.begin(method, self.clock.clone(), span.clone());
        let deadline = Deadline::of(request.headers(), &self.clock);
        request.extensions_mut().insert(request_id.clone());
        let mut overdue = None;
        let response = match deadline {
            Err(failure) => failure.into_status().into_http(),
            Ok(Some(deadline)) if deadline.has_passed(&self.clock) => deadline_passed(),
            Ok(None) => caught(inner, request).instrument(span.clone()).await,
            Ok(Some(deadline)) => {
                request.extensions_mut().insert(deadline);
                let mut sleep = Box::pin(self.clock.sleep_until(deadline.at()));
                tokio::select! {
                    biased;
                    response = caught(inner, request).instrument(span.clone()) => {
                        overdue = Some(sleep as body::Sleep);
                        response
                    }
                    () = &mut sleep => deadline_passed(),
                }
            }
        };
        let (mut parts, inner) = response.into_parts();
        parts
            .headers
            .insert(REQUEST_ID_HEADER, request_id.to_header());
        let answered = span.in_scope(|| complete_headers(&mut parts.headers, &request_id));
        let body = RpcBody::new(inner, call, request_id, answered).ending(overdue, ends);
        Response::from_parts(parts, body)
    }
}

/// Runs the handler; a panic in it becomes INTERNAL.
pub(crate) async fn caught<F>(
    inner: impl FnOnce(Request<Body>) -> F,
    request: Request<Body>,
) -> Response<Body>
where
    F: Future<Output = Response<Body>>,
{
    let handler = AssertUnwindSafe(async move { inner(request).await });
    handler.catch_unwind().await.unwrap_or_else(|_| {
        tracing::error!("the handler of a call panicked");
        Failure::internal().into_status().into_http()
    })
}

fn deadline_passed() -> Response<Body> {
    Failure::deadline().into_status().into_http()
}

/// Brings a status in headers or trailers into its final form; `None` without one.
fn complete_headers(headers: &mut HeaderMap, request_id: &RequestId) -> Option<Code> {
    let status = Status::from_header_map(headers)?;
    if status.code() == Code::Ok {
        return Some(Code::Ok);
    }
    let status = complete(status, request_id.as_str());
    for name in [
        Status::GRPC_STATUS,
        Status::GRPC_MESSAGE,
        Status::GRPC_STATUS_DETAILS,
    ] {
        headers.remove(name);
    }
    if let Err(unwritable) = status.add_header(headers) {
        tracing::error!(error = unwritable.message(), "a status cannot be written");
        headers.insert(Status::GRPC_STATUS, (Code::Internal as i32).into());
        return Some(Code::Internal);
    }
    Some(status.code())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use prometheus_client::registry::Registry;

    use super::*;

    /// The status of a call with this timeout, and whether its handler ran.
    async fn call_with_timeout(timeout: &str) -> (Status, bool) {
        let metrics = RpcMetrics::new(&mut Registry::default());
        let layers = Layers::new(Clock::system(), metrics, Methods::read(&[]).unwrap());
        let request = Request::builder().header("grpc-timeout", timeout);
        let started = Cell::new(false);
        let handler = |_| {
            started.set(true);
            async { Status::ok("").into_http() }
        };
        let request = request.body(Body::empty()).unwrap();
        let response = layers.call(request, None, handler).await;
        let status = Status::from_header_map(response.headers()).unwrap();
        (status, started.get())
    }

    #[tokio::test]
    async fn work_that_nobody_waits_for_is_not_started() {
        let (status, started) = call_with_timeout("0m").await;
        assert_eq!(status.code(), Code::DeadlineExceeded);
        assert!(!started);
    }

    #[tokio::test]
    async fn a_timeout_that_cannot_be_read_is_refused() {
        let (status, started) = call_with_timeout("soon").await;
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(!started);
        let (status, started) = call_with_timeout("1H").await;
        assert_eq!(status.code(), Code::Ok);
        assert!(started);
    }
}
