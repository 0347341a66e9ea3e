//! What the commands take that start no service.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use service_kit::{commands::MigrationArgs, telemetry::FILTER_DEFAULT};

use super::{DATABASE_FILE, LISTEN_DEFAULT};

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

/// Where the database in a folder is.
#[must_use]
pub fn database(data_dir: &Path) -> PathBuf {
    data_dir.join(DATABASE_FILE)
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
    /// Then import the jobs of the file in which the earlier application kept
    /// them before it had a database: job_queue.json. Jobs that are there
    /// already stay as they are; ones that were deleted stay so as long as the
    /// history of events tells of it.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["status", "dry_run", "to"])]
    pub import_json: Option<PathBuf>,
}

/// What to do with the images on disk.
#[derive(Debug, Clone, Subcommand)]
pub enum ImagesCommand {
    /// Check that the file of every image is there and holds what it should,
    /// and tell which files no job needs; also while the service runs. Ends
    /// with 65 when an image is missing or another.
    Verify(ImagesVerifyArgs),
    /// Take over the pictures that results of the earlier application name, on
    /// a stopped service. The files stay where they are, too.
    Import(ImagesImportArgs),
}

/// Which images to check.
#[derive(Debug, Clone, Args)]
pub struct ImagesVerifyArgs {
    /// See [`DataArgs`].
    #[command(flatten)]
    pub data: DataArgs,
    /// Print what was found as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Where the pictures are.
#[derive(Debug, Clone, Args)]
pub struct ImagesImportArgs {
    /// See [`DataArgs`].
    #[command(flatten)]
    pub data: DataArgs,
    /// The folder into which the earlier application saved its pictures.
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// Print what was done as JSON.
    #[arg(long)]
    pub json: bool,
}

impl ImagesCommand {
    /// Where the images are.
    #[must_use]
    pub fn data(&self) -> &DataArgs {
        match self {
            Self::Verify(args) => &args.data,
            Self::Import(args) => &args.data,
        }
    }
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
