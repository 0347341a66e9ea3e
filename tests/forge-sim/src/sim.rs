//! The handle a test or demo holds: starts, kills and restarts the simulated server, scripts faults, reads logs.

use std::{
    net::{SocketAddr, TcpListener as StdListener},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use tokio::net::TcpListener;

use crate::{
    config::{SimConfig, SimModel},
    connection::{BACKLOG, Process},
    gate::Gate,
    generation::Generation,
    log::LoggedRequest,
    state::{Disk, World, hold},
};

/// A simulated Forge server on a real socket. Dropping it ends the server without an answer to anyone.
pub struct ForgeSim {
    pub(crate) world: Arc<World>,
    pub(crate) process: Process,
    address: SocketAddr,
    boots: u64,
}

impl ForgeSim {
    /// Starts a server on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// If the port, the data folder, the log file or a saved `config.json` cannot be used.
    pub async fn start(config: SimConfig) -> anyhow::Result<Self> {
        let listener = StdListener::bind("127.0.0.1:0").context("no free port")?;
        Self::start_on(config, listener).await
    }

    /// Starts a server on a socket that listens already.
    ///
    /// # Errors
    /// As [`ForgeSim::start`].
    pub async fn start_on(config: SimConfig, listener: StdListener) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&config.data_dir)
            .with_context(|| format!("cannot create {}", config.data_dir.display()))?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let address = listener.local_addr()?;
        let world = Arc::new(World::new(config)?);
        let process = Process::start(Arc::clone(&world), app_id(&world, 0), listener)?;
        Ok(Self {
            world,
            process,
            address,
            boots: 1,
        })
    }

    /// `http://host:port` without a slash at the end; stays the same over restarts.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The address it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// `/app_id` of the current process.
    pub fn app_id(&self) -> u64 {
        self.process.engine.app_id
    }

    /// Every generation that started, in order, over all restarts (the newest [`crate::GENERATION_LOG_LIMIT`]).
    pub fn log(&self) -> Vec<Generation> {
        self.world.log.generations()
    }

    /// Waits until the generation log satisfies `what`. The log changes with every start, step, file and end.
    ///
    /// # Errors
    /// If that does not happen within `bound`; the text shows the last entries.
    pub async fn wait_for(
        &self,
        what: impl Fn(&[Generation]) -> bool,
        bound: Duration,
    ) -> anyhow::Result<()> {
        self.world.log.wait_for_generations(what, bound).await
    }

    /// Every request that arrived, in order (the newest [`crate::REQUEST_LOG_LIMIT`]).
    pub fn requests(&self) -> Vec<LoggedRequest> {
        self.world.log.requests()
    }

    /// Waits until the request log satisfies `what`.
    ///
    /// # Errors
    /// If that does not happen within `bound`.
    pub async fn wait_for_requests(
        &self,
        what: impl Fn(&[LoggedRequest]) -> bool,
        bound: Duration,
    ) -> anyhow::Result<()> {
        self.world.log.wait_for_requests(what, bound).await
    }

    /// The permits of gated work.
    pub fn gate(&self) -> Gate {
        self.world.gate.clone()
    }

    /// Kills the process as SIGKILL does: connections end without an answer, the port refuses, queue, ids and
    /// unsaved options are gone. Returns when that is so. Does nothing to a dead process.
    pub async fn kill(&mut self) {
        self.process.kill().await;
    }

    /// Starts a new process on the same port (killing the old one if needed): new app id, empty memory; files,
    /// `config.json` and the hash cache are kept.
    ///
    /// # Errors
    /// If the port or the saved configuration cannot be used.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.process.kill().await;
        self.world.gate.set_frozen(false);
        let listener = match self.process.take_port() {
            Some(socket) => socket.listen(BACKLOG),
            None => TcpListener::bind(self.address).await,
        };
        let listener =
            listener.with_context(|| format!("cannot listen on {} again", self.address))?;
        self.process = Process::start(
            Arc::clone(&self.world),
            app_id(&self.world, self.boots),
            listener,
        )?;
        self.boots += 1;
        Ok(())
    }

    /// Puts a checkpoint file on the disk; Forge lists it after `refresh-checkpoints` or a restart.
    pub fn add_checkpoint(&self, model: SimModel) {
        add(&mut self.disk().checkpoints, model);
    }

    /// Takes a checkpoint file off the disk; it stays listed until `refresh-checkpoints`, and loading it fails.
    pub fn remove_checkpoint(&self, relative_path: &str) {
        self.disk()
            .checkpoints
            .retain(|model| model.relative_path != relative_path);
    }

    /// Puts a LoRA file on the disk; Forge lists it after `refresh-loras` or a restart.
    pub fn add_lora(&self, model: SimModel) {
        add(&mut self.disk().loras, model);
    }

    /// Takes a LoRA file off the disk; it stays listed until `refresh-loras`.
    pub fn remove_lora(&self, relative_path: &str) {
        self.disk()
            .loras
            .retain(|model| model.relative_path != relative_path);
    }

    /// Puts a VAE or text encoder file on the disk; Forge lists it after `refresh-vae` or `refresh-checkpoints`.
    pub fn add_module(&self, model: SimModel) {
        add(&mut self.disk().modules, model);
    }

    /// Takes a VAE or text encoder file off the disk.
    pub fn remove_module(&self, relative_path: &str) {
        self.disk()
            .modules
            .retain(|model| model.relative_path != relative_path);
    }

    /// Ends the server and frees its port.
    pub async fn stop(self) {
        self.process.kill().await;
    }

    pub(crate) fn disk(&self) -> std::sync::MutexGuard<'_, Disk> {
        hold(&self.world.disk)
    }
}

impl Drop for ForgeSim {
    fn drop(&mut self) {
        self.process.engine.dead.cancel();
    }
}

fn add(models: &mut Vec<SimModel>, model: SimModel) {
    models.retain(|known| known.relative_path != model.relative_path);
    models.push(model);
}

fn app_id(world: &World, boots: u64) -> u64 {
    world
        .config
        .seed_app_id
        .map_or_else(rand::random, |first| first.wrapping_add(boots))
}
