//! Who may call, settled before the port opens: the keys, the one that is given
//! by file, and whether the address is allowed without any.

use std::{net::SocketAddr, path::Path, sync::Arc};

use service_kit::{
    admin::Admin,
    audit::Audit,
    clock::Clock,
    database::{Database, DatabaseOptions},
    server::is_loopback,
    shutdown::Shutdown,
};

use super::{StartError, locked_and_migrated};
use crate::{
    admin_socket,
    config::{self, Config},
    keys::{self, Installed, Keys},
};

/// The keys of the database, with the one that the configuration gives.
pub(super) async fn load(
    config: &Config,
    address: SocketAddr,
    database: Database,
    clock: Clock,
    shutdown: &Shutdown,
) -> Result<Arc<Keys>, StartError> {
    let keys = Keys::load(database.clone(), clock, shutdown.clone()).await?;
    if let Some(key) = &config.bootstrap_key {
        tell(keys.install(key.clone()).await?);
    }
    if !keys.is_required() {
        if !is_loopback(address) {
            // Whoever makes one next needs the database.
            database.close().await?;
            return Err(StartError::NoKey(address));
        }
        tracing::warn!(
            "there is no API key: everybody on this machine may call everything; make one with \
             job-service api-key create"
        );
    } else if !keys.has_good_one() {
        tracing::warn!(
            "no API key is good at the moment, so every call is refused; make one with \
             job-service api-key create"
        );
    }
    Ok(keys)
}

/// The keys of a service that is stopped, and the database to close after that.
///
/// # Errors
/// [`StartError`], as when the service runs.
pub(crate) async fn open_keys(
    data_dir: &Path,
    clock: &Clock,
    shutdown: &Shutdown,
) -> Result<(Database, Arc<Keys>), StartError> {
    let (path, at) = (config::database(data_dir), clock.clone());
    let opened = tokio::task::spawn_blocking(move || {
        let lock = locked_and_migrated(&path, &at)?;
        Ok::<_, StartError>(Database::open(&path, lock, DatabaseOptions::default())?)
    });
    let database = opened.await.map_err(|_| StartError::Panicked)??;
    let keys = Keys::load(database.clone(), clock.clone(), shutdown.clone()).await?;
    Ok((database, keys))
}

/// What goes on with keys while the service runs.
pub(super) fn begin(
    config: &Config,
    keys: &Arc<Keys>,
    admin: &Admin,
    audit: Audit,
    shutdown: &Shutdown,
) {
    shutdown.spawn("note_key_uses", keys::note_uses(Arc::clone(keys)));
    let keys = Arc::clone(keys);
    if let Err(error) = admin_socket::serve(&config.data_dir, keys, admin, audit, shutdown) {
        tracing::warn!(
            %error,
            "there is no admin socket: job-service api-key and backup work only while the service \
             is stopped"
        );
    }
}

fn tell(became: Installed) {
    match became {
        Installed::New => tracing::info!("the bootstrap key is installed"),
        Installed::There => tracing::info!("the bootstrap key is there already"),
        Installed::NotGood => tracing::warn!(
            "the bootstrap key is there, but was revoked or has expired, and stays so"
        ),
        Installed::OtherProof => tracing::warn!(
            "a key with the digits of the bootstrap key has another secret, as after a rotation; \
             the one in the file is not installed"
        ),
    }
}
