//! Every knob of the service: command line and environment. The only reader of
//! the environment, through clap.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};
use secrecy::SecretString;
use service_kit::{
    admin::{BACKUPS_KEPT_DEFAULT, BackupSchedule},
    auth::Token,
    commands::BackupsCommand,
    server::refuse_wider_metrics,
    shutdown::GRACE_DEFAULT,
    telemetry::FILTER_DEFAULT,
};

use crate::{
    core::{Pace, ServiceLimits},
    keys::BootstrapKey,
    policy::DownloadPolicy,
    seal::SealingKey,
    server::parse_base_url,
    store::servers::NewServer,
};

mod api_key;
mod commands;
mod credentials;
mod downloads;
mod retries;
mod servers;
mod shown;

pub use api_key::{ApiKeyCommand, CreateArgs, ListArgs, RevokeArgs};
pub use commands::{
    DataArgs, HealthArgs, ImagesCommand, ImagesImportArgs, ImagesVerifyArgs, MigrateArgs, database,
};
use credentials::{read_key, read_token};
pub use downloads::DownloadArgs;
pub use retries::RetryArgs;
pub(crate) use servers::parse_older_servers;
pub(crate) use shown::settings;

/// The file name of the database.
pub const DATABASE_FILE: &str = "mobilesd_jobs.sqlite";
/// The folder of images below the data folder.
pub const IMAGES_FOLDER: &str = "images";
/// Where the service listens when nothing is configured.
pub const LISTEN_DEFAULT: &str = "127.0.0.1:50051";
/// Where Prometheus reads when nothing is configured.
pub const METRICS_LISTEN_DEFAULT: &str = "127.0.0.1:9464";
/// Where model-service is when nothing is configured.
pub const MODEL_SERVICE_DEFAULT: &str = "http://127.0.0.1:50052";

/// A durable queue in front of Stable Diffusion Forge servers.
#[derive(Debug, Parser)]
#[command(name = "job-service", version, args_conflicts_with_subcommands = true)]
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
    Serve(Box<ServeArgs>),
    /// Bring the database to the schema of this program, then end.
    Migrate(MigrateArgs),
    /// Make a checked copy of the database beside it, also while the service
    /// runs.
    Backup(DataArgs),
    /// Show, check, restore and remove backups.
    #[command(subcommand)]
    Backups(BackupsCommand<DataArgs>),
    /// Check the images on disk; take over those of the earlier application.
    #[command(subcommand)]
    Images(ImagesCommand),
    /// Make, show and revoke API keys, also while the service runs.
    #[command(subcommand)]
    ApiKey(ApiKeyCommand),
    /// Ask a running service whether it takes calls; ends with 0 when it does.
    Healthcheck(HealthArgs),
    /// Print every setting as serve would take it, secrets masked, after the
    /// same checks.
    PrintConfig(Box<ServeArgs>),
}

