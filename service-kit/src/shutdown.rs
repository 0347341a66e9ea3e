//! Owns the end of the process: the signal to stop, the tasks that must end
//! with it, and the time they get. It does not know what the tasks do.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::clock::Clock;
use crate::exit::Exit;

/// How long a service has from the stop signal to its end, unless configured.
pub const GRACE_DEFAULT: Duration = Duration::from_secs(30);

/// Tasks were still running when the time was up; their names, with how many of each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("tasks were still running at the end of the grace period: {names:?}")]
pub struct StillRunning {
    /// Name and number of the tasks that did not end.
    pub names: BTreeMap<&'static str, usize>,
}

/// The stop signal of a service and the tasks that listen to it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Shutdown(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Clock,
    token: CancellationToken,
    tracker: TaskTracker,
    begun_at: OnceLock<Duration>,
    running: Mutex<BTreeMap<&'static str, usize>>,
    panicked: AtomicUsize,
}

impl Shutdown {
    /// A signal that has not been given.
    pub fn new(clock: Clock) -> Self {
        Self(Arc::new(Inner {
            clock,
            token: CancellationToken::new(),
            tracker: TaskTracker::new(),
            begun_at: OnceLock::new(),
            running: Mutex::new(BTreeMap::new()),
            panicked: AtomicUsize::new(0),
        }))
    }

    /// Runs a task that [`Shutdown::wait`] waits for. The task itself listens to
    /// [`Shutdown::requested`]; a panic in it is logged and counted.
    pub fn spawn<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let running = Running::new(self.clone(), name);
        let span = tracing::info_span!("task", task.name = name);
        let shutdown = self.clone();
        self.0.tracker.spawn(
            async move {
                let _running = running;
                if AssertUnwindSafe(task).catch_unwind().await.is_err() {
                    shutdown.0.panicked.fetch_add(1, Ordering::Relaxed);
                    tracing::error!("the task panicked and will not run again");
                }
            }
            .instrument(span),
        );
    }

    /// Gives the signal. Only the first call counts.
    pub fn begin(&self) {
        self.0.begun_at.get_or_init(|| self.0.clock.monotonic());
        self.0.token.cancel();
    }

    /// Waits for the signal; returns at once when it was given.
    pub async fn requested(&self) {
        self.0.token.cancelled().await;
    }

    /// Whether the signal was given.
    pub fn is_requested(&self) -> bool {
        self.0.token.is_cancelled()
    }

    /// The signal as a token, for code that selects on one.
    pub fn token(&self) -> CancellationToken {
        self.0.token.clone()
    }

    /// What is left of `grace`, counted from the signal; all of it before.
    pub fn remaining(&self, grace: Duration) -> Duration {
        self.0.begun_at.get().map_or(grace, |begun| {
            grace.saturating_sub(self.0.clock.monotonic().saturating_sub(*begun))
        })
    }

    /// How many tasks have panicked.
    pub fn panicked(&self) -> usize {
        self.0.panicked.load(Ordering::Relaxed)
    }

    /// Gives the signal if nobody has, then waits until every task has ended or
    /// `grace` has passed since the signal.
    ///
    /// # Errors
    /// [`StillRunning`] with the names of the tasks that did not end in time.
    pub async fn wait(&self, grace: Duration) -> Result<(), StillRunning> {
        self.begin();
        self.0.tracker.close();
        let ended = self.0.tracker.wait();
        let limit = self.remaining(grace);
        self.0
            .clock
            .timeout(limit, ended)
            .await
            .map_err(|_| StillRunning {
                names: self.running().clone(),
            })
    }

    /// SIGTERM and SIGINT give the signal from here on; the second one ends the
    /// process at once with [`Exit::Failure`].
    ///
    /// # Errors
    /// When the handlers cannot be installed. Must be called inside the runtime.
    pub fn listen_for_signals(&self) -> io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let shutdown = self.clone();
        let listener = async move {
            loop {
                let name = tokio::select! {
                    _ = terminate.recv() => "SIGTERM",
                    _ = interrupt.recv() => "SIGINT",
                };
                if shutdown.is_requested() {
                    tracing::warn!(signal = name, "stopping at once");
                    std::process::exit(Exit::Failure.code().into());
                }
                tracing::info!(signal = name, "stopping; a second signal stops at once");
                shutdown.begin();
            }
        };
        #[expect(
            clippy::disallowed_methods,
            reason = "it must hear the second signal while the tracked tasks end"
        )]
        tokio::spawn(listener);
        Ok(())
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<&'static str, usize>> {
        self.0
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps the name of a task in the list for as long as it runs.
struct Running {
    shutdown: Shutdown,
    name: &'static str,
}

impl Running {
    fn new(shutdown: Shutdown, name: &'static str) -> Self {
        *shutdown.running().entry(name).or_default() += 1;
        Self { shutdown, name }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut running = self.shutdown.running();
        if let Some(count) = running.get_mut(self.name) {
            *count -= 1;
            if *count == 0 {
                running.remove(self.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn waiting_ends_when_the_tasks_have_ended() {
        let shutdown = Shutdown::new(Clock::system());
        let listening = shutdown.clone();
        shutdown.spawn("listener", async move { listening.requested().await });
        assert!(!shutdown.is_requested());
        assert_eq!(shutdown.wait(LONG).await, Ok(()));
        assert!(shutdown.is_requested());
    }

    #[tokio::test]
    async fn a_task_that_never_ends_is_named_and_not_waited_for() {
        let shutdown = Shutdown::new(Clock::system());
        shutdown.spawn("stuck", std::future::pending());
        let late = shutdown.wait(SHORT).await.unwrap_err();
        assert_eq!(late.names, BTreeMap::from([("stuck", 1)]));
    }

    #[tokio::test]
    async fn a_panic_in_a_task_is_counted_and_holds_nothing_up() {
        let shutdown = Shutdown::new(Clock::system());
        shutdown.spawn("broken", async { panic!("on purpose") });
        assert_eq!(shutdown.wait(LONG).await, Ok(()));
        assert_eq!(shutdown.panicked(), 1);
    }

    #[tokio::test]
    async fn the_grace_is_counted_from_the_signal() {
        let (clock, hand) = Clock::manual(chrono::DateTime::UNIX_EPOCH);
        let shutdown = Shutdown::new(clock);
        assert_eq!(shutdown.remaining(LONG), LONG);
        shutdown.begin();
        hand.advance(Duration::from_secs(15));
        shutdown.begin();
        assert_eq!(shutdown.remaining(LONG), Duration::from_secs(5));
        hand.advance(LONG);
        assert_eq!(shutdown.remaining(LONG), Duration::ZERO);
    }

    #[tokio::test]
    async fn a_termination_signal_begins_the_shutdown() {
        let shutdown = Shutdown::new(Clock::system());
        shutdown.listen_for_signals().unwrap();
        let own = std::process::id().to_string();
        let sent = tokio::task::spawn_blocking(move || {
            std::process::Command::new("kill")
                .args(["-TERM", &own])
                .status()
        });
        assert!(sent.await.unwrap().unwrap().success());
        let heard = Clock::system().timeout(LONG, shutdown.requested()).await;
        assert_eq!(heard, Ok(()));
    }
}
