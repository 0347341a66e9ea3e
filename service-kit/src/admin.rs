//! Owns AdminService, which both services serve: what the process is and what
//! it allows, the state of its database, backups of it, and the audit. It knows no job and
//! no model; what differs between the services comes in as [`ServiceFacts`].

mod access;
mod api;
mod audit_events;
mod backup;
mod download;
mod error;
mod request;
mod schedule;
mod taken_up;
mod upkeep;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::dsl::sql;
use diesel::sql_types::BigInt;
use diesel::{RunQueryDsl as _, SqliteConnection};
use stablequeue_proto::admin::v1::admin_service_server::{AdminServiceServer, SERVICE_NAME};
use tokio::sync::Semaphore;

use crate::auth::{Authenticator, Verdict};
use crate::clock::Clock;
use crate::database::{Database, DatabaseError, sibling, volume_free_bytes};
use crate::migrate::{self, Backup, MigrationStatus, Schema};
use crate::operations::{
    OPERATION_WATCHES_MAX, OPERATIONS_KEPT, OPERATIONS_RUNNING_MAX, Operations,
};
use crate::page::PAGE_SIZE_MAX;
use crate::server::Limits;
use crate::status::Failure;

pub use access::ADMIN_RULES;
pub use error::AdminError;
pub use schedule::{BACKUPS_KEPT_DEFAULT, BackupFigures, BackupSchedule};

/// The full name of the service, for health, reflection and access tables.
pub const ADMIN_SERVICE: &str = SERVICE_NAME;

/// A limit that callers meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceLimit {
    /// Its name, with the unit last; without one it is a count.
    pub name: &'static str,
    /// How much there may be.
    pub value: u64,
    /// The flag that changes it; empty when nothing does.
    pub flag: &'static str,
}

impl ServiceLimit {
    /// The limits of a port and of lists, which no flag changes.
    pub fn of_port(limits: &Limits) -> Vec<Self> {
        let fixed = |name, value| Self {
            name,
            value,
            flag: "",
        };
        vec![
            fixed("message_max_bytes", limits.message_bytes as u64),
            fixed("connections_max", limits.connections as u64),
            fixed(
                "streams_per_connection_max",
                limits.streams_per_connection.into(),
            ),
            fixed("header_max_bytes", limits.header_bytes.into()),
            fixed("page_size_max", PAGE_SIZE_MAX as u64),
            fixed("backup_downloads_max", download::DOWNLOADS_MAX as u64),
            fixed("operations_running_max", OPERATIONS_RUNNING_MAX as u64),
            fixed("operations_kept_max", OPERATIONS_KEPT as u64),
            fixed("operation_watches_max", OPERATION_WATCHES_MAX as u64),
        ]
    }
}

/// What a service says of itself.
pub struct ServiceFacts {
    /// Its name, such as `job-service`.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// The oldest version of the other service that it works with.
    pub oldest_peer_version: &'static str,
    /// The limits that callers meet.
    pub limits: Vec<ServiceLimit>,
    /// Who tells callers apart; `None` when nobody does.
    pub authenticator: Option<Arc<dyn Authenticator>>,
    /// The schema of the database.
    pub schema: Schema,
}

/// Administration of one service. Cheap to clone.
#[derive(Clone)]
pub struct Admin(Arc<Inner>);

struct Inner {
    facts: ServiceFacts,
    database: Database,
    clock: Clock,
    started_at: DateTime<Utc>,
    started: Duration,
    /// One permit: whoever makes, checks or removes backups holds it.
    backing_up: Arc<Semaphore>,
    operations: Operations,
    /// Downloads under way.
    downloads: Arc<Semaphore>,
    free_bytes: FreeBytes,
}

/// Bytes that are free on the volume of a file.
type FreeBytes = fn(&Path) -> io::Result<u64>;

/// What the file of a database and the volume under it hold.
struct DatabaseState {
    migrations: MigrationStatus,
    epoch: String,
    size_bytes: u64,
    wal_size_bytes: u64,
    free_bytes: u64,
    volume_free_bytes: u64,
    last_backup: Option<Backup>,
}

impl Admin {
    /// Administration of a service that begins to take calls now; what takes
    /// long is one of `operations`.
    pub fn new(
        facts: ServiceFacts,
        database: Database,
        operations: Operations,
        clock: Clock,
    ) -> Self {
        Self::on_volume(facts, database, operations, clock, volume_free_bytes)
    }

    fn on_volume(
        facts: ServiceFacts,
        database: Database,
        operations: Operations,
        clock: Clock,
        free_bytes: FreeBytes,
    ) -> Self {
        Self(Arc::new(Inner {
            free_bytes,
            facts,
            database,
            started_at: clock.now(),
            started: clock.monotonic(),
            clock,
            backing_up: Arc::new(Semaphore::new(1)),
            operations,
            downloads: Arc::new(Semaphore::new(download::DOWNLOADS_MAX)),
        }))
    }

    /// The gRPC service, to be added to the routes.
    pub fn server(&self) -> AdminServiceServer<Self> {
        AdminServiceServer::new(self.clone())
    }