/// How to serve.
#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    /// See [`DataArgs`].
    #[command(flatten)]
    pub data: DataArgs,
    /// Where to listen for gRPC; beyond loopback only when there is an API key.
    /// Port 0 takes a free one.
    #[arg(long, env = "JOB_SERVICE_LISTEN", default_value = LISTEN_DEFAULT)]
    pub listen: SocketAddr,
    /// Where to listen for Prometheus; beyond loopback only when --listen is.
    #[arg(long, env = "JOB_SERVICE_METRICS_LISTEN", default_value = METRICS_LISTEN_DEFAULT)]
    pub metrics_listen: SocketAddr,
    /// Where model-service is.
    #[arg(long, env = "JOB_SERVICE_MODEL_SERVICE", default_value = MODEL_SERVICE_DEFAULT)]
    pub model_service: String,
    /// The file that holds our token for model-service, where it wants one.
    #[arg(long, env = "JOB_SERVICE_MODEL_TOKEN_FILE")]
    pub model_token_file: Option<PathBuf>,
    /// A file with the first API key: a token (`sq_<prefix>_<secret>`), or a key
    /// and its secret (`<key>:<secret>`). It is installed with the scope admin
    /// unless it is there already.
    #[arg(long, env = "JOB_SERVICE_BOOTSTRAP_KEY_FILE")]
    pub bootstrap_key_file: Option<PathBuf>,
    /// Forge servers to register when they are not there yet: a JSON list of
    /// objects with `alias`, `apiUrl` and, where wanted, `usage` (dedicated or
    /// shared) and `auth` (`username` and `password` of its API).
    #[arg(long, env = "JOB_SERVICE_SERVERS", hide_env_values = true)]
    pub servers: Option<SecretString>,
    /// A file with that list, instead of the list.
    #[arg(long, env = "JOB_SERVICE_SERVERS_FILE")]
    pub servers_file: Option<PathBuf>,
    /// The key that encrypts the logins of servers: 32 bytes as 64 hexadecimal
    /// digits or base64. Only for the environment; others see command lines.
    #[arg(
        long,
        env = "JOB_SERVICE_CREDENTIALS_KEY",
        hide = true,
        hide_env_values = true
    )]
    pub credentials_key: Option<SecretString>,
    /// A file with that key. Without either, credentials.key in the data folder
    /// is used, and made with the first login.
    #[arg(long, env = "JOB_SERVICE_CREDENTIALS_KEY_FILE")]
    pub credentials_key_file: Option<PathBuf>,
    /// Milliseconds between two probes of a server.
    #[arg(long, env = "JOB_SERVICE_PROBE_MS", default_value_t = 5_000,
          value_parser = clap::value_parser!(u64).range(50..=3_600_000))]
    pub probe_ms: u64,
    /// Milliseconds between two looks at the progress of an attempt.
    #[arg(long, env = "JOB_SERVICE_PROGRESS_MS", default_value_t = 500,
          value_parser = clap::value_parser!(u64).range(20..=60_000))]
    pub progress_ms: u64,
    /// Milliseconds between two passes over the queue when nothing happens; 0
    /// turns that safety sweep off.
    #[arg(long, env = "JOB_SERVICE_SWEEP_MS", default_value_t = 30_000,
          value_parser = clap::value_parser!(u64).range(0..=3_600_000))]
    pub sweep_ms: u64,
    /// Milliseconds that a task may be unknown to an idle server before it
    /// counts as gone.
    #[arg(long, env = "JOB_SERVICE_UNKNOWN_GRACE_MS", default_value_t = 10_000,
          value_parser = clap::value_parser!(u64).range(100..=600_000))]
    pub unknown_grace_ms: u64,
    /// See [`RetryArgs`].
    #[command(flatten)]
    pub retries: RetryArgs,
    /// See [`DownloadArgs`].
    #[command(flatten)]
    pub downloads: DownloadArgs,
    /// Hours in which a call can be repeated by its request id.
    #[arg(long, env = "JOB_SERVICE_REQUEST_ID_HOURS", default_value_t = 24,
          value_parser = clap::value_parser!(u64).range(1..=8_760))]
    pub request_id_hours: u64,
    /// Jobs that may be pending; further ones are refused.
    #[arg(long, env = "JOB_SERVICE_QUEUED_JOBS_MAX", default_value_t = 100_000,
          value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub queued_jobs_max: u32,
    /// Jobs of one key that may be pending, where the key does not say; 0 is as
    /// many as of all keys together.
    #[arg(long, env = "JOB_SERVICE_QUEUED_JOBS_PER_KEY_MAX", default_value_t = 0,
          value_parser = clap::value_parser!(u32).range(0..=10_000_000))]
    pub queued_jobs_per_key_max: u32,
    /// MiB that the requests of pending jobs may have, pictures included.
    #[arg(long, env = "JOB_SERVICE_QUEUED_MIB_MAX", default_value_t = 4_096,
          value_parser = clap::value_parser!(u64).range(1..=1_048_576))]
    pub queued_mib_max: u64,
    /// Calls of WatchJob and WaitJob that may be open.
    #[arg(long, env = "JOB_SERVICE_WATCHES_MAX", default_value_t = 1_000,
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub watches_max: u32,
    /// Those of one key, where the key does not say.
    #[arg(long, env = "JOB_SERVICE_WATCHES_PER_KEY_MAX", default_value_t = 100,
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub watches_per_key_max: u32,
    /// Hours from one backup of the database to the next; 0 makes none.
    #[arg(long, env = "JOB_SERVICE_BACKUP_EVERY_HOURS", default_value_t = 0,
          value_parser = clap::value_parser!(u32).range(0..=8_760))]
    pub backup_every_hours: u32,
    /// Backups that are kept after each of those, the newest.
    #[arg(long, env = "JOB_SERVICE_BACKUPS_KEEP", default_value_t = BACKUPS_KEPT_DEFAULT,
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub backups_keep: u32,
    /// Seconds that running generations get after the signal to stop; after
    /// that they go on at their servers and are taken up by the next start.
    #[arg(long, env = "JOB_SERVICE_GRACE_SECONDS", default_value_t = GRACE_DEFAULT.as_secs(),
          value_parser = clap::value_parser!(u64).range(0..=3600))]
    pub grace_seconds: u64,
    /// Where crash tests stop the process.
    #[cfg(feature = "stop-points")]
    #[arg(long, env = "JOB_SERVICE_STOP_AT", hide = true)]
    pub stop_at: Option<String>,
}

