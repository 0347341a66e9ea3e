//! Owns when the next request to Civitai may go. It sends none.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use service_kit::clock::Clock;

use super::answer::RETRY_AFTER_MAX;

/// The time that the limit counts.
const MINUTE: Duration = Duration::from_secs(60);
/// Requests that may go at once, as a part of those of a minute.
const BURST_PART: u32 = 6;

/// A token bucket: in any minute at most the configured number of requests begins, a sixth of
/// them at once. A pause that Civitai asks for holds for everybody.
#[derive(Debug)]
pub(super) struct Limiter {
    clock: Clock,
    /// Between two tokens.
    every: Duration,
    /// How far ahead of an even flow requests may be.
    ahead: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// When the next token of an even flow comes, by the monotonic clock.
    due: Duration,
    paused_until: Duration,
}

impl Limiter {
    /// A full bucket for so many requests a minute, at least one.
    pub(super) fn new(clock: Clock, per_minute: u32) -> Self {
        let per_minute = per_minute.max(1);
        let burst = (per_minute / BURST_PART).max(1);
        let every = MINUTE / (per_minute - burst + 1);
        Self {
            clock,
            every,
            ahead: every * (burst - 1),
            state: Mutex::new(State {
                due: Duration::ZERO,
                paused_until: Duration::ZERO,
            }),
        }
    }

    /// Waits until a request may go, and takes its token. Dropping the future takes none.
    pub(super) async fn place(&self) {
        while let Err(until) = self.try_place() {
            self.clock.sleep_until(until).await;
        }
    }

    /// Takes a token, or says when there may be one.
    fn try_place(&self) -> Result<(), Duration> {
        let now = self.clock.monotonic();
        let mut state = self.state();
        let free = state.due.saturating_sub(self.ahead).max(state.paused_until);
        if free > now {
            return Err(free);
        }
        state.due = state.due.max(now) + self.every;
        Ok(())
    }

    /// Lets nobody go for that long, at most [`RETRY_AFTER_MAX`].
    pub(super) fn pause(&self, time: Duration) {
        let until = self.clock.monotonic() + time.min(RETRY_AFTER_MAX);
        let mut state = self.state();
        state.paused_until = state.paused_until.max(until);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use service_kit::clock::ManualClock;

    use super::*;

    fn limiter(per_minute: u32) -> (Limiter, ManualClock) {
        let (clock, hand) = Clock::manual(DateTime::UNIX_EPOCH);
        (Limiter::new(clock, per_minute), hand)
    }

    fn taken_now(limiter: &Limiter) -> u32 {
        let mut taken = 0;
        while limiter.try_place().is_ok() {
            taken += 1;
        }
        taken
    }

    #[test]
    fn no_minute_has_more_than_its_requests_and_a_full_one_has_them_all() {
        for per_minute in [1, 2, 5, 6, 60, 100, 6_000] {
            let (limiter, hand) = limiter(per_minute);
            let mut taken = taken_now(&limiter);
            assert_eq!(taken, (per_minute / 6).max(1), "at once");
            // Up to just before the minute is over.
            for _ in 0..599 {
                hand.advance(Duration::from_millis(100));
                taken += taken_now(&limiter);
            }
            hand.advance(Duration::from_millis(99));
            taken += taken_now(&limiter);
            assert_eq!(taken, per_minute);
        }
    }

    #[test]
    fn a_pause_holds_everybody_back_and_has_a_limit() {
        let (limiter, hand) = limiter(6_000);
        limiter.pause(Duration::from_secs(10));
        assert_eq!(limiter.try_place(), Err(Duration::from_secs(10)));
        // A shorter one does not shorten it.
        limiter.pause(Duration::from_secs(1));
        hand.advance(Duration::from_secs(9));
        assert_eq!(limiter.try_place(), Err(Duration::from_secs(10)));
        hand.advance(Duration::from_secs(1));
        assert_eq!(limiter.try_place(), Ok(()));
        limiter.pause(Duration::MAX);
        hand.advance(RETRY_AFTER_MAX);
        assert_eq!(limiter.try_place(), Ok(()));
    }

    #[tokio::test]
    async fn who_waits_goes_when_the_time_has_come() {
        let (limiter, hand) = limiter(1);
        limiter.place().await;
        let mut next = Box::pin(limiter.place());
        assert!(futures_util::poll!(&mut next).is_pending());
        hand.advance(MINUTE);
        next.await;
    }
}
