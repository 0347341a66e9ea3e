//! Owns the gRPC port of a service: bound early, closed to calls until the
//! service is ready, and ended within a known time. It does not own the
//! methods that are served, nor what happens around each call ([`crate::layers`]).
//!
//! Message sizes are limited where messages are decoded: every generated server
//! must be made with `max_decoding_message_size(limits.message_bytes)`.

mod connections;
mod gate;
mod standard;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tonic::service::Routes;
use tonic_health::server::HealthReporter;

use crate::audit::Audit;
use crate::auth::{Access, Authenticator, FailureLimits, Guard};
use crate::clock::Clock;
use crate::layers::{Layers, Methods, RpcMetrics};
use crate::shutdown::{GRACE_DEFAULT, Shutdown};
use connections::Acceptor;
use gate::{Authentication, Gate};

pub(crate) use gate::stopping;
pub use gate::{REASON_STARTING, REASON_STOPPING};

/// What one connection, and all of them together, may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Longest message that a service decodes; each generated server is told so.
    pub message_bytes: usize,
    /// Open connections; one more is closed at once.
    pub connections: usize,
    /// Calls in flight on one connection, streams included; more wait at the client.
    pub streams_per_connection: u32,
    /// Bytes of headers per call, as HTTP/2 counts them.
    pub header_bytes: u32,
    /// How often an idle connection is asked whether its peer is still there.
    pub keepalive_interval: Duration,
    /// How long the peer has to answer that.
    pub keepalive_timeout: Duration,
    /// How long a new connection has until its first byte.
    pub first_byte_timeout: Duration,
    /// After this time a connection is asked to reconnect; `None` is never.
    pub max_connection_age: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes: 32 * 1024 * 1024,
            connections: 1024,
            streams_per_connection: 1024,
            header_bytes: 16 * 1024,
            keepalive_interval: Duration::from_secs(60),
            keepalive_timeout: Duration::from_secs(20),
            first_byte_timeout: Duration::from_secs(10),
            max_connection_age: None,
        }
    }
}

/// What the port offers and how it is bounded.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// Full names of the services offered, for health and for reflection's list.
    pub service_names: Vec<&'static str>,
    /// Encoded `FileDescriptorSet`s in which these services are described. They
    /// also say which methods figures may name.
    pub descriptor_sets: Vec<&'static [u8]>,
    /// Whether reflection (v1 and v1alpha) is offered.
    pub reflection: bool,
    /// See [`Limits`].
    pub limits: Limits,
    /// Which scope each method needs; those without a rule need `admin`.
    pub access: Access,
    /// How often a peer may fail to authenticate.
    pub failures: FailureLimits,
    /// Time from the stop signal until connections are cut.
    pub grace: Duration,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            service_names: Vec::new(),
            descriptor_sets: Vec::new(),
            reflection: true,
            limits: Limits::default(),
            access: Access::default(),
            failures: FailureLimits::default(),
            grace: GRACE_DEFAULT,
        }
    }
}

