//! One process of the server on its sockets: accepts, serves, plays scripted faults on answers, and vanishes
//! without a word when it is killed.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    response::{IntoResponse, Response},
};
use futures_util::{StreamExt, stream};
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::BodyExt;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::mpsc,
};
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::{
    errors::{Failure, raw_reply},
    faults::Fault,
    generate,
    server::{Arrival, routes},
    state::{Engine, Queued, World, hold},
};

/// uvicorn closes idle keep-alive connections after this time.
const KEEP_ALIVE_IDLE: Duration = Duration::from_secs(5);
/// More jobs than worker threads cannot wait; refreshes come on top.
const QUEUE_LENGTH: usize = 128;

/// A running process.
pub(crate) struct Process {
    pub(crate) engine: Arc<Engine>,
    tasks: TaskTracker,
    /// The port, bound but not listening, once the process is dead: connects are refused and nobody else gets it.
    reserved: Arc<Mutex<Option<TcpSocket>>>,
}

impl Process {
    pub(crate) fn start(
        world: Arc<World>,
        app_id: u64,
        listener: TcpListener,
    ) -> anyhow::Result<Self> {
        let (queue, work) = mpsc::channel(QUEUE_LENGTH);
        let engine = Arc::new(Engine::new(world, app_id, queue)?);
        let tasks = TaskTracker::new();
        let reserved = Arc::new(Mutex::new(None));
        tasks.spawn(worker(Arc::clone(&engine), work));
        tasks.spawn(accept(
            Arc::clone(&engine),
            listener,
            tasks.clone(),
            Arc::clone(&reserved),
        ));
        tasks.close();
        Ok(Self {
            engine,
            tasks,
            reserved,
        })
    }

    /// Ends at once: every connection is cut without an answer, the port refuses.
    pub(crate) async fn kill(&self) {
        self.engine.dead.cancel();
        self.tasks.wait().await;
    }

    /// The port of the dead process, to listen on again.
    pub(crate) fn take_port(&self) -> Option<TcpSocket> {
        hold(&self.reserved).take()
    }
}

/// Takes jobs one by one: the queue lock.
async fn worker(engine: Arc<Engine>, mut work: mpsc::Receiver<Queued>) {
    let dead = engine.dead.clone();
    let serve = async {
        while let Some(queued) = work.recv().await {
            match queued {
                Queued::Generate(job) => Box::pin(generate::run(&engine, *job)).await,
                Queued::RefreshCheckpoints(done) => {
                    engine.refresh_checkpoints();
                    // The client may have left.
                    let _ = done.send(());
                }
            }
        }
    };
    tokio::select! {
        biased;
        () = dead.cancelled() => {}
        () = serve => {}
    }
}

async fn accept(
    engine: Arc<Engine>,
    listener: TcpListener,
    tasks: TaskTracker,
    reserved: Arc<Mutex<Option<TcpSocket>>>,
) {
    let address = listener.local_addr();
    let router = routes(Arc::clone(&engine));
    loop {
        tokio::select! {
            biased;
            () = engine.dead.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    tasks.spawn(connection(Arc::clone(&engine), router.clone(), stream));
                }
                Err(error) => tracing::warn!(%error, "a connection was not accepted"),
            },
        }
    }
    drop(listener);
    match address.and_then(reserve) {
        Ok(socket) => *hold(&reserved) = Some(socket),
        Err(error) => tracing::warn!(%error, "the port of a killed server cannot be kept"),
    }
    engine.world.log.killed(engine.app_id);
}

fn reserve(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

async fn connection(engine: Arc<Engine>, router: Router, stream: TcpStream) {
    let dead = engine.dead.clone();
    let service = service_fn(move |request| answer(Arc::clone(&engine), router.clone(), request));
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(KEEP_ALIVE_IDLE);
    let serving = builder.serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        biased;
        () = dead.cancelled() => {}
        served = serving => if let Err(error) = served {
            tracing::debug!(%error, "a connection ended");
        },
    }
}

async fn answer(
    engine: Arc<Engine>,
    router: Router,
    request: Request<Incoming>,
) -> io::Result<Response> {
    let path = request.uri().path().to_owned();
    let shown = request
        .uri()
        .path_and_query()
        .map_or(path.as_str(), |whole| whole.as_str());
    engine.world.log.request(request.method().as_str(), shown);
    engine.world.gate.thawed().await;
    let fault = engine.world.faults.take(&path);
    let mut response = match &fault {
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::Status { code, body }) => raw_reply(
            StatusCode::from_u16(*code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            body.clone(),
        ),
        Some(Fault::FailListing) => {
            Failure::exception("RuntimeError", "the listing failed").into_response()
        }
        Some(Fault::EmptyListing) => raw_reply(StatusCode::OK, "[]"),
        Some(Fault::Error500 { error, message }) if !generates(&path) => Failure::Scripted {
            error: error.clone(),
            message: message.clone(),
        }
        .into_response(),
        _ => routed(&engine, router, request, &path, fault.clone()).await,
    };
    engine.world.gate.thawed().await;
    match fault {
        Some(Fault::CutBeforeAnswer) => return Err(io::Error::other("cut before the answer")),
        Some(Fault::CutMidBody) => response = half(response).await?,
        Some(Fault::Garbage) => response = raw_reply(StatusCode::OK, "<html>not json"),
        _ => {}
    }
    response
        .headers_mut()
        .insert(header::SERVER, HeaderValue::from_static("uvicorn"));
    if response
        .headers()
        .get(header::ALLOW)
        .is_some_and(|allow| allow == "GET,HEAD")
    {
        response
            .headers_mut()
            .insert(header::ALLOW, HeaderValue::from_static("GET"));
    }
    Ok(response)
}

fn generates(path: &str) -> bool {
    matches!(path, "/sdapi/v1/txt2img" | "/sdapi/v1/img2img")
}

/// Sends the request through the routes on a worker thread, except the `async` handlers, which need none.
async fn routed(
    engine: &Engine,
    router: Router,
    request: Request<Incoming>,
    path: &str,
    fault: Option<Fault>,
) -> Response {
    let mut request = request.map(Body::new);
    let thread = match path {
        "/sdapi/v1/loras" => None,
        // The semaphore is never closed.
        _ => Arc::clone(&engine.threads)
            .acquire_owned()
            .await
            .ok()
            .map(Arc::new),
    };
    let kept = if generates(path) {
        thread.clone()
    } else {
        None
    };
    request.extensions_mut().insert(Arrival {
        fault,
        thread: kept,
    });
    let routed: Result<Response, Infallible> = router.oneshot(request).await;
    match routed {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// The head with the full length, half of the body, then the connection breaks.
async fn half(response: Response) -> io::Result<Response> {
    let (mut head, body) = response.into_parts();
    let bytes = body.collect().await.map_err(io::Error::other)?.to_bytes();
    head.headers
        .insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    let first = bytes.slice(..bytes.len() / 2);
    let breaks = stream::once(async {
        // Gives the first half a turn to be written out.
        tokio::task::yield_now().await;
        Err(io::Error::other("cut in the middle of the body"))
    });
    let parts = stream::iter([Ok(first)]).chain(breaks);
    Ok(Response::from_parts(head, Body::from_stream(parts)))
}
