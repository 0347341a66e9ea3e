//! Owns the connections of the gRPC port: accepting, limits, keepalive, asking
//! them to end and cutting them. It does not know what is called.
//!
//! tonic's own transport is not used because it cannot end a connection whose
//! stream stays open, and it applies deadlines and limits outside our figures.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::OptionFuture;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::body::Body;
use tonic::service::Routes;
use tonic::transport::server::TcpConnectInfo;
use tower::Service as _;
use tracing::Instrument as _;

use super::Limits;
use super::gate::{Authentication, Gate, Way, stopping};
use crate::audit::{Audit, AuditedCall};
use crate::auth::Guard;
use crate::clock::Clock;
use crate::layers::{Layers, RpcBody, RpcMetrics, caught};
use crate::status::Failure;

/// Pause after the operating system refused a connection (too many files, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Bytes a peer may send on one stream, and on a connection, before it must wait.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// Bytes of answers that are buffered per stream before the handler must wait.
const SEND_BUFFER_BYTES: usize = 1024 * 1024;

/// Takes connections and serves them.
#[derive(Debug)]
pub(super) struct Acceptor {
    pub(super) gate: Arc<Gate>,
    pub(super) guard: Guard,
    /// Where calls are noted, once there is such a place.
    pub(super) audit: Arc<OnceLock<Audit>>,
    pub(super) layers: Arc<Layers>,
    pub(super) metrics: RpcMetrics,
    pub(super) limits: Limits,
    pub(super) clock: Clock,
    /// Cancelled: no new connections, and the open ones are asked to end.
    pub(super) drain: CancellationToken,
    /// Cancelled: everything ends where it stands.
    pub(super) cut: CancellationToken,
    pub(super) connections: TaskTracker,
}

impl Acceptor {
    /// Accepts until drained or cut; then the listener is closed.
    pub(super) async fn accept(self, listener: TcpListener) {
        let permits = Arc::new(Semaphore::new(self.limits.connections));
        let acceptor = Arc::new(self);
        loop {
            let accepted = tokio::select! {
                biased;
                () = acceptor.drain.cancelled() => return,
                () = acceptor.cut.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => acceptor.admit(&permits, stream, peer),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    let pause = acceptor.clock.sleep(ACCEPT_PAUSE);
                    acceptor.drain.run_until_cancelled(pause).await;
                }
            }
        }
    }

    fn admit(self: &Arc<Self>, permits: &Arc<Semaphore>, stream: TcpStream, peer: SocketAddr) {
        let Ok(permit) = Arc::clone(permits).try_acquire_owned() else {
            self.metrics.connections_refused.inc();
            tracing::debug!(%peer, "too many connections; closing the new one");
            return;
        };
        let connection = Arc::clone(self).serve(stream, peer, permit);
        let cut = self.cut.clone();
        self.connections
            .spawn(cut.run_until_cancelled_owned(connection));
    }

    async fn serve(
        self: Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        _permit: OwnedSemaphorePermit,
    ) {
        let _open = OpenConnection::new(&self.metrics);
        if !self.speaks(&stream).await {
            return;
        }
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%peer, %error, "the connection was gone at once");
            return;
        }
        let service = ConnectionService {
            acceptor: Arc::clone(&self),
            peer: TcpConnectInfo {
                local_addr: stream.local_addr().ok(),
                remote_addr: Some(peer),
            },
        };
        let mut connection = pin!(
            self.builder()
                .serve_connection(TokioIo::new(stream), service)
        );
        let age = self
            .limits
            .max_connection_age
            .map(|age| self.clock.sleep(age));
        let mut old = pin!(OptionFuture::from(age));
        let mut ending = false;
        let ended = loop {
            tokio::select! {
                ended = &mut connection => break ended,
                () = self.drain.cancelled(), if !ending => ending = true,
                Some(()) = &mut old, if !ending => ending = true,
            }
            connection.as_mut().graceful_shutdown();
        };
        if let Err(error) = ended {
            tracing::debug!(%peer, %error, "a connection ended with an error");
        }
    }

    /// Routes a call of the service once its caller is known and permitted.
    async fn guarded(
        &self,
        routes: Routes,
        authentication: Authentication,
        mut request: Request<Body>,
    ) -> Response<Body> {
        let admitted = self.guard.admit(authentication.as_ref(), &mut request);
        let admitted = admitted.await;
        match (admitted, self.audited(&request)) {
            (Err(failure), call) => refused(failure, call),
            (Ok(()), None) => routed(routes, request).await,
            (Ok(()), Some(call)) if self.guard.is_noted(request.uri().path()) => {
                self.noted(routes, request, call).await
            }
            (Ok(()), Some(call)) => {
                let response = routed(routes, request).await;
                call.answered(response.headers());
                response
            }
        }
    }

    /// Runs a call to its end, whether or not its caller waits for it, so that
    /// what it did is always noted; the answer goes out after that.
    async fn noted(
        &self,
        routes: Routes,
        mut request: Request<Body>,
        call: AuditedCall,
    ) -> Response<Body> {
        request.extensions_mut().insert(call.target());
        let cut = self.cut.clone();
        let whole = async move {
            let handler = caught(|request| routed(routes, request), request);
            let response = cut.run_until_cancelled_owned(handler).await;
            let response = response.unwrap_or_else(|| stopping().into_status().into_http());
            call.done(response.headers()).await;
            response
        };
        let ended = self.connections.spawn(whole.in_current_span()).await;
        ended.unwrap_or_else(|_| Failure::internal().into_status().into_http())
    }

    /// What the audit must know of a call, where there is an audit.
    fn audited(&self, request: &Request<Body>) -> Option<AuditedCall> {
        let audit = self.audit.get()?;
        let method = self.layers.method(request.uri().path());
        Some(AuditedCall::new(audit, method, request))
    }

    /// Routes a call of reflection once its caller is known.
    async fn described(
        &self,
        routes: Routes,
        authentication: Authentication,
        mut request: Request<Body>,
    ) -> Response<Body> {
        let guard = &self.guard;
        let admitted = guard.admit_to_reflection(authentication.as_ref(), &mut request);
        match admitted.await {
            Ok(()) => routed(routes, request).await,
            Err(failure) => refused(failure, self.audited(&request)),
        }
    }

    /// Waits for the first byte; `false` when the peer is gone or too slow, or
    /// the port is closing.
    async fn speaks(&self, stream: &TcpStream) -> bool {
        let mut first = [0];
        let peek = stream.peek(&mut first);
        let first_byte = self.clock.timeout(self.limits.first_byte_timeout, peek);
        let outcome = self.drain.run_until_cancelled(first_byte).await;
        matches!(outcome, Some(Ok(Ok(1..))))
    }

    fn builder(&self) -> http2::Builder<Tracked> {
        let limits = &self.limits;
        let mut builder = http2::Builder::new(Tracked {
            tasks: self.connections.clone(),
            cut: self.cut.clone(),
        });
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.streams_per_connection)
            .max_header_list_size(limits.header_bytes)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_send_buf_size(SEND_BUFFER_BYTES)
            .keep_alive_interval(limits.keepalive_interval)
            .keep_alive_timeout(limits.keepalive_timeout);
        builder
    }
}

