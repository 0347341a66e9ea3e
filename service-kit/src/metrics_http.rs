//! Owns the small HTTP port for monitoring: `GET /metrics` and `GET /livez`.
//! It does not own the figures, and readiness is health's business on the gRPC port.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::clock::Clock;

/// What every figure's name begins with (an underscore follows).
pub const METRIC_PREFIX: &str = "stablequeue";
/// Connections served at one time; more wait in the kernel's queue.
pub const CONNECTIONS_MAX: usize = 16;
/// Time a connection has for its request and answer.
pub const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of one request's head.
const HEAD_BYTES_MAX: usize = 8 * 1024;
/// Pause after the operating system refused a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const OPENMETRICS_TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN_TEXT: &str = "text/plain; charset=utf-8";

/// A registry whose names begin with [`METRIC_PREFIX`].
pub fn registry() -> Registry {
    Registry::with_prefix(METRIC_PREFIX)
}

/// A running monitoring port. Dropping it closes the port.
#[derive(Debug)]
pub struct MetricsHttp {
    local_addr: SocketAddr,
    tasks: TaskTracker,
    stop: DropGuard,
}

impl MetricsHttp {
    /// Serves on a bound listener. It stays up while the service stops, so that
    /// the end can be watched too; see [`MetricsHttp::finished`].
    ///
    /// # Errors
    /// A socket without an address.
    pub fn start(
        listener: TcpListener,
        registry: Arc<Registry>,
        clock: Clock,
    ) -> std::io::Result<Self> {
        let local_addr = listener.local_addr()?;
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let serving = accept(listener, registry, clock, tasks.clone(), stop.clone());
        tasks.spawn(stop.clone().run_until_cancelled_owned(serving));
        Ok(Self {
            local_addr,
            tasks,
            stop: stop.drop_guard(),
        })
    }

    /// The address that is served, with the port that was chosen.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Closes the port; answers under way are cut.
    pub async fn finished(self) {
        drop(self.stop);
        self.tasks.close();
        self.tasks.wait().await;
    }
}

async fn accept(
    listener: TcpListener,
    registry: Arc<Registry>,
    clock: Clock,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    // The semaphore is never closed, so the loop goes on until it is stopped.
    while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a monitoring connection could not be accepted");
                clock.sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (registry, clock) = (Arc::clone(&registry), clock.clone());
        let connection = async move {
            let _permit = permit;
            if clock
                .timeout(CONNECTION_TIMEOUT, serve(stream, registry))
                .await
                .is_err()
            {
                tracing::debug!("a monitoring connection took too long");
            }
        };
        tasks.spawn(stop.clone().run_until_cancelled_owned(connection));
    }
}

async fn serve(stream: TcpStream, registry: Arc<Registry>) {
    let service = service_fn(move |request| {
        let response = answer(&request, &registry);
        async move { Ok::<_, Infallible>(response) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(CONNECTION_TIMEOUT)
        .keep_alive(false)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a monitoring connection ended with an error");
    }
}

fn answer(request: &Request<Incoming>, registry: &Registry) -> Response<Full<Bytes>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return text(
            StatusCode::METHOD_NOT_ALLOWED,
            PLAIN_TEXT,
            "only GET is served here\n",
        );
    }
    match request.uri().path() {
        "/metrics" => figures(registry),
        "/livez" => text(StatusCode::OK, PLAIN_TEXT, "ok\n"),
        _ => text(
            StatusCode::NOT_FOUND,
            PLAIN_TEXT,
            "try /metrics or /livez\n",
        ),
    }
}

fn figures(registry: &Registry) -> Response<Full<Bytes>> {
    let mut lines = String::new();
    match encode(&mut lines, registry) {
        Ok(()) => text(StatusCode::OK, OPENMETRICS_TEXT, lines),
        Err(error) => {
            tracing::error!(%error, "the figures cannot be written");
            text(
                StatusCode::INTERNAL_SERVER_ERROR,
                PLAIN_TEXT,
                "the figures cannot be written\n",
            )
        }
    }
}

fn text(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let content_type = header::HeaderValue::from_static(content_type);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, content_type);
    response
}
