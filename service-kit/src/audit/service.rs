//! Owns the audit of a service that is not behind the gRPC port. It does not
//! say who calls.

use std::convert::Infallible;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use http::{Request, Response};
use tokio::sync::oneshot;
use tonic::body::Body;
use tonic::server::NamedService;
use tower::Service;

use super::{Audit, AuditedCall};
use crate::layers::{Method, RequestId, caught};
use crate::status::Failure;

/// A gRPC service whose every call is noted as administrative, such as one on a
/// socket that only the operating system guards. Who calls must be in the
/// request's extensions already ([`crate::auth::Caller`]). As behind the port, a
/// call runs to its end, and its row is on disk before its answer goes out.
#[derive(Debug, Clone)]
pub struct AuditedService<S> {
    inner: S,
    audit: Audit,
}

impl<S> AuditedService<S> {
    /// `inner`, whose calls `audit` notes.
    pub fn new(inner: S, audit: Audit) -> Self {
        Self { inner, audit }
    }
}

impl<S: NamedService> NamedService for AuditedService<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for AuditedService<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + NamedService,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let request_id = RequestId::of(request.headers(), self.audit.0.clock.now());
        request.extensions_mut().insert(request_id);
        let method = Method::routed(S::NAME, request.uri().path());
        let call = AuditedCall::new(&self.audit, method, &request);
        request.extensions_mut().insert(call.target());
        let answer = self.inner.call(request);
        let (answered, waiting) = oneshot::channel();
        self.audit.0.shutdown.spawn("audited_call", async move {
            let handler = |_| async { answer.await.unwrap_or_else(|never| match never {}) };
            let response = caught(handler, Request::default()).await;
            call.done(response.headers()).await;
            // The caller may have gone away.
            let _ = answered.send(response);
        });
        Box::pin(async move {
            let answer = waiting.await;
            Ok(answer.unwrap_or_else(|_| Failure::internal().into_status().into_http()))
        })
    }
}
