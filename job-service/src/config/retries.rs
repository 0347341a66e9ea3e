//! Owns the settings of retries: how long a job waits before its next attempt
//! where its own policy does not say.

use std::time::Duration;

use clap::Args;

use crate::policy::Backoff;

/// How long retries wait.
#[derive(Debug, Clone, Args)]
pub struct RetryArgs {
    /// The longest wait before a job's second attempt, in milliseconds, where
    /// its policy does not say; it doubles for each further one.
    #[arg(long, env = "JOB_SERVICE_RETRY_FIRST_MS", default_value_t = 1_000,
          value_parser = clap::value_parser!(u64).range(0..=3_600_000))]
    pub retry_first_ms: u64,
    /// The most that this wait grows to, in milliseconds.
    #[arg(long, env = "JOB_SERVICE_RETRY_MOST_MS", default_value_t = 60_000,
          value_parser = clap::value_parser!(u64).range(0..=86_400_000))]
    pub retry_most_ms: u64,
}

impl RetryArgs {
    /// The waits; what is wrong goes to `faults`.
    pub(super) fn backoff(&self, faults: &mut Vec<String>) -> Backoff {
        let (first, most) = (self.retry_first_ms, self.retry_most_ms);
        if most < first {
            faults.push(format!(
                "--retry-most-ms is {most}; it must not be less than --retry-first-ms, {first}"
            ));
        }
        Backoff {
            first: Duration::from_millis(first),
            most: Duration::from_millis(most),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_below_the_first_wait_is_told_with_both() {
        let args = |first, most| RetryArgs {
            retry_first_ms: first,
            retry_most_ms: most,
        };
        let mut faults = Vec::new();
        let backoff = args(5, 5).backoff(&mut faults);
        assert_eq!((backoff.first, backoff.most), (backoff.most, backoff.first));
        assert!(faults.is_empty());
        args(5, 4).backoff(&mut faults);
        assert_eq!(
            faults,
            ["--retry-most-ms is 4; it must not be less than --retry-first-ms, 5"]
        );
    }
}
