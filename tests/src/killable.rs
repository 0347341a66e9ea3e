//! A service in a runtime of its own, which can be cut off at any instant: its
//! tasks end where they stand, as those of a killed process. What a process
//! that is really killed leaves behind is tested with the programs.

use std::{future::Future, net::SocketAddr};

use anyhow::{Context as _, Result};
use tokio::runtime::{Builder, Runtime};

use crate::wait;

/// A service that runs in a runtime of its own.
pub struct Killable<R> {
    runtime: Option<Runtime>,
    running: Option<R>,
    address: SocketAddr,
}

impl<R: Send + 'static> Killable<R> {
    /// Starts a service at an address, again and again while the one before
    /// still has the port or the lock.
    pub async fn start<S, F>(address: SocketAddr, start: S) -> Result<Self>
    where
        S: Fn(SocketAddr) -> F,
        F: Future<Output = Result<(R, SocketAddr)>> + Send + 'static,
    {
        let mut builder = Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build()?;
        let (running, address) = wait::until("the service starts", || {
            let started = runtime.spawn(start(address));
            async move {
                let started = started.await.map_err(|error| error.to_string())?;
                started.map_err(|error| format!("{error:#}"))
            }
        })
        .await?;
        Ok(Self {
            runtime: Some(runtime),
            running: Some(running),
            address,
        })
    }

    /// Where it takes calls.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts it off where it stands.
    pub fn kill(mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        drop(self.running.take());
    }

    /// Ends it in order.
    pub async fn stop<F>(mut self, stop: impl FnOnce(R) -> F) -> Result<()>
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let running = self.running.take().context("it runs")?;
        let runtime = self.runtime.as_ref().context("it runs")?;
        runtime.spawn(stop(running)).await?
    }
}

impl<R> Drop for Killable<R> {
    fn drop(&mut self) {
        // A runtime must not be dropped where others wait.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
