//! Owns AdminService, which both services serve: what the process is and what
//! it allows, the state of its database, backups of it, and the audit. It knows no job and
//! no model; what differs between the services comes in as [`ServiceFacts`].

mod access;
mod api;
mod audit_events;
mod download;
mod error;
mod schedule;
mod upkeep;

use std::path::PathBuf;
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
use crate::migrate::{self, Backup, BackupError, MigrationStatus, Schema};
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
    /// Downloads under way.
    downloads: Arc<Semaphore>,
}

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
    /// Administration of a service that begins to take calls now.
    pub fn new(facts: ServiceFacts, database: Database, clock: Clock) -> Self {
        Self(Arc::new(Inner {
            facts,
            database,
            started_at: clock.now(),
            started: clock.monotonic(),
            clock,
            backing_up: Arc::new(Semaphore::new(1)),
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
            migrations: migrate::status(path, &self.0.facts.schema)?,
            epoch: migrate::epoch(connection)?,
            size_bytes: size_bytes(path.to_owned())?,
            wal_size_bytes: size_bytes(sibling(path, "-wal"))?,
            free_bytes: free_pages.saturating_mul(page_bytes),
            volume_free_bytes: volume_free_bytes(path)?,
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

    /// Makes a backup, which goes on to its end when nobody waits for it any
    /// more.
    async fn back_up(&self) -> Result<Backup, AdminError> {
        let permit = self.backup_permit()?;
        let admin = self.clone();
        blocking(move || {
            let made = admin.back_up_now();
            drop(permit);
            made
        })
        .await
    }

    fn back_up_now(&self) -> Result<Backup, AdminError> {
        let path = self.0.database.path();
        let database = self.0.facts.schema.database;
        // What a killed program left may be the very space that is wanting.
        migrate::remove_unfinished_backups(path, database).map_err(|error| BackupError {
            path: path.to_owned(),
            reason: error.to_string(),
        })?;
        let wal_size_bytes = size_bytes(sibling(path, "-wal"))?;
        let needed_bytes = size_bytes(path.to_owned())?.saturating_add(wal_size_bytes);
        enough_space(needed_bytes, volume_free_bytes(path)?)?;
        let now = self.0.clock.now();
        Ok(migrate::back_up_running(path, database, now)?)
    }
}

/// Whether a copy of so many bytes fits.
fn enough_space(needed_bytes: u64, free_bytes: u64) -> Result<(), AdminError> {
    if free_bytes >= needed_bytes {
        return Ok(());
    }
    Err(AdminError::NoSpace {
        needed_bytes,
        free_bytes,
    })
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
    use futures_util::FutureExt as _;
    use tempfile::TempDir;
    use tonic::Code;

    use super::*;
    use crate::database::{DatabaseLock, DatabaseOptions};
    use crate::migrate::{MigrateOptions, migrate};

    fn admin() -> (Admin, TempDir) {
        let schema = || {
            let (name, metadata) = (EmbeddedName::new("0001"), TomlMetadataWrapper::new(true));
            let migration = EmbeddedMigration::new("CREATE TABLE notes (a)", None, name, metadata);
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
        let (clock, _hand) = Clock::manual(DateTime::UNIX_EPOCH);
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
        (Admin::new(facts, database, clock), folder)
    }

    #[tokio::test]
    async fn one_backup_is_made_at_a_time() {
        let (admin, _folder) = admin();
        let held = admin.0.backing_up.acquire().await.unwrap();
        let failure = Failure::from(admin.back_up().await.unwrap_err());
        assert_eq!(failure.code(), Code::FailedPrecondition);
        assert_eq!(failure.reason(), "BACKUP_RUNNING");
        assert!(admin.backups().unwrap().is_empty());
        drop(held);
        let made = admin.back_up().await.unwrap();
        assert_eq!(admin.backups().unwrap(), [made]);
    }

    #[tokio::test]
    async fn a_backup_that_nobody_waits_for_is_finished() {
        let (admin, folder) = admin();
        assert!(admin.back_up().now_or_never().is_none());
        drop(admin.0.backing_up.acquire().await.unwrap());
        assert_eq!(admin.backups().unwrap().len(), 1);
        let names = std::fs::read_dir(folder.path()).unwrap();
        let mut names = names.map(|entry| entry.unwrap().file_name());
        assert!(!names.any(|name| name.to_string_lossy().ends_with(".partial")));
    }

    #[test]
    fn a_copy_must_fit_and_the_refusal_names_both_sizes() {
        assert!(enough_space(7, 7).is_ok());
        let failure = Failure::from(enough_space(4096, 100).unwrap_err());
        assert_eq!(failure.code(), Code::FailedPrecondition);
        assert_eq!(failure.reason(), "NOT_ENOUGH_SPACE");
        for bytes in ["4096", "100"] {
            assert!(failure.message().contains(bytes), "{failure}");
        }
    }
}
