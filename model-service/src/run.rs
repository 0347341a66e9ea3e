//! Owns the start and the end of the service. It does not own the process:
//! signals and exit codes are `main.rs`'s.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use service_kit::admin::{Admin, BackupFigures, ServiceFacts, ServiceLimit};
use service_kit::audit::{Audit, AuditLimits};
use service_kit::auth::Authenticator;
use service_kit::clock::Clock;
use service_kit::database::{
    Database, DatabaseError, DatabaseFigures, DatabaseLock, DatabaseOptions, LockError,
};
use service_kit::exit::Exit;
use service_kit::layers::RpcMetrics;
use service_kit::metrics_http::{self, MetricsHttp};
use service_kit::migrate::{self, MigrateError, MigrateOptions};
use service_kit::operations::{LIBRARY_OPERATIONS_RUNNING_MAX, Operations};
use service_kit::server::{self, Limits, Server, ServerError, ServerHandle, ServerOptions};
use service_kit::shutdown::Shutdown;
use tokio::net::TcpListener;

use crate::api;
use crate::civitai::{Civitai, CivitaiFigures, ClientFault};
use crate::config::Config;
use crate::inventories::SERVERS_MAX;
use crate::ledger::Ledger;
use crate::library::Library;
use crate::metrics::ModelMetrics;
use crate::models::ALIASES_MAX;
use crate::store;
pub use crate::store::schema;

/// Longest message that is decoded. Ten thousand items of an inventory with
/// long paths fit.
const MESSAGE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The oldest job-service that this one works with.
const OLDEST_PEER_VERSION: &str = "0.1.0";

/// The name of the service, which the lock of its database shows.
pub(crate) const SERVICE: &str = "model-service";

/// Why the service did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder cannot be made.
    #[error("cannot make the data folder {path}: {source}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The database cannot be locked.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The database was not migrated.
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    /// The database cannot be opened.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The gRPC port cannot be opened.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The port for Prometheus cannot be opened.
    #[error("cannot listen on {address} for Prometheus: {source}")]
    Metrics {
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// The client for Civitai cannot be made.
    #[error("cannot make the client for Civitai: {0}")]
    Civitai(#[from] ClientFault),
    /// The start was interrupted by a panic.
    #[error("the start was interrupted by a panic")]
    Panicked,
}

impl StartError {
    /// How the program ends because of it.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Lock(error) => error.exit(),
            Self::Migrate(error) => error.exit(),
            Self::Database(error) => error.exit(),
            Self::Folder { .. }
            | Self::Server(_)
            | Self::Metrics { .. }
            | Self::Civitai(_)
            | Self::Panicked => Exit::Failure,
        }
    }
}

/// Starts the service on a bound listener. Health answers NOT_SERVING from the
/// first moment; when this returns, the database is migrated and calls get
/// through.
///
/// # Errors
/// [`StartError`]; the port is closed again then.
pub async fn start(
    config: Config,
    listener: TcpListener,
    clock: Clock,
) -> Result<Running, StartError> {
    let shutdown = Shutdown::new(clock.clone());
    start_until(shutdown, config, listener, clock).await
}

/// [`start`] with a signal to stop that can be given before the start is over;
/// the start is finished then and [`Running::finished`] returns soon.
///
/// # Errors
/// As [`start`].
pub async fn start_until(
    shutdown: Shutdown,
    config: Config,
    listener: TcpListener,
    clock: Clock,
) -> Result<Running, StartError> {
    let started = begin(&shutdown, config, listener, clock).await;
    if started.is_err() {
        // Tasks that were begun already end with the failed start.
        shutdown.begin();
    }
    started
}

async fn begin(
    shutdown: &Shutdown,
    config: Config,
    listener: TcpListener,
    clock: Clock,
) -> Result<Running, StartError> {
    let mut registry = metrics_http::registry();
    let rpc_metrics = RpcMetrics::new(&mut registry);
    let metrics = ModelMetrics::new(&mut registry);
    let limits = Limits {
        message_bytes: MESSAGE_BYTES_MAX,
        ..Limits::default()
    };
    let facts = facts(&config, &limits);
    let options = ServerOptions {
        service_names: api::SERVICE_NAMES.to_vec(),
        descriptor_sets: vec![stablequeue_proto::FILE_DESCRIPTOR_SET],
        limits,
        access: api::access::ACCESS,
        grace: config.grace,
        ..ServerOptions::default()
    };
    let handle = Server::start(
        listener,
        options,
        rpc_metrics,
        shutdown.clone(),
        clock.clone(),
    )
    .await?;
    let (database, epoch) = open(config.database(), clock.clone()).await?;
    registry.register_collector(Box::new(DatabaseFigures(database.clone())));
    let figures = BackupFigures::new(&database, store::schema().database, clock.clone());
    registry.register_collector(Box::new(figures));
    handle.audit_to(Audit::start(
        database.clone(),
        &AuditLimits::default(),
        &mut registry,
        shutdown,
        clock.clone(),
    ));
    let figures = CivitaiFigures::new(&mut registry);
    let civitai = Civitai::new(config.library.civitai.clone(), clock.clone(), figures)?;
    let metrics_http = match config.metrics_listen {
        None => None,
        Some(address) => Some(serve_metrics(address, registry, clock.clone()).await?),
    };
    let operations = Operations::new(database.clone(), clock.clone(), shutdown.clone());
    let admin = Admin::new(facts, database.clone(), operations.clone(), clock.clone());
    admin.take_up_operations().await?;
    admin.begin_schedule(config.backups, shutdown);
    let ledger = Ledger::new(database, clock, config.events_kept, epoch);
    let library = Library::new(ledger.clone(), operations.clone(), config.library, civitai);
    library.take_up_operations().await?;
    let routes = api::routes(
        &ledger,
        &library,
        &admin,
        &metrics,
        shutdown,
        MESSAGE_BYTES_MAX,
    )
    .add_service(api::operations(&operations));
    match config.tokens {
        Some(tokens) => handle.open_authenticated(routes, tokens).await,
        None => {
            tracing::warn!("no tokens are configured: everybody on this machine may call");
            handle.open(routes).await;
        }
    }
    tracing::info!(address = %handle.local_addr(), "serving");
    Ok(Running {
        handle,
        metrics_http,
        ledger,
        shutdown: shutdown.clone(),
        grace: config.grace,
    })
}

