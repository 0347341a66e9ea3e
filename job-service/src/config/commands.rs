//! What the commands take that start no service.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;
use service_kit::{commands::MigrationArgs, telemetry::FILTER_DEFAULT};

use super::LISTEN_DEFAULT;

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

/// Whom to ask, and about what.
#[derive(Debug, Clone, Args)]
pub struct HealthArgs {
    /// Where the service listens; a wildcard address is asked on loopback.
    #[arg(long, env = "JOB_SERVICE_LISTEN", default_value = LISTEN_DEFAULT)]
    pub address: SocketAddr,
    /// The full name of one of its gRPC services; absent is the whole process.
    #[arg(long, default_value = "")]
    pub service: String,
}
