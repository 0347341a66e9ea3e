//! Every knob of the service: command line and environment. The only reader of
//! the environment, through clap.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, Parser, Subcommand};
use serde::Deserialize;
use service_kit::{
    auth::Token, server::refuse_beyond_loopback, shutdown::GRACE_DEFAULT, telemetry::FILTER_DEFAULT,
};

use crate::{
    core::{Pace, ServiceLimits},
    server::{Usage, alias_fault, parse_base_url},
    store::servers::NewServer,
};

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
    Migrate(DataArgs),
}

/// Where the data is, and how to log.
#[derive(Debug, Clone, Args)]
pub struct DataArgs {
    /// The folder of the database and the images.
    #[arg(long, env = "JOB_SERVICE_DATA_DIR", default_value = "./data")]
    pub data_dir: PathBuf,
    /// What to log, as tracing filter directives.
    #[arg(long, env = "JOB_SERVICE_LOG", default_value = FILTER_DEFAULT)]
    pub log: String,
}

/// How to serve.
#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    /// See [`DataArgs`].
    #[command(flatten)]
    pub data: DataArgs,
    /// Where to listen for gRPC; loopback only. Port 0 takes a free one.
    #[arg(long, env = "JOB_SERVICE_LISTEN", default_value = LISTEN_DEFAULT)]
    pub listen: SocketAddr,
    /// Where to listen for Prometheus; loopback only.
    #[arg(long, env = "JOB_SERVICE_METRICS_LISTEN", default_value = METRICS_LISTEN_DEFAULT)]
    pub metrics_listen: SocketAddr,
    /// Where model-service is.
    #[arg(long, env = "JOB_SERVICE_MODEL_SERVICE", default_value = MODEL_SERVICE_DEFAULT)]
    pub model_service: String,
    /// The file that holds our token for model-service, where it wants one.
    #[arg(long, env = "JOB_SERVICE_MODEL_TOKEN_FILE")]
    pub model_token_file: Option<PathBuf>,
    /// Forge servers to register when they are not there yet: a JSON list of
    /// objects with `alias`, `apiUrl` and, where wanted, `usage` (dedicated or
    /// shared).
    #[arg(long, env = "JOB_SERVICE_SERVERS")]
    pub servers: Option<String>,
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
    /// Hours in which a call can be repeated by its request id.
    #[arg(long, env = "JOB_SERVICE_REQUEST_ID_HOURS", default_value_t = 24,
          value_parser = clap::value_parser!(u64).range(1..=8_760))]
    pub request_id_hours: u64,
    /// Jobs that may be pending; further ones are refused.
    #[arg(long, env = "JOB_SERVICE_QUEUED_JOBS_MAX", default_value_t = 100_000,
          value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub queued_jobs_max: u32,
    /// MiB that the requests of pending jobs may have, pictures included.
    #[arg(long, env = "JOB_SERVICE_QUEUED_MIB_MAX", default_value_t = 4_096,
          value_parser = clap::value_parser!(u64).range(1..=1_048_576))]
    pub queued_mib_max: u64,
    /// Calls of WatchJob and WaitJob that may be open.
    #[arg(long, env = "JOB_SERVICE_WATCHES_MAX", default_value_t = 1_000,
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub watches_max: u32,
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
            Self::Serve(serve) => &serve.data.log,
            Self::Migrate(data) => &data.log,
        }
    }
}

