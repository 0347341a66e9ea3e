//! Starts and ends the service. The process (signals, exit codes) is
//! `program`'s.

use std::{future::Future, net::SocketAddr, path::Path, pin::Pin, sync::Arc, time::Duration};

use diesel_migrations::{EmbeddedMigrations, embed_migrations};
use prometheus_client::registry::Registry;
use service_kit::{
    admin::BackupFigures,
    audit::{Audit, AuditLimits},
    clock::Clock,
    database::{Database, DatabaseError, DatabaseFigures, DatabaseLock, DatabaseOptions},
    layers::RpcMetrics,
    metrics_http::{self, MetricsHttp},
    migrate::{self, MigrateOptions, Schema},
    server::{self, Limits, Server, ServerHandle, ServerOptions},
    shutdown::Shutdown,
};
use tokio::net::TcpListener;

use crate::{
    api,
    availability::Availability,
    board::Board,
    config::{self, Config, IMAGES_FOLDER},
    core::Core,
    dispatch::{clients::Clients, dispatcher, housekeeping, lasting, lessons, recovery},
    downloads::{self, Downloads},
    error::Error,
    hints::Hints,
    images::ImageStore,
    keys::Keys,
    metrics::Metrics,
    model_channel,
    model_uses::{self, ModelUses},
    servers::Servers,
    vault::Vault,
    watches::Watches,
};

mod admin;
mod adopted;
mod error;
mod images;
mod keys;

pub use error::StartError;
pub(crate) use images::open_images;
pub(crate) use keys::open_keys;

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("../migrations/jobs");
/// The name of the service, which the lock of its database shows.
pub(crate) const SERVICE: &str = "job-service";
const PROGRAM: &str = concat!("job-service ", env!("CARGO_PKG_VERSION"));
/// Longest message that is decoded: a submission with its init images.
const MESSAGE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The schema that this program needs.
#[must_use]
pub const fn schema() -> Schema {
    Schema {
        database: "mobilesd_jobs",
        migrations: MIGRATIONS,
        // A program of version 0008 cannot read the outcomes and holds that came with 0009.
        readable_from: "0009",
        program: PROGRAM,
        adoption: Some(adopted::ADOPTION),
    }
}

/// Starts the service on a bound listener. Health answers NOT_SERVING from the
/// first moment; when this returns, the database is migrated, what was under
/// way is taken up, and calls get through.
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
    let started = begin(&config, listener, &clock, &shutdown).await;
    if started.is_err() {
        // Loops that were begun already end with the failed start.
        shutdown.begin();
    }
    started
}

