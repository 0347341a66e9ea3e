//! Whether a server gets jobs although several of them failed there in a row:
//! closed, open for a time that doubles, then one job on trial. Pure: time is
//! given, and which failure is a server's fault is decided in
//! `dispatch::lessons`.

use std::time::Duration;

use chrono::{DateTime, Utc};

/// Different jobs that fail on a server in a row until its breaker opens.
pub const FAILED_JOBS: usize = 3;
/// Openings in a row after which the time grows no further, whatever the pace.
const DOUBLINGS_MAX: u32 = 16;

/// The time, as a breaker needs it.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Since the start of the process; what is decided by.
    pub monotonic: Duration,
    /// On the wall; what is shown.
    pub wall: DateTime<Utc>,
}

/// How long a breaker stays open. Without jitter: one dispatcher gives each
/// server one job, so nobody rushes anywhere.
#[derive(Clone, Copy, Debug)]
pub struct OpenTimes {
    /// The first time; doubles with each further one.
    pub first: Duration,
    /// The longest.
    pub most: Duration,
}

/// Whether a server gets jobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BreakerState {
    /// It does.
    #[default]
    Closed,
    /// It gets none until then.
    Open {
        /// In the time of the process.
        until: Duration,
        /// The same on the wall.
        retry_at: DateTime<Utc>,
    },
    /// It gets one, which decides.
    HalfOpen,
}

/// Who may be to blame for a failure that is not the request's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suspect<'a> {
    /// This job or the server: counts once for each job.
    Job(&'a str),
    /// The server alone: no job can make it do that.
    Server,
}

/// The breaker of one server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Breaker {
    state: BreakerState,
    /// Who failed since the last success; `None` for the server alone.
    failed: Vec<Option<String>>,
    /// Openings in a row.
    openings: u32,
    /// The last failure, in words.
    why: String,
}

impl Breaker {
    /// Whether its server gets jobs.
    #[must_use]
    pub fn state(&self) -> BreakerState {
        self.state
    }

    /// Whether its server may be given a job, on trial or not.
    #[must_use]
    pub fn lets_through(&self) -> bool {
        !matches!(self.state, BreakerState::Open { .. })
    }

    /// The last failure, in words.
    #[must_use]
    pub fn why(&self) -> &str {
        &self.why
    }

    /// A job succeeded, or an operator says that all is well.
    pub fn close(&mut self) {
        *self = Self::default();
    }

    /// A job failed and the request is not to blame. Whether that opened it.
    pub fn failed(
        &mut self,
        suspect: Suspect<'_>,
        why: &str,
        now: Moment,
        times: OpenTimes,
    ) -> bool {
        match self.state {
            // Something that had begun before.
            BreakerState::Open { .. } => false,
            BreakerState::HalfOpen => {
                self.open(why, now, times);
                true
            }
            BreakerState::Closed => {
                let known = |one: &Option<String>| match suspect {
                    Suspect::Job(id) => one.as_deref() == Some(id),
                    Suspect::Server => false,
                };
                if !self.failed.iter().any(known) {
                    self.failed.push(match suspect {
                        Suspect::Job(id) => Some(id.to_owned()),
                        Suspect::Server => None,
                    });
                }
                why.clone_into(&mut self.why);
                let opens = self.failed.len() >= FAILED_JOBS;
                if opens {
                    self.open(why, now, times);
                }
                opens
            }
        }
    }

    /// Opens it at once, for longer than the last time.
    pub fn open(&mut self, why: &str, now: Moment, times: OpenTimes) {
        let wait = times
            .first
            .saturating_mul(1 << self.openings.min(DOUBLINGS_MAX))
            .min(times.most);
        self.openings = self.openings.saturating_add(1);
        self.failed.clear();
        why.clone_into(&mut self.why);
        self.state = BreakerState::Open {
            until: now.monotonic.saturating_add(wait),
            retry_at: now.wall + wait,
        };
    }

    /// Lets one job through when its time is over. Whether that changed.
    pub fn advance(&mut self, monotonic: Duration) -> bool {
        let due = self.due(monotonic).is_some_and(|wait| wait.is_zero());
        if due {
            self.state = BreakerState::HalfOpen;
        }
        due
    }

    /// After how long its time is over; `None` unless it is open.
    #[must_use]
    pub fn due(&self, monotonic: Duration) -> Option<Duration> {
        match self.state {
            BreakerState::Open { until, .. } => Some(until.saturating_sub(monotonic)),
            BreakerState::Closed | BreakerState::HalfOpen => None,
        }
    }
}

#[cfg(test)]
#[path = "breaker/tests.rs"]
mod tests;
