//! Owns time: what time it is, how long ago something was, and waiting.
//! It does not own calendars, schedules or retry rules.
//!
//! Production uses [`Clock::system`]. Tests use [`Clock::manual`], whose time
//! stands still until [`ManualClock::advance`] moves it. Tokio's paused time is
//! not used, because it runs ahead while a test waits for a socket.

mod manual;
mod wire;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

pub use manual::ManualClock;
pub use wire::{
    from_proto_duration, from_text, from_timestamp, to_proto_duration, to_text, to_timestamp,
};

/// Tells the time and waits. Cheap to clone; clones share one origin.
#[derive(Debug, Clone)]
pub struct Clock(Source);

#[derive(Debug, Clone)]
enum Source {
    System { made: Instant },
    Manual(Arc<manual::State>),
}

/// The wait was longer than allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the time allowed has passed")]
pub struct Elapsed;

impl Clock {
    /// The clock of the operating system.
    pub fn system() -> Self {
        Self(Source::System {
            made: Instant::now(),
        })
    }

    /// A clock that stands at `start` until its [`ManualClock`] moves it.
    pub fn manual(start: DateTime<Utc>) -> (Self, ManualClock) {
        let state = Arc::new(manual::State::new(start));
        let hand = ManualClock::new(Arc::clone(&state));
        (Self(Source::Manual(state)), hand)
    }

    /// The time of day, which can jump when the machine's clock is set.
    pub fn now(&self) -> DateTime<Utc> {
        match &self.0 {
            #[expect(clippy::disallowed_methods, reason = "this is the one door of time")]
            Source::System { .. } => Utc::now(),
            Source::Manual(state) => state.now(),
        }
    }

    /// The time since this clock was made; it never goes back.
    pub fn monotonic(&self) -> Duration {
        match &self.0 {
            Source::System { made } => made.elapsed(),
            Source::Manual(state) => state.elapsed(),
        }
    }

    /// Waits for `duration`. Dropping the future gives up the wait.
    pub fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static {
        self.sleep_until(self.monotonic().saturating_add(duration))
    }

    /// Waits until [`Clock::monotonic`] reaches `instant`; returns at once if it has.
    ///
    /// The wait counts for [`ManualClock::waiters`] from this call on, not only
    /// from the first poll, so that a test cannot advance too early.
    pub fn sleep_until(&self, instant: Duration) -> impl Future<Output = ()> + Send + 'static {
        let wait = match &self.0 {
            Source::System { made } => Wait::System(made.checked_add(instant)),
            Source::Manual(state) => Wait::Manual(manual::State::wait_until(state, instant)),
        };
        async move {
            match wait {
                Wait::System(Some(at)) => tokio::time::sleep_until(at.into()).await,
                // Beyond what the machine's clock can express: never.
                Wait::System(None) => std::future::pending().await,
                Wait::Manual(wait) => wait.await,
            }
        }
    }

    /// Runs `future` for at most `limit`, then drops it.
    ///
    /// # Errors
    /// [`Elapsed`] when the limit passed first. A future that is ready at the
    /// same moment wins.
    pub async fn timeout<F: Future>(
        &self,
        limit: Duration,
        future: F,
    ) -> Result<F::Output, Elapsed> {
        let sleep = self.sleep(limit);
        tokio::select! {
            biased;
            output = future => Ok(output),
            () = sleep => Err(Elapsed),
        }
    }
}

enum Wait {
    System(Option<Instant>),
    Manual(manual::Wait),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> DateTime<Utc> {
        from_text("2026-11-22T11:08:00.123Z").unwrap()
    }

    #[tokio::test]
    async fn a_manual_clock_stands_still_until_it_is_advanced() {
        let (clock, hand) = Clock::manual(start());
        assert_eq!(clock.now(), start());
        assert_eq!(clock.monotonic(), Duration::ZERO);
        hand.advance(Duration::from_millis(1500));
        assert_eq!(clock.monotonic(), Duration::from_millis(1500));
        assert_eq!(to_text(clock.now()), "2026-11-22T11:08:01.623Z");
    }

    #[tokio::test]
    async fn sleepers_wake_when_their_time_has_come_and_not_before() {
        let (clock, hand) = Clock::manual(start());
        let mut short = Box::pin(clock.sleep(Duration::from_secs(1)));
        let mut long = Box::pin(clock.sleep(Duration::from_secs(3)));
        assert_eq!(hand.waiters(), 2);
        assert!(futures_util::poll!(&mut short).is_pending());
        hand.advance(Duration::from_secs(1));
        short.await;
        assert!(futures_util::poll!(&mut long).is_pending());
        assert_eq!(hand.waiters(), 1);
        hand.advance(Duration::from_secs(2));
        long.await;
        assert_eq!(hand.waiters(), 0);
    }

    #[tokio::test]
    async fn a_dropped_sleep_is_no_longer_a_waiter() {
        let (clock, hand) = Clock::manual(start());
        let sleep = clock.sleep(Duration::from_secs(1));
        hand.wait_for_waiters(1).await;
        drop(sleep);
        assert_eq!(hand.waiters(), 0);
    }

    #[tokio::test]
    async fn a_timeout_ends_what_takes_too_long() {
        let (clock, hand) = Clock::manual(start());
        let waiting = clock.timeout(Duration::from_secs(5), std::future::pending::<()>());
        let (outcome, ()) = tokio::join!(waiting, async {
            hand.wait_for_waiters(1).await;
            hand.advance(Duration::from_secs(5));
        });
        assert_eq!(outcome, Err(Elapsed));
        assert_eq!(clock.timeout(Duration::ZERO, async { 7 }).await, Ok(7));
    }

    #[tokio::test]
    async fn the_system_clock_moves_forward() {
        let clock = Clock::system();
        let before = clock.monotonic();
        clock.sleep(Duration::from_millis(2)).await;
        assert!(clock.monotonic() >= before + Duration::from_millis(2));
        assert_eq!(
            clock
                .timeout(Duration::from_millis(1), std::future::pending::<()>())
                .await,
            Err(Elapsed)
        );
    }
}