/// Why the port could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// A descriptor set is not one.
    #[error("a descriptor set cannot be read")]
    Descriptors(#[from] prost::DecodeError),
    /// Reflection does not accept the descriptor sets.
    #[error("reflection cannot be built from the descriptor sets")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The listener has no address.
    #[error("the listening socket is not usable")]
    Socket(#[from] io::Error),
}

/// Connections were still open when the grace period was over; they were cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("calls were cut off at the end of the grace period")]
pub struct CutOff;

/// Binds the port. Port 0 takes a free one; see [`ServerHandle::local_addr`].
///
/// # Errors
/// When the address is in use or not of this machine.
pub async fn bind(addr: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(addr).await
}

/// Whether only this machine can reach the address.
pub fn is_loopback(addr: SocketAddr) -> bool {
    addr.ip().to_canonical().is_loopback()
}

/// Refuses an address that others than this machine could reach. For services
/// that have no key yet which could tell callers apart.
///
/// # Errors
/// A sentence for the operator.
pub fn refuse_beyond_loopback(addr: SocketAddr) -> Result<(), String> {
    if is_loopback(addr) {
        return Ok(());
    }
    Err(format!(
        "refusing to listen on {addr}: without authentication only loopback addresses \
         are allowed, for example 127.0.0.1:{}",
        addr.port()
    ))
}

/// Refuses an address for figures that more can reach than the gRPC port: they
/// are shown to everybody who reaches them.
///
/// # Errors
/// A sentence for the operator.
pub fn refuse_wider_metrics(listen: SocketAddr, metrics_listen: SocketAddr) -> Result<(), String> {
    if is_loopback(metrics_listen) || !is_loopback(listen) {
        return Ok(());
    }
    Err(format!(
        "refusing to show figures on {metrics_listen}: the service itself listens on loopback \
         only ({listen}), and figures must not be reached more widely; use 127.0.0.1:{}",
        metrics_listen.port()
    ))
}

/// Starts gRPC ports.
#[derive(Debug, Clone, Copy)]
pub struct Server;

impl Server {
    /// Serves at once: health says NOT_SERVING, reflection works, and every
    /// other call is UNAVAILABLE with reason [`REASON_STARTING`] until
    /// [`ServerHandle::open`]. Once `shutdown` is requested, the port behaves as
    /// after [`ServerHandle::stop_accepting_work`].
    ///
    /// # Errors
    /// Descriptor sets that cannot be read, or a socket without an address.
    pub async fn start(
        listener: TcpListener,
        options: ServerOptions,
        metrics: RpcMetrics,
        shutdown: Shutdown,
        clock: Clock,
    ) -> Result<ServerHandle, ServerError> {
        let local_addr = listener.local_addr()?;
        let health = standard::health(&options.service_names).await;
        let routes = standard::routes(&health, &options)?;
        let methods = Methods::read(&standard::descriptor_sets(&options))?;
        let drain = CancellationToken::new();
        let cut = CancellationToken::new();
        let connections = TaskTracker::new();
        let loopback = is_loopback(local_addr);
        let gate = Arc::new(Gate::new(routes, loopback));
        let guard = Guard::new(
            options.access,
            &methods,
            options.failures,
            loopback,
            clock.clone(),
        );
        let audit = Arc::new(OnceLock::new());
        let acceptor = Acceptor {
            gate: Arc::clone(&gate),
            guard,
            audit: Arc::clone(&audit),
            layers: Arc::new(Layers::new(clock.clone(), metrics.clone(), methods)),
            metrics,
            limits: options.limits,
            clock: clock.clone(),
            drain: drain.clone(),
            cut: cut.clone(),
            connections: connections.clone(),
        };
        connections.spawn(acceptor.accept(listener));
        let handle = ServerHandle {
            local_addr,
            audit,
            state: State {
                gate,
                health,
                service_names: options.service_names,
            },
            grace: options.grace,
            shutdown: shutdown.clone(),
            clock,
            drain,
            connections,
            cut: cut.drop_guard(),
        };
        let state = handle.state.clone();
        let requested = shutdown.clone();
        shutdown.spawn("grpc_stop", async move {
            requested.requested().await;
            state.stop().await;
        });
        Ok(handle)
    }
}

/// A running gRPC port. Dropping it cuts every connection; end it with
/// [`ServerHandle::finished`].
#[derive(Debug)]
pub struct ServerHandle {
    local_addr: SocketAddr,
    audit: Arc<OnceLock<Audit>>,
    state: State,
    grace: Duration,
    shutdown: Shutdown,
    clock: Clock,
    drain: CancellationToken,
    connections: TaskTracker,
    cut: DropGuard,
}

impl ServerHandle {
    /// The address that is served, with the port that was chosen.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Notes administrative and denied calls from now on; to be given before the
    /// port is opened, and only the first counts.
    pub fn audit_to(&self, audit: Audit) {
        self.audit.get_or_init(|| audit);
    }

    /// Lets calls through to `routes`, without authentication: on a loopback
    /// listener every call is [`crate::auth::Caller::anonymous`], elsewhere every
    /// call is UNAUTHENTICATED. Health says SERVING for every name. Does nothing
    /// once the service is stopping.
    pub async fn open(&self, routes: Routes) {
        self.opened(routes, None).await;
    }

    /// As [`ServerHandle::open`], and each call is first shown to the
    /// authenticator and checked against [`ServerOptions::access`].
    pub async fn open_authenticated(&self, routes: Routes, authenticator: Arc<dyn Authenticator>) {
        self.opened(routes, Some(authenticator)).await;
    }

    async fn opened(&self, routes: Routes, authentication: Authentication) {
        if self.state.gate.open(routes, authentication) {
            self.state
                .report(tonic_health::ServingStatus::Serving)
                .await;
            // A stop between the two lines above must have the last word.
            if self.state.gate.is_stopping() {
                self.state.stop().await;
            }
        }
    }

    /// Health says NOT_SERVING and new calls are UNAVAILABLE with reason
    /// [`REASON_STOPPING`]; calls in flight go on. Cannot be undone.
    pub async fn stop_accepting_work(&self) {
        self.state.stop().await;
    }

    /// Stops accepting work, closes the port, asks every connection to end and
    /// waits for them until the grace period (counted from the stop signal, if
    /// it was given) is over; then cuts what is left.
    ///
    /// # Errors
    /// [`CutOff`] when something had to be cut.
    pub async fn finished(self) -> Result<(), CutOff> {
        self.state.stop().await;
        self.drain.cancel();
        self.connections.close();
        let limit = self.shutdown.remaining(self.grace);
        if self
            .clock
            .timeout(limit, self.connections.wait())
            .await
            .is_ok()
        {
            return Ok(());
        }
        tracing::warn!("the grace period is over; open calls are cut");
        drop(self.cut);
        // Every task of a connection ends at its next poll once this is cancelled.
        self.connections.wait().await;
        Err(CutOff)
    }
}

/// Whether the service takes calls, as the gate and health show it.
#[derive(Debug, Clone)]
struct State {
    gate: Arc<Gate>,
    health: HealthReporter,
    service_names: Vec<&'static str>,
}

impl State {
    async fn stop(&self) {
        self.gate.stop();
        self.report(tonic_health::ServingStatus::NotServing).await;
    }

    async fn report(&self, status: tonic_health::ServingStatus) {
        standard::report(&self.health, &self.service_names, status).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_reached_no_more_widely_than_the_service() {
        let refused = |listen: &str, metrics: &str| {
            refuse_wider_metrics(listen.parse().unwrap(), metrics.parse().unwrap()).is_err()
        };
        assert!(refused("127.0.0.1:1", "0.0.0.0:2"));
        assert!(refused("[::1]:1", "10.0.0.1:2"));
        assert!(!refused("127.0.0.1:1", "127.0.0.1:2"));
        assert!(!refused("0.0.0.0:1", "127.0.0.1:2"));
        assert!(!refused("10.0.0.1:1", "0.0.0.0:2"));
    }

    #[test]
    fn only_loopback_may_be_listened_on() {
        for addr in [
            "127.0.0.1:1",
            "127.9.9.9:1",
            "[::1]:1",
            "[::ffff:127.0.0.1]:1",
        ] {
            assert_eq!(
                refuse_beyond_loopback(addr.parse().unwrap()),
                Ok(()),
                "{addr}"
            );
        }
        for addr in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "[::ffff:10.0.0.1]:1"] {
            let refusal = refuse_beyond_loopback(addr.parse().unwrap()).unwrap_err();
            assert!(refusal.contains("loopback"), "{refusal}");
        }
    }
}
