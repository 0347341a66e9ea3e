//! How time passes for a simulated server: by the clock, or by permits that a test gives.
//! The only place of the crate that sleeps.

use std::time::Duration;

use tokio::sync::watch;

use crate::stage::Stage;

#[derive(Clone, Debug)]
struct Permits {
    held: Vec<Stage>,
    open: bool,
    frozen: bool,
    steps: u64,
    loads: u64,
}

/// Hands permits for gated work to the server. Clones share the same permits.
///
/// A closed gate holds sampling before each step and each load until a permit is there. An interrupt or a skip
/// ends the wait for a step without a permit, because the real server ends by itself within half a second; it does
/// not end the wait for a load, because the real server loads to the end first.
#[derive(Clone, Debug)]
pub struct Gate {
    permits: watch::Sender<Permits>,
}

/// What a piece of gated work is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    Step,
    Load,
}

impl Gate {
    pub(crate) fn new(gated: bool) -> Self {
        Self {
            permits: watch::Sender::new(Permits {
                held: Vec::new(),
                open: !gated,
                frozen: false,
                steps: 0,
                loads: 0,
            }),
        }
    }

    /// Lets `count` further sampling steps run.
    pub fn step(&self, count: u64) {
        self.permits
            .send_modify(|permits| permits.steps = permits.steps.saturating_add(count));
    }

    /// Lets `count` further checkpoint loads run.
    pub fn load(&self, count: u64) {
        self.permits
            .send_modify(|permits| permits.loads = permits.loads.saturating_add(count));
    }

    /// Lets everything run until [`Gate::close`].
    pub fn open(&self) {
        self.permits.send_modify(|permits| permits.open = true);
    }

    /// Holds all further work and takes back permits not used yet.
    pub fn close(&self) {
        self.permits.send_modify(|permits| {
            permits.open = false;
            permits.steps = 0;
            permits.loads = 0;
        });
    }

    /// Stops jobs on entering `stage` until [`Gate::release`], whether the gate is open or not. Held in
    /// [`Stage::Queued`] a job waits for the queue lock, as behind a foreign job.
    pub fn hold(&self, stage: Stage) {
        self.permits.send_modify(|permits| {
            permits.held.retain(|held| *held != stage);
            permits.held.push(stage);
        });
    }

    /// Ends the hold of `stage`.
    pub fn release(&self, stage: Stage) {
        self.permits
            .send_modify(|permits| permits.held.retain(|held| *held != stage));
    }

    pub(crate) fn holds(&self, stage: Stage) -> bool {
        self.permits.borrow().held.contains(&stage)
    }

    /// Waits until the stage is not held and the process not frozen.
    pub(crate) async fn reach(&self, stage: Stage) {
        let mut permits = self.permits.subscribe();
        // The sender lives in self, so the channel cannot be closed while this runs.
        let _ = permits
            .wait_for(|permits| !permits.frozen && !permits.held.contains(&stage))
            .await;
    }

    pub(crate) fn set_frozen(&self, frozen: bool) {
        self.permits.send_modify(|permits| permits.frozen = frozen);
    }

    /// Waits until the process is not frozen (SIGSTOP).
    pub(crate) async fn thawed(&self) {
        let mut permits = self.permits.subscribe();
        // The sender lives in self, so the channel cannot be closed while this runs.
        let _ = permits.wait_for(|permits| !permits.frozen).await;
    }

    /// Waits for a permit and uses it up; nothing is used up while the gate is open.
    pub(crate) async fn pass(&self, work: Work) {
        let mut changes = self.permits.subscribe();
        loop {
            let mut passed = false;
            self.permits.send_if_modified(|permits| {
                if permits.frozen {
                    return false;
                }
                if permits.open {
                    passed = true;
                    return false;
                }
                let left = match work {
                    Work::Step => &mut permits.steps,
                    Work::Load => &mut permits.loads,
                };
                passed = *left > 0;
                *left = left.saturating_sub(1);
                passed
            });
            if passed || changes.changed().await.is_err() {
                return;
            }
        }
    }
}

/// Lets `time` pass; zero only gives other tasks a turn.
#[expect(
    clippy::disallowed_methods,
    reason = "the stand-in plays the time that sampling takes; this is its only door"
)]
pub(crate) async fn pause(time: Duration) {
    if time.is_zero() {
        tokio::task::yield_now().await;
    } else {
        tokio::time::sleep(time).await;
    }
}
