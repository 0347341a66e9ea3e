//! Owns every knob of the service: command line and environment. It is the only
//! reader of the environment, through clap.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use service_kit::admin::{BACKUPS_KEPT_DEFAULT, BackupSchedule};
use service_kit::auth::Scope;
use service_kit::commands::{BackupsCommand, MigrationArgs};
use service_kit::server::{refuse_beyond_loopback, refuse_wider_metrics};
use service_kit::shutdown::GRACE_DEFAULT;
use service_kit::telemetry::FILTER_DEFAULT;

use crate::tokens::Tokens;

mod client;
mod download_missing;
mod library;
mod shown;

pub use client::{ClientArgs, HashArgs, ScanArgs};
pub use download_missing::{DownloadMissingArgs, DownloadPlace, DownloadPlaces};
pub use library::{
    CivitaiConfig, LibraryArgs, LibraryConfig, ROOT_NAME_BYTES_MAX, ROOTS_MAX, RootConfig,
};
pub(crate) use shown::settings;

/// The file name of the database.
pub const DATABASE_FILE: &str = "mobilesd_models.sqlite";
/// Where the service listens when nothing is configured.
pub const LISTEN_DEFAULT: &str = "127.0.0.1:50052";
/// Where Prometheus reads when nothing is configured.
pub const METRICS_LISTEN_DEFAULT: &str = "127.0.0.1:9465";
/// Events that are kept for watchers when nothing is configured.
pub const EVENTS_KEPT_DEFAULT: u32 = 100_000;

/// Which model is on which Forge server.
#[derive(Debug, Parser)]
#[command(
    name = "model-service",
    version,
    args_conflicts_with_subcommands = true
)]
pub struct CommandLine {
    /// What to do; serve when absent.
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArgs,
}

/// What the program is to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the service until it is told to stop.
    Serve(ServeArgs),
    /// Bring the database to the schema of this program, then end.
    Migrate(MigrateArgs),
    /// Make a checked copy of the database beside it; of a running service its
    /// AdminService makes one.
    Backup(DataArgs),
    /// Show, check, restore and remove backups.
    #[command(subcommand)]
    Backups(BackupsCommand<DataArgs>),
    /// Ask a running service whether it takes calls; ends with 0 when it does.
    Healthcheck(HealthArgs),
    /// Print every setting as serve would take it, secrets masked, after the
    /// same checks.
    PrintConfig(ServeArgs),
    /// Make a token: prints it once, and its entry for the token file, which
    /// holds only a digest.
    Token(TokenArgs),
    /// Have the running service look for new, changed, moved and vanished model
    /// files.
    Scan(ScanArgs),
    /// Have the running service compute the hashes of model files.
    Hash(HashArgs),
}

/// Where the data is, and how to log.
#[derive(Debug, Clone, Args)]
pub struct DataArgs {
    /// The folder of the database.
    #[arg(long, env = "MODEL_SERVICE_DATA_DIR", default_value = "./data")]
    pub data_dir: PathBuf,
    /// What to log, as tracing filter directives.
    #[arg(long, env = "MODEL_SERVICE_LOG", default_value = FILTER_DEFAULT)]
    pub log: String,
}

/// Which database to migrate, and how.
#[derive(Debug, Clone, Args)]
pub struct MigrateArgs {
    /// See [`DataArgs`].
    #[command(flatten)]
    pub data: DataArgs,
    /// See [`MigrationArgs`].
    #[command(flatten)]
    pub migration: MigrationArgs,
}

/// What a token is to be for.
#[derive(Debug, Clone, Args)]
pub struct TokenArgs {
    /// Who will hold it, for logs.
    #[arg(long)]
    pub name: String,
    /// What it allows; repeat or separate by commas.
    #[arg(long, value_delimiter = ',', default_value = "models:read,models:write",
          value_parser = scope)]
    pub scopes: Vec<Scope>,
    /// The only servers it may report; repeat or separate by commas. Absent is
    /// all.
    #[arg(long, value_delimiter = ',')]
    pub servers: Vec<String>,
}

fn scope(word: &str) -> Result<Scope, String> {
    Scope::parse(word).map_err(|_| {
        let all: Vec<&str> = Scope::ALL.iter().map(|scope| scope.as_str()).collect();
        format!("must be one of {}", all.join(", "))
    })
}

/// Whom to ask, and about what.
#[derive(Debug, Clone, Args)]
pub struct HealthArgs {
    /// Where the service listens; a wildcard address is asked on loopback.
    #[arg(long, env = "MODEL_SERVICE_LISTEN", default_value = LISTEN_DEFAULT)]
    pub address: SocketAddr,
    /// The full name of one of its gRPC services; absent is the whole process.
    #[arg(long, default_value = "")]
    pub service: String,
}

