//! A Forge stand-in with a folder of its own, and what tests ask it. What a
//! stand-in does is `forge-sim`'s.

use std::sync::atomic::AtomicU64;

use anyhow::Result;
use forge_sim::{ForgeSim, Generation, LoggedRequest, SimConfig};
use job_service::{
    dispatch::forge::{ForgeClient, GenerateAnswer},
    job::Endpoint,
};
use serde_json::json;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use crate::wait;

/// A Forge stand-in with a folder of its own.
pub struct Sim {
    /// The stand-in.
    pub sim: ForgeSim,
    /// Its folder, which lives as long as it.
    pub folder: TempDir,
}

impl Sim {
    /// A stand-in that takes no time.
    pub async fn instant() -> Result<Self> {
        Self::with(|_| {}).await
    }

    /// A stand-in that takes no time, changed before it starts.
    pub async fn with(change: impl FnOnce(&mut SimConfig)) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut config = SimConfig::instant(folder.path());
        change(&mut config);
        Ok(Self {
            sim: ForgeSim::start(config).await?,
            folder,
        })
    }
}

impl Sim {
    /// A stand-in whose every step and load waits for its gate.
    pub async fn gated() -> Result<Self> {
        Self::with(|config| config.gated = true).await
    }

    /// Every generation so far, in order.
    #[must_use]
    pub fn log(&self) -> Vec<Generation> {
        self.sim.log()
    }

    /// Waits until the generation log looks like this.
    pub async fn until(&self, what: impl Fn(&[Generation]) -> bool) -> Result<()> {
        self.sim.wait_for(what, wait::BOUND).await
    }

    /// Has somebody else begin a generation of two steps there.
    pub fn foreign(&self) -> Result<JoinHandle<GenerateAnswer>> {
        let spool = self.folder.path().join("foreign");
        let client = ForgeClient::new(&self.sim.url())?;
        let body = json!({
            "prompt": "foreign", "steps": 2, "width": 64, "height": 64, "force_task_id": "foreign",
        });
        let body = body.as_object().cloned().unwrap_or_default();
        Ok(TaskTracker::new().spawn(async move {
            let received = AtomicU64::new(0);
            client
                .generate(Endpoint::Txt2img, &body, &spool, &received)
                .await
        }))
    }

    /// How often a path was asked for.
    #[must_use]
    pub fn asked(&self, path: &str) -> usize {
        let requests = self.sim.requests();
        requests
            .iter()
            .filter(|request| request.path.split('?').next() == Some(path))
            .count()
    }

    /// Waits until a path was asked for so often in all.
    pub async fn until_asked(&self, path: &str, times: usize) -> Result<()> {
        let enough = |requests: &[LoggedRequest]| {
            let found = requests.iter();
            let found = found.filter(|request| request.path.split('?').next() == Some(path));
            found.count() >= times
        };
        self.sim.wait_for_requests(enough, wait::BOUND).await
    }
}
