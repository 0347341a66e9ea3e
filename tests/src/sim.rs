//! A Forge stand-in with a folder of its own, and what tests ask it. What a
//! stand-in does is `forge-sim`'s.

use anyhow::Result;
use forge_sim::{ForgeSim, Generation, LoggedRequest, SimConfig};
use tempfile::TempDir;

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