/// The calls of one connection.
#[derive(Debug)]
struct ConnectionService {
    acceptor: Arc<Acceptor>,
    peer: TcpConnectInfo,
}

impl hyper::service::Service<Request<Incoming>> for ConnectionService {
    type Response = Response<RpcBody>;
    type Error = std::convert::Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let acceptor = Arc::clone(&self.acceptor);
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(self.peer.clone());
        let way = acceptor.gate.way(request.uri().path());
        Box::pin(async move {
            let layers = &acceptor.layers;
            let drain = Some(acceptor.drain.clone());
            Ok(match way {
                Way::Refused(failure) => {
                    let refuse = |_| async { failure.into_status().into_http() };
                    layers.call(request, None, refuse).await
                }
                Way::Service(routes, authentication) => {
                    let guarded = |r| acceptor.guarded(routes, authentication, r);
                    layers.call(request, None, guarded).await
                }
                Way::Reflection(routes, authentication) => {
                    let described = |r| acceptor.described(routes, authentication, r);
                    layers.call(request, drain, described).await
                }
                Way::Health(routes) => layers.call(request, drain, |r| routed(routes, r)).await,
            })
        })
    }
}

fn refused(failure: Failure, call: Option<AuditedCall>) -> Response<Body> {
    if let Some(call) = call {
        call.refused(&failure);
    }
    failure.into_status().into_http()
}

async fn routed(mut routes: Routes, request: Request<Body>) -> Response<Body> {
    match routes.call(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// Spawns what hyper needs on our tracker, so that a cut ends that too.
#[derive(Debug, Clone)]
struct Tracked {
    tasks: TaskTracker,
    cut: CancellationToken,
}

impl<F> hyper::rt::Executor<F> for Tracked
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, task: F) {
        self.tasks
            .spawn(self.cut.clone().run_until_cancelled_owned(task));
    }
}

/// Counts a connection for as long as it lives.
struct OpenConnection(RpcMetrics);

impl OpenConnection {
    fn new(metrics: &RpcMetrics) -> Self {
        metrics.connections.inc();
        Self(metrics.clone())
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.connections.dec();
    }
}
