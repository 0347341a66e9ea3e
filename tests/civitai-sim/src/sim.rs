//! The handle that a test holds: starts the stand-in, fills it, scripts it, reads what arrived.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::body::Bytes;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::recorded::Recorded;
use crate::routes;
use crate::rules::Rule;
use crate::version::{SimFile, SimVersion, digest_of};
use crate::world::World;

/// A simulated Civitai on a real socket. Dropping it closes the port; answers under way are cut.
#[derive(Debug)]
pub struct CivitaiSim {
    world: Arc<World>,
    address: SocketAddr,
    end: CancellationToken,
}

impl CivitaiSim {
    /// Starts one without versions on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// If no port is free.
    pub async fn start() -> anyhow::Result<Self> {
        let world = Arc::new(World::default());
        let end = CancellationToken::new();
        let address = serve(routes::app(&world), &end).await?;
        let storage = serve(routes::storage(&world), &end).await?;
        world.storage.serve_at(format!("http://{storage}"));
        Ok(Self {
            world,
            address,
            end,
        })
    }

    /// Stores the content of a file, which may be another than its version says, under a name.
    pub fn hold(&self, file_id: u64, name: &str, content: impl Into<Bytes>) {
        self.world.storage.hold(file_id, name, content.into());
    }

    /// Stores a picture, and answers its address.
    pub fn hold_picture(&self, name: &str, content: impl Into<Bytes>) -> String {
        self.world.storage.picture(name, content.into())
    }

    /// Lets the signatures of all addresses of the storage expire that were given until now.
    pub fn expire_signatures(&self) {
        self.world.storage.expire();
    }

    /// Lets downloads begin with this key only.
    pub fn require_key(&self, key: &str) {
        self.world.storage.require(key);
    }

    /// Lets downloads lead to another host, in the shape of `http://host:port`.
    pub fn lead_to(&self, host: &str) {
        self.world.storage.serve_at(host.to_owned());
    }

    /// Lets the storage hold back every answer after so many bytes, until [`CivitaiSim::open_gate`].
    pub fn shut_gate(&self, after: usize) {
        self.world.storage.shut(after);
    }

    /// Lets the storage give what it holds back, and answer as usual from now on.
    pub fn open_gate(&self) {
        self.world.storage.open();
    }

    /// `http://127.0.0.1:port`, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Publishes a version, or replaces the one with its id.
    pub fn add(&self, version: SimVersion) {
        self.world.catalog().put(version);
    }

    /// Publishes a version from an object of Civitai's shape.
    ///
    /// # Panics
    /// When it has no `id`.
    pub fn add_json(&self, version: Value) {
        self.add(SimVersion::from_json(version));
    }

    /// Publishes `count` versions with one file each, with ids from `first_id`, and answers the SHA-256 of their
    /// files: of [`digest_of`] the id.
    pub fn add_many(&self, first_id: u64, count: u64) -> Vec<String> {
        let mut catalog = self.world.catalog();
        let add = |id: u64| {
            let sha256 = digest_of(&id.to_string());
            catalog.put(SimVersion::new(id).file(SimFile::new(id, &sha256)));
            sha256
        };
        (first_id..first_id + count).map(add).collect()
    }

    /// Takes a version away, as one that was deleted or unpublished.
    pub fn remove(&self, id: u64) {
        self.world.catalog().remove(id);
    }

    /// Scripts what happens to requests; the oldest rule that is for one is played.
    pub fn script(&self, rule: Rule) {
        self.world.rules.push(rule);
    }

    /// Forgets all rules.
    pub fn clear_rules(&self) {
        self.world.rules.clear();
    }

    /// Every request that arrived, in order (the first [`crate::REQUESTS_KEPT`]).
    pub fn requests(&self) -> Vec<Recorded> {
        self.world.requests.all()
    }

    /// How many requests arrived.
    pub fn request_count(&self) -> usize {
        self.world.requests.count()
    }

    /// Waits until so many requests arrived in all.
    ///
    /// # Errors
    /// If that does not happen within `bound`.
    pub async fn wait_for_requests(&self, count: usize, bound: Duration) -> anyhow::Result<()> {
        let mut counts = self.world.requests.counts();
        let arrived = counts.wait_for(|arrived| *arrived >= count);
        let arrived = tokio::time::timeout(bound, arrived).await;
        arrived
            .with_context(|| format!("{} requests arrived, not {count}", self.request_count()))?
            .context("the stand-in is gone")?;
        Ok(())
    }
}

/// Serves routes on a free port of 127.0.0.1 until the end.
async fn serve(routes: Router, end: &CancellationToken) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.context("no free port")?;
    let address = listener.local_addr()?;
    let (serve, ended) = (axum::serve(listener, routes), end.clone());
    TaskTracker::new().spawn(async move {
        tokio::select! {
            () = ended.cancelled() => {}
            // It ends only with the process.
            _ = serve => {}
        }
    });
    Ok(address)
}

impl Drop for CivitaiSim {
    fn drop(&mut self) {
        self.end.cancel();
    }
}
