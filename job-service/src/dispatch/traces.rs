//! What this process knows of an attempt beyond its row: since when its server
//! is silent, how long it was seen to load and to generate, which work is its
//! where the server gives no ids, and what may be left on the server when the
//! attempt is over. Asks nobody.

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
    work: Mutex<Work>,
}

/// When jobs of the server began, in its words.
#[derive(Debug, Default)]
struct Work {
    /// The newest one when the request went out, and whether it was over then.
    before: Option<(String, bool)>,
    /// The one that is taken for the attempt: the first that began after that.
    ours: Option<String>,
}

/// Whose work a server does that gives no ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The attempt's, unless somebody else's began in the very instant in which
    /// the request went out, or waited there before it.
    Ours,
    /// What ran there when the request went out; the attempt is behind it.
    Before,
    /// It began after what was taken for the attempt, which may have been
    /// somebody else's that waited there before it.
    Unclear,
    /// Somebody else's, and the attempt is over.
    Another,
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

    /// The request is about to go out: when the server's newest job began, in
    /// its words, and whether it is over.
    pub fn sent_after(&self, job_timestamp: &str, is_idle: bool) {
        lock(&self.work).before = Some((job_timestamp.to_owned(), is_idle));
    }

    /// Whose work a server does that gives no ids, by when it began. One that
    /// nobody looked at before the request went out shows no more than that it
    /// works.
    pub fn whose(&self, job_timestamp: &str) -> Whose {
        let Work { before, ours } = &mut *lock(&self.work);
        match (&*ours, &*before) {
            (Some(ours), _) if ours == job_timestamp => Whose::Ours,
            (Some(_), Some((_, true))) => Whose::Another,
            (Some(_), _) => Whose::Unclear,
            // It says that it begins a job a moment before it says when.
            (None, Some((before, true))) if before == job_timestamp => Whose::Ours,
            (None, Some((before, false))) if before == job_timestamp => Whose::Before,
            (None, _) => {
                *ours = Some(job_timestamp.to_owned());
                Whose::Ours
            }
        }
    }

    /// When what is taken for it began, in the server's words.
    #[must_use]
    pub fn job_timestamp(&self) -> Option<String> {
        lock(&self.work).ours.clone()
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
    fn on_an_idle_server_what_begins_next_is_ours_and_what_follows_is_not() {
        let traces = Traces::default();
        traces.sent_after("1", true);
        assert_eq!(traces.whose("1"), Whose::Ours, "it does not say when yet");
        assert_eq!(traces.whose("2"), Whose::Ours);
        assert_eq!(traces.whose("2"), Whose::Ours);
        assert_eq!(traces.whose("3"), Whose::Another);
        assert_eq!(traces.job_timestamp().as_deref(), Some("2"));
    }

    #[test]
    fn behind_the_work_of_somebody_else_nothing_is_called_over() {
        let traces = Traces::default();
        traces.sent_after("1", false);
        assert_eq!(traces.whose("1"), Whose::Before);
        assert_eq!(traces.job_timestamp(), None);
        assert_eq!(traces.whose("2"), Whose::Ours);
        // That may have waited there before ours.
        assert_eq!(traces.whose("3"), Whose::Unclear);
        assert_eq!(traces.job_timestamp().as_deref(), Some("2"));
    }

    #[test]
    fn where_nobody_looked_before_nothing_is_called_over() {
        let traces = Traces::default();
        assert_eq!(traces.whose("1"), Whose::Ours);
        assert_eq!(traces.whose("2"), Whose::Unclear);
        assert_eq!(traces.whose("1"), Whose::Ours);
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
