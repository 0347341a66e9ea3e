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
use serde_json::Value;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::mpsc,
};
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::{
    errors::{Failure, raw_reply},
    events::What,
    faults::{Fault, Played},
    generate,
    rules::generates,
    server::{Arrival, Peer, routes},
    stage::Stage,
    state::{Engine, Queued, World, hold},
};

/// uvicorn closes idle keep-alive connections after this time.
const KEEP_ALIVE_IDLE: Duration = Duration::from_secs(5);
/// Connections that may wait to be accepted.
pub(crate) const BACKLOG: u32 = 1024;
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
        let pid = std::process::id();
        engine.world.log.events.push(app_id, What::Booted { pid });
        // A process that starts listens, whatever the last one was told.
        engine.world.door.open(None);
        engine.world.door.set_listening(true);
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
        // The thread of the last job is given back once the next one has begun, or none waits.
        let mut thread = None;
        loop {
            if work.is_empty() || engine.world.gate.holds(Stage::Queued) {
                thread = None;
            }
            let Some(queued) = work.recv().await else {
                return;
            };
            engine.world.gate.reach(Stage::Queued).await;
            match queued {
                Queued::Generate(job) => {
                    thread = Box::pin(generate::run(&engine, *job, thread)).await;
                }
                Queued::RefreshCheckpoints(done) => {
                    thread = None;
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

/// The port, while the process lives.
enum Port {
    Listening(TcpListener),
    /// Bound but not listening: connects are refused.
    Closed(TcpSocket),
}

async fn accept(
    engine: Arc<Engine>,
    listener: TcpListener,
    tasks: TaskTracker,
    reserved: Arc<Mutex<Option<TcpSocket>>>,
) {
    match serve_port(&engine, listener, &tasks).await {
        Ok(socket) => *hold(&reserved) = Some(socket),
        Err(error) => tracing::warn!(%error, "the port of a killed server cannot be kept"),
    }
    engine.world.log.killed(engine.app_id);
}

/// Listens, or does not, as the test wants it, until the process is dead; gives the port back bound.
async fn serve_port(
    engine: &Arc<Engine>,
    listener: TcpListener,
    tasks: &TaskTracker,
) -> io::Result<TcpSocket> {
    let address = listener.local_addr()?;
    let router = routes(Arc::clone(engine));
    let door = &engine.world.door;
    let mut port = Port::Listening(listener);
    loop {
        port = match port {
            Port::Listening(listener) => {
                tokio::select! {
                    biased;
                    () = engine.dead.cancelled() => {}
                    () = door.wanted(false) => {}
                    () = accept_all(engine, &listener, &router, tasks) => {}
                }
                drop(listener);
                let socket = reserve(address)?;
                door.set_listening(false);
                Port::Closed(socket)
            }
            Port::Closed(socket) => {
                tokio::select! {
                    biased;
                    () = engine.dead.cancelled() => return Ok(socket),
                    () = door.wanted(true) => {}
                }
                let listener = socket.listen(BACKLOG)?;
                door.set_listening(true);
                Port::Listening(listener)
            }
        }
    }
}

async fn accept_all(
    engine: &Arc<Engine>,
    listener: &TcpListener,
    router: &Router,
    tasks: &TaskTracker,
) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) if engine.world.door.resets_connection() => {
                // Closed with nothing to linger for, it is reset.
                if let Err(error) = stream.set_zero_linger() {
                    tracing::warn!(%error, %peer, "a connection cannot be reset");
                }
            }
            Ok((stream, peer)) => {
                let peer = Peer(peer.to_string());
                tasks.spawn(connection(Arc::clone(engine), router.clone(), stream, peer));
            }
            Err(error) => tracing::warn!(%error, "a connection was not accepted"),
        }
    }
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

async fn connection(engine: Arc<Engine>, router: Router, stream: TcpStream, peer: Peer) {
    let dead = engine.dead.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        answer(Arc::clone(&engine), router.clone(), request)
    });
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
    let world = &engine.world;
    let path = request.uri().path().to_owned();
    let shown = request
        .uri()
        .path_and_query()
        .map_or(path.as_str(), |whole| whole.as_str());
    world.log.request(request.method().as_str(), shown);
    if !world.door.lets_in() {
        return Err(io::Error::other("the server is gone for now"));
    }
    world.gate.thawed().await;
    let (request, faults) = meets(&engine, &path, request).await?;
    let let_by = world.door.pass(&path).await;
    if faults.has(&Fault::CutBeforeWork) {
        return Err(io::Error::other("cut before the work"));
    }
    let mut response = match at_once(&faults, &path).await {
        Some(response) => response,
        None => routed(&engine, router, request, &path, &faults).await,
    };
    if !let_by {
        world.door.pass(&path).await;
    }
    world.gate.thawed().await;
    if faults.has(&Fault::CutBeforeAnswer) {
        return Err(io::Error::other("cut before the answer"));
    } else if faults.has(&Fault::CutMidBody) {
        response = half(response).await?;
    } else if faults.has(&Fault::Garbage) {
        response = raw_reply(StatusCode::OK, "<html>not json");
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

/// The faults scripted for this request. Its body is read here only if a rule asks what it says.
async fn meets(
    engine: &Engine,
    path: &str,
    request: Request<Incoming>,
) -> io::Result<(Request<Body>, Played)> {
    let rules = &engine.world.rules;
    let (request, said) = if rules.ask_for_body(path) {
        let (head, body) = request.into_parts();
        let bytes = body.collect().await.map_err(io::Error::other)?.to_bytes();
        // What is no JSON says nothing; the handler will tell the client.
        let said = serde_json::from_slice(&bytes).unwrap_or_default();
        (Request::from_parts(head, Body::from(bytes)), said)
    } else {
        (request.map(Body::new), Value::Null)
    };
    let faults = rules.take(path, &said);
    for fault in faults.iter() {
        let id = said["force_task_id"]
            .as_str()
            .or_else(|| said["id_task"].as_str());
        let faulted = What::Faulted {
            path: path.to_owned(),
            task_id: id.map(str::to_owned),
            fault: format!("{fault:?}"),
        };
        engine.world.log.events.push(engine.app_id, faulted);
    }
    Ok((request, faults))
}

/// The answer of a fault that needs no handler; one that hangs never comes back.
async fn at_once(faults: &Played, path: &str) -> Option<Response> {
    if faults.has(&Fault::Hang) {
        std::future::pending::<()>().await;
    }
    faults.find(|fault| match fault {
        Fault::Status { code, body } => Some(raw_reply(
            StatusCode::from_u16(*code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            body.clone(),
        )),
        Fault::FailListing => {
            Some(Failure::exception("RuntimeError", "the listing failed").into_response())
        }
        Fault::EmptyListing => Some(raw_reply(StatusCode::OK, "[]")),
        Fault::Error500 { error, message } if !generates(path) => {
            let scripted = Failure::Scripted {
                error: error.clone(),
                message: message.clone(),
            };
            Some(scripted.into_response())
        }
        _ => None,
    })
}

/// Sends the request through the routes on a worker thread, except the `async` handlers, which need none.
async fn routed(
    engine: &Engine,
    router: Router,
    mut request: Request<Body>,
    path: &str,
    faults: &Played,
) -> Response {
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
        faults: faults.clone(),
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
