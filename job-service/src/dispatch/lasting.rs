//! Keeps work going that panics: a loop of the service is begun anew after a
//! pause, so that the queue never stands still without a word. What the work
//! is belongs to others.

use std::{future::Future, time::Duration};

use service_kit::{clock::Clock, shutdown::Shutdown};
use tokio::sync::oneshot;

/// Before a loop that panicked is begun anew; doubled with each panic that comes
/// sooner than [`PAUSE_MOST`] after the loop was begun.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
/// The longest such pause.
const PAUSE_MOST: Duration = Duration::from_secs(60);
/// Doublings of the pause.
const DOUBLINGS_MAX: u32 = 16;

/// Runs a loop until it returns; one that panics is begun anew.
pub fn spawn<F>(
    shutdown: &Shutdown,
    clock: &Clock,
    name: &'static str,
    begin: impl Fn() -> F + Send + 'static,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let (keeper, clock) = (shutdown.clone(), clock.clone());
    shutdown.spawn(name, async move {
        let mut panics = 0_u32;
        loop {
            let begun = clock.monotonic();
            if whole(&keeper, name, begin()).await || keeper.is_requested() {
                return;
            }
            if clock.monotonic().saturating_sub(begun) > PAUSE_MOST {
                // It did well in between.
                panics = 0;
            }
            tracing::error!(name, panics, "it is begun anew after a pause");
            let pause = PAUSE_FIRST.saturating_mul(1 << panics.min(DOUBLINGS_MAX));
            tokio::select! {
                () = clock.sleep(pause.min(PAUSE_MOST)) => {}
                () = keeper.requested() => return,
            }
            panics = panics.saturating_add(1);
        }
    });
}

/// Runs work to its end; `false` when it panicked, which is logged and
/// counted.
pub async fn whole(
    shutdown: &Shutdown,
    name: &'static str,
    work: impl Future<Output = ()> + Send + 'static,
) -> bool {
    let (done, ended) = oneshot::channel();
    shutdown.spawn(name, async move {
        work.await;
        // Who waits for it may be gone.
        let _ = done.send(());
    });
    ended.await.is_ok()
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    use chrono::DateTime;

    use super::*;

    /// Longest wait for what must happen.
    const PATIENCE: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn a_loop_that_panics_is_begun_anew_until_it_returns() {
        let clock = Clock::system();
        let shutdown = Shutdown::new(clock.clone());
        let begun = Arc::new(AtomicU32::new(0));
        let (returned, mut done) = tokio::sync::mpsc::channel(1);
        let counted = Arc::clone(&begun);
        spawn(&shutdown, &clock, "loop", move || {
            let turn = counted.fetch_add(1, Ordering::Relaxed);
            let returned = returned.clone();
            async move {
                assert!(turn >= 2, "on purpose");
                // The test looks for it.
                let _ = returned.send(turn).await;
            }
        });
        let last = tokio::time::timeout(PATIENCE, done.recv()).await;
        assert_eq!(last, Ok(Some(2)));
        assert_eq!(shutdown.wait(PATIENCE).await, Ok(()));
        assert_eq!((begun.load(Ordering::Relaxed), shutdown.panicked()), (3, 2));
    }

    #[tokio::test]
    async fn after_a_time_in_which_it_did_well_the_pause_is_the_first_again() {
        let (clock, hand) = Clock::manual(DateTime::UNIX_EPOCH);
        let shutdown = Shutdown::new(clock.clone());
        let begun = AtomicU32::new(0);
        let (returned, mut done) = tokio::sync::mpsc::channel(1);
        let time = clock.clone();
        spawn(&shutdown, &clock, "loop", move || {
            let turn = begun.fetch_add(1, Ordering::Relaxed);
            let (returned, time) = (returned.clone(), time.clone());
            async move {
                if turn == 2 {
                    time.sleep(PAUSE_MOST + PAUSE_FIRST).await;
                }
                assert!(turn >= 3, "on purpose");
                // The test looks for it.
                let _ = returned.send(turn).await;
            }
        });
        let run = async {
            let well = PAUSE_MOST + PAUSE_FIRST;
            for pending in [PAUSE_FIRST, PAUSE_FIRST * 2, well, PAUSE_FIRST] {
                hand.wait_for_waiters(1).await;
                hand.advance(pending);
            }
            done.recv().await
        };
        let last = tokio::time::timeout(PATIENCE, run).await;
        assert_eq!(last, Ok(Some(3)));
    }
}