/// How to serve.
#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    /// See [`DataArgs`].
    #[command(flatten)]
    pub data: DataArgs,
    /// Where to listen for gRPC; loopback only without tokens. Port 0 takes a
    /// free one.
    #[arg(long, env = "MODEL_SERVICE_LISTEN", default_value = LISTEN_DEFAULT)]
    pub listen: SocketAddr,
    /// Where to listen for Prometheus; beyond loopback only when --listen is.
    #[arg(long, env = "MODEL_SERVICE_METRICS_LISTEN", default_value = METRICS_LISTEN_DEFAULT)]
    pub metrics_listen: SocketAddr,
    /// The file of tokens that callers must present: a JSON list as `token`
    /// prints it. Without it, everybody on this machine may call.
    #[arg(long, env = "MODEL_SERVICE_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
    /// How many events are kept for watchers that come back.
    #[arg(long, env = "MODEL_SERVICE_EVENTS_KEPT", default_value_t = EVENTS_KEPT_DEFAULT,
          value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub events_kept: u32,
    /// Hours from one backup of the database to the next; 0 makes none.
    #[arg(long, env = "MODEL_SERVICE_BACKUP_EVERY_HOURS", default_value_t = 0,
          value_parser = clap::value_parser!(u32).range(0..=8_760))]
    pub backup_every_hours: u32,
    /// Backups that are kept after each of those, the newest.
    #[arg(long, env = "MODEL_SERVICE_BACKUPS_KEEP", default_value_t = BACKUPS_KEPT_DEFAULT,
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub backups_keep: u32,
    /// See [`LibraryArgs`].
    #[command(flatten)]
    pub library: LibraryArgs,
    /// Seconds that calls under way get after the signal to stop.
    #[arg(long, env = "MODEL_SERVICE_GRACE_SECONDS", default_value_t = GRACE_DEFAULT.as_secs(),
          value_parser = clap::value_parser!(u64).range(0..=3600))]
    pub grace_seconds: u64,
}

impl CommandLine {
    /// What the program is to do.
    pub fn command(self) -> Command {
        self.command.unwrap_or(Command::Serve(self.serve))
    }
}

impl Command {
    /// What to log.
    pub fn log(&self) -> &str {
        match self {
            Self::Serve(serve) | Self::PrintConfig(serve) => &serve.data.log,
            Self::Migrate(migrate) => &migrate.data.log,
            Self::Backup(data) => &data.log,
            Self::Backups(command) => &command.data().log,
            Self::Healthcheck(_) | Self::Token(_) | Self::Scan(_) | Self::Hash(_) => FILTER_DEFAULT,
        }
    }
}

impl ServeArgs {
    /// The checked configuration.
    ///
    /// # Errors
    /// All faults, one a line.
    pub fn config(&self) -> Result<Config, String> {
        let mut faults = Vec::new();
        let tokens = match self.token_file.as_deref().map(Tokens::read) {
            Some(Ok(tokens)) => Some(Arc::new(tokens)),
            Some(Err(found)) => {
                faults.extend(
                    found
                        .into_iter()
                        .map(|fault| format!("--token-file {fault}")),
                );
                None
            }
            None => {
                faults.extend(refuse_beyond_loopback(self.listen).err());
                None
            }
        };
        faults.extend(refuse_wider_metrics(self.listen, self.metrics_listen).err());
        let library = self.library.config(&mut faults);
        if !faults.is_empty() {
            return Err(faults.join("\n"));
        }
        Ok(Config {
            data_dir: self.data.data_dir.clone(),
            metrics_listen: Some(self.metrics_listen),
            tokens,
            events_kept: self.events_kept,
            backups: BackupSchedule::new(self.backup_every_hours, self.backups_keep),
            library,
            grace: Duration::from_secs(self.grace_seconds),
        })
    }
}

/// What a running service is told. The address of the gRPC port is the
/// listener's.
#[derive(Debug, Clone)]
pub struct Config {
    /// The folder of the database; made when missing.
    pub data_dir: PathBuf,
    /// Where Prometheus reads; `None` offers nothing.
    pub metrics_listen: Option<SocketAddr>,
    /// The tokens that callers must present; `None` lets everybody call, which
    /// is for loopback only.
    pub tokens: Option<Arc<Tokens>>,
    /// How many events are kept for watchers that come back.
    pub events_kept: u32,
    /// When backups are made without being asked for.
    pub backups: BackupSchedule,
    /// How the library is read and Civitai is asked.
    pub library: LibraryConfig,
    /// Time that calls under way get after the signal to stop.
    pub grace: Duration,
}

impl Config {
    /// Defaults, with the data in a folder and without a port for Prometheus.
    pub fn in_folder(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            metrics_listen: None,
            tokens: None,
            events_kept: EVENTS_KEPT_DEFAULT,
            backups: BackupSchedule::default(),
            library: LibraryConfig::default(),
            grace: GRACE_DEFAULT,
        }
    }

    /// Where the database is.
    pub fn database(&self) -> PathBuf {
        database(&self.data_dir)
    }
}

/// Where the database in a folder is.
pub fn database(data_dir: &Path) -> PathBuf {
    data_dir.join(DATABASE_FILE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Command {
        let line = std::iter::once("model-service").chain(arguments.iter().copied());
        CommandLine::try_parse_from(line).unwrap().command()
    }

    #[test]
    fn serve_is_what_is_done_when_nothing_is_said() {
        for arguments in [&["--data-dir", "d"][..], &["serve", "--data-dir", "d"]] {
            let Command::Serve(serve) = parsed(arguments) else {
                panic!("{arguments:?}");
            };
            assert_eq!(
                serve.config().unwrap().database(),
                Path::new("d/mobilesd_models.sqlite")
            );
            assert_eq!(serve.listen.to_string(), LISTEN_DEFAULT);
        }
        assert!(matches!(
            parsed(&["migrate", "--data-dir", "d"]),
            Command::Migrate(_)
        ));
    }

    #[test]
    fn an_address_beyond_loopback_is_named() {
        for flag in ["--listen", "--metrics-listen"] {
            let Command::Serve(serve) = parsed(&[flag, "10.0.0.1:2"]) else {
                panic!("serve is the default");
            };
            let faults = serve.config().unwrap_err();
            assert!(faults.contains("10.0.0.1:2"), "{faults}");
        }
    }
}