async fn begin(
    config: &Config,
    listener: TcpListener,
    clock: &Clock,
    shutdown: &Shutdown,
) -> Result<Running, StartError> {
    let mut registry = metrics_http::registry();
    let rpc_metrics = RpcMetrics::new(&mut registry);
    let metrics = Metrics::new(&mut registry);
    let limits = Limits {
        message_bytes: MESSAGE_BYTES_MAX,
        ..Limits::default()
    };
    let options = ServerOptions {
        service_names: api::SERVICE_NAMES.to_vec(),
        descriptor_sets: vec![stablequeue_proto::FILE_DESCRIPTOR_SET],
        limits: limits.clone(),
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
    let opened = open(config, clock.clone()).await?;
    registry.register_collector(Box::new(DatabaseFigures(opened.database.clone())));
    let database = opened.database.clone();
    let figures = BackupFigures::new(&database, schema().database, clock.clone());
    registry.register_collector(Box::new(figures));
    let audit = Audit::start(
        database.clone(),
        &AuditLimits::default(),
        &mut registry,
        shutdown,
        clock.clone(),
    );
    handle.audit_to(audit.clone());
    let metrics_http = match config.metrics_listen {
        None => None,
        Some(address) => Some(serve_metrics(address, registry, clock.clone()).await?),
    };
    let address = handle.local_addr();
    let keys = keys::load(config, address, database.clone(), clock.clone(), shutdown).await?;
    let core = core(config, opened, keys, metrics, clock, shutdown)?;
    let servers = Servers::new(Arc::clone(&core));
    let (availability, stop) = (Arc::clone(&core.availability), shutdown.clone());
    lasting::spawn(shutdown, clock, "watch_availability", move || {
        Arc::clone(&availability).watch(stop.clone())
    });
    take_up(config, &core, &servers).await?;
    let (admin, operations) = admin::begin(config, &limits, &core).await?;
    keys::begin(config, &core.keys, &admin, audit, shutdown);
    let routes = api::routes(Arc::clone(&core), servers, &admin, MESSAGE_BYTES_MAX)
        .add_service(api::operations(&operations));
    let keys = Arc::clone(&core.keys);
    handle.open_authenticated(routes, keys).await;
    tracing::info!(address = %handle.local_addr(), "serving");
    Ok(Running {
        handle,
        metrics_http,
        core,
        grace: config.grace,
    })
}

/// A loop that goes on until the service stops.
type Lasting = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Takes up what an earlier process left, then begins what goes on without
/// being asked.
async fn take_up(config: &Config, core: &Arc<Core>, servers: &Servers) -> Result<(), StartError> {
    adopted::import(config, core).await?;
    register(servers, config).await?;
    servers.begin_all().await?;
    lessons::recall(core).await?;
    recovery::run(core).await?;
    let shutdown = &core.shutdown;
    let begin = |name, run: fn(Arc<Core>) -> Lasting| {
        let core_of_loop = Arc::clone(core);
        lasting::spawn(shutdown, &core.clock, name, move || {
            run(Arc::clone(&core_of_loop))
        });
    };
    begin("dispatcher", |core| Box::pin(dispatcher::run(core)));
    begin("downloads", |core| Box::pin(downloads::run(core)));
    begin("model_uses", |core| Box::pin(model_uses::run(core)));
    begin("housekeeping", |core| Box::pin(housekeeping::run(core)));
    Ok(())
}

/// Registers the servers of the start-up list that are not there yet.
async fn register(servers: &Servers, config: &Config) -> Result<(), StartError> {
    for server in &config.servers {
        match servers.create(server.clone(), None).await {
            Ok(_) | Err(Error::ServerExists(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn core(
    config: &Config,
    opened: Opened,
    keys: Arc<Keys>,
    metrics: Metrics,
    clock: &Clock,
    shutdown: &Shutdown,
) -> Result<Arc<Core>, StartError> {
    let board = Arc::new(Board::default());
    let hints = Arc::new(Hints::default());
    let channel = model_channel::channel(&config.model_service, config.model_token.clone())?;
    let availability = Availability::new(
        channel.clone(),
        clock.clone(),
        Arc::clone(&board),
        Arc::clone(&hints),
    );
    let (default, look) = (config.download_missing, config.pace.download);
    let downloads = Downloads::new(channel.clone(), default, look);
    let model_uses = ModelUses::new(channel, metrics.model_uses_dropped.clone());
    Ok(Arc::new(Core {
        database: opened.database,
        epoch: opened.epoch,
        clock: clock.clone(),
        images: opened.images,
        board,
        hints,
        availability: Arc::new(availability),
        downloads,
        model_uses,
        keys,
        vault: Arc::new(opened.vault),
        clients: Clients::default(),
        monitors: Arc::default(),
        metrics,
        shutdown: shutdown.clone(),
        pace: config.pace.clone(),
        limits: config.limits.clone(),
        watches: Arc::new(Watches::new(config.limits.watches)),
    }))
}

/// Takes the database and brings it to the schema of this program.
fn locked_and_migrated(path: &Path, clock: &Clock) -> Result<DatabaseLock, StartError> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|source| StartError::Folder {
            path: folder.to_owned(),
            source,
        })?;
    }
    let lock = DatabaseLock::acquire(path, SERVICE)?;
    migrate::migrate(
        path,
        &lock,
        &schema(),
        clock.now(),
        &MigrateOptions::default(),
    )?;
    Ok(lock)
}

/// What is on disk, opened.
struct Opened {
    database: Database,
    epoch: String,
    images: ImageStore,
    vault: Vault,
}

async fn open(config: &Config, clock: Clock) -> Result<Opened, StartError> {
    let (data_dir, key) = (config.data_dir.clone(), config.credentials_key.clone());
    let opened = tokio::task::spawn_blocking(move || {
        let path = config::database(&data_dir);
        let lock = locked_and_migrated(&path, &clock)?;
        let database = Database::open(&path, lock, DatabaseOptions::default())?;
        let images = ImageStore::open(&data_dir.join(IMAGES_FOLDER))?;
        let vault = Vault::open(&data_dir, key)?;
        Ok::<_, StartError>((database, images, vault))
    });
    let (database, images, vault) = opened.await.map_err(|_| StartError::Panicked)??;
    let epoch = database.read("read_epoch", migrate::epoch).await?;
    Ok(Opened {
        database,
        epoch,
        images,
        vault,
    })
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
pub struct Running {
    handle: ServerHandle,
    metrics_http: Option<MetricsHttp>,
    core: Arc<Core>,
    grace: Duration,
}

impl Running {
    /// The address of the gRPC port.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.handle.local_addr()
    }

    /// The address of the port for Prometheus, if there is one.
    #[must_use]
    pub fn metrics_addr(&self) -> Option<SocketAddr> {
        self.metrics_http.as_ref().map(MetricsHttp::local_addr)
    }

    /// The signal to stop; who gives it lets [`Running::finished`] return.
    #[must_use]
    pub fn shutdown(&self) -> &Shutdown {
        &self.core.shutdown
    }

    /// Waits for the signal to stop, then ends everything within the grace
    /// period. Generations that are still running then go on at their servers
    /// and are taken up by the next start.
    ///
    /// # Errors
    /// When the database cannot be closed in order; nothing acknowledged is
    /// lost.
    pub async fn finished(self) -> Result<(), DatabaseError> {
        let shutdown = self.core.shutdown.clone();
        shutdown.requested().await;
        if let Err(still_running) = shutdown.wait(self.grace).await {
            tracing::warn!(%still_running, "left to the next start");
        }
        if let Err(cut) = self.handle.finished().await {
            tracing::warn!(%cut, "not every call ended in time");
        }
        if let Err(error) = self.core.keys.flush_uses().await {
            tracing::warn!(%error, "the last uses of keys are not written");
        }
        self.core.database.clone().close().await?;
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
        self.core.shutdown.begin();
        self.finished().await
    }
}
