//! How often a job may be passed over for one whose checkpoint a server has
//! loaded already: so few changes of checkpoints are made, and nobody waits for
//! ever (two kinds of jobs in turn would otherwise reload for each). Pure and
//! in memory: after a restart every job may be passed over again.

use std::{collections::HashMap, time::Duration};

/// How far ahead in the queue a job is looked for that fits better.
pub const LOOK_AHEAD_JOBS: usize = 32;
/// How often one job is passed over.
const PASSES_MAX: u32 = 4;
/// How long after the first time a job is passed over.
const PASSING_TIME_MAX: Duration = Duration::from_secs(60);
/// Jobs that are remembered; beyond that nobody is passed over.
const REMEMBERED_JOBS_MAX: usize = 10_000;

/// Which jobs were passed over.
#[derive(Debug, Default)]
pub struct Passing {
    passed: HashMap<String, Passed>,
}

#[derive(Clone, Copy, Debug)]
struct Passed {
    times: u32,
    first: Duration,
}

impl Passing {
    /// Whether this job may be passed over once more, at a monotonic time.
    #[must_use]
    pub fn allows(&self, job_id: &str, now: Duration) -> bool {
        match self.passed.get(job_id) {
            None => self.passed.len() < REMEMBERED_JOBS_MAX,
            Some(passed) => {
                passed.times < PASSES_MAX && now.saturating_sub(passed.first) < PASSING_TIME_MAX
            }
        }
    }

    /// It was passed over.
    pub fn note(&mut self, job_id: &str, now: Duration) {
        let passed = self.passed.entry(job_id.to_owned()).or_insert(Passed {
            times: 0,
            first: now,
        });
        passed.times += 1;
    }

    /// It runs, and is remembered no longer. So are jobs that were passed over
    /// long ago: most of them were cancelled.
    pub fn forget(&mut self, job_id: &str, now: Duration) {
        self.passed.remove(job_id);
        if self.passed.len() >= REMEMBERED_JOBS_MAX {
            let long = PASSING_TIME_MAX * 2;
            self.passed
                .retain(|_, passed| now.saturating_sub(passed.first) < long);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_passed_over_a_few_times_and_then_not_again() {
        let mut passing = Passing::default();
        for _ in 0..PASSES_MAX {
            assert!(passing.allows("a", Duration::ZERO));
            passing.note("a", Duration::ZERO);
        }
        assert!(!passing.allows("a", Duration::ZERO));
        assert!(passing.allows("b", Duration::ZERO));
        passing.forget("a", Duration::ZERO);
        assert!(passing.allows("a", Duration::ZERO));
    }

    #[test]
    fn nobody_is_passed_over_for_long() {
        let mut passing = Passing::default();
        passing.note("a", Duration::from_secs(10));
        let last = Duration::from_secs(10) + PASSING_TIME_MAX;
        assert!(passing.allows("a", last - Duration::from_millis(1)));
        assert!(!passing.allows("a", last));
    }

    #[test]
    fn what_is_remembered_has_an_end() {
        let mut passing = Passing::default();
        for number in 0..REMEMBERED_JOBS_MAX {
            passing.note(&number.to_string(), Duration::ZERO);
        }
        assert!(!passing.allows("one more", Duration::ZERO));
        passing.forget("0", PASSING_TIME_MAX * 2);
        assert!(passing.allows("one more", PASSING_TIME_MAX * 2));
    }
}
