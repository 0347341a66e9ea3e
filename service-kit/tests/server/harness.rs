//! A port with the probe service behind it, and a client for it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;
use prometheus_client::registry::Registry;
use service_kit::clock::{Clock, ManualClock};
use service_kit::layers::RpcMetrics;
use service_kit::metrics_http;
use service_kit::server::{Server, ServerHandle, ServerOptions, bind};
use service_kit::shutdown::Shutdown;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status, Streaming};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_prost::ProstCodec;

use crate::probe::{self, Probe};

/// No wait of a test may be longer; reaching it is a failure.
pub(crate) const BOUND: Duration = Duration::from_secs(20);

pub(crate) struct Port {
    pub(crate) handle: ServerHandle,
    pub(crate) shutdown: Shutdown,
    pub(crate) probe: Probe,
    pub(crate) registry: Arc<Registry>,
}

impl Port {
    /// A port that is not open yet.
    pub(crate) async fn starting(clock: Clock, change: impl FnOnce(&mut ServerOptions)) -> Self {
        Self::listening(loopback(), clock, change).await
    }

    /// A port on this address that is not open yet.
    pub(crate) async fn listening(
        addr: SocketAddr,
        clock: Clock,
        change: impl FnOnce(&mut ServerOptions),
    ) -> Self {
        let mut options = ServerOptions {
            service_names: vec![probe::NAME],
            descriptor_sets: vec![probe::descriptor_set()],
            ..ServerOptions::default()
        };
        change(&mut options);
        let mut registry = metrics_http::registry();
        let metrics = RpcMetrics::new(&mut registry);
        let shutdown = Shutdown::new(clock.clone());
        let listener = bind(addr).await.unwrap();
        let handle = Server::start(listener, options, metrics, shutdown.clone(), clock)
            .await
            .unwrap();
        Self {
            handle,
            shutdown,
            probe: Probe::default(),
            registry: Arc::new(registry),
        }
    }

    /// An open port on the system's clock.
    pub(crate) async fn open() -> Self {
        Self::opened(Clock::system(), |_| {}).await
    }

    /// An open port on a clock that the test moves.
    pub(crate) async fn open_manual() -> (Self, ManualClock) {
        let (clock, hand) = Clock::manual(chrono::DateTime::UNIX_EPOCH);
        (Self::opened(clock, |_| {}).await, hand)
    }

    pub(crate) async fn opened(clock: Clock, change: impl FnOnce(&mut ServerOptions)) -> Self {
        let port = Self::starting(clock, change).await;
        port.handle.open(port.probe.routes()).await;
        port
    }

    pub(crate) async fn client(&self) -> Client {
        let port = self.handle.local_addr().port();
        Client::connect(SocketAddr::from(([127, 0, 0, 1], port))).await
    }
}

pub(crate) fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// Runs a future that must end in time.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    let limited = Clock::system().timeout(BOUND, future).await;
    limited.expect("this must not take so long")
}

pub(crate) struct Client {
    pub(crate) channel: Channel,
}

impl Client {
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{addr}")).unwrap();
        let channel = soon(endpoint.connect()).await.unwrap();
        Self { channel }
    }

    /// Calls a method of the probe with an empty message.
    pub(crate) async fn call(&self, method: &str) -> Result<Response<()>, Status> {
        self.call_with(method, Request::new(())).await
    }

    pub(crate) async fn call_with(
        &self,
        method: &str,
        request: Request<()>,
    ) -> Result<Response<()>, Status> {
        self.unary(&format!("/{}/{method}", probe::NAME), request)
            .await
    }

    pub(crate) async fn unary<A, B>(
        &self,
        path: &str,
        request: Request<A>,
    ) -> Result<Response<B>, Status>
    where
        A: prost::Message + Send + Sync + 'static,
        B: prost::Message + Default + Send + Sync + 'static,
    {
        let mut grpc = tonic::client::Grpc::new(self.channel.clone());
        grpc.ready().await.unwrap();
        let path = PathAndQuery::try_from(path).unwrap();
        soon(grpc.unary(request, path, ProstCodec::<A, B>::default())).await
    }

    /// Opens a stream of the probe.
    pub(crate) async fn stream(&self, method: &str, request: Request<()>) -> Streaming<()> {
        let mut grpc = tonic::client::Grpc::new(self.channel.clone());
        grpc.ready().await.unwrap();
        let path = PathAndQuery::try_from(format!("/{}/{method}", probe::NAME)).unwrap();
        let codec = ProstCodec::<(), ()>::default();
        soon(grpc.server_streaming(request, path, codec))
            .await
            .unwrap()
            .into_inner()
    }

    pub(crate) async fn health(&self, service: &str) -> Result<i32, Status> {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let mut client = HealthClient::new(self.channel.clone());
        let answer = soon(client.check(request)).await?;
        Ok(answer.into_inner().status)
    }

    pub(crate) async fn watch_health(&self, service: &str) -> Streaming<HealthCheckResponse> {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let mut client = HealthClient::new(self.channel.clone());
        soon(client.watch(request)).await.unwrap().into_inner()
    }
}
