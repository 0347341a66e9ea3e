//! Why the service did not start, and how the program ends then.

use std::{io, net::SocketAddr, path::PathBuf};

use service_kit::{
    database::{DatabaseError, LockError},
    exit::Exit,
    migrate::MigrateError,
    server::ServerError,
};

use crate::{error::Error, images::ImageError, vault::VaultFault};

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
    /// What is in the database cannot be used.
    #[error(transparent)]
    Content(#[from] Error),
    /// The folder of images cannot be used.
    #[error(transparent)]
    Images(#[from] ImageError),
    /// The key of stored logins cannot be used.
    #[error(transparent)]
    Vault(#[from] VaultFault),
    /// The gRPC port cannot be opened.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The address of model-service cannot be used.
    #[error("the address of model-service cannot be used: {0}")]
    ModelService(#[from] tonic::transport::Error),
    /// Others than this machine could call, and nothing tells them apart.
    #[error(
        "refusing to listen on {0}: there is no API key yet, and without one only loopback \
         addresses are allowed; make one with `job-service api-key create`, give one with \
         --bootstrap-key-file, or listen on 127.0.0.1"
    )]
    NoKey(SocketAddr),
    /// The port for Prometheus cannot be opened.
    #[error("cannot listen on {address} for Prometheus: {source}")]
    Metrics {
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// The start was interrupted by a panic.
    #[error("the start was interrupted by a panic")]
    Panicked,
}

impl StartError {
    /// How the program ends because of it.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Lock(error) => error.exit(),
            Self::Migrate(error) => error.exit(),
            Self::Database(error) => error.exit(),
            Self::ModelService(_)
            | Self::NoKey(_)
            | Self::Vault(VaultFault::Mode { .. } | VaultFault::NotAKey { .. }) => {
                Exit::BadConfiguration
            }
            Self::Folder { .. }
            | Self::Content(_)
            | Self::Images(_)
            | Self::Vault(_)
            | Self::Server(_)
            | Self::Metrics { .. }
            | Self::Panicked => Exit::Failure,
        }
    }
}
