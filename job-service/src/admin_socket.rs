//! The admin socket: ApiKeyService and AdminService for whoever is on the machine
//! itself and may open the data folder, over a Unix socket in it. Its mode (0600) is the
//! protection; there is nothing else to present. It exists while the service
//! runs, so that the commands can reach the database that it holds.

use std::{
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use service_kit::{admin::Admin, audit::Audit, auth::Caller, shutdown::Shutdown};
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{
    Request, Status,
    transport::{Channel, Endpoint, Server},
};

use crate::{api, keys::Keys};

/// The socket below the data folder.
pub const SOCKET_FILE: &str = "job-service.sock";
/// The folder in which it is made; nobody else may look into it. Its path and
/// [`UNNAMED`] together are not longer than that of the socket.
const MAKING: &str = ".socket";
/// The socket while it is made.
const UNNAMED: &str = "new";
/// Who callers of the socket are, in logs.
const CALLER: &str = "admin socket";
/// Bytes of a path that a socket address has room for, the closing zero
/// included (`sun_path` of unix(7)).
const PATH_BYTES: usize = 108;
/// Calls in flight on one connection.
const CALLS_MAX: usize = 16;
/// How long a call may take; a backup of many gigabytes takes minutes.
const CALL_MAX: Duration = Duration::from_secs(900);

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The operating system has no room for the path.
    #[error(
        "{path} has more bytes than the path of a socket may have ({most}); use a data folder \
         with a shorter path, or a relative one"
    )]
    PathTooLong {
        /// Where it would be.
        path: PathBuf,
        /// How many it may have.
        most: usize,
    },
    /// It cannot be made.
    #[error("cannot make {path}: {source}")]
    Io {
        /// Where it would be.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Nobody answers there.
    #[error("nobody answers at {path}")]
    NotThere {
        /// Where it was looked for.
        path: PathBuf,
        /// What the transport said.
        source: tonic::transport::Error,
    },
}

/// Where the socket in a data folder is.
///
/// # Errors
/// [`SocketError::PathTooLong`].
pub fn path(data_dir: &Path) -> Result<PathBuf, SocketError> {
    let path = data_dir.join(SOCKET_FILE);
    let most = PATH_BYTES - 1;
    if path.as_os_str().len() > most || path.to_str().is_none() {
        return Err(SocketError::PathTooLong { path, most });
    }
    Ok(path)
}

/// Serves the socket until the service stops, then removes it. Every call comes
/// into the audit. The caller holds the lock of the database, so that a socket
/// that is there is a leftover.
///
/// # Errors
/// When it cannot be made; the service can do without.
pub fn serve(
    data_dir: &Path,
    keys: Arc<Keys>,
    admin: &Admin,
    audit: Audit,
    shutdown: &Shutdown,
) -> Result<(), SocketError> {
    let path = path(data_dir)?;
    let listener = bind(data_dir, &path).map_err(|source| SocketError::Io {
        path: path.clone(),
        source,
    })?;
    let stop = shutdown.clone();
    let admin = api::local_admin(admin, audit.clone(), introduce);
    shutdown.spawn("admin_socket", async move {
        let served = Server::builder()
            .concurrency_limit_per_connection(CALLS_MAX)
            .timeout(CALL_MAX)
            .add_service(api::local_keys(keys, audit, introduce))
            .add_service(admin)
            .serve_with_incoming_shutdown(UnixListenerStream::new(listener), stop.requested())
            .await;
        if let Err(error) = served {
            tracing::error!(%error, "the admin socket has failed; commands cannot reach the service");
        }
        if let Err(error) = fs::remove_file(&path) {
            tracing::warn!(%error, "the admin socket cannot be removed");
        }
    });
    Ok(())
}

/// A connection to a running service.
///
/// # Errors
/// When there is none, or its path is too long.
pub async fn connect(data_dir: &Path) -> Result<Channel, SocketError> {
    let path = path(data_dir)?;
    let not_there = |source| SocketError::NotThere {
        path: path.clone(),
        source,
    };
    let uri = format!("unix:{}", path.display());
    let endpoint = Endpoint::from_shared(uri).map_err(not_there)?;
    endpoint.connect().await.map_err(not_there)
}

/// Makes the socket where nobody else can reach it, takes everybody else's
/// rights away, and only then puts it into its place: at no moment could
/// another user connect, whatever the umask.
fn bind(data_dir: &Path, path: &Path) -> io::Result<UnixListener> {
    let making = data_dir.join(MAKING);
    remove_leftover(fs::remove_dir_all(&making))?;
    remove_leftover(fs::remove_file(path))?;
    DirBuilder::new().mode(0o700).create(&making)?;
    let unnamed = making.join(UNNAMED);
    let listener = UnixListener::bind(&unnamed)?;
    fs::set_permissions(&unnamed, Permissions::from_mode(0o600))?;
    fs::rename(&unnamed, path)?;
    fs::remove_dir(&making)?;
    Ok(listener)
}

fn remove_leftover(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Says who calls: somebody whom the operating system let open the socket.
pub(crate) fn introduce(mut request: Request<()>) -> Result<Request<()>, Status> {
    request.extensions_mut().insert(Caller {
        name: CALLER.to_owned(),
        ..Caller::anonymous()
    });
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_does_not_fit_is_told_before_it_is_tried() {
        let fits = "d".repeat(PATH_BYTES - 2 - SOCKET_FILE.len());
        assert!(path(Path::new(&fits)).is_ok());
        let fault = path(Path::new(&format!("{fits}d"))).unwrap_err();
        assert!(fault.to_string().contains("shorter"), "{fault}");
        assert!(MAKING.len() + 1 + UNNAMED.len() <= SOCKET_FILE.len());
    }

    #[tokio::test]
    async fn a_leftover_is_replaced_and_only_its_owner_may_connect() {
        let folder = tempfile::tempdir().unwrap();
        let path = path(folder.path()).unwrap();
        fs::write(&path, "left over").unwrap();
        fs::create_dir(folder.path().join(MAKING)).unwrap();
        let _listener = bind(folder.path(), &path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(!folder.path().join(MAKING).exists());
        tokio::net::UnixStream::connect(&path).await.unwrap();
    }
}
