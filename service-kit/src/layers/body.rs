//! Owns the response body of a call: it sees the trailers, catches panics of
//! streams and ends streams that may not go on. It does not make messages.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use http::HeaderMap;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Bytes;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::body::Body;
use tonic::{Code, Status};

use super::metrics::RpcCall;
use super::{RequestId, complete_headers};
use crate::server::stopping;
use crate::status::Failure;

/// A wait on the clock that outlives the handler.
pub(crate) type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The body of a response on its way out.
pub(crate) struct RpcBody {
    inner: Body,
    call: RpcCall,
    request_id: RequestId,
    overdue: Option<Sleep>,
    ends: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    ended: bool,
}

impl RpcBody {
    /// `answered` is the code that the headers already carry, if they do.
    pub(crate) fn new(
        inner: Body,
        mut call: RpcCall,
        request_id: RequestId,
        answered: Option<Code>,
    ) -> Self {
        if let Some(code) = answered {
            call.end(code);
        }
        Self {
            inner,
            call,
            request_id,
            overdue: None,
            ends: None,
            ended: false,
        }
    }

    /// Ends the stream early when the sleep is over or the token is cancelled.
    pub(crate) fn ending(
        mut self,
        overdue: Option<Sleep>,
        ends: Option<CancellationToken>,
    ) -> Self {
        self.overdue = overdue;
        self.ends = ends.map(|token| Box::pin(token.cancelled_owned()));
        self
    }

    fn poll_inner(&mut self, context: &mut Context<'_>) -> Poll<Option<Frame<Bytes>>> {
        let inner = &mut self.inner;
        let polled = catch_unwind(AssertUnwindSafe(|| Pin::new(inner).poll_frame(context)));
        match polled {
            Err(_) => {
                tracing::error!("the response stream of a call panicked");
                self.end_with(Failure::internal().into_status())
            }
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(None)) => {
                self.ended = true;
                // A gRPC body ends with trailers; one that just stops is broken,
                // unless the headers had the status already.
                self.call.end(Code::Unknown);
                Poll::Ready(None)
            }
            Ok(Poll::Ready(Some(Err(status)))) => self.end_with(status),
            Ok(Poll::Ready(Some(Ok(frame)))) => Poll::Ready(Some(self.observed(frame))),
        }
    }

    fn observed(&mut self, mut frame: Frame<Bytes>) -> Frame<Bytes> {
        if let Some(trailers) = frame.trailers_mut() {
            let code = complete_headers(trailers, &self.request_id);
            self.call.end(code.unwrap_or(Code::Unknown));
            self.ended = true;
        }
        frame
    }

    fn end_with(&mut self, status: Status) -> Poll<Option<Frame<Bytes>>> {
        self.inner = Body::empty();
        let mut trailers = HeaderMap::new();
        if let Err(unwritable) = status.add_header(&mut trailers) {
            tracing::error!(error = unwritable.message(), "a status cannot be written");
        }
        let frame = self.observed(Frame::trailers(trailers));
        Poll::Ready(Some(frame))
    }

    fn poll_end(&mut self, context: &mut Context<'_>) -> Option<Failure> {
        if let Some(overdue) = &mut self.overdue
            && overdue.as_mut().poll(context).is_ready()
        {
            return Some(Failure::deadline());
        }
        if let Some(ends) = &mut self.ends
            && ends.as_mut().poll(context).is_ready()
        {
            return Some(stopping());
        }
        None
    }
}

impl http_body::Body for RpcBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        let span = this.call.span().clone();
        let _entered = span.enter();
        let frame = match this.poll_inner(context) {
            Poll::Ready(frame) => Poll::Ready(frame),
            Poll::Pending => match this.poll_end(context) {
                Some(failure) => this.end_with(failure.into_status()),
                None => Poll::Pending,
            },
        };
        frame.map(|frame| frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
