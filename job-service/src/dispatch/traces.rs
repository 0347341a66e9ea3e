//! What this process knows of an attempt beyond its row: since when its server
//! is silent, how long it was seen to load and to generate, and what may be
//! left on the server when the attempt is over. Asks nobody.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crate::job::AttemptPhase;

/// What is known of one attempt.
#[derive(Debug, Default)]
pub struct Traces {
    interrupted: AtomicBool,
    unanswered: AtomicBool,
    left_behind: AtomicBool,
    sighted: AtomicBool,
    silent_since: Mutex<Option<Duration>>,
    times: Mutex<Times>,
    job_timestamp: Mutex<Option<String>>,
}

#[derive(Debug, Default)]
struct Times {
    /// The phase of the last look, and when that was.
    last: Option<(AttemptPhase, Duration)>,
    loading: Option<Duration>,
    generating: Option<Duration>,
}

impl Traces {
    /// An interrupt goes out.
    pub fn interrupts(&self) {
        self.interrupted.store(true, Ordering::Relaxed);
    }

    /// An interrupt was not answered; a later answer does not show what
    /// becomes of that one.
    pub fn interrupt_unanswered(&self) {
        self.unanswered.store(true, Ordering::Relaxed);
    }

    /// Whether an interrupt went out.
    #[must_use]
    pub fn was_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// Whether an interrupt went out that the server may still have before it.
    #[must_use]
    pub fn is_unanswered(&self) -> bool {
        self.unanswered.load(Ordering::Relaxed)
    }

    /// The attempt is over although its work may still run.
    pub fn leaves_behind(&self) {
        self.left_behind.store(true, Ordering::Relaxed);
    }

    /// Whether its work may still run.
    #[must_use]
    pub fn is_left_behind(&self) -> bool {
        self.left_behind.load(Ordering::Relaxed)
    }

    /// The server has it; `true` the first time.
    #[must_use]
    pub fn is_first_sight(&self) -> bool {
        !self.sighted.swap(true, Ordering::Relaxed)
    }

    /// The next time counts as the first.
    pub fn not_sighted(&self) {
        self.sighted.store(false, Ordering::Relaxed);
    }

    /// The server did not answer; for how long it has not by now.
    pub fn silent(&self, now: Duration) -> Duration {
        let mut since = lock(&self.silent_since);
        now.saturating_sub(*since.get_or_insert(now))
    }

    /// The server answered.
    pub fn heard(&self) {
        *lock(&self.silent_since) = None;
    }

    /// What a look took for the attempt began then, in the server's words.
    pub fn began_at(&self, job_timestamp: &str) {
        *lock(&self.job_timestamp) = Some(job_timestamp.to_owned());
    }

    /// When what the last look took for it began, in the server's words.
    #[must_use]
    pub fn job_timestamp(&self) -> Option<String> {
        lock(&self.job_timestamp).clone()
    }

    /// A look saw this phase. The time since the look before counts for what
    /// that one saw.
    pub fn seen(&self, phase: Option<AttemptPhase>, now: Duration) {
        let mut times = lock(&self.times);
        let before = std::mem::replace(&mut times.last, phase.map(|phase| (phase, now)));
        let sum = |sum: &mut Option<Duration>, more: Duration| {
            *sum = Some(sum.unwrap_or_default() + more);
        };
        match before {
            Some((AttemptPhase::Loading, at)) => sum(&mut times.loading, now.saturating_sub(at)),
            Some((AttemptPhase::Generating, at)) => {
                sum(&mut times.generating, now.saturating_sub(at));
            }
            _ => {}
        }
    }

    /// Milliseconds for which it was seen to load and to generate.
    #[must_use]
    pub fn times_ms(&self) -> (Option<i64>, Option<i64>) {
        let times = lock(&self.times);
        let ms = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        (times.loading.map(ms), times.generating.map(ms))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn time_counts_for_the_phase_that_was_seen_at_its_beginning() {
        let traces = Traces::default();
        assert_eq!(traces.times_ms(), (None, None));
        traces.seen(Some(AttemptPhase::Queued), at(1));
        traces.seen(Some(AttemptPhase::Loading), at(3));
        traces.seen(Some(AttemptPhase::Generating), at(7));
        // Nobody knows what it did then.
        traces.seen(None, at(8));
        traces.seen(Some(AttemptPhase::Generating), at(20));
        traces.seen(None, at(22));
        assert_eq!(traces.times_ms(), (Some(4000), Some(3000)));
    }

    #[test]
    fn silence_is_counted_from_its_beginning() {
        let traces = Traces::default();
        assert_eq!(traces.silent(at(5)), at(0));
        assert_eq!(traces.silent(at(9)), at(4));
        traces.heard();
        assert_eq!(traces.silent(at(12)), at(0));
    }
}