/// What AdminService says of this service.
fn facts(config: &Config, limits: &Limits) -> ServiceFacts {
    let limit = |name, value: usize, flag| ServiceLimit {
        name,
        value: value as u64,
        flag,
    };
    let mut all = ServiceLimit::of_port(limits);
    all.extend([
        limit("watches_max", api::WATCHES_MAX, ""),
        limit("inventories_at_once_max", api::SYNCS_MAX, ""),
        limit("servers_max", SERVERS_MAX, ""),
        limit(
            "library_operations_running_max",
            LIBRARY_OPERATIONS_RUNNING_MAX,
            "",
        ),
        limit("aliases_per_model_max", ALIASES_MAX, ""),
        limit(
            "availability_stale_after_seconds",
            usize::try_from(config.library.stale_after.as_secs()).unwrap_or(usize::MAX),
            "--stale-after-seconds",
        ),
        limit(
            "events_kept_max",
            config.events_kept as usize,
            "--events-kept",
        ),
    ]);
    let tokens = config.tokens.clone();
    ServiceFacts {
        name: "model-service",
        version: env!("CARGO_PKG_VERSION"),
        oldest_peer_version: OLDEST_PEER_VERSION,
        limits: all,
        authenticator: tokens.map(|tokens| tokens as Arc<dyn Authenticator>),
        schema: store::schema(),
    }
}

/// Takes the database and brings it to the schema of this program.
fn locked_and_migrated(path: &Path, clock: &Clock) -> Result<DatabaseLock, StartError> {
    if let Some(folder) = path.parent() {
        let fault = |source| StartError::Folder {
            path: folder.to_owned(),
            source,
        };
        std::fs::create_dir_all(folder).map_err(fault)?;
    }
    let lock = DatabaseLock::acquire(path, SERVICE)?;
    let options = MigrateOptions::default();
    migrate::migrate(path, &lock, &store::schema(), clock.now(), &options)?;
    Ok(lock)
}

/// The migrated database and its epoch.
async fn open(path: PathBuf, clock: Clock) -> Result<(Database, String), StartError> {
    let opened = tokio::task::spawn_blocking(move || {
        let lock = locked_and_migrated(&path, &clock)?;
        Ok::<_, StartError>(Database::open(&path, lock, DatabaseOptions::default())?)
    });
    let database = opened.await.map_err(|_| StartError::Panicked)??;
    let epoch = database.read("read_epoch", migrate::epoch).await?;
    Ok((database, epoch))
}

async fn serve_metrics(
    address: SocketAddr,
    registry: Registry,
    clock: Clock,
) -> Result<MetricsHttp, StartError> {
    let fault = |source| StartError::Metrics { address, source };
    let listener = server::bind(address).await.map_err(fault)?;
    MetricsHttp::start(listener, Arc::new(registry), clock).map_err(fault)
}

/// A service that takes calls. End it with [`Running::stop`] or
/// [`Running::finished`]; dropping it cuts every call.
#[derive(Debug)]
pub struct Running {
    handle: ServerHandle,
    metrics_http: Option<MetricsHttp>,
    ledger: Ledger,
    shutdown: Shutdown,
    grace: Duration,
}

impl Running {
    /// The address of the gRPC port.
    pub fn local_addr(&self) -> SocketAddr {
        self.handle.local_addr()
    }

    /// The address of the port for Prometheus, if there is one.
    pub fn metrics_addr(&self) -> Option<SocketAddr> {
        self.metrics_http.as_ref().map(MetricsHttp::local_addr)
    }

    /// The signal to stop; who gives it lets [`Running::finished`] return.
    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// Waits for the signal to stop, then ends everything within the grace
    /// period: streams with their last resume token, calls, the database.
    ///
    /// # Errors
    /// When the database cannot be closed in order; nothing acknowledged is lost.
    pub async fn finished(self) -> Result<(), DatabaseError> {
        self.shutdown.requested().await;
        if let Err(cut) = self.handle.finished().await {
            tracing::warn!(%cut, "not every call ended in time");
        }
        if let Err(still_running) = self.shutdown.wait(self.grace).await {
            tracing::warn!(%still_running, "not every task ended in time");
        }
        self.ledger.close().await?;
        if let Some(metrics_http) = self.metrics_http {
            metrics_http.finished().await;
        }
        Ok(())
    }

    /// Gives the signal to stop and waits for the end.
    ///
    /// # Errors
    /// As [`Running::finished`].
    pub async fn stop(self) -> Result<(), DatabaseError> {
        self.shutdown.begin();
        self.finished().await
    }
}