impl CommandLine {
    /// What the program is to do.
    #[must_use]
    pub fn command(self) -> Command {
        self.command
            .unwrap_or_else(|| Command::Serve(Box::new(self.serve)))
    }
}

impl Command {
    /// What to log.
    #[must_use]
    pub fn log(&self) -> &str {
        match self {
            Self::Serve(serve) | Self::PrintConfig(serve) => &serve.data.log,
            Self::Migrate(migrate) => &migrate.data.log,
            Self::Backup(data) => &data.log,
            Self::Backups(command) => &command.data().log,
            Self::Images(command) => &command.data().log,
            Self::ApiKey(command) => &command.data().log,
            Self::Healthcheck(_) => FILTER_DEFAULT,
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
        faults.extend(refuse_wider_metrics(self.listen, self.metrics_listen).err());
        let bootstrap_key = match self.bootstrap_key_file.as_deref().map(read_key) {
            None => None,
            Some(Ok(key)) => Some(key),
            Some(Err(fault)) => {
                faults.push(format!("--bootstrap-key-file {fault}"));
                None
            }
        };
        if let Err(fault) = parse_base_url(&self.model_service) {
            faults.push(format!("--model-service {fault}"));
        }
        let model_token = match self.model_token_file.as_deref().map(read_token) {
            None => None,
            Some(Ok(token)) => Some(token),
            Some(Err(fault)) => {
                faults.push(format!("--model-token-file {fault}"));
                None
            }
        };
        let servers = self.server_list(&mut faults);
        let credentials_key = self.credentials_key(&mut faults);
        let backoff = self.retries.backoff(&mut faults);
        if !faults.is_empty() {
            return Err(faults.join("\n"));
        }
        Ok(Config {
            data_dir: self.data.data_dir.clone(),
            metrics_listen: Some(self.metrics_listen),
            model_service: self.model_service.clone(),
            model_token,
            bootstrap_key,
            servers,
            credentials_key,
            pace: Pace {
                probe: Duration::from_millis(self.probe_ms),
                progress: Duration::from_millis(self.progress_ms),
                sweep: (self.sweep_ms > 0).then(|| Duration::from_millis(self.sweep_ms)),
                unknown_grace: Duration::from_millis(self.unknown_grace_ms),
                retry_first: backoff.first,
                retry_most: backoff.most,
                request_id_retention: Duration::from_secs(self.request_id_hours * 3600),
                ..Pace::default()
            },
            limits: ServiceLimits {
                queued_jobs: self.queued_jobs_max as usize,
                queued_bytes: self.queued_mib_max * 1024 * 1024,
                queued_jobs_per_key: Some(self.queued_jobs_per_key_max).filter(|most| *most > 0),
                watches: self.watches_max as usize,
                watches_per_key: self.watches_per_key_max,
            },
            download_missing: self.downloads.policy(),
            backups: BackupSchedule::new(self.backup_every_hours, self.backups_keep),
            grace: Duration::from_secs(self.grace_seconds),
        })
    }
}

/// What a running service is told. The address of the gRPC port is the
/// listener's.
#[derive(Debug, Clone)]
pub struct Config {
    /// The folder of the database and the images; made when missing.
    pub data_dir: PathBuf,
    /// Where Prometheus reads; `None` offers nothing.
    pub metrics_listen: Option<SocketAddr>,
    /// Where model-service is.
    pub model_service: String,
    /// Our token for model-service; `None` presents none.
    pub model_token: Option<Token>,
    /// A key that is to be there after the start.
    pub bootstrap_key: Option<BootstrapKey>,
    /// Servers to register when they are not there yet.
    pub servers: Vec<NewServer>,
    /// The key that encrypts the logins of servers; `None` uses the one in the
    /// data folder.
    pub credentials_key: Option<SealingKey>,
    /// How patient the loops are.
    pub pace: Pace,
    /// How much the service takes on.
    pub limits: ServiceLimits,
    /// Whether models are downloaded for jobs that do not say.
    pub download_missing: DownloadPolicy,
    /// When backups are made without being asked for.
    pub backups: BackupSchedule,
    /// Time that running generations get after the signal to stop.
    pub grace: Duration,
}

impl Config {
    /// Defaults, with the data in a folder and without a port for Prometheus.
    #[must_use]
    pub fn in_folder(data_dir: impl Into<PathBuf>, model_service: impl Into<String>) -> Self {
        Self {
            data_dir: data_dir.into(),
            metrics_listen: None,
            model_service: model_service.into(),
            model_token: None,
            bootstrap_key: None,
            servers: Vec::new(),
            credentials_key: None,
            pace: Pace::default(),
            limits: ServiceLimits::default(),
            download_missing: DownloadPolicy::default(),
            backups: BackupSchedule::default(),
            grace: GRACE_DEFAULT,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serve(arguments: &[&str]) -> ServeArgs {
        let line = std::iter::once("job-service").chain(arguments.iter().copied());
        match CommandLine::try_parse_from(line).unwrap().command() {
            Command::Serve(serve) => *serve,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn serve_is_what_is_done_when_nothing_is_said() {
        for arguments in [&["--data-dir", "d"][..], &["serve", "--data-dir", "d"]] {
            let serve = serve(arguments);
            assert_eq!(serve.config().unwrap().data_dir, PathBuf::from("d"));
            assert_eq!(serve.listen.to_string(), LISTEN_DEFAULT);
        }
    }

    #[test]
    fn every_fault_is_named_at_once() {
        let faults = serve(&[
            "--metrics-listen",
            "0.0.0.0:1",
            "--bootstrap-key-file",
            "/nowhere/key",
            "--model-service",
            "nowhere",
            "--servers",
            r#"[{"alias":"","apiUrl":"x"},{"alias":"a","apiUrl":"http://h","auth":{"username":"","password":"hunter2"}}]"#,
            "--credentials-key-file",
            "/nowhere/credentials",
        ])
        .config()
        .unwrap_err();
        for part in [
            "0.0.0.0:1",
            "--bootstrap-key-file",
            "--model-service",
            "[0] alias",
            "[0] apiUrl",
            "[1] auth user",
            "--credentials-key-file",
        ] {
            assert!(faults.contains(part), "{part}: {faults}");
        }
        assert!(!faults.contains("hunter2"), "{faults}");
    }
}