impl ServeArgs {
    /// The checked configuration.
    ///
    /// # Errors
    /// All faults, one a line.
    pub fn config(&self) -> Result<Config, String> {
        let mut faults: Vec<String> = [self.listen, self.metrics_listen]
            .into_iter()
            .filter_map(|address| refuse_beyond_loopback(address).err())
            .collect();
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
        let servers = match self.servers.as_deref().map(parse_servers) {
            None => Vec::new(),
            Some(Ok(servers)) => servers,
            Some(Err(found)) => {
                faults.extend(found);
                Vec::new()
            }
        };
        if !faults.is_empty() {
            return Err(faults.join("\n"));
        }
        Ok(Config {
            data_dir: self.data.data_dir.clone(),
            metrics_listen: Some(self.metrics_listen),
            model_service: self.model_service.clone(),
            model_token,
            servers,
            pace: Pace {
                probe: Duration::from_millis(self.probe_ms),
                progress: Duration::from_millis(self.progress_ms),
                sweep: (self.sweep_ms > 0).then(|| Duration::from_millis(self.sweep_ms)),
                unknown_grace: Duration::from_millis(self.unknown_grace_ms),
                request_id_retention: Duration::from_secs(self.request_id_hours * 3600),
                ..Pace::default()
            },
            limits: ServiceLimits {
                queued_jobs: self.queued_jobs_max as usize,
                queued_bytes: self.queued_mib_max * 1024 * 1024,
                watches: self.watches_max as usize,
            },
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
    /// Servers to register when they are not there yet.
    pub servers: Vec<NewServer>,
    /// How patient the loops are.
    pub pace: Pace,
    /// How much the service takes on.
    pub limits: ServiceLimits,
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
            servers: Vec::new(),
            pace: Pace::default(),
            limits: ServiceLimits::default(),
            grace: GRACE_DEFAULT,
        }
    }
}

/// The token in a file, or why there is none; never a part of it.
fn read_token(path: &Path) -> Result<Token, String> {
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Token::parse(text.trim()).map_err(|_| format!("{}: holds no token", path.display()))
}

/// Where the database in a folder is.
#[must_use]
pub fn database(data_dir: &Path) -> PathBuf {
    data_dir.join(DATABASE_FILE)
}

/// One entry of the list of servers, in any of the shapes that the earlier
/// application wrote: `auth` null or an object, or `username` and `password`
/// beside the URL.
#[derive(Deserialize)]
struct Entry {
    alias: String,
    #[serde(rename = "apiUrl", alias = "base_url", alias = "url")]
    api_url: String,
    #[serde(default)]
    usage: Option<String>,
    #[serde(default)]
    auth: serde_json::Value,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    password: Option<String>,
}

/// The servers of a list, or everything that is wrong with it.
fn parse_servers(text: &str) -> Result<Vec<NewServer>, Vec<String>> {
    let entries: Vec<Entry> = serde_json::from_str(text)
        .map_err(|error| vec![format!("--servers is not a list of servers: {error}")])?;
    let mut faults = Vec::new();
    let mut servers = Vec::new();
    for (at, entry) in entries.into_iter().enumerate() {
        match parse_entry(entry) {
            Ok(server) => servers.push(server),
            Err(found) => {
                faults.extend(
                    found
                        .into_iter()
                        .map(|fault| format!("--servers[{at}] {fault}")),
                );
            }
        }
    }
    if faults.is_empty() {
        Ok(servers)
    } else {
        Err(faults)
    }
}

fn parse_entry(entry: Entry) -> Result<NewServer, Vec<String>> {
    let Entry {
        alias,
        api_url,
        usage,
        auth,
        username,
        password,
    } = entry;
    let mut faults = Vec::new();
    if let Some(fault) = alias_fault(&alias) {
        faults.push(format!("alias {fault}"));
    }
    let base_url = parse_base_url(&api_url).unwrap_or_else(|fault| {
        faults.push(format!("apiUrl {fault}"));
        String::new()
    });
    let usage = match usage.as_deref() {
        None => Usage::Dedicated,
        Some(text) => Usage::parse(text).unwrap_or_else(|| {
            faults.push(format!("usage {text:?} is neither dedicated nor shared"));
            Usage::Dedicated
        }),
    };
    let secret = |value: &Option<String>| value.as_ref().is_some_and(|text| !text.is_empty());
    if !auth.is_null() || secret(&username) || secret(&password) {
        faults.push(
            "has credentials, which this version cannot keep safely; leave them out".to_owned(),
        );
    }
    if faults.is_empty() {
        Ok(NewServer {
            alias,
            base_url,
            usage,
            labels: std::collections::BTreeMap::new(),
            enabled: true,
        })
    } else {
        Err(faults)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serve(arguments: &[&str]) -> ServeArgs {
        let line = std::iter::once("job-service").chain(arguments.iter().copied());
        match CommandLine::try_parse_from(line).unwrap().command() {
            Command::Serve(serve) => *serve,
            Command::Migrate(_) => panic!("{arguments:?}"),
        }
    }

    #[test]
    fn serve_is_what_is_done_when_nothing_is_said() {
        for arguments in [&["--data-dir", "d"][..], &["serve", "--data-dir", "d"]] {
            let serve = serve(arguments);
            assert_eq!(serve.config().unwrap().data_dir, Path::new("d"));
            assert_eq!(serve.listen.to_string(), LISTEN_DEFAULT);
        }
    }

    #[test]
    fn every_fault_is_named_at_once() {
        let faults = serve(&[
            "--listen",
            "0.0.0.0:1",
            "--model-service",
            "nowhere",
            "--servers",
            r#"[{"alias":"","apiUrl":"x"},{"alias":"a","apiUrl":"http://h","auth":{"username":"u","password":"p"}}]"#,
        ])
        .config()
        .unwrap_err();
        for part in [
            "0.0.0.0:1",
            "--model-service",
            "[0] alias",
            "[0] apiUrl",
            "[1] has credentials",
        ] {
            assert!(faults.contains(part), "{part}: {faults}");
        }
    }

    #[test]
    fn the_list_of_the_earlier_application_is_taken() {
        let servers =
            parse_servers(r#"[{"alias":"Laptop","apiUrl":"http://127.0.0.1:7861/","auth":null}]"#)
                .unwrap();
        assert_eq!(servers[0].base_url, "http://127.0.0.1:7861");
        assert_eq!(servers[0].usage, Usage::Dedicated);
    }
}