    async fn authentication_required(&self) -> Result<bool, Failure> {
        match &self.0.facts.authenticator {
            None => Ok(false),
            Some(authenticator) => Ok(authenticator.authenticate(None).await? != Verdict::Off),
        }
    }

    async fn database_state(&self) -> Result<DatabaseState, AdminError> {
        let admin = self.clone();
        let state = move |connection: &mut SqliteConnection| admin.state(connection);
        self.0.database.read("read_database_status", state).await
    }

    fn state(&self, connection: &mut SqliteConnection) -> Result<DatabaseState, AdminError> {
        let path = self.0.database.path();
        let page_bytes = pragma(connection, "page_size")?;
        let free_pages = pragma(connection, "freelist_count")?;
        Ok(DatabaseState {
            migrations: migrate::status_while_open(path, &self.0.facts.schema)?,
            epoch: migrate::epoch(connection)?,
            size_bytes: size_bytes(path.to_owned())?,
            wal_size_bytes: size_bytes(sibling(path, "-wal"))?,
            free_bytes: free_pages.saturating_mul(page_bytes),
            volume_free_bytes: (self.0.free_bytes)(path)?,
            last_backup: self.backups()?.into_iter().next(),
        })
    }

    /// The backups beside the database, newest first; blocks.
    fn backups(&self) -> Result<Vec<Backup>, AdminError> {
        let database = self.0.facts.schema.database;
        Ok(migrate::backups(self.0.database.path(), database)?)
    }

    /// The backups older than `after`, newest first, at most `limit`.
    async fn backups_after(
        &self,
        after: Option<String>,
        limit: usize,
    ) -> Result<Vec<Backup>, AdminError> {
        let admin = self.clone();
        blocking(move || {
            let mut backups = admin.backups()?;
            backups.retain(|backup| after.as_ref().is_none_or(|after| backup.name < *after));
            backups.truncate(limit);
            Ok(backups)
        })
        .await
    }
}

/// The size of a file; 0 when there is none.
fn size_bytes(path: PathBuf) -> Result<u64, AdminError> {
    match std::fs::metadata(path) {
        Ok(metadata) => Ok(metadata.len()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error.into()),
    }
}

fn pragma(connection: &mut SqliteConnection, name: &str) -> Result<u64, AdminError> {
    let value: i64 = sql::<BigInt>(&format!("SELECT * FROM pragma_{name}"))
        .get_result(connection)
        .map_err(DatabaseError::from)?;
    Ok(u64::try_from(value).unwrap_or(0))
}

/// Runs `f` on a thread that may block, in the span of the call.
async fn blocking<T, F>(f: F) -> Result<T, AdminError>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, AdminError> + Send + 'static,
{
    let span = tracing::Span::current();
    let done = tokio::task::spawn_blocking(move || span.in_scope(f)).await;
    done.unwrap_or_else(|_| Err(DatabaseError::Panicked.into()))
}

#[cfg(test)]
mod tests {
    use diesel_migrations::{
        EmbeddedMigration, EmbeddedMigrations, EmbeddedName, TomlMetadataWrapper,
    };
    use tempfile::TempDir;

    use super::*;
    use crate::clock::ManualClock;
    use crate::database::{DatabaseLock, DatabaseOptions};
    use crate::migrate::{MigrateOptions, migrate};
    use crate::shutdown::Shutdown;

    /// The table of operations, as both services have it.
    const OPERATIONS: &str = include_str!("../../migrations/jobs/0008_operations/up.sql");

    pub(super) fn admin() -> (Admin, TempDir) {
        let (admin, _hand, folder) = admin_on(volume_free_bytes);
        (admin, folder)
    }

    /// One on a volume with so much space, and the hand of its clock.
    pub(super) fn admin_on(free_bytes: FreeBytes) -> (Admin, ManualClock, TempDir) {
        let schema = || {
            let (name, metadata) = (EmbeddedName::new("0001"), TomlMetadataWrapper::new(true));
            let migration = EmbeddedMigration::new(OPERATIONS, None, name, metadata);
            Schema {
                database: "notes",
                migrations: EmbeddedMigrations::new(vec![migration].leak()),
                readable_from: "0001",
                program: "the test",
                adoption: None,
            }
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.sqlite");
        let lock = DatabaseLock::acquire(&path, "the test").unwrap();
        let (clock, hand) = Clock::manual(DateTime::UNIX_EPOCH);
        let options = MigrateOptions::default();
        migrate(&path, &lock, &schema(), clock.now(), &options).unwrap();
        let facts = ServiceFacts {
            name: "note-service",
            version: "1.2.3",
            oldest_peer_version: "1.0.0",
            limits: Vec::new(),
            authenticator: None,
            schema: schema(),
        };
        let database = Database::open(&path, lock, DatabaseOptions::default()).unwrap();
        let shutdown = Shutdown::new(clock.clone());
        let operations = Operations::new(database.clone(), clock.clone(), shutdown);
        let admin = Admin::on_volume(facts, database, operations, clock, free_bytes);
        (admin, hand, folder)
    }
}
